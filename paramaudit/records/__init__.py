"""The nouns of paramaudit: frozen records that every stage passes on.

No rendering and no I/O here. Records that appear in a document carry exactly the
fields of the document, so that a document can be read back.
"""

from paramaudit.records.checks import Baseline, BaselineTotals, Budget, Check, Growth, ModuleUse
from paramaudit.records.claims import Judged, Judgement, Ruling
from paramaudit.records.contract import Contract, InputSpec, Loaded, Specialised
from paramaudit.records.diff import Diff, ModuleChange, WasteChange
from paramaudit.records.evidence import Evidence, Json, Measured, Tier, Verdict
from paramaudit.records.findings import (
    Audit,
    Finding,
    ModelInfo,
    ModuleRow,
    Plan,
    Refusal,
    RuleHit,
    Skipped,
    Totals,
)
from paramaudit.records.results import (
    Attack,
    Certificate,
    Comparison,
    Cost,
    DeviceCost,
    Flops,
    Latency,
    OutputError,
    PartSpeed,
    SwapProof,
)
from paramaudit.records.views import Curve, Example, Kernel, Matrix, Operator, PairedUnits, State

__all__ = [
    "Attack",
    "Audit",
    "Baseline",
    "BaselineTotals",
    "Budget",
    "Certificate",
    "Check",
    "Comparison",
    "Contract",
    "Cost",
    "Curve",
    "DeviceCost",
    "Diff",
    "Evidence",
    "Example",
    "Finding",
    "Flops",
    "Growth",
    "InputSpec",
    "Json",
    "Judged",
    "Judgement",
    "Kernel",
    "Latency",
    "Loaded",
    "Matrix",
    "Measured",
    "ModelInfo",
    "ModuleChange",
    "ModuleRow",
    "ModuleUse",
    "Operator",
    "OutputError",
    "PairedUnits",
    "PartSpeed",
    "Plan",
    "Refusal",
    "RuleHit",
    "Ruling",
    "Skipped",
    "Specialised",
    "State",
    "SwapProof",
    "Tier",
    "Totals",
    "Verdict",
    "WasteChange",
]
