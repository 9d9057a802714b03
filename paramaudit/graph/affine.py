"""Regions that are affine in one anchor, proven from the operators alone.

A node belongs to the region of an anchor when every operator between them is affine in the data, repeats
along the batch and mixes features only. This is the proof that a basis probe needs: ``relu(x) @ W.T`` agrees
with ``x @ W.T`` on a basis and at zero, yet it is in no region of ``x``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.layout import (
    Atom,
    Dims,
    anchor_dims,
    dim_size,
    feature,
    is_clean,
    is_feature,
    matches,
    regroup,
)
from paramaudit.graph.shapes import Size, same, shape

Handler = Callable[["_Step"], Dims | None]


@dataclass(frozen=True)
class Region:
    """Nodes affine in ``anchor`` with their layouts, in graph order (the anchor first)."""

    anchor: fx.Node
    layouts: dict[fx.Node, Dims]

    def clean(self, node: fx.Node) -> bool:
        """Whether a node is ``(batch ..., features)`` in the anchor's batch order and real."""
        value = node.meta.get("val")
        return (
            node in self.layouts
            and isinstance(value, Tensor)
            and value.dtype == self.anchor.meta["val"].dtype
            and is_clean(self.layouts[node], self.layouts[self.anchor])
        )

    def features(self, node: fx.Node) -> int:
        """The number of features of a clean node."""
        return int(dim_size(self.layouts[node][-1]))


def region(anchor: fx.Node, constant: set[fx.Node], layout: Dims | None = None) -> Region | None:
    """The nodes that are affine in ``anchor``; None when it cannot be an anchor.

    ``layout`` says which of the anchor's dimensions are features; by default the last one.
    """
    dims = shape(anchor)
    value = anchor.meta.get("val")
    if not dims or not isinstance(dims[-1], int):
        return None
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return None
    layouts: dict[fx.Node, Dims] = {anchor: layout or anchor_dims(dims)}
    queue = sorted(anchor.users)
    seen: set[fx.Node] = set()
    while queue:
        node = queue.pop(0)
        if node in seen:
            continue
        ready = [i for i in node.all_input_nodes if i not in layouts and i not in constant and not _symbol(i)]
        if ready:
            continue
        seen.add(node)
        result = _Step(node, layouts, constant).dims()
        if result is not None:
            layouts[node] = result
            queue = sorted({*queue, *(u for u in node.users if u not in seen)})
    return Region(anchor, dict(sorted(layouts.items(), key=lambda item: item[0])))


def _symbol(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt)


class _Step:
    """One node with the layouts known so far."""

    def __init__(self, node: fx.Node, layouts: dict[fx.Node, Dims], constant: set[fx.Node]) -> None:
        self.node, self.layouts, self.constant = node, layouts, constant
        self.shape: tuple[Size, ...] = shape(node) or ()

    def dims(self) -> Dims | None:
        if facts.is_identity(self.node):
            return self.data(0)
        call = facts.name(self.node)
        if any(_symbol(n) for n in self.node.all_input_nodes) and call not in facts.VIEWS:
            # a size that depends on the batch could make the map depend on it too
            return self.data(0) if call == "aten::slice" and self.keeps_shape() else None
        handler = _HANDLERS.get(call)
        return handler(self) if handler is not None else None

    def keeps_shape(self) -> bool:
        """Whether the output has the data's sizes (a slice that takes everything)."""
        source = self.arg(0)
        before = shape(source) if isinstance(source, fx.Node) else None
        return before is not None and all(same(a, b) for a, b in zip(before, self.shape, strict=True))

    def data(self, index: int) -> Dims | None:
        """The layout of a data argument; None when that argument is no affine data."""
        value = self.arg(index)
        return self.layouts.get(value) if isinstance(value, fx.Node) else None

    def arg(self, index: int, key: str = "", default: Any = None) -> Any:
        return facts.argument(self.node, index, key, default)

    def is_constant(self, value: object) -> bool:
        return not isinstance(value, fx.Node) or value in self.constant

    def axis(self, index: int, key: str, default: int, rank: int) -> int:
        value = self.arg(index, key, default)
        return int(value) % rank if isinstance(value, int) and rank else 0


def _same(step: _Step) -> Dims | None:
    return step.data(0)


def _view(step: _Step) -> Dims | None:
    dims = step.data(0)
    return regroup(dims, step.shape) if dims is not None else None


def _permute(step: _Step) -> Dims | None:
    dims = step.data(0)
    order = step.arg(1, "dims")
    if dims is None or not isinstance(order, list | tuple):
        return None
    return tuple(dims[int(i) % len(dims)] for i in order)


def _transpose(step: _Step) -> Dims | None:
    dims = step.data(0)
    if dims is None:
        return None
    order = list(dims)
    if facts.name(step.node) == "aten::t":
        return tuple(reversed(order))
    i, j = (step.axis(1, "dim0", 0, len(order)), step.axis(2, "dim1", 1, len(order)))
    order[i], order[j] = order[j], order[i]
    return tuple(order)


def _on_features(step: _Step, axis: int, *, drop: bool = False) -> Dims | None:
    """The layout when one feature dimension is remade to the output's size, or dropped."""
    dims = step.data(0)
    if dims is None or not is_feature(dims[axis]):
        return None
    if drop:
        return (*dims[:axis], *dims[axis + 1 :])
    return (*dims[:axis], feature(step.shape[axis]), *dims[axis + 1 :])


def _rank(step: _Step) -> int:
    dims = step.data(0)
    return len(dims) if dims is not None else 0


def _select(step: _Step) -> Dims | None:
    return _on_features(step, step.axis(1, "dim", 0, _rank(step)), drop=True) if _rank(step) else None


def _slice(step: _Step) -> Dims | None:
    if not _rank(step):
        return None
    axis = step.axis(1, "dim", 0, _rank(step))
    dims = step.data(0)
    if dims is not None and same(dim_size(dims[axis]), step.shape[axis]) and step.arg(4, "step", 1) == 1:
        return dims
    return _on_features(step, axis)


def _narrow(step: _Step) -> Dims | None:
    return _on_features(step, step.axis(1, "dim", 0, _rank(step))) if _rank(step) else None


def _last_or_dim(index: int, key: str) -> Handler:
    def handler(step: _Step) -> Dims | None:
        if not _rank(step):
            return None
        if not all(step.is_constant(a) for a in (*step.node.args[1:], *step.node.kwargs.values())):
            return None
        return _on_features(step, step.axis(index, key, -1, _rank(step)))

    return handler


def _index_select(step: _Step) -> Dims | None:
    if not _rank(step) or not step.is_constant(step.arg(2, "index")):
        return None
    return _on_features(step, step.axis(1, "dim", 0, _rank(step)))


def _index(step: _Step) -> Dims | None:
    """``x[..., index]`` with one constant one-dimensional index on the last dimension."""
    indices = step.arg(1, "indices")
    if not _rank(step) or not isinstance(indices, list | tuple) or len(indices) != _rank(step):
        return None
    *leading, last = indices
    if any(i is not None for i in leading) or not isinstance(last, fx.Node) or last not in step.constant:
        return None
    return _on_features(step, _rank(step) - 1) if len(shape(last) or ()) == 1 else None


def _flip(step: _Step) -> Dims | None:
    dims, axes = step.data(0), step.arg(2 if facts.name(step.node) == "aten::roll" else 1, "dims")
    if dims is None or not isinstance(axes, list | tuple) or not axes:
        return None
    return dims if all(is_feature(dims[int(a)]) for a in axes) else None


def _pad(step: _Step) -> Dims | None:
    dims, pad = step.data(0), step.arg(1, "pad")
    if dims is None or not isinstance(pad, list | tuple) or not all(isinstance(p, int) for p in pad):
        return None
    if facts.name(step.node) == "aten::pad" and step.arg(2, "mode", "constant") != "constant":
        return None
    touched = [len(dims) - 1 - i // 2 for i, p in enumerate(pad) if p]
    if not all(is_feature(dims[axis]) for axis in touched):
        return None
    return tuple(feature(step.shape[i]) if i in touched else dim for i, dim in enumerate(dims))


def _reduce(step: _Step) -> Dims | None:
    dims, axes = step.data(0), step.arg(1, "dim")
    axes = [axes] if isinstance(axes, int) else axes
    if dims is None or not isinstance(axes, list | tuple) or not axes:
        return None
    chosen = {int(a) % len(dims) for a in axes}
    if not all(is_feature(dims[a]) for a in chosen):
        return None
    if step.arg(2, "keepdim", False):
        return tuple(() if i in chosen else dim for i, dim in enumerate(dims))
    return tuple(dim for i, dim in enumerate(dims) if i not in chosen)


def _broadcast(dims: Dims, other: object, step: _Step) -> Dims | None:
    """``dims`` combined with a constant that varies along feature dimensions only."""
    if not isinstance(other, fx.Node):
        return dims if isinstance(other, int | float | complex) else None
    if other not in step.constant:
        return None
    sizes = shape(other) or ()
    missing = len(sizes) - len(dims)
    padded: Dims = (*((),) * missing, *dims)
    result: list[tuple[Atom, ...]] = list(padded)
    for axis, length in enumerate(sizes, start=len(padded) - len(sizes)):
        dim = padded[axis]
        if length != 1 and not dim:
            result[axis] = feature(length)  # the data is repeated along it, the constant may vary
        elif length != 1 and not (is_feature(dim) and same(dim_size(dim), length)):
            return None
    return tuple(result)


def _combine(step: _Step) -> Dims | None:
    a, b = step.data(0), step.data(1)
    if a is not None and b is not None:
        return a if facts.name(step.node) in _SUMS and matches(a, b) else None
    if a is not None:
        return _broadcast(a, step.arg(1), step)
    if b is not None and facts.name(step.node) != "aten::div":
        return _broadcast(b, step.arg(0), step)
    return None


def _divide(step: _Step) -> Dims | None:
    plain = step.node.kwargs.get("rounding_mode") is None and len(step.node.args) == 2
    return _combine(step) if plain else None


def _linear(step: _Step) -> Dims | None:
    dims = step.data(0)
    if dims is None or not is_feature(dims[-1]) or not all(step.is_constant(a) for a in step.node.args[1:]):
        return None
    return (*dims[:-1], feature(step.shape[-1]))


def _matmul(step: _Step) -> Dims | None:
    dims, other = step.data(0), step.arg(1)
    if dims is None or not is_feature(dims[-1]) or other not in step.constant:
        return None
    rank = len(shape(other) or ())
    if rank == 2:
        return (*dims[:-1], feature(step.shape[-1]))
    return dims[:-1] if rank == 1 and len(dims) > 1 else None


def _addmm(step: _Step) -> Dims | None:
    bias, dims = step.arg(0), step.data(1)
    weight = step.arg(2)
    if dims is None or not is_feature(dims[-1]) or not step.is_constant(weight) or not step.is_constant(bias):
        return None
    out: Dims = (*dims[:-1], feature(step.shape[-1]))
    return _broadcast(out, bias, step)


def _parts(step: _Step) -> list[Dims]:
    """The layouts of a list argument; empty when one of them is no affine data."""
    parts = step.arg(0)
    found = [step.layouts.get(p) for p in parts] if isinstance(parts, list | tuple) else []
    return [dims for dims in found if dims is not None] if None not in found else []


def _cat(step: _Step) -> Dims | None:
    dims = _parts(step)
    if not dims:
        return None
    axis = step.axis(1, "dim", 0, len(dims[0]))
    if not all(is_feature(d[axis]) for d in dims):
        return None
    rest = [(*d[:axis], *d[axis + 1 :]) for d in dims]
    if not all(matches(rest[0], other) for other in rest[1:]):
        return None
    return (*dims[0][:axis], feature(step.shape[axis]), *dims[0][axis + 1 :])


def _stack(step: _Step) -> Dims | None:
    dims = _parts(step)
    if not dims:
        return None
    if not all(matches(dims[0], other) for other in dims[1:]):
        return None
    axis = step.axis(1, "dim", 0, len(dims[0]) + 1)
    return (*dims[0][:axis], feature(step.shape[axis]), *dims[0][axis:])


def _split(step: _Step) -> Dims | None:
    """Splitting itself: the pieces are made by the ``getitem`` that follows."""
    axis = step.axis(2 if facts.name(step.node) != "aten::unbind" else 1, "dim", 0, _rank(step) or 1)
    dims = step.data(0)
    return dims if dims is not None and is_feature(dims[axis]) else None


def _getitem(step: _Step) -> Dims | None:
    source = step.arg(0)
    if not isinstance(source, fx.Node) or source not in step.layouts:
        return None
    dims = step.layouts[source]
    kind = facts.name(source)
    if kind == "aten::unbind":
        axis = int(facts.argument(source, 1, "dim", 0)) % len(dims)
        return (*dims[:axis], *dims[axis + 1 :])
    if kind not in _SPLITS:
        return None
    axis = int(facts.argument(source, 2, "dim", 0)) % len(dims)
    return (*dims[:axis], feature(step.shape[axis]), *dims[axis + 1 :])


def _batch_norm(step: _Step) -> Dims | None:
    """Batch norm with stored statistics: one scale and shift per channel (dimension 1)."""
    dims = step.data(0)
    if step.arg(5, "training") is not False or dims is None or len(dims) < 2:
        return None
    if not dims[1] or not is_feature(dims[1]):
        return None
    return dims if all(step.is_constant(a) for a in step.node.args[1:5]) else None


def _convolution(step: _Step) -> Dims | None:
    """A convolution over feature dimensions of static size, batch in front."""
    dims = step.data(0)
    fixed = all(step.is_constant(a) for a in step.node.args[1:])
    if dims is None or not fixed or not all(is_feature(d) for d in dims[1:]):
        return None
    rank = {"aten::conv1d": 3, "aten::conv2d": 4}.get(facts.name(step.node), max(len(dims), 3))
    if len(dims) != rank or not all(isinstance(s, int) for s in step.shape[1:]):
        return None
    return (dims[0], *(feature(s) for s in step.shape[1:]))


def _complex_pairs(step: _Step) -> Dims | None:
    dims = step.data(0)
    if dims is None:
        return None
    if facts.name(step.node) == "aten::view_as_real":
        return (*dims, feature(2))
    return dims[:-1] if is_feature(dims[-1]) else None


_SUMS = ("aten::add", "aten::sub", "aten::rsub")
_SPLITS = ("aten::split", "aten::split_with_sizes", "aten::chunk", "aten::tensor_split")
_FFT = tuple(f"aten::fft_{kind}" for kind in ("rfft", "irfft", "fft", "ifft", "hfft", "ihfft"))
_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(facts.VIEWS, _view),
    **dict.fromkeys(facts.SAME, _same),
    **dict.fromkeys(("aten::real", "aten::imag", "aten::conj", "aten::_conj", "aten::resolve_conj"), _same),
    **dict.fromkeys(_FFT, _last_or_dim(2, "dim")),
    **dict.fromkeys(("aten::transpose", "aten::t", "aten::swapaxes"), _transpose),
    **dict.fromkeys(("aten::sum", "aten::mean"), _reduce),
    **dict.fromkeys(_SPLITS, _split),
    **dict.fromkeys(("aten::flip", "aten::roll"), _flip),
    **dict.fromkeys(("aten::pad", "aten::constant_pad_nd"), _pad),
    **dict.fromkeys(("aten::add", "aten::sub", "aten::rsub", "aten::mul"), _combine),
    **dict.fromkeys(("aten::matmul", "aten::mm"), _matmul),
    **dict.fromkeys(("aten::conv1d", "aten::conv2d", "aten::convolution"), _convolution),
    "aten::unbind": _split,
    "aten::permute": _permute,
    "aten::select": _select,
    "aten::slice": _slice,
    "aten::narrow": _narrow,
    "aten::index_select": _index_select,
    "aten::index": _index,
    "aten::cumsum": _last_or_dim(1, "dim"),
    "aten::div": _divide,
    "aten::linear": _linear,
    "aten::addmm": _addmm,
    "aten::cat": _cat,
    "aten::stack": _stack,
    "aten::batch_norm": _batch_norm,
    "aten::view_as_real": _complex_pairs,
    "aten::view_as_complex": _complex_pairs,
    "getitem": _getitem,
}
