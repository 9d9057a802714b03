"""How each operator treats a layout: the rules by which :func:`paramaudit.graph.affine.region` grows.

A handler returns the layout of a call's result, or None when the call is not affine in its data, mixes
the batch, or is merely not understood. To leave a call out costs a finding; to let a wrong one in, a proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import torch
from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.affine_products import PRODUCTS
from paramaudit.graph.affine_step import Handler, Step, with_constant
from paramaudit.graph.layout import Dims, broadcast, dim_size, feature, is_feature, matches, regroup
from paramaudit.graph.shapes import same, shape


def result(node: fx.Node, layouts: Mapping[fx.Node, Dims], constant: Set[fx.Node]) -> Dims | None:
    """The layout of a call's result; None when it is not known to be affine."""
    step = Step(node, layouts, constant)
    if step.call not in _SEVERAL and [n for n in step.node.all_input_nodes if n in step.layouts] != [
        step.node.args[0] if step.node.args else None
    ]:
        return None
    if facts.is_identity(step.node):
        return step.first
    if any(isinstance(n.meta.get("val"), torch.SymInt) for n in step.node.all_input_nodes):
        # a size that depends on the batch could make the map depend on it too
        if step.call == "aten::slice":
            return step.first if step.keeps_shape() else None
        if step.call not in facts.VIEWS and step.call != "aten::expand":
            return None
    handler = HANDLERS.get(step.call)
    return handler(step) if handler is not None else None


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


def _combine(step: Step) -> Dims | None:
    left, right = step.given.get("self"), step.given.get("other")
    a, b = step.layout(left), step.layout(right)
    if not step.fixed("alpha"):
        return None
    if a is not None and b is not None:
        return broadcast(a, b) if step.call in _SUMS else None
    if a is not None:
        return with_constant(a, right, step)
    if b is not None and step.call != "aten::div":
        return with_constant(b, left, step)
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


def _each(names: Sequence[str], handler: Handler) -> dict[str, Handler]:
    return {f"aten::{name}": handler for name in names}


_SUMS = ("aten::add", "aten::sub", "aten::rsub")
_SPLITS = tuple(f"aten::{c}" for c in ("split", "split_with_sizes", "chunk", "tensor_split", "unbind"))
_SEVERAL = (
    *_SUMS,
    *(f"aten::{c}" for c in ("mul", "div", "cat", "stack", "matmul", "mm", "addmm", "einsum")),
)
HANDLERS: dict[str, Handler] = {
    **PRODUCTS,
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
    **_each(("view_as_real", "view_as_complex"), _complex_pairs),
    "aten::expand": _expand,
    "aten::permute": _permute,
    "aten::select": _select,
    "aten::slice": _slice,
    "aten::index": _index,
    "aten::div": _divide,
    "aten::cat": _cat,
    "aten::stack": _stack,
    "getitem": _getitem,
}
