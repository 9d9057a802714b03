"""The pipeline: load, capture, plan, judge, swap, verify, measure. Read this first.

Every stage takes what the one before it returned; nothing flows backwards.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from paramaudit import bare, certify, gate, load, operators, rewrites
from paramaudit.account import model_info, module_counts, totals
from paramaudit.baseline import check_target
from paramaudit.budgets import Limits
from paramaudit.changes import changes
from paramaudit.counterexample import run_again
from paramaudit.errors import NotAuditableError
from paramaudit.expect import expectations
from paramaudit.gradients import compare_gradients
from paramaudit.graph.capture import capture, reexport
from paramaudit.graph.program import Program, fingerprint
from paramaudit.measure import compare
from paramaudit.objective import plan_for
from paramaudit.pays import changed_paths, speeds
from paramaudit.places import placed
from paramaudit.plan import Choice
from paramaudit.records import (
    Audit,
    Baseline,
    Certificate,
    Check,
    Comparison,
    Counterexample,
    Diff,
    Finding,
    Loaded,
    Plan,
    Refusal,
    Replay,
    Tier,
)
from paramaudit.redesign import read_data, redesign
from paramaudit.rules import load_rules, verdicts
from paramaudit.save import write_program
from paramaudit.scanned import Scan

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What a user can ask of the pipeline; the names are those of the command line."""

    mode: str = "eval"
    device: str = "cpu"
    static: Mapping[str, int] = field(default_factory=dict)
    dynamic: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    rules: Path | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    tolerance: float = 0.0
    allow: frozenset[Tier] = frozenset()
    objective: str = "parameters"
    seed: int = 0

    @property
    def choice(self) -> Choice:
        """The part of the options that a plan depends on."""
        return Choice(self.select, self.ignore, self.allow, self.seed)


def open_target(
    target: str, *, inputs: Sequence[str] = (), factory: str | None = None, trust: bool = False
) -> Loaded:
    """Load a target; see :func:`paramaudit.load.load`."""
    return load.load(target, inputs=inputs, factory=factory, trust=trust)


def scan_loaded(loaded: Loaded, options: Options, progress: Progress) -> Scan:
    """Audit a loaded model, or a checkpoint alone: what it is, what could go, and what was refused.

    Raises:
        NotAuditableError: nothing in it can be audited.
    """
    clock = _Clock(progress)
    clock.start("rules")
    rules = load_rules(options.rules)
    if loaded.tensors is not None:
        audit = bare.audit_tensors(loaded, rules, options.choice, clock.start)
        audit = dataclasses.replace(audit, seconds=clock.stop())
        return Scan(audit, plan_of(audit, options), None, None, stored=tuple(loaded.tensors))
    clock.start("capture")
    program = _capture(loaded, options)
    clock.start("identify")
    digest = loaded.sha256 or fingerprint(program)
    clock.start("plan")
    refactored, book = plan_for(options.objective, program, options.choice, options.device)
    clock.start("rules against evidence")
    findings = (*book.findings, *expectations(program, refactored, book, rules))
    counts = module_counts(program, refactored)
    rows = placed(verdicts(counts, findings, rules), loaded)
    info = model_info(loaded, program, digest)
    result = totals(program, refactored)
    skipped = tuple(book.skipped.values())
    audit = Audit(info, program.contract, rows, findings, skipped, result, clock.stop(), book.spent)
    return Scan(audit, plan_of(audit, options), program, refactored)


def fit_scan(scan: Scan, data: str | Sequence[Tensor], options: Options, progress: Progress) -> Scan:
    """The scan with a layer fitted to recorded data for every module that is unproven.

    Args:
        scan: what :func:`scan_loaded` returned.
        data: see :func:`paramaudit.redesign.read_data`, or one tensor for each input.
        options: fitted layers are swapped in when these allow that tier.
        progress: told the stage.

    Raises:
        InputError: the data do not fit the model.
    """
    progress("fit")
    original, refactored = scan.programs
    tensors = read_data(data, refactored)
    done = redesign(refactored, scan.audit, tensors, options.choice)
    audit = dataclasses.replace(scan.audit, findings=(*scan.audit.findings, *done.findings))
    plan = plan_of(audit, options)
    if not done.applied:
        return dataclasses.replace(scan, audit=audit, plan=plan)
    plan = dataclasses.replace(
        plan,
        apply=(*plan.apply, *done.applied),
        refused=tuple(r for r in plan.refused if r.id not in done.applied),
        beyond=totals(original, done.program),
    )
    return dataclasses.replace(scan, audit=audit, plan=plan, fitted=done.program)


def plan_of(audit: Audit, options: Options) -> Plan:  # noqa: ARG001 - a saved audit was made under its own options
    """The plan of an audit: what is applied, and every refusal with its reason."""
    applied = tuple(f.id for f in audit.findings if f.applied_by_default)
    refused = tuple(Refusal(f.id, _why_not(f)) for f in audit.findings if not f.applied_by_default)
    return Plan(audit.model, applied, refused, audit.totals)


def apply_scan(scan: Scan, save: Path, options: Options, progress: Progress) -> Certificate:
    """Write the refactored program to ``save`` when it is verified; nothing is left otherwise.

    Raises:
        NotAuditableError: the plan holds nothing to apply.
    """
    if not scan.plan.apply:
        msg = "nothing to apply: no safe finding"
        raise NotAuditableError(msg)
    progress("export")
    exported = reexport(scan.fitted or scan.programs[1])
    progress("write")
    with write_program(exported, save) as written:
        progress("verify")
        certificate = _certified(scan, load.load(str(written)), exported, options.seed)
        if certificate.keeps:
            written.replace(save)
    return certificate


def recertify(
    original: Loaded, refactored: Loaded, fit: str | None, options: Options, progress: Progress
) -> Certificate:
    """The certificate of a written file made again: the same plan, held against the file.

    Where another plan is made by now, the two models are verified as any two are.

    Args:
        original: the model before.
        refactored: the file that was written.
        fit: recorded data of the redesign lane; see :func:`fit_scan`.
        options: those under which it was written.
        progress: told the stage.
    """
    scan = scan_loaded(original, options, progress)
    if fit is not None:
        scan = fit_scan(scan, fit, options, progress)
    if scan.plan.apply:
        progress("export")
        exported = reexport(scan.fitted or scan.programs[1])
        progress("verify")
        certificate = _certified(scan, refactored, exported, options.seed)
        if certificate.keeps:
            return certificate
    return verify_loaded(original, refactored, options, progress)


def identities(original: Loaded, refactored: Loaded, options: Options) -> tuple[str, str]:
    """The SHA-256 of both models, as certificates hold them."""
    if original.sha256 and refactored.sha256:
        return original.sha256, refactored.sha256
    first = _capture(original, options)
    after = refactored.sha256 or fingerprint(_capture(_with_inputs(refactored, first), options))
    return original.sha256 or fingerprint(first), after


def replay_loaded(
    saved: Counterexample, file: Path, models: tuple[Loaded, Loaded], options: Options, progress: Progress
) -> Replay:
    """Run a saved counterexample again.

    Raises:
        TargetError: its inputs cannot be read.
        InputError: the original does not take them.
    """
    progress("capture")
    first = _capture(models[0], options)
    second = _capture(_with_inputs(models[1], first), options)
    progress("run")
    return run_again(saved, file, first, second, (models[0].target, models[1].target))


def _certified(
    scan: Scan, reloaded: Loaded, exported: torch.export.ExportedProgram, seed: int
) -> Certificate:
    original, refactored = scan.programs
    written = capture(dataclasses.replace(reloaded, args=original.args, kwargs=original.kwargs))
    names = (scan.audit.model.sha256, reloaded.sha256 or "")
    safe = [f for f in scan.audit.findings if f.applied_by_default]
    if scan.fitted is None:
        return certify.certify_swaps(original, written, safe, exported, names=names, seed=seed)
    fitted = [f for f in scan.audit.findings if f.id in scan.plan.apply and f.tier is Tier.FITTED]
    return certify.certify_redesign(
        original, refactored, written, (safe, fitted), exported, names=names, seed=seed
    )


def verify_loaded(original: Loaded, refactored: Loaded, options: Options, progress: Progress) -> Certificate:
    """Equivalence of two models with the same interface."""
    progress("capture")
    first = _capture(original, options)
    second = _capture(_with_inputs(refactored, first), options)
    names = (original.sha256 or fingerprint(first), refactored.sha256 or fingerprint(second))
    certificate = certify.certify(first, second, options.choice, names, options.tolerance, progress)
    if options.mode != "train" or certificate.equivalent is False:
        return certificate
    progress("gradients")
    return certify.with_gradients(certificate, compare_gradients(first, second, options.seed))


def compare_loaded(original: Loaded, refactored: Loaded, options: Options, progress: Progress) -> Comparison:
    """Cost of two models side by side, timed in turn."""
    progress("capture")
    first = _capture(original, options)
    second = _capture(_with_inputs(refactored, first), options)
    progress("measure")
    sizes = (_file_bytes(original), _file_bytes(refactored))
    devices = tuple(dict.fromkeys(("cpu", options.device)))
    result = compare(first.module, second.module, first.args, first.kwargs, devices=devices, file_bytes=sizes)
    progress("measure the parts")
    parts = speeds(first, second, changed_paths(first, second), options.device)
    return dataclasses.replace(result, parts=tuple(parts))


def diff_loaded(original: Loaded, refactored: Loaded, options: Options, progress: Progress) -> Diff:
    """What changed from one model to another, and which waste is new; both are audited.

    Raises:
        NotAuditableError: one of them has no graph.
    """
    first = scan_loaded(original, options, progress)
    if first.original is not None:
        refactored = _with_inputs(refactored, first.original)
    second = scan_loaded(refactored, options, progress)
    return changes(first.audit, second.audit)


def check_loaded(
    loaded: Loaded, limits: Limits, before: Baseline | None, options: Options, progress: Progress
) -> tuple[Check, Baseline]:
    """Hold a model to its limits and to a baseline; only what they ask for is measured.

    Returns:
        The check, and the baseline that would accept the model as it is now.

    Raises:
        NotAuditableError: a budget needs a graph, and there is none.
        StaleError: the baseline is that of another target.
    """
    if before is not None:
        check_target(before, loaded.target)
    scan = program = None
    if limits.waste is not None:
        scan = scan_loaded(loaded, options, progress)
        program = scan.original
    if program is None and (limits.flops is not None or limits.latency):
        progress("capture")
        program = _capture(loaded, options)
    progress("measure")
    usage = gate.measure(loaded, limits, program, scan.audit if scan else None)
    return gate.judge(loaded, usage, limits, before, options.device), gate.baseline(loaded, usage)


def atlas() -> Mapping[str, str]:
    """Every operator and rewrite by name, with its documentation."""
    return {**bare.documentation(), **operators.documentation(), **rewrites.documentation()}


def _capture(loaded: Loaded, options: Options) -> Program:
    return capture(
        loaded, mode=options.mode, static=options.static, dynamic=options.dynamic, read=options.read
    )


def _with_inputs(loaded: Loaded, program: Program) -> Loaded:
    """A file without example inputs takes those of the model it is compared with."""
    if loaded.args or loaded.kwargs:
        return loaded
    return dataclasses.replace(loaded, args=program.args, kwargs=dict(program.kwargs), has_inputs=True)


def _file_bytes(loaded: Loaded) -> int | None:
    path = Path(loaded.target)
    return path.stat().st_size if loaded.format != "factory" and path.is_file() else None


def _why_not(finding: Finding) -> str:
    if finding.tier is Tier.REFUTED or finding.tier.safe:
        return finding.reason
    return f"{finding.tier} is not applied unless asked for (--allow {finding.tier}): {finding.reason}"


class _Clock:
    """Seconds by stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._seconds: dict[str, float] = {}
        self._stage = ""
        self._since = time.perf_counter()

    def start(self, stage: str) -> None:
        self.stop()
        self._progress(stage)
        self._stage = stage

    def stop(self) -> dict[str, float]:
        now = time.perf_counter()
        if self._stage:
            self._seconds[self._stage] = now - self._since
        self._since = now
        return dict(self._seconds)


__all__ = [
    "Options",
    "Progress",
    "Scan",
    "apply_scan",
    "atlas",
    "check_loaded",
    "compare_loaded",
    "diff_loaded",
    "fit_scan",
    "identities",
    "open_target",
    "plan_of",
    "recertify",
    "replay_loaded",
    "scan_loaded",
    "verify_loaded",
]
