"""How much faster each public layer is than the dense layers it replaces, on the CPU.

    python benchmarks/layers.py               # about a minute; writes results/layers.md

Both are timed in turn in the same process without gradients, in float32, at batch 8: medians of blocks of
passes after two warm-up passes. A ratio above 1 says that the layer is faster. What is dense is said in the
table: mostly the one matrix that computes the same map, which is the kindest choice for the dense side.
"""

from __future__ import annotations

import gc
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from paramaudit import layers
from paramaudit.measure import interleaved

HERE = Path(__file__).resolve().parent
SIZES = (256, 1024, 4096)
BATCH = 8
FILTERS = 4
TIMES = 64
STATES = 4
SECONDS = 1.0


@dataclass(frozen=True)
class Row:
    """A layer of size n, and the dense layers that it replaces."""

    layer: str
    dense: str
    build: Callable[[int], tuple[Callable[..., object], Callable[..., object], tuple[Tensor, ...]]]


def linear(columns: int, rows: int) -> nn.Linear:
    """Without the seconds that initialising a large one takes; its numbers do not change its time."""
    layer = nn.utils.skip_init(nn.Linear, columns, rows, bias=False)
    nn.init.constant_(layer.weight, 0.01)
    return layer


def framed(layer: Callable[[int], nn.Module], outputs: Callable[[int], int]) -> Callable[[int], tuple]:
    """A layer over frames of n samples against one matrix with as many outputs."""
    return lambda n: (linear(n, outputs(n)), layer(n), (torch.randn(BATCH, n),))


def curve(n: int) -> tuple:
    """One hidden layer of n units over a time variable."""
    network = nn.Sequential(nn.Unflatten(-1, (-1, 1)), linear(1, n), nn.ReLU(), linear(n, FILTERS))
    return network, layers.Envelope(FILTERS), (torch.rand(BATCH, TIMES),)


def head(n: int) -> tuple:
    """Two linear layers with nothing between."""
    return nn.Sequential(linear(n, n), linear(n, 2)), layers.StyleMap(n), (torch.randn(BATCH, n),)


def kalman() -> layers.KalmanFilter:
    """A filter of a few states that are all observed."""
    eye = torch.eye(STATES)
    return layers.KalmanFilter(0.9 * eye, eye, 0.1 * eye, 0.5 * eye)


def tracker(n: int) -> tuple:
    """A network of one hidden layer from state and observation to state, its covariance passed on."""
    network, layer = nn.Sequential(linear(2 * STATES, n), nn.ReLU(), linear(n, STATES)), kalman()
    inputs = torch.randn(BATCH, STATES), torch.eye(STATES), torch.randn(BATCH, STATES)
    return lambda s, p, z: (network(torch.cat([s, z], -1)), p), layer, inputs


def steady_tracker(n: int) -> tuple:
    """All states of a sequence from all its observations, n numbers each."""
    dense, layer, start = linear(n, n), kalman().steady_state(), torch.zeros(STATES)
    inputs = (torch.randn(BATCH, n // STATES, STATES),)
    return lambda z: dense(z.flatten(-2)), lambda z: layer.filter(start, z), inputs


SAME = "n to n"
BANK = f"n to {FILTERS} n"
SOS = [0.2, 0.0, -0.2, 1.0, -1.2, 0.7]
ROWS = (
    Row("Spectrum, power", "n to n + 2, squared and added", lambda n: spectrum(n)),
    Row("WaveletBank, db4, 4 levels", SAME, framed(lambda n: layers.WaveletBank("db4", 4, n), lambda n: n)),
    Row(f"Envelope, {FILTERS} channels", f"1 to n to {FILTERS}, {TIMES} times each", curve),
    Row("DelayLine, 4 taps", SAME, framed(lambda _: layers.DelayLine([0, 7, 37, 99]), lambda n: n)),
    Row("DelayLine, 32 taps", SAME, framed(lambda _: layers.DelayLine(range(0, 224, 7)), lambda n: n)),
    Row("FeedbackComb, delay 37", SAME, framed(lambda _: layers.FeedbackComb(37), lambda n: n)),
    Row("AllPass, delay 37", SAME, framed(lambda _: layers.AllPass(37), lambda n: n)),
    Row("BiquadBank", BANK, framed(lambda _: layers.BiquadBank(FILTERS, SOS), lambda n: FILTERS * n)),
    Row("ResonatorBank", BANK, framed(lambda _: layers.ResonatorBank(FILTERS), lambda n: FILTERS * n)),
    Row("StyleMap", "n to n to 2", head),
    Row(f"KalmanFilter, {STATES} states", f"{2 * STATES} to n to {STATES}", tracker),
    Row(f"SteadyKalmanFilter.filter, {STATES} states", f"{SAME}, T = n / {STATES}", steady_tracker),
)


def spectrum(n: int) -> tuple:
    """Real and imaginary rows of all bins, then powers."""
    dense = linear(n, n + 2)

    def powers(x: Tensor) -> Tensor:
        real, imaginary = dense(x).chunk(2, -1)
        return real.square() + imaginary.square()

    return powers, layers.Spectrum(n, output="power"), (torch.randn(BATCH, n),)


def shown(ratio: float) -> str:
    """Two digits, more of them before the point."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def main() -> None:
    """Measure, print and write the table."""
    torch.manual_seed(0)
    lines = [
        "# Public layers against the dense layers they replace",
        "",
        f"Time of dense / time of layer, above 1 where the layer is faster; float32, batch {BATCH}, no "
        f"gradients; medians, timed in turn. torch {torch.__version__}, {torch.get_num_threads()} thread(s), "
        f"{platform.machine()}.",
        "",
        f"| layer | dense | {' | '.join(f'n = {n}' for n in SIZES)} |",
        f"|---|---|{'---:|' * len(SIZES)}",
    ]
    for row in ROWS:
        ratios = []
        for n in SIZES:
            dense, layer, inputs = row.build(n)
            ratios.append(interleaved(dense, layer, inputs, budget_s=SECONDS).ratio)
            del dense, layer
            gc.collect()
        lines.append(f"| {row.layer} | {row.dense} | {' | '.join(map(shown, ratios))} |")
        sys.stderr.write(lines[-1] + "\n")
    text = "\n".join([*lines, ""])
    target = HERE / "results" / "layers.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
