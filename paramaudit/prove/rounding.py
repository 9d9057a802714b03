"""How large a rounding error does an original itself make? Observed, with the input kept.

A worst-case bound is useless as a yardstick: for a chain of wide layers it exceeds the map itself. So
the original's own implementation is run, in its dtype, on inputs that its dtype represents exactly, and
compared with its own matrix in float64. What is seen is a lower bound on its rounding error.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from paramaudit.numerics.exact import affine, affine_pair
from paramaudit.numerics.norms import ROUNDOFF, top_direction
from paramaudit.records import Matrix, Measured

PER = "|[x;1]|"

ALONE = 32
"""How many of the best inputs are run once more, each on its own."""

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
) -> tuple[Measured, Tensor]:
    """The largest rounding error of the original that a short search observes.

    Args:
        run: the original's own implementation, ``(n, in)`` to ``(n, out)`` in ``original.dtype``.
        original: the affine map that ``run`` computes, float64.
        generator: draws the inputs.
        rows: inputs tried at first.
        rounds: rounds of 64 changes to the best inputs.

    Returns:
        ``|run(x) - (W x + b)| / |[x;1]|`` in Euclidean norms, never more than what was observed when
        ``run`` got ``x`` alone or :data:`COPIES` times in a batch, and that ``x``: ``(in,)`` in
        ``original.dtype``. Inputs on which ``run`` overflows do not count.
    """
    inputs = _trials(original, generator, rows)
    errors = observe(run, original, inputs)
    for _ in range(rounds):
        keep = errors.argsort(descending=True)[:8]
        changed = _changed(inputs[keep], generator).to(original.dtype)
        inputs = torch.cat([inputs[keep], changed])
        errors = torch.cat([errors[keep], observe(run, original, changed)])
    # Alone and repeated, because a product rounds otherwise in a batch: so the kept input shows it again.
    inputs = inputs[errors.argsort(descending=True)[:ALONE]]
    errors = torch.stack([reproduced(run, original, one) for one in inputs])
    best = int(errors.argmax())
    return Measured(float(errors[best]), "euclidean", PER), inputs[best].clone()


def reproduced(run: Run, original: Matrix, one: Tensor) -> Tensor:
    """The larger error on one input ``(in,)``, alone or :data:`COPIES` times in a batch."""
    alone = observe(run, original, one[None])
    return torch.cat([alone, observe(run, original, one.repeat(COPIES, 1))]).max()


def observe(run: Run, original: Matrix, inputs: Tensor) -> Tensor:
    """The observed errors ``(n,)`` of ``run`` on inputs ``(n, in)`` in the original's dtype.

    The float64 reference's own error is taken off; an input or output that is not finite counts 0.
    """
    with torch.no_grad():
        outputs = run(inputs).to(device="cpu", dtype=torch.float64)
    exact = inputs.to(torch.float64)
    lengths = torch.sqrt(exact.square().sum(1) + 1)
    if original.dtype == torch.float64:
        high, low = affine_pair(exact, original.weight, original.bias)
        errors = ((outputs - high) - low).norm(dim=1)
    else:
        errors = (outputs - affine(exact, original.weight, original.bias)).norm(dim=1)
        size = original.weight.norm() + (0.0 if original.bias is None else original.bias.norm())
        errors = errors - 2 * (sum(original.weight.shape) + 1) * ROUNDOFF * size * lengths
    errors = errors / lengths
    return torch.where(errors.isfinite() & outputs.isfinite().all(1), errors, 0.0).clamp_min(0.0)


def _trials(original: Matrix, generator: torch.Generator, rows: int) -> Tensor:
    """Inputs ``(about rows, in)`` in the original's dtype: of every kind, over several lengths."""
    weight = original.weight
    out, columns = weight.shape
    if original.dtype == torch.float64:  # the reference is dear: about 2e8 elementary products
        rows = max(8, min(rows, int(2e8 / max(1, out * columns))))
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
    tops = [top_direction(weight, generator, steps) for steps in (2, 8, 24)]
    trials = torch.cat([gaussian, signs, units, aligned, torch.stack(tops)])
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
