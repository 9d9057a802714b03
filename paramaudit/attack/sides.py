"""One output of both programs on one input: how far apart, and how much rounding explains."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FACTOR = 16.0
"""How many times less accurate than the original the refactored side may be.

Sums in another order, weights merged and rounded once more, a fast transform in place of a dense product:
each may lose a few bits against the original on one input. Four bits is more than was seen on any pair of
equal functions, and still less than an eighth of an output in bfloat16.
"""


@dataclass(frozen=True)
class Sides:
    """One output of both programs; ``usable`` ``(*output)`` marks what is compared.

    ``slack`` ``(*output)`` is what rounding elsewhere may do to each element, where that was asked.
    """

    exact: Tensor
    mine: Tensor
    theirs: Tensor
    off: Tensor
    apart: Tensor
    own: Tensor
    usable: Tensor
    eps: float
    tiny: float
    slack: Tensor | None = None

    @property
    def size(self) -> float:
        """The largest absolute value of the original."""
        return largest(self.exact.abs(), self.usable)

    @property
    def rounding(self) -> float:
        """The original's own error in its dtype."""
        return largest(self.own, self.usable)

    def base(self, usual: float) -> float:
        """The least that is allowed, whatever the error on this input; ``usual`` is that on others."""
        return FACTOR * max(self.eps * self.size, usual, self.tiny)

    def allowed(self, usual: float) -> float:
        """How far the refactored side may be off."""
        return max(self.base(usual), FACTOR * self.rounding)

    def odd(self, usual: float) -> bool:
        """Whether something is further off than rounding explains, the original's own dtype included."""
        worst = max(largest(t, self.usable) for t in (self.off, self.apart, self.own))
        return worst > self.base(usual)

    def beyond(self, usual: float) -> Tensor:
        """Distances ``(*output)`` of what is further off than allowed, 0 elsewhere."""
        off = torch.where(self.usable, torch.maximum(self.off, self.apart), 0.0)
        limit = torch.full_like(off, self.allowed(usual))
        if self.slack is not None:
            limit = torch.maximum(limit, self.slack)
        return torch.where(off > limit, off, 0.0)

    def without(self, mask: Tensor) -> Sides:
        """The same with the elements in ``mask`` ``(*output)`` left out."""
        return dataclasses.replace(self, usable=self.usable & ~mask)


def compare(values: tuple[Any, ...], scale: float, far: bool) -> Sides | str:
    """One output: the original in float64, in its dtype and roughly, the other in its dtype and float64."""
    exact, mine, low, theirs, theirs_exact = values
    if not isinstance(exact, Tensor):
        same = type(exact) is type(theirs) and (exact == theirs or exact != exact)
        none = torch.zeros(0, dtype=torch.float64)
        empty = Sides(none, none, none, none, none, none, none.bool(), 0.0, 0.0)
        return empty if same else f"is {theirs!r}, not {exact!r},"
    if not isinstance(theirs, Tensor) or theirs.shape != exact.shape:
        return "has another shape"
    own, off, apart = scale * distance(low, exact), distance(theirs, exact), distance(theirs_exact, exact)
    if not (exact.is_floating_point() or exact.is_complex()):
        usable = low == exact  # where the original itself comes out otherwise, it is undecided
        return Sides(exact, mine, theirs, off, apart, own, usable, 0.0, 0.0)
    finite = exact.isfinite() & mine.isfinite() & low.isfinite()
    both = ~exact.isfinite() & (distance(mine, exact) == 0)  # infinite or undefined in every dtype
    both_apart = both & (apart > 0) & (off > 0)
    if far:  # sums in another order overflow elsewhere
        off = torch.where(theirs.isfinite(), off, 0.0)
    kind = torch.finfo(mine.dtype)
    return Sides(exact, mine, theirs, off, apart, own, finite | both_apart, kind.eps, kind.tiny)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Absolute differences in float64; infinite where only one of them is finite; 1 between decisions."""
    if not (a.is_floating_point() or a.is_complex()):
        return (a != b).to(torch.float64)
    kind = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
    x, y = a.to(kind), b.to(kind)
    same = (x == y) | (torch.isnan(x) & torch.isnan(y))
    zero = torch.zeros((), dtype=torch.float64)
    return torch.nan_to_num(torch.where(same, zero, (x - y).abs()), nan=math.inf, posinf=math.inf)


def largest(values: Tensor, usable: Tensor) -> float:
    """The largest absolute value where ``usable``; 0 where nothing is."""
    kept = values[usable]
    return float(kept.abs().nan_to_num(nan=0.0, posinf=math.inf).max()) if kept.numel() else 0.0
