"""Maps in full float64 from numpy, scipy and pywt, to see what rounding does to provers there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pywt
import scipy.fft
import scipy.linalg
import scipy.signal
import torch
from chains import runner, single

from mutants.affine import Case
from paramaudit.operators import OPERATORS
from paramaudit.records import Matrix


def matrices() -> Iterator[tuple[str, np.ndarray]]:
    """An operator's name and a matrix that it should find."""
    rng = np.random.default_rng(0)
    for n in (16, 33, 64, 100):
        eye = np.eye(n)
        for window in ("boxcar", "hann"):
            waves = np.fft.rfft(eye * scipy.signal.get_window(window, n)[:, None], axis=0)
            yield "rdft", np.concatenate([waves.real, waves.imag])
        for kind in (1, 2, 3, 4):
            yield "dct", scipy.fft.dct(eye, kind, axis=0, norm="ortho" if kind % 2 else None)
            yield "dst", scipy.fft.dst(eye, kind, axis=0, norm="ortho" if kind % 2 else None)
        yield "hartley", np.fft.fft(eye).real - np.fft.fft(eye).imag
        yield "hilbert", np.imag(scipy.signal.hilbert(eye, axis=0))
        yield "circulant", scipy.linalg.circulant(rng.standard_normal(n))
        yield "toeplitz", scipy.linalg.toeplitz(rng.standard_normal(n), np.zeros(n))
        yield "permutation", eye[rng.permutation(n)]
        yield "diagonal", np.diag(rng.standard_normal(n))
        yield "low-rank", rng.standard_normal((n, 3)) @ rng.standard_normal((3, n))
        yield "delay", 0.7 * np.eye(n, k=-3) + np.eye(n)
        yield "comb", scipy.signal.lfilter([1.0], [1.0, *[0.0] * 6, -0.6], eye, axis=0)
        yield "iir", scipy.signal.lfilter(*scipy.signal.butter(4, 0.2), eye, axis=0)
        if n % 4 == 0:
            parts = pywt.wavedec(eye, "db2", mode="periodization", level=2, axis=0)
            yield "wavelet", np.concatenate(parts)


def cases(dtype: torch.dtype = torch.float64) -> Iterator[Case]:
    """A case for every matrix that the operator proposes a layer for, its numbers rounded to a dtype."""
    known = {operator.name: operator for operator in OPERATORS}
    for name, matrix in matrices():
        meant = Matrix(torch.from_numpy(matrix.copy()), None, dtype)
        stored = Matrix(meant.weight.to(dtype).to(torch.float64), None, dtype)
        layer = known[name].propose(stored)
        if layer is not None:
            run = runner(single(meant))
            yield Case(name, f"{len(matrix)} rows ({dtype})", stored, run, layer)
