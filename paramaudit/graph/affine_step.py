"""One call of a graph, seen with the layouts known so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set

from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.layout import Dims, dim_size, feature, is_feature
from paramaudit.graph.shapes import Size, same, shape

Handler = Callable[["Step"], Dims | None]


class Step:
    """One call with the layouts known so far; ``given`` are its arguments by their names in the schema."""

    def __init__(self, node: fx.Node, layouts: Mapping[fx.Node, Dims], constant: Set[fx.Node]) -> None:
        self.node, self.layouts, self.constant = node, layouts, constant
        self.call = facts.name(node)
        self.given = facts.bound(node)
        self.shape: tuple[Size, ...] = shape(node) or ()

    @property
    def first(self) -> Dims | None:
        """The layout of the first argument; None when that is no affine data."""
        return self.layout(self.node.args[0] if self.node.args else None)

    @property
    def rank(self) -> int:
        """The number of dimensions of the first argument."""
        return len(self.first or ())

    def layout(self, value: object) -> Dims | None:
        """The layout of an argument; None when it is no affine data."""
        return self.layouts.get(value) if isinstance(value, fx.Node) else None

    def fixed(self, *names: str) -> bool:
        """Whether these arguments are plain values or constant tensors."""
        values = [self.given.get(name) for name in names]
        return all(not isinstance(v, fx.Node) or v in self.constant for v in values)

    def stored(self, value: object, rank: int) -> bool:
        """Whether an argument is a constant tensor of this rank."""
        return isinstance(value, fx.Node) and value in self.constant and len(shape(value) or ()) == rank

    def axis(self, rank: int, name: str = "dim") -> int | None:
        """A dimension argument counted from the front; None when it is not a plain number in range."""
        value = self.given.get(name)
        return int(value) % rank if isinstance(value, int) and -rank <= value < rank else None

    def axes(self, name: str) -> list[int] | None:
        """A non-empty list of dimensions counted from the front; None when it is not that."""
        value = self.given.get(name)
        values = [value] if isinstance(value, int) else value
        if not isinstance(values, list | tuple) or not values:
            return None
        inside = all(isinstance(v, int) and -self.rank <= v < self.rank for v in values)
        return [int(v) % self.rank for v in values] if inside else None

    def keeps_shape(self) -> bool:
        """Whether the output has the data's sizes (a slice that takes everything)."""
        source = self.node.args[0]
        before = shape(source) if isinstance(source, fx.Node) else None
        return before is not None and all(same(a, b) for a, b in zip(before, self.shape, strict=True))


def with_constant(dims: Dims, other: object, step: Step) -> Dims | None:
    """``dims`` combined with a constant that varies along feature dimensions only.

    Along a dimension of size 1, or one that the data lacks, the data is repeated and the constant may vary.
    """
    if not isinstance(other, fx.Node):
        return dims if isinstance(other, int | float | complex) else None
    if other not in step.constant:
        return None
    sizes = shape(other) or ()
    result = [*([()] * (len(sizes) - len(dims))), *dims]
    for axis, length in enumerate(sizes, start=len(result) - len(sizes)):
        dim = result[axis]
        if length != 1 and not dim:
            result[axis] = feature(length)
        elif length != 1 and not (is_feature(dim) and same(dim_size(dim), length)):
            return None
    return tuple(result)
