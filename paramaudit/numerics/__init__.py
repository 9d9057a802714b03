"""Shared mathematics. Knows torch, numpy, scipy and the records, and nothing else of ours."""
