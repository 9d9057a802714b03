"""All mutants of all kinds, or a thinned selection of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch

from mutants import affine, curves, programs, relu, rewritten
from mutants.verdicts import Verdict


def all_verdicts() -> Iterator[Verdict]:
    """The verdict on every mutant; about five minutes on one core."""
    yield from of_matrices(affine.cases(torch.float32))
    yield from of_matrices(islice(affine.cases(torch.bfloat16), 0, None, 6))
    yield from of_matrices(islice(affine.cases(torch.float32, hidden=True), 0, None, 8))
    yield from of_matrices(affine.merged_chain(9 + 5 * seed, 30, seed) for seed in range(4))
    for kind in (curves, relu):
        yield from of_cases(kind)
    yield from of_rewrites()
    yield from of_programs(2)


def of_matrices(cases: Iterator[affine.Case], every: int = 1) -> Iterator[Verdict]:
    """Of layers that stand for a matrix."""
    for case in cases:
        found = (affine.judged(case, broken) for broken in islice(affine.mutants(case), 0, None, every))
        yield from (verdict for verdict in found if verdict is not None)


def of_cases(kind: type | object, every: int = 1) -> Iterator[Verdict]:
    """Of curves, or of paired ReLU units."""
    for case in kind.cases():  # type: ignore[union-attr]
        found = (kind.judged(case, b) for b in islice(kind.mutants(case), 0, None, every))  # type: ignore[union-attr]
        yield from (verdict for verdict in found if verdict is not None)


def of_rewrites(every: int = 1) -> Iterator[Verdict]:
    """Of graph rewrites."""
    for case in rewritten.cases():
        found = (rewritten.judged(case, b) for b in islice(rewritten.mutants(case), 0, None, every))
        yield from (verdict for verdict in found if verdict is not None)


def of_programs(every: int = 1) -> Iterator[Verdict]:
    """Of whole refactored programs."""
    for case in programs.cases(every):
        found = (programs.judged(case, broken) for broken in programs.mutants(case))
        yield from (verdict for verdict in found if verdict is not None)
