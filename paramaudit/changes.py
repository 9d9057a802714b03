"""What changed from one audited model to another: its modules, and the waste in it."""

from __future__ import annotations

from collections.abc import Mapping

from paramaudit.records import Audit, Diff, Finding, ModuleChange, ModuleRow, Tier, Totals, WasteChange

EXPORTED = "ExportedProgram"
"""The type of a root whose class is not known."""


def changes(original: Audit, refactored: Audit) -> Diff:
    """Compare two audits path by path and finding by finding; stored values are not compared."""
    before = {row.path: row for row in original.modules}
    after = {row.path: row for row in refactored.modules}
    paths = dict.fromkeys([*after, *before])
    pairs = [_module(path, before.get(path), after.get(path)) for path in sorted(paths, key=_order)]
    found = tuple(change for change in pairs if change is not None)
    return Diff(
        original.model,
        refactored.model,
        found,
        len(pairs) - len(found),
        _waste(original, refactored),
        _removable(original.totals),
        _removable(refactored.totals),
    )


def _order(path: str) -> tuple[tuple[int, str], ...]:
    """Parents before children, numbered children in their order."""
    return tuple((int(part) if part.isdecimal() else -1, part) for part in path.split(".")) if path else ()


def _module(path: str, before: ModuleRow | None, after: ModuleRow | None) -> ModuleChange | None:
    """What changed at a path, None for nothing."""
    kinds = {row.type for row in (before, after) if row is not None and row.type}  # bare numbers have none
    change = (
        "added"
        if before is None
        else "removed"
        if after is None
        else "type"
        if len(kinds) > 1 and EXPORTED not in kinds
        else "parameters"
        if _counts(before) != _counts(after)
        else None
    )
    if change is None:
        return None
    (total_before, own_before), (total_after, own_after) = _counts(before), _counts(after)
    return ModuleChange(
        path,
        change,
        before.type if before else None,
        after.type if after else None,
        total_before,
        total_after,
        own_before,
        own_after,
        next((row.source for row in (after, before) if row is not None and row.source), None),
    )


def _counts(row: ModuleRow | None) -> tuple[int, int]:
    return (row.parameters, row.own_parameters) if row else (0, 0)


def _waste(original: Audit, refactored: Audit) -> tuple[WasteChange, ...]:
    """Findings that save another number than before; the largest change first."""
    before, after = _savings(original), _savings(refactored)
    found = []
    for key in dict.fromkeys([*after, *before]):
        saved = _saved(before.get(key)), _saved(after.get(key))
        if saved[0] != saved[1]:
            audit, finding = (refactored, after[key]) if key in after else (original, before[key])
            found.append(_change(finding, *saved, audit))
    return tuple(sorted(found, key=lambda w: (-abs(w.saved_after - w.saved_before), w.id)))


def _change(finding: Finding, before: int, after: int, audit: Audit) -> WasteChange:
    change = "new" if not before else "gone" if not after else "grown" if after > before else "shrunk"
    return WasteChange(
        finding.id,
        finding.path,
        finding.operator,
        finding.tier,
        change,
        before,
        after,
        finding.reason,
        audit.source_of(finding.path),
    )


def _savings(audit: Audit) -> Mapping[str, Finding]:
    """Findings that would save parameters, by id; those that are part of another count with that one."""
    return {
        finding.id: finding
        for finding in audit.findings
        if finding.part_of is None and finding.tier is not Tier.REFUTED and _saved(finding) > 0
    }


def _saved(finding: Finding | None) -> int:
    return finding.parameters_before - finding.parameters_after if finding else 0


def _removable(totals: Totals) -> int:
    return totals.parameters_before - totals.parameters_after
