"""Find, with proof, which parameters of a PyTorch model are really a known algorithm, or nothing at all."""

__version__ = "0.1.0"
