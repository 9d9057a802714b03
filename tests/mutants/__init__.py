"""Swaps broken in small ways, to see that no prover lets a broken one through.

A mutant is a proposed layer, a rewrite or a whole refactored program with one thing wrong. How far it is off
is computed here from the formulas, never by the prover; what is safe is said by the prover alone.
"""
