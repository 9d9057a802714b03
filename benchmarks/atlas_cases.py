"""The atlas benchmark's planted operators: what numpy, scipy and pywt make of each name, through disguises.

A case is a matrix with the name that must be found. Nothing here is made with the recognisers' own layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pywt
import scipy.fft
import scipy.linalg
import scipy.signal
import scipy.special
from numpy.typing import NDArray

Array = NDArray[Any]
POWERS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
OTHERS = (60, 96, 257, 400, 441, 768, 1000)
NOISES = ("none", "float32", "float16", "bfloat16", "int8", "1 %", "10 %", "30 %")
GAUGES = ("none", "D1", "D1 D2", "P1 P2", "P1 P2 D1 D2", "hidden")


@dataclass(frozen=True)
class Row:
    """One operator of the table: how it is built, the names that are right for it, and its gauges.

    ``arguments`` are those of the first name; the others, and those ``under_scales`` of columns, are other
    names of the same matrix.
    """

    name: str
    build: Callable[[int, np.random.Generator], Array | None]
    names: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    gauges: tuple[str, ...] = ("none", "hidden")
    sizes: tuple[int, ...] = POWERS + OTHERS
    least: int = 8
    under_scales: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Callable[[str], Row], tuple[str]]:
        """Between processes a row goes by its name."""
        return row_named, (self.name,)


@dataclass(frozen=True)
class Case:
    """One matrix ``(out, in)``: as stored, and the clean operator before noise."""

    row: Row
    n: int
    gauge: str
    noise: str
    stored: Array
    clean: Array


def unit(matrix: Array) -> Array:
    """The matrix with an average column of length 1."""
    return matrix * math.sqrt(matrix.shape[1]) / np.linalg.norm(matrix)


def real_dft(n: int) -> Array:
    """The complex DFT of real inputs, real parts over imaginary ones, ``(2n, n)``."""
    transform = np.fft.fft(np.eye(n), axis=0)
    return np.concatenate([transform.real, transform.imag])


def complex_dft(n: int) -> Array:
    """The complex DFT, ``(n, n)``, whose gauges are complex too."""
    transform: Array = np.fft.fft(np.eye(n), axis=0)
    return transform


def real_form(matrix: Array) -> Array:
    """A complex matrix as it acts on real parts and then imaginary ones, ``(2n, 2n)``."""
    return np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]])


def rdft(n: int, window: Array | None = None) -> Array:
    """``rfft`` of a windowed frame, real parts over imaginary ones."""
    frame = np.eye(n) if window is None else np.diag(window)
    transform = np.fft.rfft(frame, axis=0)
    return np.concatenate([transform.real, transform.imag])


def hartley(n: int) -> Array:
    """cas(2 pi k t / n)."""
    angles = 2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n
    return np.cos(angles) + np.sin(angles)


def wavelet(n: int, name: str, level: int) -> Array | None:
    """The periodised wavelet decomposition, ``(n, n)``; None where the length does not allow the level."""
    if n % 2**level or n < pywt.Wavelet(name).dec_len * 2 ** (level - 1):
        return None
    columns = [np.concatenate(pywt.wavedec(e, name, mode="periodization", level=level)) for e in np.eye(n)]
    return np.stack(columns, axis=1)


def kron(n: int, rng: np.random.Generator) -> Array | None:
    """A random Kronecker product at a random split of n."""
    splits = [d for d in range(2, n // 2 + 1) if n % d == 0]
    if not splits:
        return None
    d = int(rng.choice(splits))
    return np.kron(rng.standard_normal((d, d)), rng.standard_normal((n // d, n // d)))


def blocks(n: int, rng: np.random.Generator) -> Array | None:
    """Equal random blocks on the diagonal."""
    count = next((d for d in (4, 3, 7, 2) if n % d == 0), None)
    if count is None:
        return None
    return scipy.linalg.block_diag(*(rng.standard_normal((n // count, n // count)) for _ in range(count)))


def monarch(n: int, rng: np.random.Generator) -> Array | None:
    """P^T L P R with the perfect shuffle P and sqrt(n) dense blocks in L and R (Dao et al. 2022)."""
    m = math.isqrt(n)
    if m * m != n:
        return None
    left, right = (
        scipy.linalg.block_diag(*(rng.standard_normal((m, m)) for _ in range(m))) for _ in range(2)
    )
    shuffle = np.eye(n)[np.arange(n).reshape(m, m).T.reshape(-1)]
    return shuffle.T @ left @ shuffle @ right


def butterfly(n: int, rng: np.random.Generator) -> Array | None:
    """A product of log2 n factors of 2 x 2 blocks, strides 1, 2, 4, ... (Dao et al. 2019)."""
    if n & (n - 1):
        return None
    product = np.eye(n)
    stride = 1
    while stride < n:
        factor = np.zeros((n, n))
        at = np.arange(n)
        factor[at, at] = rng.choice([-1, 1], n) * rng.uniform(0.5, 1.5, n)
        factor[at, at ^ stride] = rng.choice([-1, 1], n) * rng.uniform(0.5, 1.5, n)
        product = factor @ product
        stride *= 2
    return product


def polynomials(
    kind: str, alpha: float = 0.0, beta: float = 0.0
) -> Callable[[int, np.random.Generator], Array]:
    """Orthonormal polynomials 0 .. n-1 at the n Gauss nodes, rows are polynomials."""

    def build(n: int, _rng: np.random.Generator) -> Array:
        k = np.arange(1, n)
        diagonal = np.zeros(n)
        if kind == "jacobi":  # Golub and Welsch 1969, table of recurrences; alpha + beta is not 0 here
            both = alpha + beta
            i = np.arange(n)
            diagonal = (beta**2 - alpha**2) / ((2 * i + both) * (2 * i + both + 2))
            top = 4 * k * (k + alpha) * (k + beta) * (k + both)
            beside = np.sqrt(top / ((2 * k + both) ** 2 * (2 * k + both + 1) * (2 * k + both - 1)))
        elif kind == "laguerre":
            diagonal, beside = 2.0 * np.arange(n) + 1 + alpha, np.sqrt(k * (k + alpha))
        elif kind == "hermite":
            beside = np.sqrt(k / 2)
        else:
            chebyshev = np.where(k == 1, math.sqrt(0.5), 0.5)
            beside = k / np.sqrt(4.0 * k**2 - 1) if kind == "legendre" else chebyshev
        _, vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside)  # Golub and Welsch 1969
        # the last row alternates, and is never too small for its sign, as the first may be
        return vectors * np.sign(vectors[-1]) * (-1.0) ** (n - 1 - np.arange(n))

    return build


def recursive(n: int, rng: np.random.Generator) -> Array:
    """A two-pole resonator as a lower triangular Toeplitz matrix."""
    radius, angle = rng.uniform(0.6, 0.95), rng.uniform(0.3, 2.8)
    response = scipy.signal.lfilter([1.0], [1, -2 * radius * math.cos(angle), radius**2], np.eye(1, n)[0])
    return scipy.linalg.toeplitz(response, np.zeros(n))


def comb(n: int, rng: np.random.Generator) -> Array:
    """A feedback comb as a lower triangular Toeplitz matrix."""
    delay = int(rng.integers(2, max(3, n // 3)))
    response = scipy.signal.lfilter([1.0], [1.0, *np.zeros(delay - 1), -0.6], np.eye(1, n)[0])
    return scipy.linalg.toeplitz(response, np.zeros(n))


def low_rank(n: int, rng: np.random.Generator) -> Array:
    """Rank n / 8 at least 1."""
    rank = max(1, n // 8)
    return rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))


def mel(n: int, _rng: np.random.Generator) -> Array | None:
    """HTK mel triangles over n/2 + 1 bins at 16 kHz (Young et al., The HTK Book, 5.4)."""
    if n < 256:
        return None
    count, rate = min(40, n // 16), 16000.0
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), count + 2) / 2595) - 1)
    bins = np.linspace(0, rate / 2, n // 2 + 1)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rise, fall))


def _fixed(build: Callable[[int], Array | None]) -> Callable[[int, np.random.Generator], Array | None]:
    return lambda n, _rng: build(n)


def _trigonometric(transform: Callable[..., Array], kind: int) -> Callable[[int, np.random.Generator], Array]:
    return lambda n, _rng: transform(np.eye(n), type=kind, axis=0)


def _permutation(n: int, rng: np.random.Generator) -> Array:
    return np.eye(n)[rng.permutation(n)]


_SCALED = ("none", "D1", "D1 D2", "hidden")
_ALL = (*_SCALED, "P1 P2", "P1 P2 D1 D2")

ROWS: tuple[Row, ...] = (
    Row("identity", _fixed(np.eye), ("identity",), gauges=("none", "hidden")),
    Row("permutation", _permutation, ("permutation",), gauges=("none", "hidden")),
    Row("diagonal", lambda n, rng: np.diag(rng.standard_normal(n)), ("diagonal",)),
    Row("monomial", lambda n, rng: _permutation(n, rng) * rng.standard_normal(n), ("monomial",)),
    Row("block-diagonal", blocks, ("block-diagonal",), gauges=("none", "D1 D2", "P1 P2", "hidden")),
    Row("low-rank", low_rank, ("low-rank",), gauges=("none", "D1 D2", "P1 P2", "hidden")),
    Row("kronecker", kron, ("kronecker",)),
    Row(
        "toeplitz",
        lambda n, rng: scipy.linalg.toeplitz(rng.standard_normal(n), rng.standard_normal(n)),
        ("toeplitz",),
        gauges=_SCALED,
    ),
    Row(
        "hankel",
        lambda n, rng: scipy.linalg.hankel(rng.standard_normal(n), rng.standard_normal(n)),
        ("hankel",),
        gauges=_SCALED,
    ),
    Row(
        "circulant",
        lambda n, rng: scipy.linalg.circulant(rng.standard_normal(n)),
        ("circulant",),
        gauges=_SCALED,
    ),
    Row(
        "dft (complex)",
        _fixed(complex_dft),
        ("dft",),
        gauges=("none", "P1 P2", "P1 P2 D1 D2", "hidden"),
        sizes=POWERS[:-1] + OTHERS[:4],
    ),
    Row("dft (real input)", _fixed(real_dft), ("dft", "rdft"), sizes=POWERS[:-1] + OTHERS),
    Row("rdft", _fixed(rdft), ("rdft",), gauges=("none", "D1", "hidden")),
    Row(
        "rdft, Hann window",
        _fixed(lambda n: rdft(n, scipy.signal.windows.hann(n, sym=False))),
        ("rdft",),
        {"window": "hann"},
    ),
    # Rows of all eight are Chebyshev polynomials of the four kinds at their nodes, times weights; and a
    # sine transform is a cosine one read backwards under alternating signs (Puschel and Moura, SIAM J.
    # Computing 32 (2003), tables 2 and 3), so that under free scales of columns either name is right.
    *(
        Row(
            f"dct-{kind}",
            _trigonometric(scipy.fft.dct, kind),
            ("dct", "orthogonal-polynomial"),
            {"type": kind},
            gauges=_ALL,
            under_scales=("dst",),
        )
        for kind in (1, 2, 3, 4)
    ),
    *(
        Row(
            f"dst-{kind}",
            _trigonometric(scipy.fft.dst, kind),
            ("dst", "orthogonal-polynomial"),
            {"type": kind},
            gauges=_ALL,
            under_scales=("dct",),
        )
        for kind in (1, 2, 3, 4)
    ),
    Row("hartley", _fixed(hartley), ("hartley",), gauges=_ALL),
    Row(
        "hadamard",
        _fixed(lambda n: scipy.linalg.hadamard(n).astype(np.float64)),
        ("hadamard",),
        gauges=_ALL,
        sizes=POWERS,
    ),
    *(
        Row(
            f"wavelet {name}",
            _fixed(lambda n, name=name: wavelet(n, name, 2)),
            ("wavelet",),
            {"wavelet": name, "level": 2},
            sizes=POWERS[1:] + OTHERS,
        )
        for name in ("haar", "db4", "sym5", "coif1", "bior2.2")
    ),
    *(
        Row(kind, polynomials(kind, *exponents), ("orthogonal-polynomial",), said, gauges=_SCALED)
        for kind, exponents, said in (
            ("legendre", (), {"family": "legendre"}),
            ("jacobi", (1.0, 2.0), {"family": "jacobi", "alpha": 1.0, "beta": 2.0}),
            ("laguerre", (0.0,), {"family": "laguerre", "alpha": 0.0}),
            ("hermite", (), {"family": "hermite"}),
        )
    ),
    Row("chebyshev", polynomials("chebyshev"), ("orthogonal-polynomial", "dct"), gauges=_SCALED),
    Row(
        "hilbert",
        _fixed(lambda n: np.imag(scipy.signal.hilbert(np.eye(n), axis=0))),
        ("hilbert",),
    ),
    Row("butterfly", butterfly, ("butterfly",), sizes=POWERS[2:]),
    Row("monarch", monarch, ("monarch", "butterfly"), sizes=(16, 64, 256, 400, 441, 1024, 4096)),
    Row("filter-bank (mel htk)", mel, ("filter-bank",), sizes=(256, 400, 512, 1024, 2048, 4096)),
    Row(
        "fir",
        lambda n, rng: scipy.linalg.toeplitz(np.r_[rng.standard_normal(5), np.zeros(n - 5)], np.zeros(n)),
        ("fir",),
    ),
    Row("delay", lambda n, _rng: np.eye(n, k=-(n // 3)), ("delay",)),
    Row("comb", comb, ("comb",), sizes=POWERS[1:] + OTHERS),
    Row("iir", recursive, ("iir",), sizes=POWERS[2:] + OTHERS),
)


def row_named(name: str) -> Row:
    """The row of that name."""
    return next(row for row in ROWS if row.name == name)


def gauged(matrix: Array, gauge: str, rng: np.random.Generator) -> Array:
    """The matrix behind a gauge: scales (D) and permutations (P) of rows (1) and columns (2).

    Scales have signs, or any phase where the matrix is complex; the result is the real form then.
    """

    def scales(count: int) -> Array:
        turns = rng.uniform(0, 1, count) if np.iscomplexobj(matrix) else rng.integers(0, 2, count) / 2
        size = rng.uniform(0.5, 2, count) * np.exp(2j * np.pi * turns)
        return size if np.iscomplexobj(matrix) else size.real

    rows, columns = matrix.shape
    if "P1" in gauge:
        matrix = matrix[rng.permutation(rows)][:, rng.permutation(columns)]
    if "D1" in gauge:
        matrix = matrix * scales(rows)[:, None]
    if "D2" in gauge:
        matrix = matrix * scales(columns)
    if np.iscomplexobj(matrix):
        matrix = real_form(matrix)
    return concealed(matrix, rng) if gauge == "hidden" else matrix


def concealed(matrix: Array, rng: np.random.Generator) -> Array:
    """What a scan sees of two linear layers with nothing between: their product."""
    columns = matrix.shape[1]
    basis = np.linalg.qr(rng.standard_normal((columns, columns)))[0]
    scale = rng.uniform(0.5, 2, columns)
    return (matrix @ basis * scale) @ ((basis / scale).T)


def noisy(matrix: Array, noise: str, rng: np.random.Generator) -> Array:
    """The matrix as a format stores it, or with Gaussian noise of a part of its typical size."""
    if noise == "none":
        return matrix
    if noise == "int8":
        step = np.abs(matrix).max(axis=1, keepdims=True) / 127
        return np.round(matrix / np.where(step > 0, step, 1)) * step
    if noise.endswith("%"):
        size = np.linalg.norm(matrix) / math.sqrt(matrix.size)
        return matrix + float(noise[:-1]) / 100 * size * rng.standard_normal(matrix.shape)
    import torch

    return torch.from_numpy(matrix).to(getattr(torch, noise)).to(torch.float64).numpy()


def case(row: Row, n: int, gauge: str, noise: str, seed: int) -> Case | None:
    """One case; None where the operator has no such size."""
    rng = np.random.default_rng([seed, n, GAUGES.index(gauge), NOISES.index(noise)])
    matrix = row.build(n, rng)
    if matrix is None:
        return None
    clean = gauged(unit(matrix), gauge, rng)
    return Case(row, n, gauge, noise, noisy(clean, noise, rng), clean)


Plan = tuple[Row, int, str, str]
"""A case before it is made: its row, size, gauge and noise."""


def grid(sizes: tuple[int, ...], noises: tuple[str, ...], gauges: tuple[str, ...]) -> Iterator[Plan]:
    """Every case of every row at some sizes, noises and gauges."""
    for row in ROWS:
        for n in row.sizes:
            if n in sizes and n >= row.least:
                for gauge in gauges:
                    yield from ((row, n, gauge, noise) for noise in noises if gauge in row.gauges)
