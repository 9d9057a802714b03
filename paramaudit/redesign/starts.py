"""The layers that a rule can mean, as first guesses for a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from paramaudit.layers import DelayLine, Envelope, FeedbackComb, ResonatorBank, Spectrum
from paramaudit.numerics.diagonals import toeplitz_fit
from paramaudit.numerics.layers import owned
from paramaudit.operators import looking_at
from paramaudit.records import Matrix

TAPS = 32
"""How many echoes a fitted delay line may have."""

Start = Callable[[Tensor, Matrix, int], Iterator[nn.Module]]


class Affine(nn.Module):
    """``W x + b``, ``(..., in)`` to ``(..., out)``."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = owned(weight), owned(bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """The affine map."""
        return inputs @ self.weight.T + self.bias


class Scaled(nn.Module):
    """A layer whose outputs have a trained gain and offset each.

    Args:
        layer: maps ``(..., in)`` to ``(..., out)``, or to more dimensions that are flattened.
        gain: ``(out,)``.
        offset: ``(out,)``.
        over_time: whether the layer takes times ``(...,)`` instead of features of size 1.
    """

    def __init__(self, layer: nn.Module, gain: Tensor, offset: Tensor, over_time: bool = False) -> None:
        super().__init__()
        self.layer, self.over_time = layer, over_time
        self.gain, self.offset = owned(gain), owned(offset)

    def forward(self, inputs: Tensor) -> Tensor:
        """The layer's outputs, scaled and moved."""
        outputs: Tensor = self.layer(inputs.squeeze(-1) if self.over_time else inputs)
        outputs = outputs.flatten(-2) if outputs.dim() > inputs.dim() else outputs
        return outputs * self.gain + self.offset


class Hinges(nn.Module):
    """A continuous curve of straight lines in one variable, ``(..., 1)`` to ``(..., out)``."""

    def __init__(self, knots: Tensor, outputs: int) -> None:
        super().__init__()
        self.knots = owned(knots)
        self.bends = owned(torch.zeros(len(knots) + 1, outputs, dtype=knots.dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        """A line and one hinge for each knot."""
        hinges = torch.relu(inputs - self.knots)
        return torch.cat([inputs, hinges], -1) @ self.bends


def starts(operator: str, inputs: Tensor, affine: Matrix) -> list[nn.Module]:
    """First guesses for an operator, each ``(..., in)`` to ``(..., out)`` up to gains and offsets.

    Args:
        operator: what the rule names.
        inputs: ``(rows, in)``, what the module read.
        affine: the best affine map of the recording.
    """
    outputs = affine.weight.shape[0]
    special = _STARTS.get(operator)
    found = list(special(inputs, affine, outputs)) if special is not None else []
    for named in looking_at(Matrix):
        layer = named.propose(affine) if named.name == operator else None
        if layer is not None:
            found.append(layer)
    return found


def _affine(inputs: Tensor, affine: Matrix, outputs: int) -> Iterator[nn.Module]:  # noqa: ARG001
    bias = affine.bias if affine.bias is not None else affine.weight.new_zeros(outputs)
    yield Affine(affine.weight, bias)


def _spectrum(inputs: Tensor, affine: Matrix, outputs: int) -> Iterator[nn.Module]:  # noqa: ARG001
    size = inputs.shape[1]
    bins = size // 2 + 1
    for first in (0, 1):
        for window in ("hann", "rectangular"):
            if outputs % 2 == 0 and first + outputs // 2 <= bins:
                yield Spectrum(size, (first, first + outputs // 2), window, "real-imaginary")
            if first + outputs <= bins:
                yield Spectrum(size, (first, first + outputs), window, "magnitude")
                yield Spectrum(size, (first, first + outputs), window, "power")


def _envelope(inputs: Tensor, affine: Matrix, outputs: int) -> Iterator[nn.Module]:  # noqa: ARG001
    end = float(inputs.max())
    if inputs.shape[1] == 1 and end > 0:
        for attack, release in ((0.1, 0.3), (0.3, 0.3), (0.05, 0.1)):
            yield Envelope(
                outputs, attack=attack * end, decay=0.2 * end, release=release * end, end=end
            ).double()


def _curve(inputs: Tensor, affine: Matrix, outputs: int) -> Iterator[nn.Module]:  # noqa: ARG001
    if inputs.shape[1] == 1:
        for knots in (2, 8):
            inner = torch.linspace(0, 1, knots + 2, dtype=inputs.dtype)[1:-1]
            yield Hinges(torch.quantile(inputs[:, 0], inner), outputs)


def _response(affine: Matrix) -> Tensor | None:
    """The impulse response of the nearest causal filter, None where in and out differ in size."""
    rows, columns = affine.weight.shape
    if rows != columns or rows < 2:
        return None
    means, _ = toeplitz_fit(affine.weight)
    return means[columns - 1 :]


def _delays(inputs: Tensor, affine: Matrix, outputs: int) -> Iterator[nn.Module]:  # noqa: ARG001
    response = _response(affine)
    if response is not None:
        for taps in (1, 8, TAPS):
            strongest = response.abs().argsort(descending=True)[:taps].sort().values
            yield DelayLine([int(i) for i in strongest], gains=response[strongest]).double()


def _comb(inputs: Tensor, affine: Matrix, outputs: int) -> Iterator[nn.Module]:  # noqa: ARG001
    response = _response(affine)
    if response is not None and float(response[0]) != 0:
        delay = 1 + int(response[1:].abs().argmax())
        gain = float(response[delay] / response[0])
        yield FeedbackComb(delay, max(-0.95, min(0.95, gain))).double()


def _resonators(inputs: Tensor, affine: Matrix, outputs: int) -> Iterator[nn.Module]:  # noqa: ARG001
    size = inputs.shape[1]
    if outputs % size == 0:
        yield ResonatorBank(outputs // size).double()


_STARTS: Mapping[str, Start] = {
    **dict.fromkeys(("linear-chain", "state-space", "kalman", "low-rank"), _affine),
    **dict.fromkeys(("rdft", "dft", "stft"), _spectrum),
    **dict.fromkeys(("delay", "fir", "reverb"), _delays),
    **dict.fromkeys(("knee", "piecewise"), _curve),
    "envelope": _envelope,
    "comb": _comb,
    "iir": _resonators,
}
