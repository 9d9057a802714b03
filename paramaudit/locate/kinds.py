"""What kind of loss made one tensor of another: said only where it explains every number exactly."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from paramaudit.numerics.storage import dtype_name

_SHORTER = (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float32)
_FEW = 8
_BITS = (4, 8)


def kind_of(original: Tensor, copy: Tensor) -> str:
    """The loss in words, e.g. ``rounded to bfloat16``.

    Each kind is checked on every number: the copy must be exactly what that loss leaves of the original.

    Args:
        original: any shape.
        copy: of the same shape; it differs from the original somewhere.
    """
    if not (original.is_floating_point() and copy.is_floating_point()):
        return _counted(original, copy)
    return next(_kinds(original, copy), "") or _counted(original, copy)


def _kinds(original: Tensor, copy: Tensor) -> Iterator[str]:
    for dtype in _SHORTER:
        if torch.finfo(dtype).eps > torch.finfo(original.dtype).eps and _same(original.to(dtype), copy):
            yield f"rounded to {dtype_name(dtype)}"
    zero = (copy == 0) & (original != 0)
    if bool(zero.any()) and _same(original.masked_fill(zero, 0.0), copy):
        before, after = _share(original == 0), _share(copy == 0)
        yield f"{after} of the numbers are zero in the copy ({before} in the original), the others the same"
    if int((original != copy).sum()) > 1:
        yield from _grids(original, copy)
        yield from _scaled(original, copy)


def _grids(original: Tensor, copy: Tensor) -> Iterator[str]:
    """Integers of a few bits times a scale, of the whole tensor or of each row, symmetric or not."""
    flat = original.detach().reshape(original.shape[0], -1) if original.dim() > 1 else original.reshape(1, -1)
    held = copy.detach().reshape(flat.shape)
    spans = [("tensor", flat.reshape(1, -1), held.reshape(1, -1))]
    if len(flat) > 1:
        spans.insert(0, ("row", flat, held))
    for bits in _BITS:
        for per, rows, given in spans:
            if any(_same(made, given) for made in _quantised(rows, bits)):
                yield f"rounded to an int{bits} grid per {per}"


def _quantised(rows: Tensor, bits: int) -> Iterator[Tensor]:
    """Rows rounded to the usual grids, in the tensor's dtype and in float64."""
    top = 2 ** (bits - 1) - 1
    for dtype in dict.fromkeys((rows.dtype, torch.float64)):
        x = rows.to(dtype)
        largest = x.abs().amax(1, keepdim=True)
        for steps in (top, top + 1, top + 0.5):
            scale = (largest / steps).clamp_min(torch.finfo(dtype).tiny)
            yield ((x / scale).round().clamp(-top - 1, top) * scale).to(rows.dtype)
        low, high = x.amin(1, keepdim=True).clamp_max(0), x.amax(1, keepdim=True).clamp_min(0)
        scale = ((high - low) / (2**bits - 1)).clamp_min(torch.finfo(dtype).tiny)
        zero = (-(low / scale)).round()
        yield (((x / scale).round() + zero).clamp(0, 2**bits - 1).sub(zero) * scale).to(rows.dtype)


def _scaled(original: Tensor, copy: Tensor) -> Iterator[str]:
    """All numbers times one factor, which has few digits."""
    place = int(original.abs().argmax())
    factor = float(copy.reshape(-1)[place].double() / original.reshape(-1)[place].double())
    for digits in range(2, 5):
        rounded = float(f"{factor:.{digits}g}")
        if _same(original * rounded, copy) and rounded != 1.0:
            yield f"every number is {rounded:g} times what it was"
            return


def _counted(original: Tensor, copy: Tensor) -> str:
    """How many numbers differ, and by how much."""
    places = (original.double() != copy.double()).nonzero() if not original.is_complex() else None
    if places is None:
        return "other numbers"
    if len(places) == 1:
        index = tuple(places[0].tolist())
        before, after = float(original[index]), float(copy[index])
        return f"one number differs: {list(index)} is {after:.6g} in place of {before:.6g}"
    most = float((original.double() - copy.double()).abs().max())
    size = float(original.double().abs().max())
    count = f"{len(places):,} of {original.numel():,} numbers differ"
    listed = f" ({', '.join(str(p.tolist()) for p in places)})" if len(places) <= _FEW else ""
    return f"{count}{listed}, by {most:.2g} at most, the largest being {size:.2g}"


def _same(made: Tensor, copy: Tensor) -> bool:
    """Whether two tensors hold the same real numbers, whatever their dtypes."""
    return bool((made.to(torch.float64) == copy.to(torch.float64)).all())


def _share(mask: Tensor) -> str:
    return f"{100 * float(mask.double().mean()):.3g} %"
