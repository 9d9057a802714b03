"""A linear map that is a complex discrete Fourier transform of numbers in real form.

What it finds:    A matrix over real and imaginary parts, all real ones first or in turns, of inputs (or of
                  real inputs) and of outputs, that is the transform of any size with either sign of the
                  exponent: all bins, or some of complex inputs; rows and columns in any order, each with a
                  complex scale of its own. Usual normalisations are computed, and so are rotated, reversed,
                  bit-reversed and interleaved orders; other orders are stored as indices, scales as one or
                  two numbers a row or column where they differ.
Why it matters:   4 n^2 numbers are none to 4 n, and a product costs O(n log n).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Phases are divided by those of a row and a column; what is left are powers of a
                  root of one, whose exponents are read in turns from rows and columns by FFT.
Swap safety:      Exact at any input of n complex numbers. Stored scales stay trainable. Half precision is
                  transformed in float32. Below some hundred points a dense product can win.
Source:           Oppenheim and Schafer, Discrete-Time Signal Processing, 8.5 and 9.3 (orders of inputs and
                  outputs). Van Loan, Computational Frameworks for the FFT (1992), 1.9.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.cyclic import cyclic
from paramaudit.numerics.gauge import Gauged
from paramaudit.numerics.layers import parameter, plus, widened
from paramaudit.numerics.noise import kept_bias, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator

LAYOUTS = ("stacked", "interleaved")
"""All real parts and then all imaginary ones, or each beside its own."""

NORMS = {-1: {"1": "backward", "1/sqrt(n)": "ortho", "1/n": "forward"}}
NORMS[1] = {"1/n": "backward", "1/sqrt(n)": "ortho", "1": "forward"}
"""What numpy calls the gains of its ``fft`` (sign -1) and ``ifft`` (sign 1)."""


class Fourier(nn.Module):
    """The plain transform of the last dimension, ``(..., n)`` to complex ``(..., n)``."""

    def __init__(self, size: int, sign: int) -> None:
        super().__init__()
        self.size, self.sign = size, sign

    def arguments(self) -> dict[str, Json]:
        """The size and the sign of the exponent."""
        return {"n": self.size, "sign": self.sign}

    def forward(self, inputs: Tensor) -> Tensor:
        """The FFT; the inverse has the other sign."""
        result: Tensor = torch.fft.fft(inputs) if self.sign < 0 else torch.fft.ifft(inputs, norm="forward")
        return result


class Dft(nn.Module):
    """Real and imaginary parts of a complex transform; ``(..., 2 n)`` or ``(..., n)`` to ``(..., 2 m)``.

    Args:
        gauged: the complex transform, ``(..., n)`` to ``(..., m)``.
        inputs: one of :data:`LAYOUTS`, or "real" where inputs have no imaginary parts.
        outputs: one of :data:`LAYOUTS`.
        bias: ``(2 m,)`` or None.
    """

    def __init__(self, gauged: Gauged, inputs: str, outputs: str, bias: Tensor | None = None) -> None:
        super().__init__()
        self.gauged, self.inputs, self.outputs = gauged, inputs, outputs
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """What the complex transform says of itself, and the layouts."""
        said = self.gauged.arguments()
        sign, stores = said["sign"], said["stores"]
        norm = NORMS[int(sign)].get(str(said["scale"])) if isinstance(sign, int) and not stores else None
        layouts: dict[str, Json] = {"inputs": self.inputs, "outputs": self.outputs, "norm": norm}
        return {**said, **layouts, "bias": self.bias is not None}

    def forward(self, inputs: Tensor) -> Tensor:
        """Join the parts, transform, part again."""
        wide = widened(inputs)
        if self.inputs == "stacked":
            wide = torch.view_as_complex(torch.unflatten(wide, -1, (2, -1)).transpose(-1, -2).contiguous())
        elif self.inputs == "interleaved":
            wide = torch.view_as_complex(torch.unflatten(wide, -1, (-1, 2)).contiguous())
        parts = torch.view_as_real(self.gauged.gauged(wide))
        outputs = (parts.transpose(-1, -2) if self.outputs == "stacked" else parts).flatten(-2)
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> Dft | None:
    """The layout under which rows come in pairs of one complex row, then what that matrix is."""
    found = _complex(view)
    if found is None:
        return None
    weight, inputs, outputs = found
    known = cyclic(weight, view.noise)
    if known is None:
        return None
    core = Fourier(weight.shape[1], known.sign)
    return Dft(Gauged(core, known.scaling, known.rows, known.columns), inputs, outputs, kept_bias(view))


def _complex(view: Matrix) -> tuple[Tensor, str, str] | None:
    """The complex matrix ``(m, n)`` with the layouts of inputs and outputs; None when it is none."""
    rows, columns = view.weight.shape
    if rows % 2 or rows < 4 or columns < 4:
        return None
    if rows == 2 * columns:
        layouts = [("real", outputs) for outputs in LAYOUTS]
    elif rows <= columns and columns % 2 == 0:
        layouts = [(inputs, outputs) for inputs in LAYOUTS for outputs in LAYOUTS]
    else:
        return None
    for inputs, outputs in layouts:
        some = torch.linspace(0, rows // 2 - 1, min(6, rows // 2)).long()
        if _paired(_parts(view.weight, inputs, outputs, some)) and usable(view):
            real, imaginary = _parts(view.weight, inputs, outputs, torch.arange(rows // 2))
            if inputs == "real":
                return torch.complex(real[0], imaginary[0]), inputs, outputs
            return (
                torch.complex(0.5 * (real[0] + imaginary[1]), 0.5 * (imaginary[0] - real[1])),
                inputs,
                outputs,
            )
    return None


def _parts(weight: Tensor, inputs: str, outputs: str, some: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Rows of real parts and of imaginary parts, each over real inputs and over imaginary ones."""
    half = weight.shape[0] // 2
    places = (some, some + half) if outputs == "stacked" else (2 * some, 2 * some + 1)
    both = [weight[where] for where in places]
    if inputs == "real":
        return [both[0]], [both[1]]
    if inputs == "stacked":
        first, second = ([*part.chunk(2, dim=1)] for part in both)
    else:
        first, second = ([part[:, ::2], part[:, 1::2]] for part in both)
    return first, second


def _paired(parts: tuple[list[Tensor], list[Tensor]]) -> bool:
    """Whether sampled rows act on complex numbers; of real inputs, whether moduli are those of waves."""
    real, imaginary = parts
    if len(real) == 1:
        power = real[0].square() + imaginary[0].square()
        power = power / power.mean(dim=1, keepdim=True)
        # rows have one profile: that of the scales of columns
        return float((power - power.mean(0)).abs().mean()) <= 0.5
    off = (real[0] - imaginary[1]).norm() + (real[1] + imaginary[0]).norm()
    return float(off) <= 0.5 * float(torch.cat([*real, *imaginary]).norm())


Complex = NDArray[np.complex128]


def _matrix(size: int, inverse: bool = False) -> Complex:
    return np.asarray((np.fft.ifft if inverse else np.fft.fft)(np.eye(size), axis=0), dtype=np.complex128)


def _real_form(complex_: Complex, inputs: str, outputs: str) -> NDArray[np.float64]:
    """``[[Re, -Im], [Im, Re]]``, then parts in turns where they are to be."""
    count, size = complex_.shape
    if inputs == "real":
        whole = np.concatenate([complex_.real, complex_.imag])
    else:
        whole = np.block([[complex_.real, -complex_.imag], [complex_.imag, complex_.real]])
    if inputs == "interleaved":
        whole = whole[:, np.arange(2 * size).reshape(2, size).T.ravel()]
    if outputs == "interleaved":
        whole = whole[np.arange(2 * count).reshape(2, count).T.ravel()]
    return np.asarray(whole, dtype=np.float64)


def _form(complex_: Complex, inputs: str = "stacked", outputs: str = "stacked") -> Matrix:
    return stored(_real_form(complex_, inputs, outputs))


def _scaled(size: int) -> Complex:
    """Rows and columns in any order, with complex scales of their own."""
    rng = np.random.default_rng(size)
    rows, columns = rng.uniform(0.5, 2, (2, size)) * np.exp(2j * np.pi * rng.random((2, size)))
    shuffled = _matrix(size)[rng.permutation(size)][:, rng.permutation(size)]
    return np.asarray(rows[:, None] * shuffled * columns)


def _bit_reversed(size: int) -> Complex:
    bits = size.bit_length() - 1
    return _matrix(size)[:, [int(f"{k:0{bits}b}"[::-1], 2) for k in range(size)]]


def _one_row(size: int) -> Complex:
    rows = _matrix(size)
    rows[3] = np.random.default_rng(2).standard_normal((size, 2)) @ [1, 1j]
    return rows


def _noisy(size: int) -> Matrix:
    clean = _real_form(_matrix(size), "stacked", "stacked")
    return stored(clean * np.random.default_rng(3).normal(1, 0.01, clean.shape))


OPERATOR = Operator(
    "dft",
    propose,
    finds=(
        Example("32 points, parts stacked", lambda: _form(_matrix(32))),
        Example("15 points, parts in turns", lambda: _form(_matrix(15), "interleaved", "interleaved")),
        Example("inverse, 24 points", lambda: _form(_matrix(24, inverse=True), "interleaved")),
        Example("orthonormal, real inputs", lambda: _form(_matrix(36) / 6, "real", "interleaved")),
        Example("zero frequency in the middle", lambda: _form(np.roll(_matrix(20), 10, axis=0))),
        Example("inputs in bit-reversed order", lambda: _form(_bit_reversed(32))),
        Example("any gain and phase", lambda: _form((0.3 - 0.2j) * _matrix(16))),
        Example("some bins in any order", lambda: _form(_matrix(31)[[4, 9, 5, 1, 30, 12, 17, 0]])),
        Example("shuffled and scaled", lambda: _form(_scaled(24))),
    ),
    ignores=(
        Example("two dimensions of 6", lambda: _form(np.asarray(np.kron(_matrix(6), _matrix(6))))),
        Example("one row replaced", lambda: _form(_one_row(32))),
        Example("1 % noise", lambda: _noisy(32)),
        Example("13 points cut to 12", lambda: _form(_matrix(13)[:12, :12])),
    ),
    transposes=True,
)
