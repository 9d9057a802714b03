"""FLOPs of Fourier transforms, by FFTW's convention.

A transform of N points counts 5 N log2 N between complex numbers and 2.5 N log2 N where one side is
real, N the product of the transformed sizes (padding to n included); normalisation counts nothing.
It is a convention, not a count of one algorithm's additions: a plan for a given N may need fewer.
STFT is decomposed by torch into padding, windowing and real transforms, and counted as those.

Source: FFTW, "FFT benchmark methodology", https://www.fftw.org/speed/method.html.
"""

from __future__ import annotations

from math import log2
from typing import Any

from torch import Tensor

from paramaudit.measure.operands import Arguments, Rule, first


def _transform(points: Tensor, dimensions: list[int], per_point: float) -> int:
    """``per_point`` is 5 or 2.5; ``points`` is the side that is not halved, batch included."""
    return round(per_point * points.numel() * sum(log2(points.shape[d]) for d in dimensions))


def _complex(a: Arguments, _out: Any) -> int:
    return _transform(a["self"], a["dim"], 5)


def _from_real(a: Arguments, _out: Any) -> int:
    return _transform(a["self"], a["dim"], 2.5)


def _to_real(a: Arguments, out: Any) -> int:
    return _transform(first(out), a["dim"], 2.5)


def _istft_size(a: Arguments) -> tuple[int, int, int, int]:
    """``(batch, frames, hop, samples kept)``."""
    spectrum: Tensor = a["self"]
    batch = spectrum.numel() // (spectrum.shape[-1] * spectrum.shape[-2])
    frames, n = int(spectrum.shape[-1]), int(a["n_fft"])
    hop = a["hop_length"] or n // 4
    start = n // 2 if a["center"] else 0
    full = n + hop * (frames - 1)
    kept = a["length"] if a["length"] is not None else full - 2 * start
    return batch, frames, hop, kept


def _istft(a: Arguments, _out: Any) -> int:
    """Inverse transforms, window, overlap-add; then the window's own overlap-add, and the division."""
    batch, frames, _, kept = _istft_size(a)
    n = int(a["n_fft"])
    per_frame = round((5 if a["return_complex"] else 2.5) * n * log2(n)) + 2 * n
    return batch * frames * per_frame + n + frames * n + batch * kept


def _istft_result(a: Arguments) -> Tensor:
    """The signal's shape; torch's own shape function wants to look at the window's values."""
    spectrum: Tensor = a["self"]
    signal = spectrum if a["return_complex"] else spectrum.real
    return signal.new_empty((*spectrum.shape[:-2], _istft_size(a)[3]))


RULES: dict[str, Rule] = {
    "aten._fft_c2c": _complex,
    "aten._fft_r2c": _from_real,
    "aten._fft_c2r": _to_real,
    "aten.istft": _istft,
}
RESULTS = {"aten.istft": _istft_result}
