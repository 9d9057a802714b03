"""Records to JSON documents and back; the fields are those of the published interface.

A record's fields are its document's fields; what follows names the exceptions. JSON has no NaN and no
infinity: such a number becomes null, and null is read back as NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import singledispatch
from typing import Any

import torch

from paramaudit import __version__
from paramaudit.records import (
    IN_MEMORY,
    Audit,
    Baseline,
    Certificate,
    Check,
    Comparison,
    DeviceCost,
    Diff,
    Json,
    Judgement,
    OutputBound,
    Plan,
    Replay,
    RuleHit,
)
from paramaudit.records.report import Report
from paramaudit.report.check import reasons

Document = dict[str, Json]


@singledispatch
def document(record: Any) -> Document:
    """The document of an audit, a plan, a certificate or a comparison.

    Raises:
        TypeError: there is no document for this record.
    """
    raise TypeError(f"no document for {type(record).__name__}")


@document.register
def _audit(audit: Audit) -> Document:
    tool: Document = {"version": __version__, "torch": str(torch.__version__)}
    return {"schema": "paramaudit/audit/1", "tool": tool, **_fields(audit)}


@document.register
def _plan(plan: Plan) -> Document:
    return {"schema": "paramaudit/plan/1", **_fields(plan)}


@document.register
def _certificate(certificate: Certificate) -> Document:
    content = _fields(certificate)
    content["models"] = {"original": content.pop("original"), "refactored": content.pop("refactored")}
    return {"schema": "paramaudit/certificate/1", **content}


@document.register
def _comparison(comparison: Comparison) -> Document:
    before, after = comparison.original, comparison.refactored
    return {
        "schema": "paramaudit/compare/1",
        "original": plain(before),
        "refactored": plain(after),
        "savings": {
            "parameters": before.parameters - after.parameters,
            "buffers": before.buffers - after.buffers,
            "bytes": before.bytes - after.bytes,
            "file_bytes": _less(before.file_bytes, after.file_bytes),
            "flops": _less(before.flops.total, after.flops.total),
            "latency": plain(comparison.latency),
        },
        "parts": plain(comparison.parts),
    }


@document.register
def _check(check: Check) -> Document:
    return {"schema": "paramaudit/check/1", **_fields(check), "reasons": plain(reasons(check))}


@document.register
def _baseline(baseline: Baseline) -> Document:
    return {"schema": "paramaudit/baseline/1", **_fields(baseline)}


@document.register
def _report(report: Report) -> Document:
    known = {"audit": report.audit, "certificate": report.certificate, "comparison": report.comparison}
    parts: Document = {name: None if record is None else document(record) for name, record in known.items()}
    return {"schema": "paramaudit/report/1", **parts, "notes": list(report.notes)}


@document.register
def _diff(diff: Diff) -> Document:
    return {"schema": "paramaudit/diff/1", **_fields(diff)}


@document.register
def _replay(replay: Replay) -> Document:
    return {"schema": "paramaudit/replay/1", **_fields(replay)}


@document.register
def _judgement(judgement: Judgement) -> Document:
    return {"schema": "paramaudit/claims/1", **_fields(judgement)}


def plain(value: object) -> Json:
    """A value in JSON types: records become objects, tuples lists, numbers that JSON lacks null.

    Raises:
        TypeError: there is no JSON for it.
    """
    if isinstance(value, DeviceCost):
        given = value.unavailable is not None  # either numbers or the reason why there are none
        return {key: item for key, item in _fields(value).items() if (key == "unavailable") is given}
    if isinstance(value, RuleHit):
        return {"id": value.id, "class": value.cls, "operator": value.operator}
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return str(value)  # an enum's text
    if value is None or isinstance(value, (bool, int)):
        return value
    raise TypeError(f"not a JSON value: {type(value).__name__}")


def _fields(record: Any) -> Document:
    """A record's fields without those that are kept in memory alone, and a bound without what it lacks."""
    items = {f.name: plain(getattr(record, f.name)) for f in fields(record) if f.metadata != IN_MEMORY}
    if isinstance(record, OutputBound):
        return {key: item for key, item in items.items() if item is not None}
    return items


def _less(before: int | None, after: int | None) -> int | None:
    """The difference, unknown where either is."""
    return None if before is None or after is None else before - after
