"""How much is tried, from the size of a program alone, so that the same seed tries the same inputs."""

from __future__ import annotations

from dataclasses import dataclass

from paramaudit.graph.program import Program
from paramaudit.graph.program import stored as tensors_of

_PER_CALL = 3e-5
_PER_NUMBER = 4e-10
"""Rough seconds for each call of a graph and each stored number, on two cores in float32."""
_SECONDS = 8.0
_QUICK_SECONDS = 3.0


@dataclass(frozen=True)
class Budget:
    """Counts of inputs: ``inputs`` screened in the programs' own dtypes, ``judged`` against float64.

    The ascent has ``starts`` of ``steps`` steps; ``kinks`` thresholds inside of the programs are walked to;
    minimising a counterexample takes at most ``trials`` judgements. ``many`` is the largest batch and
    ``ids`` the most ids in one sweep. Where a float64 run is dear, ``thorough`` is False: ties are
    looked for only where something is off, and fewer sizes are tried.
    """

    inputs: int
    judged: int
    starts: int
    steps: int
    kinks: int
    trials: int
    many: int
    ids: int
    thorough: bool = True


def budget(original: Program, refactored: Program, *, quick: bool = False) -> Budget:
    """The budget for a pair of programs.

    Args:
        original: the one side.
        refactored: the other side.
        quick: everything is proven already; the attack is a second look.
    """
    numbers = calls = 0
    for program in (original, refactored):
        numbers += sum(tensor.numel() for _, tensor in tensors_of(program.module))
        calls += len(program.graph.nodes)
    one = _PER_CALL * calls + _PER_NUMBER * numbers
    runs = int((_QUICK_SECONDS if quick else _SECONDS) / one)
    large = numbers > 20_000_000
    if quick:
        starts = 0 if large else 1
        return Budget(
            _within(runs // 4, 8, 40),
            _within(runs // 40, 2, 12),
            starts,
            starts,
            0,
            40,
            9,
            512 if large else 4096,
            not large,
        )
    if large:
        return Budget(_within(runs, 12, 36), _within(runs // 15, 3, 8), 1, 2, 0, 16, 5, 1024, thorough=False)
    return Budget(
        _within(runs // 2, 24, 240),
        _within(runs // 8, 8, 48),
        6,
        6,
        _within(runs // 8, 4, 48),
        300,
        65,
        65536,
    )


def _within(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))
