"""The command line: parse, call, print, exit."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paramaudit import __version__, report
from paramaudit.cli_options import (
    Apply,
    ClaimsFile,
    CounterexampleFile,
    Flags,
    MaybeOriginal,
    MaybeRefactored,
    MaybeTarget,
    Name,
    Original,
    Refactored,
    Save,
    Strict,
    Target,
    UpdateBaseline,
    expose,
)
from paramaudit.cli_output import (
    check_outputs,
    costs,
    note,
    publish,
    quoted_atlas,
    say,
    say_why,
    work,
    write,
)
from paramaudit.config import options, read_config, read_limits, settle
from paramaudit.errors import (
    NotAuditableError,
    OptionError,
    ParamauditError,
    TargetError,
    without_graph,
)
from paramaudit.kept import (
    LAST_AUDIT,
    LAST_CERTIFICATE,
    LAST_COMPARISON,
    LAST_COUNTEREXAMPLE,
    certificate_in,
    last_audit,
    last_report,
    saved_stem,
    still_holds,
    with_witnesses,
)

if TYPE_CHECKING:
    from paramaudit.audit import Scan
    from paramaudit.records import Audit, Certificate, Loaded
    from paramaudit.report import Record

ATLAS_OPTIONS = ("format", "output", "quiet", "verbose")

Body = Callable[..., int]
app = typer.Typer(
    name="paramaudit",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line."""
    app()


def command(only: Sequence[str] | None = None) -> Callable[[Body], Body]:
    """Register a command; ``only`` names the common options that it offers."""

    def register(body: Body) -> Body:
        app.command(body.__name__.rstrip("_"))(expose(body, run, only))
        return body

    return register


def run(body: Body, own: dict[str, Any], given: Flags) -> None:
    """Run a command and exit with its code; every error is one line on stderr."""
    try:
        flags = settle(given, read_config(Path()))
        if flags.trust and given.trust is None:  # so that a folder's configuration never trusts in silence
            say("warning: pyproject.toml says trust = true: code that a model file brings may run")
        code = body(**own, flags=flags)
    except ParamauditError as error:
        say(f"error: {error}")
        code = error.exit_code
    except (Exception, SystemExit) as error:  # noqa: BLE001  the last line of defence, and it is reported
        say(f"internal error: {type(error).__name__}: {error}; please report; -v shows the traceback")
        if given.verbose:
            typer.echo(traceback.format_exc(), err=True)
        code = 2
    raise typer.Exit(code)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"paramaudit {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Find which parameters of a PyTorch model are really a known algorithm, or nothing at all."""


@command()
def scan(target: Target, *, flags: Flags) -> int:
    """Audit a model and write .paramaudit/audit.json."""
    from paramaudit import audit
    from paramaudit.report.document import document
    from paramaudit.report.json_ import dumps

    check_outputs(flags, [target])
    with work(flags) as stages:
        stages("load")
        result = audit.scan_loaded(_open(target, flags), options(flags), stages).audit
    if flags.verbose:
        say(costs(result.looked))
    _keep(flags, LAST_AUDIT, dumps(document(result)))
    _show(flags, result)
    return 0


@command()
def refactor(target: MaybeTarget = None, *, apply: Apply = False, save: Save = None, flags: Flags) -> int:
    """Plan the swaps, or --apply them, verified."""
    from paramaudit import audit

    if apply:
        return _apply(target, save, flags)
    if save is not None:
        raise OptionError("--save needs --apply")
    check_outputs(flags, [target] if target else [])
    with work(flags) as stages:
        if target is None and flags.fit is None:
            last = last_audit()
            plan = audit.plan_of(last, options(flags))
        else:
            done = _scanned(target or last_audit().model.target, flags, stages)
            last, plan = done.audit, done.plan
    if not last.model.exported:
        raise without_graph(last.model.target)
    _show(flags, plan, last)
    return 0


def _apply(target: str | None, save: Path | None, flags: Flags) -> int:
    from paramaudit import audit
    from paramaudit.recheck import recorded

    last = last_audit() if target is None else None
    name = last.model.target if last else str(target)
    out = save or Path(f"{saved_stem(name)}.refactored.pt2")
    check_outputs(flags, [name], out)
    with work(flags) as stages:
        done = _scanned(name, flags, stages)
        if last:
            still_holds(last, done.audit)
        certificate = audit.apply_scan(done, out, options(flags), stages) if done.plan.apply else None
    if certificate is None:
        note(flags, "nothing to apply")
        _show(flags, done.plan, done.audit)
        return 3
    if certificate.keeps:
        note(flags, f"wrote {out}")
        certificate = recorded(certificate, (name, str(out)), "refactor", flags)
        certificate = _keep_certificate(flags, certificate, flags.certificate or LAST_CERTIFICATE)
    else:
        note(flags, "verification failed, nothing was kept")
    _show(flags, certificate)
    return 0 if certificate.keeps else 1


def _scanned(name: str, flags: Flags, stages: Callable[[str], None]) -> Scan:
    """The audit of a target, with layers fitted where that was asked for."""
    from paramaudit import audit

    stages("load")
    done = audit.scan_loaded(_open(name, flags), options(flags), stages)
    if not done.audit.model.exported:
        raise without_graph(name)
    return done if flags.fit is None else audit.fit_scan(done, flags.fit, options(flags), stages)


@command()
def verify(original: MaybeOriginal = None, refactored: MaybeRefactored = None, *, flags: Flags) -> int:
    """Decide whether two models are equivalent, or whether a certificate still holds."""
    from paramaudit import audit
    from paramaudit.recheck import recorded
    from paramaudit.replay import completed

    if original is None or refactored is None:
        return _recheck(original, flags)
    check_outputs(flags, [original, refactored])
    with work(flags) as stages:
        stages("load")
        pair = _open(original, flags), _open(refactored, flags)
        certificate = audit.verify_loaded(*pair, options(flags), stages)
    certificate = recorded(certificate, (original, refactored), "verify", flags)
    completed(certificate)
    if flags.certificate is not None:
        certificate = _keep_certificate(flags, certificate, flags.certificate)
    _show(flags, certificate)
    return {True: 0, False: 1, None: 3}[certificate.equivalent]


def _recheck(original: str | None, flags: Flags) -> int:
    """Make the certificate of a file again, under the options that it records."""
    from paramaudit.recheck import recheck

    file = flags.certificate
    if original is not None or file is None:
        raise OptionError("name ORIGINAL and REFACTORED, or --certificate FILE alone to check that again")
    saved = certificate_in(file)
    check_outputs(replace(flags, certificate=None), [str(file), *(saved.targets or ())])
    with work(flags) as stages:
        certificate = recheck(saved, file, trust=bool(flags.trust), progress=stages)
    _show(flags, certificate)
    if certificate.equivalent:
        return 0 if certificate.recheck is None or certificate.recheck.holds else 1
    return 1 if certificate.equivalent is False else 3


@command((*ATLAS_OPTIONS, "trust"))
def replay(file: CounterexampleFile = LAST_COUNTEREXAMPLE, *, flags: Flags) -> int:
    """Run a saved counterexample again: both models side by side, exit 1 if they still differ, else 0."""
    from paramaudit.replay import replay as run_again

    check_outputs(flags, [str(file)])
    with work(flags) as stages:
        result = run_again(file, trust=bool(flags.trust), progress=stages)
    _show(flags, result)
    return int(result.differs)


@command()
def compare(original: Original, refactored: Refactored, *, flags: Flags) -> int:
    """Show what two models cost, side by side, and write .paramaudit/comparison.json."""
    from paramaudit import audit
    from paramaudit.report.document import document
    from paramaudit.report.json_ import dumps

    check_outputs(flags, [original, refactored])
    with work(flags) as stages:
        stages("load")
        pair = _open(original, flags), _open(refactored, flags)
        comparison = audit.compare_loaded(*pair, options(flags), stages)
    _keep(flags, LAST_COMPARISON, dumps(document(comparison)))
    _show(flags, comparison)
    return 0


@command(ATLAS_OPTIONS)
def report_(*, flags: Flags) -> int:
    """Show the last audit, certificate and comparison as one document, a page in HTML for -o FILE.html."""
    if not flags.format and flags.output is not None and flags.output.suffix.lower() in (".html", ".htm"):
        flags = replace(flags, format=["html"])
    check_outputs(flags, [])
    _show(flags, last_report())
    return 0


@command()
def check(target: Target, *, update_baseline: UpdateBaseline = False, flags: Flags) -> int:
    """Hold a model to the budgets and the baseline of pyproject.toml."""
    from paramaudit import audit
    from paramaudit.baseline import FILE, read_baseline
    from paramaudit.report.document import document
    from paramaudit.report.json_ import dumps

    limits = read_limits(Path())
    place = limits.baseline or FILE
    check_outputs(flags, [target], place if update_baseline else None)
    before = None if update_baseline else read_baseline(limits.baseline)
    if not (update_baseline or before or limits.any_budget):
        raise OptionError(
            "nothing to check: no budget in [tool.paramaudit] of pyproject.toml (e.g. max-parameters) "
            "and no baseline (--update-baseline writes one)"
        )
    try:
        with work(flags) as stages:
            stages("load")
            result, now = audit.check_loaded(_open(target, flags), limits, before, options(flags), stages)
    except NotAuditableError as error:  # a gate is open, shut or broken
        raise TargetError(str(error)) from error
    if update_baseline:
        _keep(flags, place, dumps(document(now)))
    _show(flags, result)
    say_why(flags, result)
    return 1 if result.fails and not update_baseline else 0


@command()
def claims(target: Target, file: ClaimsFile, *, strict: Strict = False, flags: Flags) -> int:
    """Judge statements about a model: each one's figure, what was measured, the verdict."""
    from paramaudit.claims import judge_loaded, load_claims

    check_outputs(flags, [target, str(file)])
    stated = load_claims(file)
    with work(flags) as stages:
        stages("load")
        result = judge_loaded(_open(target, flags), stated, options(flags), stages)
    _show(flags, result, strict=strict)
    return int(strict and not result.holds)


@command()
def diff(original: Original, refactored: Refactored, *, flags: Flags) -> int:
    """Show what changed from one model to another, and which waste is new."""
    from paramaudit import audit

    check_outputs(flags, [original, refactored])
    try:
        with work(flags) as stages:
            stages("load")
            pair = _open(original, flags), _open(refactored, flags)
            changes = audit.diff_loaded(*pair, options(flags), stages)
    except NotAuditableError as error:  # the exit codes of a diff are 0 and 2
        raise TargetError(str(error)) from error
    _show(flags, changes)
    return 0


@command(ATLAS_OPTIONS)
def operators(*, flags: Flags) -> int:
    """List every operator and rewrite."""
    from paramaudit import audit

    check_outputs(flags, [])
    publish(flags, partial(report.render_atlas, audit.atlas()))
    return 0


@command(ATLAS_OPTIONS)
def explain(name: Name, *, flags: Flags) -> int:
    """Explain one operator or rewrite."""
    from paramaudit import audit

    check_outputs(flags, [])
    atlas = audit.atlas()
    if name not in atlas:
        close = difflib.get_close_matches(name, atlas)
        hint = f"did you mean {' or '.join(close)}?" if close else "`paramaudit operators` lists them all"
        raise OptionError(f"no operator or rewrite is called {name!r}; {hint}")
    publish(flags, lambda kind, **_: report.render_page(name, atlas[name], kind))
    return 0


def _open(target: str, flags: Flags) -> Loaded:
    from paramaudit import audit

    return audit.open_target(
        target, inputs=flags.inputs or (), factory=flags.factory, trust=bool(flags.trust)
    )


def _show(flags: Flags, record: Record, audit: Audit | None = None, *, strict: bool = False) -> None:
    findings = audit.findings if audit else ()
    known: dict[str, Any] = {"findings": findings, "audit": audit, "atlas": quoted_atlas(flags)}
    publish(flags, lambda kind, **style: report.render(record, kind, strict=strict, **known, **style))


def _keep(flags: Flags, path: Path, text: str) -> None:
    write(path, text)
    note(flags, f"wrote {path}")


def _keep_certificate(flags: Flags, certificate: Certificate, path: Path) -> Certificate:
    """Write a certificate, and beside it the inputs on which the originals' rounding was observed."""
    from paramaudit.report.document import document
    from paramaudit.report.json_ import dumps

    certificate = with_witnesses(certificate, path)
    _keep(flags, path, dumps(document(certificate)))
    return certificate
