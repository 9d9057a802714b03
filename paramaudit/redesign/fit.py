"""Fit a layer to what a module did, and judge it on rows that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paramaudit.layers import Envelope
from paramaudit.numerics.exact import affine
from paramaudit.numerics.layers import floats
from paramaudit.numerics.least_squares import best_affine, unexplained
from paramaudit.records import Matrix
from paramaudit.redesign.recording import Recording
from paramaudit.redesign.starts import Affine, Scaled, starts

HELD_OUT = 0.25
"""The part of the rows that no fit sees."""

NOTHING = 0.95
"""A fit that leaves more than this of the held-out rows' spread, 90 % of the variance, explains nothing."""

STEPS = 60


@dataclass(frozen=True)
class Fit:
    """A fitted layer; errors are the part of the spread that is left, see ``unexplained``.

    ``error`` and ``largest`` are of held-out rows, ``seen`` of those it was fitted to, and
    ``affine`` is what the best affine map leaves of the held-out rows.
    """

    layer: nn.Module
    name: str
    error: float
    seen: float
    largest: float
    affine: float
    rows: tuple[int, int]

    @property
    def numbers(self) -> int:
        """Floating-point numbers that it stores."""
        return floats(self.layer)


def fit(operator: str, recording: Recording, dtype: torch.dtype, seed: int = 0) -> Fit:
    """The best of the layers that ``operator`` can mean, fitted to a part of the rows.

    Raises:
        LookupError: there is no such layer for these sizes.
    """
    order = torch.randperm(len(recording.inputs), generator=torch.Generator().manual_seed(seed))
    kept = max(1, round(HELD_OUT * len(order)))
    fresh, known = order[:kept], order[kept:]
    inputs, outputs = recording.inputs[known], recording.outputs[known]
    weight, bias = best_affine(inputs, outputs)
    guesses = starts(operator, inputs, Matrix(weight, bias, dtype))
    if not guesses:
        sizes = f"{inputs.shape[1]} numbers to {outputs.shape[1]}"
        raise LookupError(f"there is no {operator} from {sizes} to fit")
    trained = [_trained(guess, inputs, outputs) for guess in guesses]
    best = min(trained, key=lambda layer: _left(layer, inputs, outputs))
    best = best.to(dtype).double()  # judged with the numbers that are stored
    unseen, expected = recording.inputs[fresh], recording.outputs[fresh]
    with torch.no_grad():
        off = (best(unseen) - expected).abs()
    inner = best.layer if isinstance(best, Scaled) else best
    return Fit(
        best,
        type(inner).__name__,
        _left(best, unseen, expected),
        _left(best, inputs, outputs),
        float(off.max()),
        unexplained(expected, affine(unseen, weight, bias)),
        (len(known), len(fresh)),
    )


def _left(layer: nn.Module, inputs: Tensor, outputs: Tensor) -> float:
    with torch.no_grad():
        left = unexplained(outputs, layer(inputs))
    return left if left == left else float("inf")  # NaN is no fit


def _trained(guess: nn.Module, inputs: Tensor, outputs: Tensor) -> nn.Module:
    """The guess with gains and offsets of its own, trained on the squared error in float64."""
    layer = _scaled(guess, inputs, outputs)
    parameters = [p for p in layer.parameters() if p.requires_grad]
    scale = float((outputs - outputs.mean(0)).square().mean().clamp_min(1e-300))
    optimizer = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn="strong_wolfe")
    before = [p.detach().clone() for p in parameters]

    def loss() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = (layer(inputs) - outputs).square().mean() / scale
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        start = loss().item()
        optimizer.step(loss)  # type: ignore[no-untyped-call]
        worse = not loss().item() <= start
    if worse:  # a line search that ran away leaves the guess as it was
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
    return layer.eval()


def _scaled(guess: nn.Module, inputs: Tensor, outputs: Tensor) -> nn.Module:
    """The guess with the gain and offset of each output that fit best; an affine map has them already."""
    guess = guess.double()
    if isinstance(guess, Affine):
        return guess
    one = torch.ones(outputs.shape[1], dtype=torch.float64)
    plain = Scaled(guess, one, torch.zeros_like(one), isinstance(guess, Envelope))
    with torch.no_grad():
        values = plain(inputs)
        moved, wanted = values - values.mean(0), outputs - outputs.mean(0)
        gain = (moved * wanted).sum(0) / moved.square().sum(0).clamp_min(1e-300)
        plain.gain.copy_(gain)
        plain.offset.copy_(outputs.mean(0) - gain * values.mean(0))
    return plain
