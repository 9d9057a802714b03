"""How large a rounding error does an original itself make? Observed, with the input kept.

A worst-case bound is useless as a yardstick: for a chain of wide layers it exceeds the map itself. So
the original's own implementation is run, in its dtype, on inputs that its dtype represents exactly, and
compared with its own matrix in float64. What is seen is a lower bound on its rounding error.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor

from paramaudit.numerics.exact import AffinePair, affine
from paramaudit.numerics.norms import ROUNDOFF, top_directions
from paramaudit.records import Matrix, Measured

PER = "|[x;1]|"

ALONE = 32
"""How many of the best inputs are run once more, each on its own."""

_STEPS = (2, 8, 24)
"""After so many power steps the direction that is stretched most is tried."""

FAR = 16.0
"""An error so many times larger than those of the first inputs is not looked for."""

DEAR = 1 << 16
"""The search for the largest error of a map of so many numbers takes long."""

COPIES = 16
"""How often such an input is repeated in a batch: from here on products run as they do in any batch."""

Run = Callable[[Tensor], Tensor]
"""An implementation: ``(n, in)`` to ``(n, out)`` in its own dtype."""


def witness(
    run: Run,
    original: Matrix,
    generator: torch.Generator,
    *,
    rows: int = 256,
    rounds: int = 4,
    apart: float | None = None,
) -> tuple[Measured, Tensor]:
    """The largest rounding error of the original that a short search observes.

    Args:
        run: the original's own implementation, ``(n, in)`` to ``(n, out)`` in ``original.dtype``.
        original: the affine map that ``run`` computes, float64.
        generator: draws the inputs.
        rows: inputs tried at first.
        rounds: rounds of 64 changes to the best inputs.
        apart: what the error will be compared with; where the first inputs tell which is the larger by far,
            they are all that is tried of a large map.

    Returns:
        ``|run(x) - (W x + b)| / |[x;1]|`` in Euclidean norms, never more than what was observed when
        ``run`` got ``x`` alone or :data:`COPIES` times in a batch, and that ``x``: ``(in,)`` in
        ``original.dtype``. Inputs on which ``run`` overflows do not count.
    """
    reference = Reference(original)
    inputs = _trials(original, generator, rows)
    errors = reference.errors(run, inputs)
    first = float(errors.max())
    if apart is not None and original.weight.numel() >= DEAR and not apart / FAR < first < 2 * apart:
        found = _reproduced(reference, run, inputs, errors, ALONE // 4)
        if first < apart or found[0].value >= apart:
            return found
    for _ in range(rounds):
        keep = errors.argsort(descending=True)[:8]
        changed = _changed(inputs[keep], generator).to(original.dtype)
        inputs = torch.cat([inputs[keep], changed])
        errors = torch.cat([errors[keep], reference.errors(run, changed)])
    return _reproduced(reference, run, inputs, errors, ALONE)


def _reproduced(
    reference: Reference, run: Run, inputs: Tensor, errors: Tensor, count: int
) -> tuple[Measured, Tensor]:
    """The largest error that one of so many inputs shows again."""
    inputs = inputs[errors.argsort(descending=True)[:count]]
    errors = reference.reproduced(run, inputs)
    best = int(errors.argmax())
    return Measured(float(errors[best]), "euclidean", PER), inputs[best].clone()


class Reference:
    """An affine map with more digits than its dtype has, to hold its implementation to.

    An input or output that is not finite counts 0, and the reference's own error is taken off.
    """

    def __init__(self, original: Matrix) -> None:
        self.original = original
        self._pair = AffinePair(original.weight, original.bias) if original.dtype == torch.float64 else None

    def errors(self, run: Run, inputs: Tensor) -> Tensor:
        """``|run(x) - (W x + b)| / |[x;1]|`` as observed ``(n,)``, on inputs ``(n, in)`` in the dtype."""
        return self._off(run, [inputs], inputs)

    def reproduced(self, run: Run, inputs: Tensor) -> Tensor:
        """The larger error of each input alone and of it :data:`COPIES` times in a batch, ``(n,)``.

        Both, because a product rounds otherwise in a batch: so a kept input shows its error again.
        """
        alone = [one[None] for one in inputs]
        copies = [one.repeat(COPIES, 1) for one in inputs]
        return self._off(run, [batch for pair in zip(alone, copies, strict=True) for batch in pair], inputs)

    def _off(self, run: Run, batches: list[Tensor], inputs: Tensor) -> Tensor:
        """The largest errors ``(n,)`` where the batches hold every input k times, one after the other."""
        with torch.no_grad():
            outputs = torch.cat([run(batch) for batch in batches]).to(device="cpu", dtype=torch.float64)
        exact = inputs.to(torch.float64)
        lengths = torch.sqrt(exact.square().sum(1) + 1)
        weight, bias = self.original.weight, self.original.bias
        outputs = outputs.reshape(len(inputs), -1, len(weight)).transpose(0, 1)
        if self._pair is not None:
            high, low = self._pair(exact)
            errors = ((outputs - high) - low).norm(dim=-1) - self._pair.dropped(exact)
        else:
            size = weight.norm() + (0.0 if bias is None else bias.norm())
            own = 2 * (sum(weight.shape) + 1) * ROUNDOFF * size * lengths
            errors = (outputs - affine(exact, weight, bias)).norm(dim=-1) - own
        errors = errors / lengths
        errors = torch.where(errors.isfinite() & outputs.isfinite().all(-1), errors, 0.0)
        return errors.clamp_min(0.0).amax(0)


def _trials(original: Matrix, generator: torch.Generator, rows: int) -> Tensor:
    """Inputs ``(about rows, in)`` in the original's dtype: of every kind, over several lengths."""
    weight = original.weight
    out, columns = weight.shape
    if original.dtype == torch.float64:  # the reference is dear: some fifteen products of matrices
        rows = max(8, min(rows, int(1e8 / max(1, out * columns))))
    quarter = max(2, rows // 4)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    gaussian = randn(quarter, columns)
    signs = torch.where(randn(quarter, columns) > 0, 1.0, -1.0).to(torch.float64)
    some = torch.randint(columns, (quarter // 2,), generator=generator)
    units = torch.zeros(len(some), columns, dtype=torch.float64)
    units[torch.arange(len(some)), some] = 1 + randn(len(some)).abs()
    some = torch.randint(out, (quarter,), generator=generator)
    aligned = torch.cat([weight[some[: quarter // 2]], torch.sign(weight[some[quarter // 2 :]])])
    tops = list(islice(top_directions(weight, generator), _STEPS[-1] + 1))
    trials = torch.cat([gaussian, signs, units, aligned, torch.stack([tops[steps] for steps in _STEPS])])
    trials = trials / trials.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    lengths = torch.tensor([1.0, 32.0, 0.125, 1024.0, 4.0], dtype=torch.float64)
    trials = trials * lengths[torch.arange(len(trials)) % len(lengths), None]
    return torch.cat([torch.zeros(1, columns, dtype=torch.float64), trials]).to(original.dtype)


def _changed(best: Tensor, generator: torch.Generator) -> Tensor:
    """64 neighbours of the best inputs: nudged, mixed with one another, some signs flipped, rescaled."""
    base = best.to(torch.float64).repeat(-(-64 // len(best)), 1)[:64]
    count, columns = base.shape
    scale = base.norm(dim=1, keepdim=True) / columns**0.5
    noise = torch.randn(base.shape, dtype=torch.float64, generator=generator) * scale
    amount = torch.rand(count, 1, dtype=torch.float64, generator=generator)
    flips = torch.rand(base.shape, dtype=torch.float64, generator=generator) < 0.1 * amount
    mixed = base + base[torch.randperm(count, generator=generator)]
    kinds = [base + 0.5 * amount * noise, torch.where(flips, -base, base), mixed, base * (1 + amount)]
    chosen = torch.arange(count) % len(kinds)
    return torch.stack(kinds)[chosen, torch.arange(count)]
