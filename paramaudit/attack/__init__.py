"""Attack two programs that are said to be the same function: find an input on which they differ."""

from paramaudit.attack.judge import Difference, Judge, Judged, Memory
from paramaudit.attack.search import Trials, attack
from paramaudit.attack.sides import FACTOR

__all__ = ["FACTOR", "Difference", "Judge", "Judged", "Memory", "Trials", "attack"]
