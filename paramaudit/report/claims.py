"""The page of judged claims."""

from __future__ import annotations

from collections import Counter

from paramaudit.records import Json, Judgement, Ruling
from paramaudit.report.page import Page, Table


def claims_page(judgement: Judgement) -> Page:
    """One row a claim: what it says, what was measured, the verdict and why."""
    counts = Counter(claim.verdict for claim in judgement.claims)
    summary = ", ".join(f"{counts[ruling]} {ruling}" for ruling in Ruling if counts[ruling])
    rows = tuple(
        (
            claim.id,
            claim.statement,
            _cell(claim.stated),
            _cell(claim.measured),
            str(claim.verdict),
            claim.reason,
        )
        for claim in judgement.claims
    )
    columns = ("claim", "statement", "stated", "measured", "verdict", "reason")
    table = Table("", columns, rows, frozenset({2, 3}), frozenset({4}))
    total = f"{len(rows):,} {'claim' if len(rows) == 1 else 'claims'}: {summary}"
    return Page(f"Claims about {judgement.target}", (total,), (table,))


def _cell(value: Json) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
