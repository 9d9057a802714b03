"""Window functions as tables of numbers: those of :mod:`paramaudit.numerics.windows` and many more.

All are symmetric, and the largest value of each formula is 1; a periodic one of n numbers is the symmetric
one of n + 1 without its last. Computed in float64.

Source: Harris, On the use of windows for harmonic analysis with the DFT, Proc. IEEE 66 (1978); Nuttall, Some
    windows with very good sidelobe behavior, IEEE Trans. ASSP 29 (1981); Oppenheim and Schafer,
    Discrete-Time Signal Processing, 7.5 (Kaiser).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from paramaudit.numerics.windows import COSINE_SUMS, LONGER_SUMS, cosine_sum, window


def _centred(size: int) -> Tensor:
    return torch.arange(size, dtype=torch.float64) - (size - 1) / 2


def _bartlett(size: int) -> Tensor:
    return 1 - _centred(size).abs() * (2 / (size - 1))


def _triang(size: int) -> Tensor:
    return 1 - _centred(size).abs() * (2 / (size + size % 2))


def _parzen(size: int) -> Tensor:
    place = _centred(size).abs()
    near = place * (2 / size)
    return torch.where(place <= (size - 1) / 4, 1 - 6 * near**2 + 6 * near**3, 2 * (1 - near) ** 3)


def _bohman(size: int) -> Tensor:
    near = _centred(size).abs() * (2 / (size - 1))
    inside = (1 - near) * torch.cos(math.pi * near) + torch.sin(math.pi * near) / math.pi
    return torch.where(near < 1, inside, 0.0)


def _lanczos(size: int) -> Tensor:
    return torch.sinc(_centred(size) * (2 / (size - 1)))


def _long_sum(name: str) -> Callable[[int], Tensor]:
    def build(size: int) -> Tensor:
        return cosine_sum(
            LONGER_SUMS[name], torch.arange(size, dtype=torch.float64) * (2 * math.pi / (size - 1))
        )

    return build


def _known(name: str) -> Callable[[int], Tensor]:
    return lambda size: window(name, size, torch.float64)


PLAIN: dict[str, Callable[[int], Tensor]] = {
    **{name: _known(f"{name}-symmetric") for name in COSINE_SUMS},
    **{name: _long_sum(name) for name in LONGER_SUMS},
    "cosine": _known("sine-centred"),
    "sine": _known("sine-symmetric"),
    "bartlett": _bartlett,
    "triang": _triang,
    "parzen": _parzen,
    "bohman": _bohman,
    "lanczos": _lanczos,
}
"""Windows without a parameter, by name."""


def _tukey(size: int, alpha: Tensor) -> Tensor:
    place = ((size - 1) / 2 - _centred(size).abs()) * (2 / (size - 1))
    return torch.where(place < alpha, 0.5 - 0.5 * torch.cos(math.pi * place / alpha), 1.0)


def _kaiser(size: int, beta: Tensor) -> Tensor:
    near = _centred(size) * (2 / (size - 1))
    root = (1 - near * near).clamp_min(0).sqrt()
    shape: Tensor = torch.special.i0e(beta * root) / torch.special.i0e(beta) * torch.exp(beta * (root - 1))
    return shape


def _gaussian(size: int, std: Tensor) -> Tensor:
    return torch.exp(-0.5 * (_centred(size) / std) ** 2)


def _exponential(size: int, tau: Tensor) -> Tensor:
    return torch.exp(-_centred(size).abs() / tau)


SHAPED: dict[str, tuple[str, Callable[[int, Tensor], Tensor], float, float]] = {
    "tukey": ("alpha", _tukey, 1e-3, 1.0),
    "kaiser": ("beta", _kaiser, 1e-3, 600.0),
    "gaussian": ("std", _gaussian, 0.3, 1e7),
    "exponential": ("tau", _exponential, 0.05, 1e7),
}
"""Windows with a parameter: its name, the formula, and between which numbers it lies."""

FACTORIES: dict[str, Callable[..., Tensor]] = {
    "hann": torch.hann_window,
    "hamming": torch.hamming_window,
    "blackman": torch.blackman_window,
    "bartlett": torch.bartlett_window,
}
"""torch's own, which compute in float32 what is asked for in float32."""


def taper(name: str, size: int, periodic: bool, parameter: Tensor | None = None) -> Tensor:
    """The window ``(size,)`` of that name, float64.

    Args:
        name: of :data:`PLAIN` or :data:`SHAPED`.
        size: how many numbers.
        periodic: whether it goes on with its first number; symmetric otherwise.
        parameter: ``()``, for those of :data:`SHAPED`.
    """
    length = size + 1 if periodic else size
    if parameter is None:
        return PLAIN[name](length)[:size]
    return SHAPED[name][1](length, parameter)[:size]
