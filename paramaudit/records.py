"""The nouns of paramaudit: frozen records that every stage passes on.

No rendering and no I/O here. Records that appear in a document carry exactly the
fields of the document, so that a document can be read back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Tier(StrEnum):
    """How much was shown, strongest first; see :attr:`safe`."""

    EXACT = "exact"
    ROUNDING = "rounding"
    BOUNDED = "bounded"
    TESTED = "tested"
    FITTED = "fitted"
    SUSPECTED = "suspected"
    REFUTED = "refuted"

    @property
    def safe(self) -> bool:
        """True for the tiers that are applied without being asked for."""
        return self in (Tier.EXACT, Tier.ROUNDING)

    @property
    def rank(self) -> int:
        """0 for the strongest tier."""
        return list(Tier).index(self)


class Verdict(StrEnum):
    """What a module is, when rule and evidence are joined."""

    DL_REQUIRED = "dl-required"
    ML_REPLACEABLE = "ml-replaceable"
    REDUNDANT = "redundant"
    MIXED = "mixed"
    UNPROVEN = "unproven"


@dataclass(frozen=True)
class Measured:
    """A number with its norm and what it is relative to, e.g. ``3e-7, "spectral", "|[x;1]|"``."""

    value: float
    norm: str
    per: str


@dataclass(frozen=True)
class Evidence:
    """What the prover says about one candidate."""

    tier: Tier
    reason: str
    gap: Measured | None = None
    witness: Measured | None = None
    p_value: float | None = None
    counterexample: Tensor | None = field(default=None, compare=False, repr=False)


# --- the contract -------------------------------------------------------------------------------


@dataclass(frozen=True)
class InputSpec:
    """One input: ``shape`` holds a name for each symbolic dimension and an int for each static one."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True)
class Specialised:
    """A dimension that had to be, or was asked to be, a constant."""

    input: str
    dimension: int
    why: str


@dataclass(frozen=True)
class Contract:
    """What a swap holds under; ``conditions`` are those on sizes, e.g. ``frame.size()[0] > 4``."""

    mode: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    specialised: tuple[Specialised, ...] = ()
    conditions: tuple[str, ...] = ()


# --- what is loaded -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Loaded:
    """A target after loading: exactly one of ``module``, ``exported``, ``tensors`` is set.

    ``args`` and ``kwargs`` are example inputs (empty when the target brings none and needs none).
    ``format`` is one of "factory", "pt2", "state-dict", "module". ``sha256`` is the file's hash, or
    None for a factory (identity then comes from graph and tensors). ``symbols`` names symbolic
    dimensions given with ``--inputs 'float32[batch,256]'``: {(argument index, dimension): name}.
    """

    target: str
    format: str
    module: nn.Module | None = None
    exported: torch.export.ExportedProgram | None = None
    tensors: Mapping[str, Tensor] | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    symbols: Mapping[tuple[int, int], str] = field(default_factory=dict)
    has_inputs: bool = True


# --- views and operators ------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """Which of a map's inputs are a state that its outputs replace: ``size`` numbers from ``first`` on."""

    first: int
    size: int


@dataclass(frozen=True)
class Matrix:
    """An affine map ``y = W x + b`` on the last dimension.

    ``weight`` is ``(out, in)`` and ``bias`` ``(out,)``, both float64 on the CPU. ``dtype`` is the
    dtype in which the original stores and computes it; noise below its resolution is expected.
    ``state`` is set where the graph says that the map updates one.
    """

    weight: Tensor
    bias: Tensor | None
    dtype: torch.dtype = torch.float32
    state: State | None = None

    @property
    def noise(self) -> float:
        """Unit roundoff of the storage dtype: the relative size of noise to look through."""
        return float(torch.finfo(self.dtype).eps) / 2


@dataclass(frozen=True)
class Kernel:
    """A convolution along time: ``weight`` is ``(out, in / groups, taps)``, both float64 on the CPU.

    ``padding`` is how many zeros stand on each side; ``dtype`` as for :class:`Matrix`.
    """

    weight: Tensor
    bias: Tensor | None
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Curve:
    """A continuous piecewise-linear function of one variable with ``c`` channels, all float64 on the CPU.

    ``knots`` ``(k,)`` increase; ``values`` ``(k, c)`` are the function at them; ``left`` and ``right``
    ``(c,)`` are its slopes before the first and after the last. With a ``domain`` (low, high) the first and
    last knot are its ends, and nothing is said of the function outside; None is the whole real line.
    ``error`` bounds what rounding in float64 left out: the function that was meant lies within
    ``error |[t;1]|`` of this one, at every t of the domain, in the Euclidean norm over the channels.
    """

    knots: Tensor
    values: Tensor
    left: Tensor
    right: Tensor
    domain: tuple[float, float] | None = None
    dtype: torch.dtype = torch.float32
    error: float = 0.0

    @property
    def noise(self) -> float:
        """Unit roundoff of the storage dtype: the relative size of noise to look through."""
        return float(torch.finfo(self.dtype).eps) / 2


@dataclass(frozen=True)
class Example:
    """One example of an operator file: a name and a function that builds the view."""

    name: str
    build: Callable[[], Any]


@dataclass(frozen=True)
class Operator:
    """One entry of the atlas.

    ``propose`` may guess; it must not mutate the view and returns an ``nn.Module`` in float64 that maps
    as the view does, or None. ``finds`` are proposed, proven and cheaper; ``ignores`` are near misses
    that are never proven. ``view`` is the type of view that it looks at.
    """

    name: str
    propose: Callable[[Any], nn.Module | None]
    finds: tuple[Example, ...]
    ignores: tuple[Example, ...]
    view: type = Matrix


@dataclass(frozen=True)
class PairedUnits:
    """A block ``x -> V relu(W x~) + d``, ``x~ = [x;1]``, whose hidden units are claimed to come in pairs.

    ``first`` is ``[W | b]``, ``(hidden, in + 1)``, ``second`` is ``[V | d]``, ``(out, hidden + 1)``, both in
    float64; ``pairs`` are index vectors that partner every unit; ``run`` is the block itself, ``(n, in)`` to
    ``(n, out)``, in ``dtype``.
    """

    first: Tensor
    second: Tensor
    pairs: tuple[Tensor, Tensor]
    run: Callable[[Tensor], Tensor]
    dtype: torch.dtype


# --- findings and documents ---------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One thing found, proven or refuted. Fields are those of the audit document."""

    id: str
    path: str
    tensors: tuple[str, ...]
    operator: str
    arguments: Mapping[str, Json]
    tier: Tier
    reason: str
    parameters_before: int
    parameters_after: int
    indices_after: int = 0
    applied_by_default: bool = False
    part_of: str | None = None
    gap: Measured | None = None
    witness: Measured | None = None
    p_value: float | None = None
    counterexample: str | None = None


@dataclass(frozen=True)
class RuleHit:
    """The rule that speaks about a module."""

    id: str
    cls: str
    operator: str | None


@dataclass(frozen=True)
class ModuleRow:
    """One module path with its counts and verdict."""

    path: str
    type: str
    parameters: int
    own_parameters: int
    parameters_after: int
    rule: RuleHit | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Skipped:
    """Something that was looked at and left, with the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class Totals:
    """Read off the programs before and after, never by adding findings."""

    parameters_before: int
    parameters_after: int
    indices_after: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class ModelInfo:
    """The audited model."""

    target: str
    sha256: str
    format: str
    parameters: int
    buffers: int
    bytes: int
    exported: bool
    why_not: str | None = None


@dataclass(frozen=True)
class Audit:
    """The whole result of a scan."""

    model: ModelInfo
    contract: Contract | None
    modules: tuple[ModuleRow, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    totals: Totals
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """A finding that the plan does not apply, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What would be applied; ``totals`` are of the safe part, ``beyond`` of that with what was fitted."""

    model: ModelInfo
    apply: tuple[str, ...]
    refused: tuple[Refusal, ...]
    totals: Totals
    beyond: Totals | None = None


@dataclass(frozen=True)
class OutputError:
    """One output compared; errors are largest absolute differences against float64."""

    name: str
    max_abs: float
    original_error: float
    refactored_error: float


@dataclass(frozen=True)
class SwapProof:
    """The evidence of one applied swap."""

    id: str
    tier: Tier
    gap: Measured | None
    witness: Measured | None


@dataclass(frozen=True)
class Attack:
    """How the pair was attacked."""

    restarts: int
    steps: int
    worst: float
    ties: int


@dataclass(frozen=True)
class Certificate:
    """Equivalence of two models. ``equivalent`` is None when it cannot be certified."""

    equivalent: bool | None
    tier: Tier
    gap: Measured | None
    outputs: tuple[OutputError, ...]
    swaps: tuple[SwapProof, ...]
    attack: Attack
    counterexample: str | None
    contract: Contract
    original: str
    refactored: str
    versions: Mapping[str, str]
    reason: str = ""

    @property
    def keeps(self) -> bool:
        """Whether the refactored model is kept: it is equivalent, or fitted as the user asked for."""
        return self.equivalent is True or (self.equivalent is None and self.tier is Tier.FITTED)


@dataclass(frozen=True)
class Flops:
    """``total`` is None when anything is uncounted. 1 multiply-add = 2 FLOPs."""

    total: int | None
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one forward pass; ``low`` and ``high`` are the quartiles."""

    median: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class DeviceCost:
    """Cost on one device; ``unavailable`` says why there are no numbers."""

    latency_ms: Latency | None
    peak_bytes: int | None = None
    unavailable: str | None = None


@dataclass(frozen=True)
class Cost:
    """What a model costs."""

    parameters: int
    buffers: int
    bytes: int
    file_bytes: int | None
    flops: Flops
    devices: Mapping[str, DeviceCost]


@dataclass(frozen=True)
class Comparison:
    """Two costs side by side; ``latency`` is original time / refactored time per device."""

    original: Cost
    refactored: Cost
    latency: Mapping[str, float]
