"""The prover of paired ReLU units: how far is ``V relu(W x) + d`` from its linear half, for every input?"""

from __future__ import annotations

import torch
from torch import Tensor

from paramaudit.numerics.exact import affine
from paramaudit.numerics.norms import ROUNDOFF, spectral_norm_above
from paramaudit.prove.rounding import PER, witness
from paramaudit.prove.tiers import earned
from paramaudit.records import Evidence, Matrix, Measured, PairedUnits, Tier


def judge_pairs(claim: PairedUnits) -> Evidence:
    """Evidence for replacing ``x -> V relu(W x~) + d`` by ``x -> V W x~ / 2 + d``.

    Since relu(t) = (t + |t|) / 2, the gap is V |W x~| / 2. With w_j = -c w_i + e for each pair,
    ``| |w_j x~| - c |w_i x~| | <= |e x~|``, so the gap is at most ``(|V_i + c V_j| |W_i| + |V_j| |E|) / 2``
    in spectral norms, times ``|x~|``. Each product may be balanced by a diagonal between its factors, and
    both may be bounded as one.
    """
    first, second, dtype = claim.first, claim.second, claim.dtype
    if not torch.equal(torch.cat(claim.pairs).sort().values, torch.arange(len(first))):
        return Evidence(Tier.REFUTED, "some of its ReLU units have no partner of their own")
    linear = linear_half(claim)
    stored = torch.cat([linear.weight, linear.bias[:, None]], 1) if linear.bias is not None else linear.weight
    # the candidate's own numbers are rounded once to dtype; half a unit in the last place of each
    value = _apart(first, second[:, :-1], claim.pairs)
    value += spectral_norm_above(stored.to(dtype).to(torch.float64) - stored)
    gap = Measured(value, "spectral", PER)
    seen, at = _observed(claim, linear)
    reason = (
        f"its ReLU units pair up: for every input x the block and the linear map differ by at most "
        f"{value:.1e} {PER}; the block itself was seen to be off by {seen.value:.1e} {PER} through rounding"
    )
    if value == 0.0:
        return Evidence(Tier.EXACT, "relu(a) - relu(-a) = a for every pair of units", gap=gap, witness=seen)
    size = spectral_norm_above(stored)
    tier = earned(value, seen.value, size, linear.noise)
    if tier is Tier.ROUNDING:
        return Evidence(tier, reason, gap=gap, witness=seen, witness_input=at)
    if tier is Tier.BOUNDED:
        reason = f"{reason}; that is more than its rounding"
        return Evidence(tier, reason, gap=gap, witness=seen, witness_input=at)
    reason = "its ReLU units come in opposite pairs, but their outputs do not add up to a linear map"
    return Evidence(Tier.REFUTED, reason, gap=gap, witness=seen)


def linear_half(claim: PairedUnits) -> Matrix:
    """What the block is claimed to be, ``x -> V W x~ / 2 + d``, before its numbers are rounded."""
    inner = claim.second[:, :-1] @ claim.first / 2
    return Matrix(inner[:, :-1], inner[:, -1] + claim.second[:, -1], claim.dtype)


def _apart(first: Tensor, outer: Tensor, pairs: tuple[Tensor, Tensor]) -> float:
    """An upper bound on ``V |W x~| / 2``, per ``|x~|``."""
    i, j = pairs
    scale = -(first[j] * first[i]).sum(1) / first[i].square().sum(1)
    rest = first[j] + scale[:, None] * first[i]
    mismatch = outer[:, i] + scale * outer[:, j]
    apart = _product_above(mismatch, first[i]) + _product_above(outer[:, j], rest)
    joined = _product_above(torch.cat([mismatch, outer[:, j]], 1), torch.cat([first[i], rest]))
    value = 0.5 * min(apart, joined)
    if bool((torch.frexp(scale).mantissa.abs() != 0.5).any()):  # products by a power of two are not rounded
        sizes = float(outer[:, j].norm(dim=0) @ (scale.abs() * first[i].norm(dim=1)))
        value += 4 * ROUNDOFF * sizes
    return value


def _product_above(left: Tensor, right: Tensor) -> float:
    """An upper bound on ``|left S right|`` over all diagonal ``S`` with entries in [-1, 1]."""
    sizes = right.norm(dim=1)
    balance = (left.norm(dim=0) / sizes.clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
    balance = torch.where((balance > 0) & (sizes > 0), balance, 1.0)
    plain = spectral_norm_above(left) * spectral_norm_above(right)
    return min(plain, spectral_norm_above(left / balance) * spectral_norm_above(right * balance[:, None]))


def _observed(claim: PairedUnits, linear: Matrix) -> tuple[Measured, Tensor]:
    """The block's own rounding: its dtype against float64 on the same inputs, found by the affine search."""
    first, second = claim.first, claim.second

    def error(rows: Tensor) -> Tensor:
        exact = rows.to(torch.float64)
        hidden = torch.relu(affine(exact, first[:, :-1], first[:, -1]))
        true = affine(hidden, second[:, :-1], second[:, -1])
        # shifted by the linear map, so that the search sees the block's rounding and nothing else
        return claim.run(rows).to(torch.float64) - true + affine(exact, linear.weight, linear.bias)

    return witness(error, linear, torch.Generator().manual_seed(0))
