"""How many broken swaps the provers let through: none, or this fails.

    python benchmarks/mutants.py              # about five minutes on one core; writes results/mutants.md

Every swap that the operators' examples, the rewrites' models and whole refactored programs offer is broken in
many small ways: one number by 1 %, a sign, an index, a window, a delay, a swapped row, a mixed batch. How far
each mutant is off is computed apart from the provers. The code is that of the tests, in ``tests/mutants``.
"""

from __future__ import annotations

import collections
import platform
import sys
import time
import warnings
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from mutants import everything, textbook  # noqa: E402 - after the path is set
from mutants.verdicts import missed, share_invisible, table  # noqa: E402

HEAD = """# Broken swaps

Every mutant is one swap with one thing wrong. *Caught*: the prover does not call it safe. *Invisible*: it is
off by no more than the rounding that the original itself was seen to make, or its numbers, rounded to the
original's dtype, are the stored ones to the last bit; either is safe by definition.
*Missed*: called safe and off by more than that; there may be none.
"""


def main() -> int:
    """Judge every mutant and write the table; 1 when one was missed."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    start = time.perf_counter()
    verdicts = list(everything.all_verdicts())
    seconds = time.perf_counter() - start
    tiers = collections.Counter(str(case.evidence(case.layer).tier) for case in textbook.cases())
    whole = tiers.total()
    unbroken = ", ".join(f"{count} {tier}" for tier, count in sorted(tiers.items()))
    lines = [
        HEAD,
        table(verdicts),
        "",
        f"Invisible: {share_invisible(verdicts):.2%} of all. Missed: {len(missed(verdicts))}.",
        "",
        f"Unbroken swaps in float64, from numpy's, scipy's and pywt's matrices: {unbroken} of {whole}. Where"
        " one is bounded, the layer's own rounding in float64 is as large as the original's.",
        "",
        f"torch {torch.__version__}, {platform.machine()}, one thread, {seconds:.0f} s.",
    ]
    (HERE / "results" / "mutants.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for line in missed(verdicts):
        sys.stdout.write(f"{line}\n")
    return 1 if missed(verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
