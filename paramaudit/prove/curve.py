"""The prover of curves: how far apart are two piecewise-linear functions of one variable, for every input?

As for affine maps, two numbers that are never merged: the gap between the two functions, bounded from above
over the whole domain, and the rounding error of the original, observed. The difference of two curves is
piecewise linear, so what happens at the knots of both says all.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from paramaudit.numerics import piecewise
from paramaudit.prove.rounding import COPIES, PER, Run
from paramaudit.prove.tiers import graded
from paramaudit.records import Curve, Evidence, Measured, Tier

_RATIO = 1.01
"""Neighbouring points at which a difference is looked at are at most this far apart in ``|[t;1]|``."""
_FAR = 2.0**14
_ALONE = 8
_EPS = 2.0**-52


def curve_gap(original: Curve, candidate: Curve) -> Measured:
    """A rigorous upper bound on ``|f(t) - g(t)| / |[t;1]|`` over the original's domain.

    On a piece the difference is at most its larger end, and ``|[t;1]|`` at least its smaller one; pieces
    are cut until those differ by 1 %. Beyond the last point the slopes bound it. What the two records
    may be off by, and the rounding of this sum itself, is added.

    Raises:
        ValueError: the curves have different channels or domains.
    """
    obstacle = _obstacle(original, candidate)
    if obstacle:
        raise ValueError(obstacle)
    points, apart = _difference(original, candidate)
    lengths = _length(points)
    pieces = torch.maximum(apart[:-1], apart[1:]) / torch.minimum(lengths[:-1], lengths[1:])
    worst = float(pieces.max()) if len(pieces) else float(apart.max() / lengths.min())
    if original.domain is None:
        # Beyond a last knot k: |d(t)| <= |d(k)| + s |t - k|, where |d(k)| is at most worst |[k;1]|, and every
        # t beyond the last point is farther out than _FAR |[k;1]|.
        steepest = max(
            float(s.norm()) for s in (original.left - candidate.left, original.right - candidate.right)
        )
        worst = max(worst, steepest + (worst + steepest) / _FAR)
    slack = 64 * _EPS * (_largest(original) + _largest(candidate))
    return Measured(worst * (1 + 1e-12) + slack + original.error + candidate.error, "uniform", PER)


def judge_curves(original: Curve, candidate: Curve, run: Run, generator: torch.Generator) -> Evidence:
    """What can be said about replacing one function of one variable by another.

    Args:
        original: the function as it is, with the dtype that computes it.
        candidate: what the proposed layer computes by its own graph, its numbers as they will be stored.
        run: the original's own implementation, ``(n, 1)`` to ``(n, c)`` in its dtype.
        generator: draws the inputs on which the original is observed.

    Returns:
        ``exact``, ``rounding``, ``bounded``, or ``refuted`` with a ``t`` at which the two differ.
    """
    obstacle = _obstacle(original, candidate)
    if obstacle:
        return Evidence(Tier.REFUTED, obstacle)
    apart = curve_gap(original, candidate)
    if _same(original, candidate):
        return Evidence(Tier.EXACT, "the candidate is the same curve, to the last bit", gap=apart)
    seen, at = curve_witness(run, original, generator)
    size = norm_below(original)
    where = (
        "input t" if original.domain is None else f"t from {original.domain[0]:g} to {original.domain[1]:g}"
    )
    words = (where, "the largest value", "curve")
    evidence = graded(apart, seen, size, original.dtype, original.noise, words)
    if evidence is None:
        evidence = _refute(original, candidate, apart, seen)
    return replace(evidence, witness_input=at)


def curve_witness(
    run: Run, original: Curve, generator: torch.Generator, *, points: int = 1024, rounds: int = 3
) -> tuple[Measured, Tensor]:
    """The largest rounding error of the original that a short search observes.

    Args:
        run: the original's own implementation, ``(n, 1)`` to ``(n, c)`` in ``original.dtype``.
        original: the function that ``run`` computes.
        generator: draws the inputs.
        points: inputs tried at first.
        rounds: rounds of neighbours of the best inputs.

    Returns:
        ``|run(t) - f(t)| / |[t;1]|`` in Euclidean norms, less what ``f`` itself may be off by, when
        ``run`` got ``t`` alone or :data:`~paramaudit.prove.rounding.COPIES` times; and that ``t``, ``(1,)``.
    """
    inputs = _trials(original, generator, points)
    errors = _observe(run, original, inputs)
    for _ in range(rounds):
        keep = errors.argsort(descending=True)[:16]
        close = _neighbours(inputs[keep], original, generator)
        inputs = torch.cat([inputs[keep], close])
        errors = torch.cat([errors[keep], _observe(run, original, close)])
    # Alone and repeated, because a product rounds otherwise in a batch: so the kept input shows it again.
    inputs = inputs[errors.argsort(descending=True)[:_ALONE]]
    errors = torch.stack([_reproduced(run, original, one) for one in inputs])
    best = int(errors.argmax())
    return Measured(float(errors[best]), "euclidean", PER), inputs[best].clone()


def norm_below(view: Curve) -> float:
    """A lower bound on the largest ``|f(t)| / |[t;1]|``."""
    inner = view.values.norm(dim=1) / _length(view.knots)
    ends = [0.0, 0.0] if view.domain is not None else [float(s.norm()) for s in (view.left, view.right)]
    return max([0.0, max(float(inner.max()), *ends) * (1 - 1e-12) - view.error])


def _difference(first: Curve, second: Curve) -> tuple[Tensor, Tensor]:
    """Points ``(n,)`` between which both are straight, and the norms of the differences there."""
    points = _points(first, second)
    parts = []
    for block in torch.split(points, max(1, 2**22 // first.values.shape[1])):
        mine, theirs = (piecewise.at(piecewise.lines_of(view), block) for view in (first, second))
        parts.append((mine - theirs).norm(dim=1))
    return points, torch.cat(parts)


def _points(first: Curve, second: Curve) -> Tensor:
    """The knots of both, and so many more that neighbours have nearly the same ``|[t;1]|``.

    Zero is one of them, so that ``|[t;1]|`` only grows or only shrinks between two neighbours.
    """
    knots = piecewise.sorted_once(first.knots, second.knots)
    low, high = first.domain or (float(knots[0]), float(knots[-1]))
    reach = max(abs(low), abs(high))
    if first.domain is None:
        reach = (1 + reach) * _FAR
    count = math.ceil(math.asinh(reach) / math.log(_RATIO)) + 1
    steps = torch.sinh(torch.arange(count + 1, dtype=torch.float64) * math.log(_RATIO))
    grid = torch.cat([-steps, steps])
    if first.domain is not None:
        grid = grid[(grid > low) & (grid < high)]
        knots = knots[(knots >= low) & (knots <= high)]
    return piecewise.sorted_once(knots, grid)


def _length(points: Tensor) -> Tensor:
    return torch.sqrt(points.square() + 1)


def _largest(view: Curve) -> float:
    return 2 * float(piecewise.largest(piecewise.lines_of(view)).norm())


def _obstacle(original: Curve, candidate: Curve) -> str:
    """Why the two cannot be compared; empty when they can."""
    ours, theirs = original.values.shape[1], candidate.values.shape[1]
    if ours != theirs:
        return f"the original has {ours} channels, the candidate {theirs}"
    if original.domain != candidate.domain:
        return f"the original is known on {original.domain}, the candidate on {candidate.domain}"
    for name, view in (("original", original), ("candidate", candidate)):
        parts = (view.knots, view.values, view.left, view.right)
        if not all(bool(p.isfinite().all()) for p in parts) or not math.isfinite(view.error):
            return f"a number of the {name} is NaN or infinite, so nothing can be compared"
    return ""


def _same(first: Curve, second: Curve) -> bool:
    """Whether both hold the same numbers, and no rounding went into them."""
    pairs = zip(*((v.knots, v.values, v.left, v.right) for v in (first, second)), strict=True)
    return first.error == second.error == 0.0 and all(torch.equal(a, b) for a, b in pairs)


def _observe(run: Run, original: Curve, inputs: Tensor) -> Tensor:
    """The observed errors ``(n,)`` at inputs ``(n, 1)`` in the original's dtype, what is certain of them."""
    with torch.no_grad():
        outputs = run(inputs).to(device="cpu", dtype=torch.float64)
    exact = inputs[:, 0].to(torch.float64)
    true = piecewise.at(piecewise.lines_of(original), exact)
    errors = (outputs - true).norm(dim=1) / _length(exact)
    slack = original.error + 64 * _EPS * _largest(original)
    return torch.where(errors.isfinite(), errors - slack, 0.0).clamp_min(0.0)


def _reproduced(run: Run, original: Curve, one: Tensor) -> Tensor:
    """The larger error at one input ``(1,)``, alone or several times in a batch."""
    alone = _observe(run, original, one[None])
    return torch.cat([alone, _observe(run, original, one.repeat(COPIES, 1))]).max()


def _trials(original: Curve, generator: torch.Generator, count: int) -> Tensor:
    """Inputs ``(n, 1)`` in the original's dtype: over the domain, at knots, and far out."""

    def draw(number: int) -> Tensor:
        return torch.rand(number, dtype=torch.float64, generator=generator)

    some = torch.randint(len(original.knots), (count // 2,), generator=generator)
    knots = original.knots[some]
    if original.domain is not None:
        low, high = original.domain
        spread = low + (high - low) * draw(count)
    else:
        scale = float(original.knots.abs().median().clamp_min(1e-3))
        sign = torch.where(draw(count) < 0.5, -1.0, 1.0).to(torch.float64)
        spread = torch.where(
            torch.arange(count) % 2 == 0,
            3 * scale * (2 * draw(count) - 1),
            sign * 2.0 ** (14 * draw(count) - 4),
        )
    return _inside(torch.cat([knots, spread]), original)


def _neighbours(best: Tensor, original: Curve, generator: torch.Generator) -> Tensor:
    """Numbers close to the best inputs, from the next one of the dtype on, and some shrunk or grown."""
    base = best[:, 0].to(torch.float64).repeat(16)
    power = torch.rand(len(base), dtype=torch.float64, generator=generator)
    sign = torch.where(torch.rand(len(base), generator=generator) < 0.5, -1.0, 1.0).to(torch.float64)
    relative = 2 * original.noise * (0.1 / (2 * original.noise)) ** power
    return _inside(base * (1 + sign * relative) + sign * original.noise, original)


def _inside(points: Tensor, original: Curve) -> Tensor:
    """Points rounded to the dtype, those that then leave the domain left out, as ``(n, 1)``."""
    rounded = points.to(original.dtype)
    exact = rounded.to(torch.float64)
    kept = exact.isfinite()
    if original.domain is not None:
        kept &= (exact >= original.domain[0]) & (exact <= original.domain[1])
    rounded = rounded[kept]
    return rounded[:, None] if len(rounded) else original.knots[:1, None].to(original.dtype)


def _refute(original: Curve, candidate: Curve, apart: Measured, seen: Measured) -> Evidence:
    """A ``t`` in the original's dtype at which the two differ by more than rounding."""
    points, off = _difference(original, candidate)
    best = (off / _length(points)).argsort(descending=True)[:64]
    trials = _inside(points[best], original)
    exact = trials[:, 0].to(torch.float64)
    mine, theirs = (piecewise.at(piecewise.lines_of(view), exact) for view in (original, candidate))
    errors = (mine - theirs).norm(dim=1) / _length(exact) - original.error - candidate.error
    at = int(errors.argmax())
    error = float(errors[at])
    if error > seen.value:
        times = f"{error / seen.value:.0f} times" if seen.value > 0 else "and the original makes none of"
        reason = (
            f"the two differ: at t = {float(exact[at]):g} by {error:.1e} {PER}, {times} the rounding seen in "
            f"the original, {seen.value:.1e} {PER}"
        )
        return Evidence(Tier.REFUTED, reason, gap=apart, witness=seen, counterexample=trials[at].clone())
    reason = (
        f"cannot be shown: the two differ by at most {apart.value:.1e} {PER}, too much to call rounding, "
        f"and no input was found on which they differ by more than the original's own {seen.value:.1e} {PER}"
    )
    return Evidence(Tier.REFUTED, reason, gap=apart, witness=seen)
