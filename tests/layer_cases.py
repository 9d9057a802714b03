"""One or more of every public layer, with inputs; small, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from paramaudit import layers


@dataclass(frozen=True)
class Case:
    """A layer, inputs with two leading dimensions, and what its state dict holds."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Tensor, ...]]
    state: tuple[str, ...]


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(seeded(seed).standard_normal(shape))


def covariance(size: int, seed: int = 0) -> Tensor:
    root = randn(size, size, seed=seed)
    square = root @ root.T / size  # which some processors round to what is not quite symmetric
    return 0.5 * (square + square.T) + 0.1 * torch.eye(size, dtype=torch.float64)


def stable(size: int, seed: int = 0, radius: float = 0.9) -> Tensor:
    matrix = randn(size, size, seed=seed)
    return matrix * (radius / float(torch.linalg.eigvals(matrix).abs().max()))


def sections(k: int, seed: int = 0) -> Tensor:
    """Stable second-order sections, some of real poles; a0 is not 1."""
    rng = seeded(seed)
    first, second = rng.uniform(-0.95, 0.95, k), rng.uniform(-0.95, 0.95, k)
    poles = np.stack([np.ones(k), first * (1 + second), second], 1)
    return torch.from_numpy(
        np.concatenate([rng.standard_normal((k, 3)), poles], 1) * rng.uniform(1, 2, (k, 1))
    )


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def signal(size: int) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (randn(3, 2, size, seed=1),)


def image() -> tuple[Tensor, ...]:
    return (randn(3, 2, 9, 8, seed=1),)


def kalman() -> nn.Module:
    return layers.KalmanFilter(stable(4), randn(2, 4, seed=2), covariance(4, 3), covariance(2, 4))


def steps() -> tuple[Tensor, ...]:
    """State, covariance and observation."""
    return randn(3, 2, 4, seed=5), covariance(4, 6).expand(3, 2, 4, 4).clone(), randn(3, 2, 2, seed=7)


def style() -> nn.Module:
    layer = layers.StyleMap(9, bounded=True).double()
    with torch.no_grad():
        layer.sums.weight.copy_(randn(2, 9, seed=10) / 3)
        layer.sums.bias.copy_(doubles(0.1, -0.2))
    return layer


def envelope() -> nn.Module:
    return layers.Envelope(
        3, doubles(0.1, 0.05, 0.3), doubles(0.2, 0.2, 0.1), doubles(0.5, 0.8, 0.0), doubles(0.2, 0.1, 0.65)
    )


CASES = (
    Case("Spectrum", lambda: layers.Spectrum(30, (2, 11)), signal(30), ()),
    Case("Spectrum, power", lambda: layers.Spectrum(16, output="power"), signal(16), ()),
    Case(
        "Spectrum, parts",
        lambda: layers.Spectrum(17, window="hamming-symmetric", output="real-imaginary"),
        signal(17),
        (),
    ),
    Case("WaveletBank", lambda: layers.WaveletBank("db4", 3, 32).double(), signal(32), ("filters",)),
    Case(
        "WaveletBank, trained",
        lambda: layers.WaveletBank("bior2.2", 2, 24, train=True).double(),
        signal(24),
        ("filters",),
    ),
    Case(
        "Envelope",
        envelope,
        lambda: (torch.from_numpy(seeded(8).uniform(-0.2, 1.2, (3, 2, 7))),),
        ("log_attack", "log_decay", "log_release", "sustain"),
    ),
    Case("DelayLine", lambda: layers.DelayLine([0, 3, 40], doubles(1, -0.5, 2)), signal(20), ("gains",)),
    Case(
        "DelayLine, many",
        lambda: layers.DelayLine(range(1, 100, 7), randn(15, seed=9)),
        signal(90),
        ("gains",),
    ),
    Case("FeedbackComb", lambda: layers.FeedbackComb(3, doubles(0.6)[0]), signal(20), ("raw_gain",)),
    Case("AllPass", lambda: layers.AllPass(5, doubles(-0.7)[0]), signal(21), ("raw_gain",)),
    Case(
        "BiquadBank", lambda: layers.BiquadBank(3, sections(3)), signal(20), ("numerator", "raw_reflection")
    ),
    Case(
        "ResonatorBank",
        lambda: layers.ResonatorBank(2, doubles(1, 0.3), doubles(0.99, 0.8), doubles(0.3, 2.0)),
        signal(70),
        ("gain", "raw_radius", "angle"),
    ),
    Case("StyleMap", style, signal(9), ("sums.weight", "sums.bias")),
    Case("KalmanFilter", kalman, steps, ("transition", "observation", "process_factor", "noise_factor")),
    Case(
        "SteadyKalmanFilter",
        lambda: layers.SteadyKalmanFilter(stable(4), randn(4, 2)),
        lambda: steps()[::2],
        ("transition", "gain"),
    ),
    Case("CosineTransform", lambda: layers.CosineTransform(12), signal(12), ()),
    Case("CosineTransform, type 1", lambda: layers.CosineTransform(9, 1, orthonormal=True), signal(9), ()),
    Case("SineTransform", lambda: layers.SineTransform(11, 4, orthonormal=True), signal(11), ()),
    Case("HartleyTransform", lambda: layers.HartleyTransform(10, orthonormal=True), signal(10), ()),
    Case("Sylvester", lambda: layers.Sylvester(16), signal(16), ()),
    Case("Hilbert", lambda: layers.Hilbert(14), signal(14), ()),
    Case("Circulant", lambda: layers.Circulant(9, randn(9), even=False), signal(9), ("values",)),
    Case("Circulant, even", lambda: layers.Circulant(8, randn(5), even=True), signal(8), ("values",)),
    Case("Toeplitz", lambda: layers.Toeplitz(7, 5, randn(1, 11), -4), signal(5), ("values",)),
    Case(
        "Hankel", lambda: layers.Hankel(6, 5, randn(1, 10), 0, bias=randn(6)), signal(5), ("values", "bias")
    ),
    Case(
        "LowDisplacement",
        lambda: layers.LowDisplacement(randn(2, 7), randn(2, 7, seed=1), mirrored=False),
        signal(7),
        ("first", "second"),
    ),
    Case("LowRank", lambda: layers.LowRank(randn(6, 2), randn(2, 9)), signal(9), ("left", "right")),
    Case(
        "Kronecker",
        lambda: layers.Kronecker([randn(1, 3, 2), randn(1, 2, 4)]),
        signal(8),
        ("factors.0", "factors.1"),
    ),
    Case("Monarch", lambda: layers.Monarch(randn(3, 2, 4), randn(3, 2, 5)), signal(12), ("right", "left")),
    Case("Butterfly", lambda: layers.Butterfly(randn(3, 4, 2, 2), widest_last=True), signal(8), ("values",)),
    Case("BlockDiagonal", lambda: layers.BlockDiagonal([randn(3, 2, 4)]), signal(12), ("stacks.0",)),
    Case("Permutation", lambda: layers.Permutation(torch.arange(9).flip(0)), signal(9), ("order",)),
    Case(
        "StateSpaceStep",
        lambda: layers.StateSpaceStep(stable(4), randn(4, 3)),
        signal(7),
        ("transition", "entry"),
    ),
    Case("Diagonal", lambda: layers.Diagonal(7, randn(7)), signal(7), ("gains",)),
    Case(
        "Monomial",
        lambda: layers.Monomial(torch.tensor([3, 0, 4, 1, 2]), gains=randn(5)),
        signal(5),
        ("gains", "order"),
    ),
    Case(
        "Piecewise",
        lambda: layers.Piecewise(doubles(-0.5, 0.3), randn(2, 3), doubles(1, -1, 0.5), doubles(0.2, 0, -3)),
        signal(1),
        ("knots", "changes", "slope", "offset"),
    ),
    Case("FirBank", lambda: layers.FirBank(20, randn(2, 5), "valid"), signal(20), ("values",)),
    Case(
        "FirBank, linear phase",
        lambda: layers.FirBank(20, doubles(1, 2, 0, -2, -1), linear_phase=True),
        signal(20),
        ("values",),
    ),
    Case("FirBank, many", lambda: layers.FirBank(90, randn(70), "causal"), signal(90), ("values",)),
    Case("DelayBank", lambda: layers.DelayBank(20, [[0, 3], [5]], randn(3)), signal(20), ("gains", "places")),
    Case(
        "CombBank",
        lambda: layers.CombBank(30, [3, 4], doubles(1, 0.3), doubles(0.2, 0.5), doubles(0.6, -0.7)),
        signal(30),
        ("values",),
    ),
    Case(
        "RecursiveBank",
        lambda: layers.RecursiveBank(25, randn(3, 3, seed=5), sections(3)[:, 3:]),
        signal(25),
        ("values", "bins"),
    ),
    Case("FourierTransform", lambda: layers.FourierTransform(9), signal(18), ()),
    Case(
        "FourierTransform, inverse",
        lambda: layers.FourierTransform(8, True, "ortho", "interleaved", "interleaved"),
        signal(16),
        (),
    ),
    Case("RealFourier", lambda: layers.RealFourier(15, (1, 6), "hann"), signal(15), ()),
    Case("ShortTimeFourier", lambda: layers.ShortTimeFourier(12, 5, padding=6), signal(40), ()),
    Case("MelBank", lambda: layers.MelBank(64, 8, 16000.0), signal(33), ()),
    Case("InverseWaveletBank", lambda: layers.InverseWaveletBank("db3", 2, 24), signal(24), ()),
    Case("PolynomialBank", lambda: layers.PolynomialBank(5, 9, nodes="uniform"), signal(9), ()),
    Case(
        "PolynomialBank, orthonormal",
        lambda: layers.PolynomialBank(8, 8, "hermite", orthonormal=True, transposed=True),
        signal(8),
        (),
    ),
    Case("StencilFilter", lambda: layers.StencilFilter("sobel x", (3, 3), 2, 1), image, ()),
    Case("StencilFilter, a line", lambda: layers.StencilFilter("gaussian 1.5", (7,)), signal(16), ()),
    Case(
        "HardKnee",
        lambda: layers.HardKnee(doubles(0.5), doubles(4), doubles(1.5)),
        signal(9),
        ("threshold", "ratio", "gain"),
    ),
)

# Tables have no inputs.
TABLES = (
    Case("SinusoidTable", lambda: layers.SinusoidTable(12, 8), tuple, ()),
    Case("RotaryFrequencies", lambda: layers.RotaryFrequencies(8), tuple, ()),
    Case("WindowTable", lambda: layers.WindowTable(17, "blackman"), tuple, ()),
    Case("WindowTable, Kaiser", lambda: layers.WindowTable(16, "kaiser", False, 6.0), tuple, ("value",)),
    Case("RampTable", lambda: layers.RampTable(9, -1.0, 2.0), tuple, ("ends",)),
    Case("GammaTable", lambda: layers.GammaTable(20, 3.0, 2.5), tuple, ("numbers",)),
    Case("Symmetric", lambda: layers.Symmetric(randn(5), torch.Size([9]), "both", False), tuple, ("kept",)),
)
