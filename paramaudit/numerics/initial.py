"""First values of trainable numbers that must stay inside a range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers: TypeAlias = float | Sequence[float] | NDArray[np.floating] | Tensor


def filled(values: Numbers, *shape: int) -> Tensor:
    """These numbers, repeated to a shape; tensors keep their dtype, all else gets torch's default one.

    Raises:
        ValueError: when they do not fit the shape, or are not finite.
    """
    dtype = None if isinstance(values, Tensor) else torch.get_default_dtype()
    given = torch.as_tensor(values, dtype=dtype).detach()
    if not given.is_floating_point():
        given = given.to(torch.get_default_dtype())
    if not bool(given.isfinite().all()):
        raise ValueError("the numbers must be finite")
    try:
        return given.expand(shape).clone()
    except RuntimeError as error:
        raise ValueError(f"numbers of shape {tuple(given.shape)} do not fit {shape}") from error


def inside(values: Tensor, low: float, high: float, name: str) -> Tensor:
    """The same numbers, checked to lie strictly between two bounds.

    Raises:
        ValueError: when one does not.
    """
    if not bool(((values > low) & (values < high)).all()):
        raise ValueError(f"{name} must lie strictly between {low:g} and {high:g}")
    return values
