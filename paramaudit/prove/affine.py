"""The prover of affine maps: how far apart are two of them, for every input?

Two numbers, never merged: the gap between the maps as real-number functions, bounded from above, and
the rounding error of the original, observed. A candidate is safe when the first is not above the second.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from paramaudit.numerics.exact import affine
from paramaudit.numerics.norms import spectral_norm_above, spectral_norm_below, top_direction
from paramaudit.numerics.storage import dtype_name
from paramaudit.prove.rounding import PER, Run, witness
from paramaudit.prove.tiers import graded, trusted
from paramaudit.records import Evidence, Matrix, Measured, Tier

AT_ONCE = 1280
"""So many inputs go through a layer at once: what it computes of itself it computes for each lot anew."""

GLANCE = 32
"""So many inputs tell how a map rounds where the two are much farther apart than any rounding."""


def gap(original: Matrix, candidate: Matrix) -> Measured:
    """A rigorous upper bound on ``|original(x) - candidate(x)| / |[x;1]|`` over all inputs ``x``.

    That is the spectral norm of ``[dW | db]``. Both maps are taken as they are given: rounding that
    went into their float64 numbers is no part of it. Infinite when a number is not finite.

    Raises:
        ValueError: when the two maps have different shapes.
    """
    if original.weight.shape != candidate.weight.shape:
        raise ValueError(_obstacle(original, candidate))
    ours, theirs = _pair(original, candidate)
    return Measured(spectral_norm_above(ours - theirs), "spectral", PER)


def judge(
    original: Matrix,
    candidate: Matrix,
    run: Run,
    generator: torch.Generator,
    observed: Callable[[], tuple[Measured, Tensor]] | None = None,
) -> Evidence:
    """What can be said about replacing one affine map by another.

    Args:
        original: the map as it is, float64, with the dtype that computes it.
        candidate: the map proposed, with stored numbers as they will be stored (see :func:`dense`).
        run: the original's own implementation, ``(n, in)`` to ``(n, out)`` in its dtype.
        generator: draws the inputs on which the original is observed.
        observed: what :func:`witness` returned, where the original was observed before for another candidate.

    Returns:
        ``exact``, ``rounding``, ``bounded``, or ``refuted`` with an input on which the maps differ.
    """
    obstacle = _obstacle(original, candidate)
    if obstacle:
        return Evidence(Tier.REFUTED, obstacle)
    same = _same_numbers(original, candidate)
    if same:
        return Evidence(Tier.EXACT, same, gap=gap(original, candidate))
    apart = gap(original, candidate)
    ours, _ = _pair(original, candidate)
    if not trusted(apart.value, float(ours.norm()), original.noise):  # no rounding would be trusted to be it
        seen, where = witness(run, original, generator, rows=GLANCE, rounds=0)
    elif observed is not None:
        seen, where = observed()
    else:
        seen, where = witness(run, original, generator, apart=apart.value)
    norm = spectral_norm_below(ours, generator)
    words = ("input x", "the map's norm", "map")
    evidence = graded(apart, seen, norm, original.dtype, original.noise, words)
    if evidence is None:
        evidence = _refute(original, candidate, apart, seen, generator)
    return replace(evidence, witness_input=where)


def dense(layer: nn.Module, columns: int, dtype: torch.dtype) -> Matrix:
    """The affine map of a layer, with its stored numbers rounded to the dtype they will be stored in.

    Args:
        layer: maps ``(n, columns)`` to ``(n, out)``; left as it is.
        columns: the input's size.
        dtype: the dtype of the stored numbers.

    Raises:
        ValueError: when the layer is seen not to be affine. Seeing it affine on a basis and a few
            random inputs is no proof; that is what the layer's own tests are for.
    """
    stored = copy.deepcopy(layer).to(dtype).to(torch.float64).eval()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        probe = torch.randn(4, columns, dtype=torch.float64, generator=generator)
        probe = probe * torch.tensor([[1.0], [-1.0], [1e-3], [1e3]], dtype=torch.float64)
        nothing, eye = torch.zeros(1, columns, dtype=torch.float64), torch.eye(columns, dtype=torch.float64)
        inputs = torch.cat([nothing, probe, eye])
        outputs = torch.cat([stored(part) for part in torch.split(inputs, AT_ONCE)])
        bias: Tensor = outputs[0]
        has_bias = bool((bias != 0).any())
        weight = (outputs[5:] - bias if has_bias else outputs[5:]).T.contiguous()
        off = (outputs[1:5] - affine(probe, weight, bias)).norm(dim=1)
    size = (weight.norm() + bias.norm()) * (1 + probe.norm(dim=1))
    if bool((off > 1e-12 * size).any()):
        raise ValueError(f"{type(layer).__name__} is not an affine map")
    return Matrix(weight, bias if has_bias else None, dtype)


def _joined(weight: Tensor, bias: Tensor | None) -> Tensor:
    """``[W | b]``, ``(out, in + 1)``: the map acting on ``[x;1]``."""
    column = torch.zeros(weight.shape[0], 1, dtype=weight.dtype) if bias is None else bias[:, None]
    return torch.cat([weight, column], dim=1)


def _pair(original: Matrix, candidate: Matrix) -> tuple[Tensor, Tensor]:
    """Both as ``[W | b]``, or as ``W`` where neither has a bias."""
    if original.bias is None and candidate.bias is None:
        return original.weight, candidate.weight
    return _joined(original.weight, original.bias), _joined(candidate.weight, candidate.bias)


def _difference(original: Matrix, candidate: Matrix) -> Tensor:
    return _joined(original.weight, original.bias) - _joined(candidate.weight, candidate.bias)


def _obstacle(original: Matrix, candidate: Matrix) -> str:
    """Why the two cannot be compared; empty when they can."""
    if original.weight.shape != candidate.weight.shape:
        ours, theirs = (f"{m.weight.shape[1]} numbers to {m.weight.shape[0]}" for m in (original, candidate))
        return f"the original maps {ours}, the candidate {theirs}"
    for name, numbers in zip(("original", "candidate"), _pair(original, candidate), strict=True):
        bad = int((~numbers.isfinite()).sum())
        if bad:
            return f"{bad} of the {name}'s numbers are NaN or infinite, so nothing can be compared"
    return ""


def _same_numbers(original: Matrix, candidate: Matrix) -> str:
    """Why the two hold the same numbers; empty when they do not."""
    ours, theirs = _pair(original, candidate)
    if torch.equal(theirs, ours):
        return "the candidate computes the same numbers, to the last bit"
    name = dtype_name(original.dtype)
    for stored, computed in ((ours, theirs), (theirs, ours)):
        if torch.equal(stored, computed.to(original.dtype).to(torch.float64)):
            return f"every stored number is the computed one rounded to {name}"
    return ""


def _refute(
    original: Matrix, candidate: Matrix, apart: Measured, seen: Measured, generator: torch.Generator
) -> Evidence:
    """An input in the original's dtype on which the two maps differ by more than rounding."""
    difference = _difference(original, candidate)
    direction = top_direction(difference, generator)
    along, last = direction[:-1], float(direction[-1])
    scales = [1.0, 16.0, 1024.0] + ([1 / last] if abs(last) > 1e-3 else [])
    heaviest = int(difference[:, :-1].square().sum(0).argmax()) if along.numel() else 0
    unit = torch.zeros_like(along)
    unit[heaviest : heaviest + 1] = 1.0
    trials = torch.stack([torch.zeros_like(along), 16 * unit, *(scale * along for scale in scales)])
    trials = trials.to(original.dtype)
    exact = trials.to(torch.float64)
    lengths = torch.sqrt(exact.square().sum(1) + 1)
    off = affine(exact, difference[:, :-1], difference[:, -1]).norm(dim=1) / lengths
    off = torch.where(off.isfinite(), off, 0.0)
    best = int(off.argmax())
    error = float(off[best])
    if error > seen.value:
        times = f"{error / seen.value:.0f} times" if seen.value > 0 else "and the original makes none of"
        reason = (
            f"the two differ: on the kept input by {error:.1e} {PER}, {times} the rounding seen in the "
            f"original, {seen.value:.1e} {PER}"
        )
        return Evidence(Tier.REFUTED, reason, gap=apart, witness=seen, counterexample=trials[best].clone())
    reason = (
        f"cannot be shown: the two differ by at most {apart.value:.1e} {PER}, too much to call rounding, "
        f"and no input was found on which they differ by more than the original's own {seen.value:.1e} {PER}"
    )
    return Evidence(Tier.REFUTED, reason, gap=apart, witness=seen)
