"""Audits as pandas frames; the one file that knows pandas.

::

    frame = audit.to_frame()                                # a row a module, its path the index
    frame.groupby("verdict")["own_parameters"].sum()
    frames.findings(audit).query("applied_by_default")      # a row a finding, its id the index
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import pandas as pd

MODULES = {
    "path": "object",
    "type": "object",
    "parameters": "int64",
    "own_parameters": "int64",
    "parameters_after": "int64",
    "rule": "object",
    "verdict": "object",
    "reason": "object",
    "source": "object",
}
FINDINGS = {
    "id": "object",
    "path": "object",
    "operator": "object",
    "tier": "object",
    "parameters_before": "int64",
    "parameters_after": "int64",
    "indices_after": "int64",
    "applied_by_default": "bool",
    "part_of": "object",
    "requires": "object",
    "gap": "float64",
    "witness": "float64",
    "p_value": "float64",
    "reason": "object",
    "tensors": "object",
    "arguments": "object",
    "counterexample": "object",
}
"""The columns of a frame and their types, those of a frame without rows too; the first is the index."""


class Audited(Protocol):
    """What is needed of an audit."""

    @property
    def modules(self) -> Sequence[Any]:
        """Its modules."""

    @property
    def findings(self) -> Sequence[Any]:
        """Its findings."""


def modules(audit: Audited) -> Any:
    """A frame with a row a module, indexed by path; ``own_parameters`` sum to the model's parameters.

    ``rule`` is the id of the rule that speaks about the module, or None.
    """
    rows = ({**_cells(row, MODULES), "rule": row.rule.id if row.rule else None} for row in audit.modules)
    return _frame(rows, MODULES)


def findings(audit: Audited) -> Any:
    """A frame with a row a finding, refuted ones included, indexed by id.

    ``gap`` and ``witness`` are the measured numbers alone, NaN where there is none. What is kept to make a
    proof again (``worst_case``, ``traces``) has no column.
    """
    rows = (
        {
            **_cells(finding, FINDINGS),
            "gap": finding.gap.value if finding.gap else None,
            "witness": finding.witness.value if finding.witness else None,
        }
        for finding in audit.findings
    )
    return _frame(rows, FINDINGS)


def _cells(record: Any, columns: Iterable[str]) -> dict[str, Any]:
    cells = {name: getattr(record, name) for name in columns}
    return {name: str(cell) if isinstance(cell, str) else cell for name, cell in cells.items()}  # enums


def _frame(rows: Iterable[dict[str, Any]], columns: dict[str, str]) -> Any:
    cells = list(rows)
    table = {
        name: pd.Series([row[name] for row in cells], dtype=kind, name=name) for name, kind in columns.items()
    }
    return pd.DataFrame(table).set_index(next(iter(columns)))
