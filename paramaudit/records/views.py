"""What operators look at, and an entry of the atlas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Found = TypeVar("Found")


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
    _found: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def noise(self) -> float:
        """Unit roundoff of the storage dtype: the relative size of noise to look through."""
        return float(torch.finfo(self.dtype).eps) / 2

    def once(self, search: Callable[[Matrix], Found]) -> Found:
        """``search(self)``, kept while the map lives: what several operators ask of it is sought once."""
        if search not in self._found:
            self._found[search] = search(self)
        found: Found = self._found[search]
        return found


@dataclass(frozen=True)
class Kernel:
    """A convolution of one to three dimensions: ``weight`` is ``(out, in / groups, *taps)``, on the CPU.

    ``weight`` and ``bias`` are float64. A ``transposed`` one has ``(in, out / groups, *taps)``. ``stride``,
    ``padding`` (how many zeros stand on each side) and ``dilation`` are one number along time, and one for
    each dimension of images; ``dtype`` as for :class:`Matrix`. What an operator proposes is a
    :class:`paramaudit.numerics.frames.Framed` layer, or a module that takes nothing and returns the kernel in
    the dtype that it was moved to: a :class:`paramaudit.numerics.tables.Computed`.
    """

    weight: Tensor
    bias: Tensor | None
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    dtype: torch.dtype = torch.float32
    transposed: bool = False

    @property
    def noise(self) -> float:
        """Unit roundoff of the storage dtype: the relative size of noise to look through."""
        return float(torch.finfo(self.dtype).eps) / 2


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
class Table:
    """Numbers of which rows are looked up or added, ``(rows, columns)`` or ``(n,)``.

    ``values`` are finite numbers that ``dtype`` holds, on the CPU, in that dtype or a wider one: a large
    table need not be copied to be looked at, so operators convert what they read, and read few rows first.
    What an operator proposes is a module whose ``forward()`` takes nothing and returns the whole table in
    the shape of ``values``, in the dtype that the module was moved to.
    """

    values: Tensor
    dtype: torch.dtype = torch.float32

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
    as the view does (that returns it, for a :class:`Table`), or None. ``finds`` are proposed, proven and
    cheaper; ``ignores`` are near misses that are never proven. ``view`` is the type of view that it
    looks at. One that ``transposes`` finds the transpose of every square find too.
    """

    name: str
    propose: Callable[[Any], nn.Module | None]
    finds: tuple[Example, ...]
    ignores: tuple[Example, ...]
    view: type = Matrix
    transposes: bool = False


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
