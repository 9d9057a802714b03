"""Products of data with stored numbers, and how they treat a layout."""

from __future__ import annotations

from paramaudit.graph.affine_step import Handler, Step, with_constant
from paramaudit.graph.layout import Dims, feature, is_feature


def _linear(step: Step) -> Dims | None:
    dims, weight, bias = step.first, step.given.get("weight"), step.given.get("bias")
    if dims is None or not is_feature(dims[-1]) or not step.stored(weight, 2):
        return None
    out: Dims = (*dims[:-1], feature(step.shape[-1]))
    return out if bias is None else with_constant(out, bias, step)


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
    return with_constant((*dims[:-1], feature(step.shape[-1])), bias, step)


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


PRODUCTS: dict[str, Handler] = {
    "aten::linear": _linear,
    "aten::matmul": _matmul,
    "aten::mm": _matmul,
    "aten::addmm": _addmm,
    "aten::einsum": _einsum,
    "aten::batch_norm": _batch_norm,
    "aten::conv1d": _convolution,
    "aten::conv2d": _convolution,
    "aten::convolution": _convolution,
}
