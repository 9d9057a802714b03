"""Cosine, sine and Hartley transforms of a frame.

What it computes: The discrete cosine or sine transform of type 1 to 4, or the Hartley transform, of the last
                  dimension by FFT; with scipy's factors, or orthonormal.
Replaces:         A dense layer that learned the transform: n^2 numbers are none.
Faster when:      n is large; ``paramaudit compare`` times a model that holds it on your device.
Mind:             Nothing is trained. Half precision is transformed in float32. Without ``orthonormal``
                  numbers grow with n, which may overflow float16.
Source:           Strang, The discrete cosine transform, SIAM Review 41 (1999); Bracewell, The Fast Hartley
                  Transform, Proc. IEEE 72 (1984).
"""

from __future__ import annotations

from typing import Literal

from paramaudit.numerics.real_transforms import cosine, hartley, sine
from paramaudit.numerics.transform_rows import Transform, TransformRows


class CosineTransform(TransformRows):
    """The discrete cosine transform ``scipy.fft.dct``: ``(..., n)`` to ``(..., n)``.

    Args:
        n: samples of a frame.
        kind: 1 to 4.
        orthonormal: whether its matrix is orthogonal, as with ``norm="ortho"``.

    Raises:
        ValueError: when there is no such transform.

    Example:
        >>> round(CosineTransform(16, orthonormal=True)(torch.ones(16))[0].item(), 4)
        4.0
    """

    def __init__(self, n: int, kind: int = 2, orthonormal: bool = False) -> None:
        transform = cosine(*_checked(n, kind))
        super().__init__(transform, (0, n), *_factors(transform, orthonormal and "1/sqrt(2n)"))


class SineTransform(TransformRows):
    """The discrete sine transform ``scipy.fft.dst``: ``(..., n)`` to ``(..., n)``.

    Args:
        n: samples of a frame.
        kind: 1 to 4.
        orthonormal: whether its matrix is orthogonal, as with ``norm="ortho"``.

    Raises:
        ValueError: when there is no such transform.

    Example:
        >>> tuple(SineTransform(7, kind=1)(torch.randn(3, 7)).shape)
        (3, 7)
    """

    def __init__(self, n: int, kind: int = 2, orthonormal: bool = False) -> None:
        transform = sine(*_checked(n, kind))
        super().__init__(transform, (0, n), *_factors(transform, orthonormal and "1/sqrt(2n)"))


class HartleyTransform(TransformRows):
    """Sums of the frame times ``cos + sin`` of every frequency: ``(..., n)`` to ``(..., n)``.

    Args:
        n: samples of a frame.
        orthonormal: whether its matrix is orthogonal, and so its own inverse.

    Raises:
        ValueError: when n is not positive.

    Example:
        >>> round(HartleyTransform(8)(torch.ones(8))[0].item(), 4)
        8.0
    """

    def __init__(self, n: int, orthonormal: bool = False) -> None:
        transform = hartley(_checked(n)[0])
        super().__init__(transform, (0, n), *_factors(transform, orthonormal and "1/sqrt(n)"))


def _checked(n: int, kind: int = 2) -> tuple[int, int]:
    """A size and a type that there are."""
    least = 2 if kind == 1 else 1
    if kind not in (1, 2, 3, 4) or n < least:
        raise ValueError(f"there is no transform of type {kind} for {n} points; types are 1 to 4")
    return n, kind


def _factors(transform: Transform, unit: str | Literal[False]) -> tuple[str, tuple[str, str]]:
    """Scale, and factors of outer rows and columns: scipy's, or with ``unit`` those of length one."""
    if not unit:
        return "1", ("1", "1")
    return unit, ("1/sqrt(2)" if transform.outer_rows else "1", "sqrt(2)" if transform.outer_columns else "1")
