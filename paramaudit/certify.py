"""End to end: are two programs the same function, how is that known, and what was tried against it."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Sequence

import torch

from paramaudit import __version__, counterexample
from paramaudit.attack import Trials, attack
from paramaudit.compose import end_to_end
from paramaudit.errors import CaptureError, InputError
from paramaudit.gradients import Judged
from paramaudit.graph.capture import from_exported
from paramaudit.graph.capture import reexport as export_again
from paramaudit.graph.forms import decomposed, narrowed
from paramaudit.graph.program import Program
from paramaudit.locate import align, changed_numbers, first_difference
from paramaudit.pairing import Pairing, pair
from paramaudit.plan import Choice, best_plan
from paramaudit.records import Certificate, Finding, Measured, SwapProof, Tier

Progress = Callable[[str], None]


def certify_swaps(
    original: Program,
    reloaded: Program,
    applied: Sequence[Finding],
    exported: torch.export.ExportedProgram,
    *,
    names: tuple[str, str],
    seed: int = 0,
) -> Certificate:
    """The certificate of a written file: it is what was proven, and it does what the original does.

    Args:
        original: the program before.
        reloaded: the program read back from the file that was written.
        applied: the findings whose swaps are in it, each with its evidence.
        exported: the program that was written.
        names: SHA-256 of the original and of the file.
        seed: draws the trial inputs.
    """
    meant = from_exported(exported, original)
    written = pair(meant, reloaded)
    tried = attack(original, reloaded, seed, quick=True)
    swaps = tuple(_proof(f) for f in applied)
    tier = max((s.tier for s in swaps), key=lambda t: t.rank, default=Tier.EXACT)
    gap = _largest([s.gap for s in swaps])
    if written.unpaired or written.differences:
        reason = "the file that was written is not the program that was proven"
        return _certificate(original, names, tried, Tier.REFUTED, gap, swaps, equivalent=False, reason=reason)
    if tried.refuted:
        return _certificate(
            original, names, tried, Tier.REFUTED, gap, swaps, equivalent=False, reason=tried.reason
        )
    reason = f"every swap is {tier} or stronger, and nothing else changed"
    certificate = _certificate(original, names, tried, tier, gap, swaps, equivalent=True, reason=reason)
    return dataclasses.replace(certificate, end_to_end=end_to_end(original, swaps))


def certify_redesign(
    original: Program,
    safe: Program,
    reloaded: Program,
    swaps: tuple[Sequence[Finding], Sequence[Finding]],
    exported: torch.export.ExportedProgram,
    *,
    names: tuple[str, str],
    seed: int = 0,
) -> Certificate:
    """The certificate of a written file with fitted layers, which is not, and need not be, equivalent.

    Args:
        original: the program before.
        safe: the program with the safe swaps alone; it is run against the original.
        reloaded: the program read back from the file that was written.
        swaps: the safe findings and the fitted ones.
        exported: the program that was written.
        names: SHA-256 of the original and of the file.
        seed: draws the trial inputs.
    """
    written = pair(from_exported(exported, original), reloaded)
    tried = attack(original, safe, seed, quick=True)
    proofs = tuple(_proof(f) for f in (*swaps[0], *swaps[1]))
    problem = tried.reason if tried.refuted else ""
    if written.unpaired or written.differences:
        problem = "the file that was written is not the program that was fitted"
    if problem:
        return _certificate(
            original, names, tried, Tier.REFUTED, None, proofs, equivalent=False, reason=problem
        )
    errors = ", ".join(f"{f.path} {f.arguments['held_out_error']:.1%}" for f in swaps[1])
    reason = (
        f"another function by intent: fitted layers leave, of the spread of held-out rows, {errors}; the "
        "outputs below and the attack are of the safe swaps alone"
    )
    return _certificate(original, names, tried, Tier.FITTED, None, proofs, equivalent=None, reason=reason)


def certify(
    first: Program,
    second: Program,
    choice: Choice,
    names: tuple[str, str],
    tolerance: float,
    progress: Progress,
) -> Certificate:
    """Whether any two programs with the same interface are the same function.

    First they are run against each other; a difference is a counterexample. Then they are paired as they
    are, then the original as the planner would leave it, then both in that form. What cannot be paired
    is not certified.

    Raises:
        InputError: the interfaces differ.
    """
    _same_interface(first, second)
    first = narrowed(first, second)
    progress("attack")
    tried = attack(first, second, choice.seed)
    certificate = None
    if not tried.refuted or tolerance > 0:
        progress("pair")
        certificate = _judged(first, second, choice, names, tolerance, progress, tried)
    if certificate is None or (tried.refuted and not certificate.equivalent):
        certificate = _certificate(
            first, names, tried, Tier.REFUTED, None, (), equivalent=False, reason=tried.reason
        )
    return _explained(certificate, first, second, tried, progress)


def with_gradients(certificate: Certificate, judged: Judged) -> Certificate:
    """The certificate with the comparison of gradients, which it needs to hold in train mode."""
    found = judged.gradients
    if found is None:
        reason = f"{certificate.reason}; but {judged.reason}"
        return dataclasses.replace(certificate, equivalent=None, reason=reason)
    if found.tier is Tier.REFUTED:
        reason = f"the outputs agree, but {judged.reason}"
        return dataclasses.replace(
            certificate, equivalent=False, tier=Tier.REFUTED, gradients=found, reason=reason
        )
    return dataclasses.replace(certificate, gradients=found)


def _judged(
    first: Program,
    second: Program,
    choice: Choice,
    names: tuple[str, str],
    tolerance: float,
    progress: Progress,
    tried: Trials,
) -> Certificate:
    """What pairing shows."""
    found, swaps = _paired(first, second, choice, progress)
    tier = max([found.tier, *(s.tier for s in swaps)], key=lambda t: t.rank)
    gap = _largest([found.gap, *(s.gap for s in swaps)])
    if found.unpaired:
        name, why = next(iter(found.unpaired.items()))
        reason = f"no difference was found on {tried.count} inputs, but output {name!r} is not proven: {why}"
        tested = True if Tier.TESTED in choice.allow and not tried.refuted else None
        return _certificate(first, names, tried, Tier.TESTED, gap, swaps, equivalent=tested, reason=reason)
    within = tier is Tier.BOUNDED and gap is not None and gap.value <= tolerance
    certain = within or (tier.safe and not tried.refuted)
    reason = "every differing region is proven" if certain else f"a region is only {tier}"
    if within:
        reason = f"every differing region is proven to be within the tolerance {tolerance:g}"
    certificate = _certificate(
        first, names, tried, tier, gap, swaps, equivalent=True if certain else None, reason=reason
    )
    # names of nodes are those of the first program only where that was paired as it is
    parts = [d if not swaps else dataclasses.replace(d, original="", anchor="") for d in found.differences]
    return dataclasses.replace(certificate, end_to_end=end_to_end(first, swaps, parts))


def _explained(
    certificate: Certificate, first: Program, second: Program, tried: Trials, progress: Progress
) -> Certificate:
    """With the stored numbers that changed and, where the two differ, the first place where it shows."""
    if certificate.tier is Tier.EXACT:
        return certificate
    progress("locate")
    found = align(first, second)
    changed = changed_numbers(first, second, found)
    if certificate.equivalent and certificate.tier.safe:  # a region that is proven as a whole may hold others
        changed = tuple(change for change in changed if change.tier.safe)
    if certificate.equivalent is not False or tried.counterexample is None:
        return dataclasses.replace(certificate, differences=changed)
    inputs = [tried.counterexample[spec.name] for spec in first.contract.inputs]
    place, why = first_difference(first, second, found, inputs)
    return dataclasses.replace(certificate, differences=changed, located=place, not_located=why)


def _paired(
    first: Program, second: Program, choice: Choice, progress: Progress
) -> tuple[Pairing, tuple[SwapProof, ...]]:
    """The first pairing that leaves nothing open, with the swaps it rests on."""
    plain = pair(first, second)
    smaller = narrowed(second, first) if plain.unpaired else second
    if smaller is not second:  # sizes that the second one takes beside may hide that the rest is the same
        second, plain = smaller, pair(first, smaller)
    if not plain.unpaired:
        return plain, ()
    # exports of one model store the same numbers; where the counts differ, planning explains more
    alike = _numbers(first) == _numbers(second)
    spelled = _spelled_out(first, second, progress) if alike else None
    if spelled is not None:
        return spelled, ()
    progress("plan the original")
    ours, swaps = _normal(first, choice)
    found = pair(ours, second)
    if not found.unpaired:
        return found, swaps
    progress("plan the refactored")
    theirs, more = _normal(second, choice)
    both = pair(ours, theirs)
    if not both.unpaired:
        return both, (*swaps, *more)
    spelled = _spelled_out(ours, theirs, progress)
    return (spelled, (*swaps, *more)) if spelled is not None else (found, swaps)


def _numbers(program: Program) -> int:
    return sum(tensor.numel() for tensor in program.parameters.values())


def _spelled_out(first: Program, second: Program, progress: Progress) -> Pairing | None:
    """The pairing of both in core operators, where it leaves nothing open.

    The same model exported in other ways differs in which compound calls it keeps.
    """
    progress("decompose")
    try:
        found = pair(decomposed(first), decomposed(second))
    except CaptureError:  # then this form proves nothing, and the reason of the plain one stands
        return None
    # names of nodes are those of the decomposed program, which nobody else sees
    found.differences = [dataclasses.replace(d, original="", anchor="") for d in found.differences]
    return found if not found.unpaired else None


def _normal(program: Program, choice: Choice) -> tuple[Program, tuple[SwapProof, ...]]:
    """A program as the planner leaves it, in the operators that a saved file would hold."""
    safe = dataclasses.replace(choice, select=(), ignore=(), allow=frozenset())
    planned, book = best_plan(program, safe)
    applied = [f for f in book.findings if f.applied_by_default]
    swaps = tuple(_proof(f) for f in applied)
    return from_exported(export_again(planned), program), swaps


def _same_interface(first: Program, second: Program) -> None:
    mine, theirs = first.contract, second.contract
    if len(mine.inputs) != len(theirs.inputs):
        msg = f"the models take {len(mine.inputs)} and {len(theirs.inputs)} inputs; they must be the same"
        raise InputError(msg)
    for a, b in zip(mine.inputs, theirs.inputs, strict=True):
        pairs = zip(a.shape, b.shape, strict=False)
        fits = all(x == y or isinstance(x, str) or isinstance(y, str) for x, y in pairs)
        if a.dtype != b.dtype or len(a.shape) != len(b.shape) or not fits:
            shown = f"{a.dtype}{list(a.shape)} in one model and {b.dtype}{list(b.shape)} in the other"
            msg = f"input {a.name!r} is {shown}"
            raise InputError(msg)
    if len(mine.outputs) != len(theirs.outputs):
        counts = f"{len(mine.outputs)} and {len(theirs.outputs)}"
        msg = f"the models return {counts} outputs; they must be the same"
        raise InputError(msg)


def _proof(finding: Finding) -> SwapProof:
    """What a certificate keeps of a finding whose swap was applied."""
    f = finding
    return SwapProof(f.id, f.tier, f.gap, f.witness, f.requires, f.worst_case, f.traces)


def _largest(gaps: Sequence[Measured | None]) -> Measured | None:
    return max((g for g in gaps if g is not None), key=lambda g: g.value, default=None)


def _certificate(
    program: Program,
    names: tuple[str, str],
    tried: Trials,
    tier: Tier,
    gap: Measured | None,
    swaps: tuple[SwapProof, ...],
    *,
    equivalent: bool | None,
    reason: str,
) -> Certificate:
    return Certificate(
        equivalent=equivalent,
        tier=tier,
        gap=gap,
        outputs=tried.outputs,
        swaps=swaps,
        attack=tried.attack,
        counterexample=_saved(program, names, tried) if equivalent is False else None,
        contract=program.contract,
        original=names[0],
        refactored=names[1],
        versions=_versions(),
        reason=reason,
    )


def _saved(program: Program, names: tuple[str, str], tried: Trials) -> str | None:
    """A counterexample is kept where the user finds it."""
    if not tried.refuted:
        return None
    return str(counterexample.save(program, names, tried, _versions()))


def _versions() -> dict[str, str]:
    return {
        "paramaudit": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
