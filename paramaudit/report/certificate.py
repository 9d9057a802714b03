"""A certificate as a page: the verdict and all it rests on."""

from __future__ import annotations

from paramaudit.records import Certificate, Contract
from paramaudit.report.page import Page, Table, listed, measured

NUMBERS = frozenset({1, 2, 3})


def certificate_page(certificate: Certificate) -> Page:
    """The verdict, what it rests on, and what was tried against it."""
    answer = {True: "equivalent", False: "NOT equivalent", None: "cannot be certified"}[
        certificate.equivalent
    ]
    answer = "not claimed to be equivalent" if certificate.keeps and not certificate.equivalent else answer
    gap = f", gap {measured(certificate.gap)}" if certificate.gap else ""
    reason = f": {certificate.reason}" if certificate.reason else ""
    attack = certificate.attack
    lines = [f"{answer} ({certificate.tier}{gap}){reason}"]
    if certificate.counterexample:
        lines.append(f"counterexample: {certificate.counterexample}")
    lines += [
        *_rechecked(certificate),
        _trained_alike(certificate),
        _reached(certificate),
        _first_place(certificate),
        f"attacked: {attack.restarts:,} restarts of {attack.steps:,} steps, worst difference "
        f"{attack.worst:.2g}, {attack.ties:,} ties",
        *contract_lines(certificate.contract),
        f"original {certificate.original}, refactored {certificate.refactored}",
        ", ".join(f"{name} {version}" for name, version in certificate.versions.items()),
    ]
    errors = tuple(
        (out.name, f"{out.max_abs:.2g}", f"{out.original_error:.2g}", f"{out.refactored_error:.2g}")
        for out in certificate.outputs
    )
    swaps = tuple(
        (s.id, str(s.tier), measured(s.gap), measured(s.witness), ", ".join(s.requires))
        for s in certificate.swaps
    )
    columns = ("output", "largest difference", "original's error", "refactored's error")
    tables = (
        Table("Outputs, errors against float64", columns, errors, NUMBERS),
        Table("Swaps", ("swap", "tier", "gap", "witness", "requires"), swaps),
        _end_to_end(certificate),
        _changed_numbers(certificate),
    )
    return Page("Certificate", tuple(line for line in lines if line), tables)


def _rechecked(certificate: Certificate) -> list[str]:
    """Whether a recorded certificate still holds."""
    before = certificate.recheck
    if before is None:
        return []
    if before.holds:
        return [f"the certificate {before.file} holds"]
    return [f"the certificate {before.file} does NOT hold: {'; '.join(before.reasons)}"]


def _trained_alike(certificate: Certificate) -> str:
    """How far gradients are apart, where they were compared."""
    found = certificate.gradients
    if found is None:
        return ""
    rest = f"; not compared: {listed(found.unmatched)}" if found.unmatched else ""
    return (
        f"gradients: {found.checked:,} compared, worst difference {found.worst:.2g} of the largest entry, "
        f"the original's own error {found.original_error:.2g}{rest}"
    )


def _reached(certificate: Certificate) -> str:
    found = certificate.end_to_end
    return f"end to end: {found.tier}: {found.reason}" if found is not None else ""


def _end_to_end(certificate: Certificate) -> Table:
    bounds = certificate.end_to_end.bounds if certificate.end_to_end is not None else ()
    rows = tuple(
        (b.output, "" if b.value is None else f"{b.value:.2g} per {b.per}", b.unknown or "") for b in bounds
    )
    return Table("End to end, over all inputs", ("output", "moves at most by", "not known, since"), rows)


def _first_place(certificate: Certificate) -> str:
    """Where a difference first shows, or why that is not known; empty when there is nothing to say."""
    place = certificate.located
    if place is None:
        return (
            f"where it first differs is not known: {certificate.not_located}"
            if certificate.not_located
            else ""
        )
    where = f"{place.path or 'the model itself'} (node {place.node})"
    return (
        f"first differs at {where}: by {place.error:.2g}, where the original's own rounding is "
        f"{place.rounding:.2g}"
    )


def _changed_numbers(certificate: Certificate) -> Table:
    rows = tuple(
        (
            ", ".join(change.tensors),
            str(change.tier),
            measured(change.gap),
            "" if change.relative is None else f"{change.relative:.2%}",
            change.reason,
        )
        for change in certificate.differences
    )
    return Table("Stored numbers that changed", ("numbers", "tier", "gap", "of the norm", "what"), rows)


def contract_lines(contract: Contract) -> list[str]:
    """What a swap holds under, in words."""
    inputs = [
        f"{spec.name} {spec.dtype}[{', '.join(str(size) for size in spec.shape)}]" for spec in contract.inputs
    ]
    lines = [
        f"contract: {contract.mode} mode; inputs {listed(inputs, 12) or 'none'}; "
        f"outputs {listed(contract.outputs) or 'none'}"
    ]
    for fixed in contract.specialised:
        lines.append(f"static: {fixed.input}, dimension {fixed.dimension}: {fixed.why}")
    if contract.conditions:
        lines.append(f"only where {listed(contract.conditions)}")
    return lines
