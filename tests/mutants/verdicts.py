"""What became of each mutant, and the table of all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """``invisible`` mutants differ by no more than the original's own observed rounding."""

    CAUGHT = "caught"
    INVISIBLE = "invisible"
    MISSED = "missed"


@dataclass(frozen=True)
class Verdict:
    """One mutant: ``apart`` is its true distance from the original, ``witness`` the original's rounding."""

    operator: str
    case: str
    change: str
    outcome: Outcome
    apart: float
    witness: float

    def __str__(self) -> str:
        where = f"{self.operator}: {self.case}: {self.change}"
        return f"{where} is {self.outcome}: {self.apart:.2e} apart, rounding {self.witness:.2e}"


def settled(
    operator: str, case: str, change: str, *, safe: bool, apart: float, witness: float, rounded: bool = False
) -> Verdict:
    """The verdict on a mutant; one whose numbers are ``rounded`` to the original's is the same as stored.

    ``apart`` is computed in float64, so up to a part in 1e6 more than the witness counts as not more.
    """
    if not safe:
        outcome = Outcome.CAUGHT
    elif rounded or apart <= witness * (1 + 1e-6):
        outcome = Outcome.INVISIBLE
    else:
        outcome = Outcome.MISSED
    return Verdict(operator, case, change, outcome, apart, witness)


def missed(verdicts: Iterable[Verdict]) -> list[str]:
    """The mutants that passed for safe and are not, in words."""
    return [str(v) for v in verdicts if v.outcome is Outcome.MISSED]


def share_invisible(verdicts: list[Verdict]) -> float:
    """The part of all mutants that rounding hides."""
    return sum(v.outcome is Outcome.INVISIBLE for v in verdicts) / max(1, len(verdicts))


def table(verdicts: list[Verdict]) -> str:
    """A row for each operator: how many mutants, how many of each outcome."""
    rows = ["| swap | mutants | caught | invisible | missed |", "|---|--:|--:|--:|--:|"]
    for name in [*sorted({v.operator for v in verdicts}), "all"]:
        mine = [v for v in verdicts if name in (v.operator, "all")]
        counts = [sum(v.outcome is kind for v in mine) for kind in Outcome]
        rows.append(f"| {name} | {len(mine)} | {' | '.join(str(n) for n in counts)} |")
    return "\n".join(rows)
