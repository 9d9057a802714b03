"""The nouns of paramaudit: frozen records that every stage passes on.

No rendering and no I/O here. Records that appear in a document carry exactly the
fields of the document, so that a document can be read back.
"""

from paramaudit.records.checks import Baseline, BaselineTotals, Budget, Check, Growth, ModuleUse
from paramaudit.records.claims import Judged, Judgement, Ruling
from paramaudit.records.contract import Contract, InputSpec, Loaded, Specialised
from paramaudit.records.counterexample import Counterexample, OutputValues, Replay
from paramaudit.records.diff import Diff, ModuleChange, WasteChange
from paramaudit.records.evidence import IN_MEMORY, Evidence, Json, Measured, Tier, Traces, Verdict, WorstCase
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
from paramaudit.records.located import ChangedNumbers, Located
from paramaudit.records.results import (
    Attack,
    Certificate,
    Comparison,
    Cost,
    DeviceCost,
    EndToEnd,
    Flops,
    Gradients,
    Latency,
    OutputBound,
    OutputError,
    PartSpeed,
    Recheck,
    SwapProof,
)
from paramaudit.records.views import Curve, Example, Kernel, Matrix, Operator, PairedUnits, State, Table

__all__ = [
    "IN_MEMORY",
    "Attack",
    "Audit",
    "Baseline",
    "BaselineTotals",
    "Budget",
    "Certificate",
    "ChangedNumbers",
    "Check",
    "Comparison",
    "Contract",
    "Cost",
    "Counterexample",
    "Curve",
    "DeviceCost",
    "Diff",
    "EndToEnd",
    "Evidence",
    "Example",
    "Finding",
    "Flops",
    "Gradients",
    "Growth",
    "InputSpec",
    "Json",
    "Judged",
    "Judgement",
    "Kernel",
    "Latency",
    "Loaded",
    "Located",
    "Matrix",
    "Measured",
    "ModelInfo",
    "ModuleChange",
    "ModuleRow",
    "ModuleUse",
    "Operator",
    "OutputBound",
    "OutputError",
    "OutputValues",
    "PairedUnits",
    "PartSpeed",
    "Plan",
    "Recheck",
    "Refusal",
    "Replay",
    "RuleHit",
    "Ruling",
    "Skipped",
    "Specialised",
    "State",
    "SwapProof",
    "Table",
    "Tier",
    "Totals",
    "Traces",
    "Verdict",
    "WasteChange",
    "WorstCase",
]
