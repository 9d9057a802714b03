"""Mutants of ReLU blocks whose hidden units are claimed to come in opposite pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mutants.affine import seeded
from mutants.verdicts import Verdict, settled
from paramaudit.prove.pairs import judge_pairs
from paramaudit.records import PairedUnits

BrokenPairs = tuple[str, PairedUnits]


@dataclass(frozen=True, eq=False)
class Case:
    """A block of paired units and the claim about it."""

    name: str
    claim: PairedUnits
    operator: str = "paired-relu"


def cases(dtype: torch.dtype = torch.float32) -> Iterator[Case]:
    """Blocks of several sizes, their units permuted, the partners scaled by any numbers."""
    for seed, (columns, units, out) in enumerate(
        [(6, 5, 3), (16, 32, 8), (40, 24, 24), (9, 1, 2), (64, 80, 5)]
    ):
        generator = seeded(seed)

        def randn(*shape: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        rows, outer = randn(units, columns + 1), randn(out, units)
        scale = 0.25 + 4 * torch.rand(units, dtype=torch.float64, generator=generator)
        order = torch.randperm(2 * units, generator=generator)
        first = torch.cat([rows, -scale[:, None] * rows])[order]
        second = torch.cat([torch.cat([outer, -outer / scale], 1)[:, order], randn(out, 1)], 1)
        where = torch.argsort(order)
        pairs = (where[:units], where[units:])
        yield Case(f"{units} pairs of {columns} inputs", claim(first, second, pairs, dtype))


def claim(first: Tensor, second: Tensor, pairs: tuple[Tensor, Tensor], dtype: torch.dtype) -> PairedUnits:
    """The claim about a block as it is stored in a dtype, run in it."""
    low = first.to(dtype), second.to(dtype)

    def run(rows: Tensor) -> Tensor:
        hidden = torch.relu(F.linear(rows, low[0][:, :-1], low[0][:, -1]))
        return F.linear(hidden, low[1][:, :-1], low[1][:, -1])

    return PairedUnits(low[0].to(torch.float64), low[1].to(torch.float64), pairs, run, dtype)


def mutants(case: Case, seed: int = 0) -> Iterator[BrokenPairs]:
    """One number of either layer by 1 %, its sign, gone; a unit's bias; units one on; a unit scaled."""
    first, second, pairs = case.claim.first, case.claim.second, case.claim.pairs
    generator = seeded(seed)

    def again(a: Tensor, b: Tensor, p: tuple[Tensor, Tensor] = pairs) -> PairedUnits:
        return claim(a, b, p, case.claim.dtype)

    for name, which in (("first", 0), ("second", 1)):
        source = (first, second)[which]
        for _ in range(3):
            unit = int(torch.randint(len(first), (1,), generator=generator))
            other = int(torch.randint(source.shape[1 - which] - which, (1,), generator=generator))
            place = (unit, other) if which == 0 else (other, unit)
            for word, factor in (("1 % more", 1.01), ("with the other sign", -1.0), ("gone", 0.0)):
                changed = source.clone()
                changed[place] *= factor
                parts = (changed, second) if which == 0 else (first, changed)
                yield f"{name}[{place}] {word}", again(*parts)
    unit = int(pairs[0][0])
    for word, factor in (("0.1 % more", 1.001), ("gone", 0.0)):
        changed = first.clone()
        changed[unit] *= factor
        yield f"a unit {word}", again(changed, second)
    biasless = first.clone()
    biasless[unit, -1] = 0.0
    yield "a unit without its bias", again(biasless, second)
    yield "outputs one on", again(first, torch.cat([second[:, :-1].roll(1, 1), second[:, -1:]], 1))
    yield "units one on", again(first.roll(1, 0), second)


def judged(case: Case, broken: BrokenPairs) -> Verdict:
    """The verdict on one mutant: the linear half against the block on many inputs."""
    change, mutant = broken
    evidence = judge_pairs(mutant)
    first, second = mutant.first.numpy(), mutant.second.numpy()
    linear = second[:, :-1] @ first / 2
    linear[:, -1] += second[:, -1]
    kept = torch.from_numpy(linear).to(mutant.dtype).to(torch.float64).numpy()
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4000, first.shape[1] - 1)) * 10.0 ** rng.uniform(-2, 3, (4000, 1))
    x[1000:2000] = first[rng.integers(len(first), size=1000), :-1] * rng.uniform(-5, 5, (1000, 1))
    tilde = np.concatenate([x, np.ones((4000, 1))], 1)
    block = np.maximum(tilde @ first.T, 0) @ second[:, :-1].T + second[:, -1]
    off = np.linalg.norm(block - tilde @ kept.T, axis=1) / np.linalg.norm(tilde, axis=1)
    seen = evidence.witness.value if evidence.witness is not None else 0.0
    safe = evidence.tier.safe
    return settled(case.operator, case.name, change, safe=safe, apart=float(off.max()), witness=seen)
