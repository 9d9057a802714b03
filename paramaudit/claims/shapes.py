"""Claims that arithmetic of shapes decides, or the mathematics of a filter, whatever the weights are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paramaudit.claims.claim import Bench, Claim, Outcome
from paramaudit.claims.layers import Layer, output, texts
from paramaudit.numerics.riccati import steady_gain
from paramaudit.numerics.wavelets import coefficient_lengths, filter_length
from paramaudit.records import Ruling

_STEPS = 4_000
_SETTLED = 1e-8


@dataclass(frozen=True, kw_only=True)
class Wavelet(Claim):
    """A wavelet decomposition can stand in for the layers on signals of a length."""

    wavelet: str
    level: int
    layers: tuple[Layer, ...]
    length: int
    channels: int = 1

    def judge(self, bench: Bench) -> Outcome:  # noqa: ARG002 - shapes need no model
        """Compare taps with kernels, the level with the length, and the outputs with each other."""
        taps = filter_length(self.wavelet)
        if taps is None:
            raise ValueError(f"there is no discrete wavelet {self.wavelet!r}")
        built = [layer.build("meta") for layer in self.layers]
        kernels = [int(p.shape[-1]) for module in built for p in module.parameters() if p.dim() > 2]
        shape = tuple(output(self.layers, (1, self.channels, self.length)).shape[1:])
        bands = coefficient_lengths(self.wavelet, self.length, self.level)
        shortest = (taps - 1) * 2**self.level
        against = []
        if kernels and max(kernels) < taps:
            against.append(f"{self.wavelet} has {taps} taps, a kernel of {max(kernels)} cannot hold them")
        if self.length < shortest:
            against.append(f"level {self.level} needs {shortest:,} samples, there are {self.length:,}")
        if shape != (sum(bands),):
            made = " + ".join(str(band) for band in bands)
            against.append(f"the layers give {list(shape)}, it gives {made} = {sum(bands)} numbers")
        stated = f"{self.wavelet}, level {self.level}"
        measured = f"{taps} taps; level {self.level} from {shortest:,} samples on"
        ruling = Ruling.WRONG if against else Ruling.RIGHT
        return Outcome(stated, measured, ruling, "; ".join(against) or "taps, level and outputs fit")


@dataclass(frozen=True, kw_only=True)
class Fourier(Claim):
    """A whole Fourier transform, ``numpy.fft.fft``, can stand in for the layers as it is."""

    layers: tuple[Layer, ...]
    length: int

    def judge(self, bench: Bench) -> Outcome:  # noqa: ARG002 - shapes need no model
        """Compare its outputs with those of the layers: how many, of which type, and with which gradient."""
        given = output(self.layers, (1, self.length))
        made = np.fft.fft(np.zeros((1, self.length), dtype=np.float32))
        theirs, ours = _numbers(given.shape[1:], given.dtype), f"{made.shape[-1]} of {made.dtype}"
        same = made.shape == tuple(given.shape) and str(given.dtype) == f"torch.{made.dtype}"
        differ = f"it gives {ours}, {texts(self.layers)} give {theirs}; and numpy passes no gradient on"
        ruling, reason = (Ruling.PARTLY, "numpy passes no gradient on") if same else (Ruling.WRONG, differ)
        return Outcome(theirs, ours, ruling, reason)


@dataclass(frozen=True, kw_only=True)
class SteadyGain(Claim):
    """With constant F, H, Q and R the gain of a Kalman filter is one constant matrix in the end."""

    states: int
    observations: int
    draws: int = 5

    def judge(self, bench: Bench) -> Outcome:  # noqa: ARG002 - mathematics needs no model
        """Run the recursion of random systems from two covariances each, against the Riccati equation."""
        generator = torch.Generator().manual_seed(0)
        worst = 0.0
        for _ in range(self.draws):
            system = self._drawn(generator)
            gain = steady_gain(*system)
            starts = (torch.zeros_like(system[2]), 100 * torch.eye(self.states, dtype=torch.float64))
            ends = [_gain_after(*system, start) for start in starts]
            worst = max(worst, *(float((end - gain).abs().max() / gain.abs().max()) for end in ends))
        ruling = Ruling.RIGHT if worst < _SETTLED else Ruling.WRONG
        reason = (
            f"{self.draws} random systems of {self.states} states, each from no and from much uncertainty: "
            f"the gain settles at the one of the Riccati equation to {worst:.0e}"
        )
        return Outcome("one constant gain", f"{self.states} x {self.observations}", ruling, reason)

    def _drawn(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """F (stable or not by a little), H, Q and R, both covariances positive definite."""

        def normal(*sizes: int) -> Tensor:
            return torch.randn(*sizes, generator=generator, dtype=torch.float64)

        n, m = self.states, self.observations
        transition = normal(n, n)
        transition *= 1.05 / float(torch.linalg.eigvals(transition).abs().max())
        roots = normal(n, n), normal(m, m)
        covariances = [root @ root.mT + 0.1 * torch.eye(len(root), dtype=torch.float64) for root in roots]
        return transition, normal(m, n), covariances[0], covariances[1]


def _gain_after(f: Tensor, h: Tensor, q: Tensor, r: Tensor, covariance: Tensor) -> Tensor:
    """The gain after many steps of the filter's own recursion, from a first covariance."""
    identity = torch.eye(len(f), dtype=f.dtype)
    gain = torch.zeros(len(f), len(h), dtype=f.dtype)
    for _ in range(_STEPS):
        predicted = f @ covariance @ f.mT + q
        before, gain = gain, torch.linalg.solve(h @ predicted @ h.mT + r, h @ predicted).mT
        kept = identity - gain @ h
        covariance = kept @ predicted @ kept.mT + gain @ r @ gain.mT  # Joseph's form, which stays symmetric
        if float((gain - before).abs().max()) < 1e-14 * float(gain.abs().max()):
            break
    return gain


def _numbers(shape: torch.Size, dtype: torch.dtype) -> str:
    return f"{' x '.join(map(str, shape))} of {str(dtype).removeprefix('torch.')}"
