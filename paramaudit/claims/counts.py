"""Claims about how many numbers a part holds, how many it needs, and whether any of them are waste."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paramaudit.claims.claim import Bench, Claim, Outcome, compared
from paramaudit.claims.layers import Layer, texts
from paramaudit.claims.quantity import Quantity, exact
from paramaudit.records import Finding, ModuleRow, Ruling
from paramaudit.rules.evidence import is_safe

_SHOWN = 3
_NOTHING = exact(0)


@dataclass(frozen=True, kw_only=True)
class Parameters(Claim):
    """A module of the model, or layers that are written out, store so many numbers."""

    stated: Quantity
    module: str | None = None
    layers: tuple[Layer, ...] = ()

    def judge(self, bench: Bench) -> Outcome:
        """Count them: on the audited model, or on layers built without memory."""
        if (self.module is None) == (not self.layers):
            raise ValueError("needs either 'module' or 'layers'")
        if self.layers:
            return self._written(sum(layer.numbers() for layer in self.layers))
        rows = bench.rows(self.module or "")
        measured = sum(row.parameters for row in rows)
        ruling, remark = compared(self.stated, measured)
        where = f"{len(rows)} modules hold" if len(rows) > 1 else f"{rows[0].path or 'the model'} holds"
        return Outcome(self.stated.text, measured, ruling, f"{where} {measured:,}, {remark}")

    def _written(self, measured: int) -> Outcome:
        ruling, remark = compared(self.stated, measured)
        reason = f"{texts(self.layers)} as written: {measured:,}, {remark}"
        others = [layer.numbers_without_bias() for layer in self.layers]
        if ruling is not Ruling.RIGHT and any(other is not None for other in others):
            pairs = zip(self.layers, others, strict=True)
            without = sum(layer.numbers() if other is None else other for layer, other in pairs)
            close = self.stated.covers(without) or self.stated.cuts(without)
            fits = "it fits only without bias: " if close else "without bias: "
            reason += f"; {fits}{without:,}"
        return Outcome(self.stated.text, measured, ruling, reason)


@dataclass(frozen=True, kw_only=True)
class Needs(Claim):
    """A module needs so many numbers, of all that it holds."""

    stated: Quantity
    module: str

    def judge(self, bench: Bench) -> Outcome:
        """What the audit's safe swaps leave; fewer than stated means that the statement is right in part."""
        rows = bench.rows(self.module)
        if self.module:
            measured = sum(row.parameters_after for row in rows)
        else:
            measured = bench.scan().audit.totals.parameters_after
        before = sum(row.parameters for row in rows)
        ruling, remark = compared(self.stated, measured)
        if ruling is not Ruling.RIGHT:
            enough = measured < self.stated.value
            ruling = Ruling.PARTLY if enough else Ruling.WRONG
            remark = f"{self.stated.text} {'is more than enough' if enough else 'is not enough'}"
        by = _by(rows, bench.scan().audit.findings)
        return Outcome(self.stated.text, measured, ruling, f"{measured:,} of {before:,} remain{by}; {remark}")


@dataclass(frozen=True, kw_only=True)
class Waste(Claim):
    """None of the modules holds a number that is not needed, up to ``stated`` (a count or per cent)."""

    modules: tuple[str, ...]
    stated: Quantity = _NOTHING

    def judge(self, bench: Bench) -> Outcome:
        """What the audit's safe swaps take out of each module."""
        rows = bench.rows(*self.modules)
        gone = {row: max(0, row.parameters - row.parameters_after) for row in rows}
        total, before = sum(gone.values()), sum(row.parameters for row in rows)
        allowed = self.stated.value * before / 100 if self.stated.percent else self.stated.value
        if not total:
            return Outcome(self.stated.text, 0, Ruling.RIGHT, f"the audit takes nothing out of {before:,}")
        ruling = Ruling.RIGHT if total <= allowed else Ruling.WRONG
        findings = bench.scan().audit.findings
        worst = sorted((row for row in rows if gone[row]), key=lambda row: -gone[row])
        parts = [
            f"{row.path or 'the model'} {gone[row]:,} of {row.parameters:,}{_by([row], findings)}"
            for row in worst[:_SHOWN]
        ]
        more = f" and {len(worst) - _SHOWN} more" if len(worst) > _SHOWN else ""
        share = f"{total:,} of {before:,} ({100 * total / before:.2g} %) are not needed"
        return Outcome(self.stated.text, total, ruling, f"{share}: {'; '.join(parts)}{more}")


def _by(rows: Sequence[ModuleRow], findings: Sequence[Finding]) -> str:
    """The operators of the swaps inside some modules, in brackets."""
    names = dict.fromkeys(
        finding.operator
        for finding in findings
        if is_safe(finding) and finding.part_of is None and any(_touches(finding, row.path) for row in rows)
    )
    return f" ({', '.join(names)})" if names else ""


def _touches(finding: Finding, path: str) -> bool:
    names = (finding.path, *finding.tensors)
    return not path or any(name == path or name.startswith(f"{path}.") for name in names)
