"""What layers of stacked convolutions store, whichever way they read their input."""

from __future__ import annotations

from torch import Tensor, nn

from paramaudit.numerics.layers import owned, parameter
from paramaudit.records import Json


class BlockFilters(nn.Module):
    """k filters of the last dimension, ``(..., n)`` to ``(..., k m)``, each a band of diagonals.

    Args:
        rows: m, the outputs of one block.
        columns: n.
        values: ``(k, band)``, the diagonals of each block from ``first`` on.
        first: the offset of the first stored diagonal.
        interleaved: whether outputs take turns between the blocks, instead of block after block.
        bias: ``(k m,)`` or None.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        values: Tensor,
        first: int,
        interleaved: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.first, self.interleaved = rows, columns, first, interleaved
        self.values = owned(values)
        self.bias = parameter(bias)

    def described(self, band: str, start: int) -> dict[str, Json]:
        """Shape of a block, number of blocks and their order, and the stored ``band`` from ``start`` on."""
        blocks, width = self.values.shape
        return {
            "rows": self.rows,
            "columns": self.columns,
            "blocks": blocks,
            "interleaved": self.interleaved,
            band: [start, start + width - 1],
            "bias": self.bias is not None,
        }
