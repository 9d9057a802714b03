"""Valence and arousal as two linear functions of features.

What it computes: Two weighted sums, the coordinates of Russell's circumplex; bounded by tanh where asked.
Replaces:         A deep head, or linear layers with nothing between, where two weighted sums are enough.
Faster when:      Than linear layers n to n to 2 at every size tried (2.5 times at n = 256, 35 times at
                  1024); than one dense layer of two outputs never, as it is one. See
                  benchmarks/results/layers.md (CPU, one thread, batch 8).
Mind:             There is no formula for valence and arousal: all numbers are learned, and it is a dense
                  layer of two outputs. Whether two sums suffice is a question to the data.
Source:           Russell, A circumplex model of affect, J. Pers. Soc. Psychol. 39 (1980).
"""

from __future__ import annotations

from torch import Tensor, nn


class StyleMap(nn.Module):
    """Valence and arousal, ``(..., in_features)`` to ``(..., 2)``.

    Args:
        in_features: how many features.
        bias: whether the two sums have a constant.
        bounded: whether tanh keeps both between -1 and 1, as ratings are.

    Example:
        >>> StyleMap(768, bounded=True)(torch.randn(8, 768)).shape
        torch.Size([8, 2])
    """

    def __init__(self, in_features: int, bias: bool = True, bounded: bool = False) -> None:
        super().__init__()
        self.bounded = bounded
        self.sums = nn.Linear(in_features, 2, bias=bias)

    def extra_repr(self) -> str:
        """What is not in the sums, for ``print``."""
        return f"bounded={self.bounded}"

    def forward(self, inputs: Tensor) -> Tensor:
        """Weigh and sum."""
        outputs: Tensor = self.sums(inputs)
        return outputs.tanh() if self.bounded else outputs
