"""Pair two programs node by node: where they do the same, and where only an affine map differs.

Two outputs are paired when they are the same call of paired arguments and equal numbers. Where that fails,
the affine maps that end there are read as matrices and given to the prover; their anchors must be paired.
"""

from __future__ import annotations

from paramaudit.graph.program import Program, aligned, output_leaves
from paramaudit.pairing.result import Difference, Pairing
from paramaudit.pairing.walker import Walker

__all__ = ["Difference", "Pairing", "pair"]


def pair(original: Program, refactored: Program) -> Pairing:
    """Pair the outputs of two programs with the same interface, by their place.

    They are compared on the sizes that the original takes; the other one may take more.
    Outputs that have the same names in another order are paired by name. Programs that write into stored
    tensors or inputs are paired only if they write the same, and read nothing after it was written. Random
    numbers are the same when they are drawn by the same call, at the same place in the order of draws.
    """
    walker = Walker(original, refactored)
    apart = walker.inputs() or walker.effects()
    theirs = aligned(original, refactored, output_leaves(refactored.graph))
    for name, a, b in zip(original.contract.outputs, output_leaves(original.graph), theirs, strict=True):
        reason = apart or walker.outputs(a, b)
        if reason:
            walker.result.unpaired[name] = reason
    return walker.result
