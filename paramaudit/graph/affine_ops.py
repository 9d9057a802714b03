"""How each operator treats a layout: the rules by which :func:`paramaudit.graph.affine.region` grows.

A handler returns the layout of a call's result, or None when the call is not affine in its data, mixes
the batch, or is merely not understood. To leave a call out costs a finding; to let a wrong one in, a proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

import torch
from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.layout import Dims, dim_size, feature, is_feature, matches, regroup
from paramaudit.graph.shapes import Size, same, shape

Handler = Callable[["Step"], Dims | None]


class Step:
    """One call with the layouts known so far; ``given`` are its arguments by their names in the schema."""

    def __init__(self, node: fx.Node, layouts: Mapping[fx.Node, Dims], constant: Set[fx.Node]) -> None:
        self.node, self.layouts, self.constant = node, layouts, constant
        self.call = facts.name(node)
        self.given = facts.bound(node)
        self.shape: tuple[Size, ...] = shape(node) or ()

    def dims(self) -> Dims | None:
        """The layout of the call's result."""
        if self.call not in _SEVERAL and [n for n in self.node.all_input_nodes if n in self.layouts] != [
            self.node.args[0] if self.node.args else None
        ]:
            return None
        if facts.is_identity(self.node):
            return self.first
        if any(isinstance(n.meta.get("val"), torch.SymInt) for n in self.node.all_input_nodes):
            # a size that depends on the batch could make the map depend on it too
            if self.call == "aten::slice":
                return self.first if self.keeps_shape() else None
            if self.call not in facts.VIEWS and self.call != "aten::expand":
                return None
        handler = HANDLERS.get(self.call)
        return handler(self) if handler is not None else None

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


# --- reshapes -----------------------------------------------------------------------------------


def _same(step: Step) -> Dims | None:
    return step.first


def _view(step: Step) -> Dims | None:
    return regroup(step.first, step.shape) if step.first is not None else None


def _expand(step: Step) -> Dims | None:
    """Dimensions of size 1 repeated to a static size, which makes features; the others as they are."""
    if step.first is None or len(step.shape) < step.rank:
        return None
    dims: Dims = (*([()] * (len(step.shape) - step.rank)), *step.first)
    pairs = list(zip(dims, step.shape, strict=True))
    if not all(same(dim_size(d), s) or (not d and isinstance(s, int)) for d, s in pairs):
        return None
    return tuple(d if same(dim_size(d), s) else feature(s) for d, s in pairs)


def _permute(step: Step) -> Dims | None:
    order = step.axes("dims")
    return tuple(step.first[i] for i in order) if step.first is not None and order is not None else None


def _transpose(step: Step) -> Dims | None:
    dims = step.first
    if dims is None or step.call == "aten::t":
        return tuple(reversed(dims)) if dims is not None else None
    names = ("axis0", "axis1") if step.call == "aten::swapaxes" else ("dim0", "dim1")
    i, j = (step.axis(step.rank, name) for name in names)
    if i is None or j is None:
        return None
    order = list(dims)
    order[i], order[j] = order[j], order[i]
    return tuple(order)


def _complex_pairs(step: Step) -> Dims | None:
    dims = step.first
    if dims is None:
        return None
    if step.call == "aten::view_as_real":
        return (*dims, feature(2))
    return dims[:-1] if is_feature(dims[-1]) else None


# --- one feature dimension ----------------------------------------------------------------------


def _remade(step: Step, axis: int | None, *, drop: bool = False) -> Dims | None:
    """The layout when one feature dimension is remade to the output's size, or dropped."""
    dims = step.first
    if dims is None or axis is None or not is_feature(dims[axis]):
        return None
    if drop:
        return (*dims[:axis], *dims[axis + 1 :])
    return (*dims[:axis], feature(step.shape[axis]), *dims[axis + 1 :]) if len(step.shape) > axis else None


def _select(step: Step) -> Dims | None:
    return _remade(step, step.axis(step.rank), drop=True)


def _slice(step: Step) -> Dims | None:
    dims, axis = step.first, step.axis(step.rank)
    if dims is None or axis is None:
        return None
    whole = same(dim_size(dims[axis]), step.shape[axis]) and step.given.get("step") == 1
    return dims if whole else _remade(step, axis)


def _along_dim(step: Step) -> Dims | None:
    """Calls that mix one dimension, ``dim``: transforms, running sums, choices by a constant index."""
    names = [name for name in step.given if name not in ("self", "dim")]
    return _remade(step, step.axis(step.rank)) if step.fixed(*names) else None


def _index(step: Step) -> Dims | None:
    """``x[..., index]`` with one constant one-dimensional index on the last dimension."""
    indices = step.given.get("indices")
    if not step.rank or not isinstance(indices, list | tuple) or len(indices) != step.rank:
        return None
    *leading, last = indices
    if any(i is not None for i in leading) or not isinstance(last, fx.Node) or last not in step.constant:
        return None
    return _remade(step, step.rank - 1) if len(shape(last) or ()) == 1 else None


def _flip(step: Step) -> Dims | None:
    dims, axes = step.first, step.axes("dims")
    if dims is None or axes is None:
        return None
    return dims if all(is_feature(dims[axis]) for axis in axes) else None


def _pad(step: Step) -> Dims | None:
    dims, pad = step.first, step.given.get("pad")
    if dims is None or not isinstance(pad, list | tuple) or not all(isinstance(p, int) for p in pad):
        return None
    if step.given.get("mode", "constant") != "constant" or not step.fixed("value"):
        return None
    touched = [len(dims) - 1 - i // 2 for i, p in enumerate(pad) if p]
    if not all(axis >= 0 and is_feature(dims[axis]) for axis in touched):
        return None
    return tuple(feature(step.shape[i]) if i in touched else dim for i, dim in enumerate(dims))


def _reduce(step: Step) -> Dims | None:
    dims, chosen = step.first, step.axes("dim")
    if dims is None or chosen is None or not all(is_feature(dims[axis]) for axis in chosen):
        return None
    if step.given.get("keepdim"):
        return tuple(() if i in chosen else dim for i, dim in enumerate(dims))
    return tuple(dim for i, dim in enumerate(dims) if i not in chosen)


def _split(step: Step) -> Dims | None:
    """Splitting itself: the pieces are made by the ``getitem`` that follows."""
    dims, axis = step.first, step.axis(step.rank)
    return dims if dims is not None and axis is not None and is_feature(dims[axis]) else None


def _getitem(step: Step) -> Dims | None:
    source, which = step.node.args[:2]
    if not isinstance(source, fx.Node) or source not in step.layouts or not isinstance(which, int):
        return None
    split = Step(source, step.layouts, step.constant)
    dims, axis = step.layouts[source], split.axis(len(step.layouts[source]))
    if axis is None or split.call not in _SPLITS:
        return None
    if split.call == "aten::unbind":
        return (*dims[:axis], *dims[axis + 1 :])
    return (*dims[:axis], feature(step.shape[axis]), *dims[axis + 1 :]) if len(step.shape) > axis else None


# --- sums and joins -----------------------------------------------------------------------------


def _broadcast(dims: Dims, other: object, step: Step) -> Dims | None:
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


def _combine(step: Step) -> Dims | None:
    left, right = step.given.get("self"), step.given.get("other")
    a, b = step.layout(left), step.layout(right)
    if not step.fixed("alpha"):
        return None
    if a is not None and b is not None:
        return a if step.call in _SUMS and matches(a, b) else None
    if a is not None:
        return _broadcast(a, right, step)
    if b is not None and step.call != "aten::div":
        return _broadcast(b, left, step)
    return None


def _divide(step: Step) -> Dims | None:
    return _combine(step) if step.given.get("rounding_mode") is None else None


def _parts(step: Step) -> list[Dims]:
    """The layouts of a list argument, all of one rank; empty when one of them is no affine data."""
    parts = step.given.get("tensors")
    found = [step.layout(p) for p in parts] if isinstance(parts, list | tuple) else []
    dims = [d for d in found if d is not None]
    return dims if len(dims) == len(found) and len({len(d) for d in dims}) == 1 else []


def _cat(step: Step) -> Dims | None:
    dims = _parts(step)
    axis = step.axis(len(dims[0])) if dims else None
    if axis is None or not all(is_feature(d[axis]) for d in dims):
        return None
    rest = [(*d[:axis], *d[axis + 1 :]) for d in dims]
    if not all(matches(rest[0], other) for other in rest[1:]):
        return None
    return (*dims[0][:axis], feature(step.shape[axis]), *dims[0][axis + 1 :])


def _stack(step: Step) -> Dims | None:
    dims = _parts(step)
    axis = step.axis(len(dims[0]) + 1) if dims else None
    if axis is None or not all(matches(dims[0], other) for other in dims[1:]):
        return None
    return (*dims[0][:axis], feature(step.shape[axis]), *dims[0][axis:])


# --- products -----------------------------------------------------------------------------------


def _linear(step: Step) -> Dims | None:
    dims, weight, bias = step.first, step.given.get("weight"), step.given.get("bias")
    if dims is None or not is_feature(dims[-1]) or not step.stored(weight, 2):
        return None
    out: Dims = (*dims[:-1], feature(step.shape[-1]))
    return out if bias is None else _broadcast(out, bias, step)


def _matmul(step: Step) -> Dims | None:
    """A product with a constant matrix or vector on either side."""
    left, right = list(step.given.values())[:2]
    dims = step.layout(left)
    if dims is not None and is_feature(dims[-1]):
        if step.stored(right, 2):
            return (*dims[:-1], feature(step.shape[-1]))
        return dims[:-1] if step.stored(right, 1) else None
    dims = step.layout(right)
    axis = max(len(dims) - 2, 0) if dims is not None else 0
    if dims is not None and is_feature(dims[axis]):
        if step.stored(left, 2):
            return (*dims[:axis], feature(step.shape[axis]), *dims[axis + 1 :])
        return (*dims[:axis], *dims[axis + 1 :]) if step.stored(left, 1) else None
    return None


def _addmm(step: Step) -> Dims | None:
    bias, dims = step.given["self"], step.layout(step.given["mat1"])
    if dims is None or not is_feature(dims[-1]) or not step.stored(step.given["mat2"], 2):
        return None
    if not step.fixed("self", "alpha", "beta"):
        return None
    return _broadcast((*dims[:-1], feature(step.shape[-1])), bias, step)


def _einsum(step: Step) -> Dims | None:
    """One data operand among constants; a letter that a constant has, or that is summed, is a feature."""
    equation, tensors = step.given["equation"], step.given["tensors"]
    if not isinstance(tensors, list | tuple) or "->" not in equation or "." in equation:
        return None
    left, out = equation.replace(" ", "").split("->")
    terms = left.split(",")
    data = [i for i, t in enumerate(tensors) if step.layout(t) is not None]
    if len(data) != 1 or len(terms) != len(tensors) or any(len(set(t)) < len(t) for t in (*terms, out)):
        return None
    if any(t not in step.constant for i, t in enumerate(tensors) if i != data[0]):
        return None
    mine = dict(zip(terms[data[0]], step.layout(tensors[data[0]]) or (), strict=True))
    others = {letter for i, term in enumerate(terms) if i != data[0] for letter in term}
    if not all(is_feature(dim) for letter, dim in mine.items() if letter in others or letter not in out):
        return None
    kept = set(mine) - others
    return tuple(mine[c] if c in kept else feature(s) for c, s in zip(out, step.shape, strict=True))


def _batch_norm(step: Step) -> Dims | None:
    """Batch norm with stored statistics: one scale and shift per channel (dimension 1)."""
    dims = step.first
    if step.given["training"] is not False or dims is None or len(dims) < 2:
        return None
    if not dims[1] or not is_feature(dims[1]) or step.given["running_mean"] is None:
        return None
    return dims if step.fixed("weight", "bias", "running_mean", "running_var") else None


def _convolution(step: Step) -> Dims | None:
    """A convolution over feature dimensions of static size, batch in front."""
    dims, weight = step.first, step.given["weight"]
    if dims is None or not all(is_feature(d) for d in dims[1:]) or not step.stored(weight, len(dims)):
        return None
    if not step.fixed("bias"):
        return None
    if not all(isinstance(s, int) for s in step.shape[1:]):
        return None
    return (dims[0], *(feature(s) for s in step.shape[1:]))


def _each(names: Sequence[str], handler: Handler) -> dict[str, Handler]:
    return {f"aten::{name}": handler for name in names}


_SUMS = ("aten::add", "aten::sub", "aten::rsub")
_SPLITS = tuple(f"aten::{c}" for c in ("split", "split_with_sizes", "chunk", "tensor_split", "unbind"))
_SEVERAL = (
    *_SUMS,
    *(f"aten::{c}" for c in ("mul", "div", "cat", "stack", "matmul", "mm", "addmm", "einsum")),
)
HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(facts.VIEWS, _view),
    **dict.fromkeys(facts.SAME, _same),
    **dict.fromkeys(_SPLITS, _split),
    **_each(("real", "imag", "conj", "_conj", "resolve_conj"), _same),
    **_each(("fft_rfft", "fft_irfft", "fft_fft", "fft_ifft", "fft_hfft", "fft_ihfft"), _along_dim),
    **_each(("cumsum", "narrow", "index_select"), _along_dim),
    **_each(("transpose", "t", "swapaxes"), _transpose),
    **_each(("sum", "mean"), _reduce),
    **_each(("flip", "roll"), _flip),
    **_each(("pad", "constant_pad_nd"), _pad),
    **_each(("add", "sub", "rsub", "mul"), _combine),
    **_each(("matmul", "mm"), _matmul),
    **_each(("conv1d", "conv2d", "convolution"), _convolution),
    **_each(("view_as_real", "view_as_complex"), _complex_pairs),
    "aten::expand": _expand,
    "aten::permute": _permute,
    "aten::select": _select,
    "aten::slice": _slice,
    "aten::index": _index,
    "aten::div": _divide,
    "aten::linear": _linear,
    "aten::addmm": _addmm,
    "aten::einsum": _einsum,
    "aten::cat": _cat,
    "aten::stack": _stack,
    "aten::batch_norm": _batch_norm,
    "getitem": _getitem,
}
