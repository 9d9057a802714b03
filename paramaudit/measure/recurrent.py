"""FLOPs of recurrent layers, all layers and directions, per row (one time step of one sequence).

Every weight matrix is one matrix-vector product: 2 FLOPs a weight. On top, per hidden unit:

* LSTM 13: four gate sums, three sigmoids, two tanh, ``f c``, ``i g``, their sum, ``o tanh(c)``;
* GRU 10: three gate sums, ``r h``, two sigmoids, one tanh, ``(h - n) z + n``;
* plain RNN 2: one sum, one activation.

The output shapes are given here too, so that counting a long sequence does not unroll it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from paramaudit.measure.operands import Arguments, Rule, tensors

# name -> gates per hidden unit, elementwise FLOPs per hidden unit
_CELLS = {
    "aten.lstm": (4, 13),
    "aten.gru": (3, 10),
    "aten.rnn_tanh": (1, 2),
    "aten.rnn_relu": (1, 2),
}


def _rule(gates: int, elementwise: int) -> Rule:
    def rule(a: Arguments, _out: Any) -> int:
        data: Tensor = a["input"] if "input" in a else a["data"]
        rows = data.numel() // data.shape[-1]
        hidden = a["params"][0].shape[0] // gates
        directions = 2 if a["bidirectional"] else 1
        per_row = sum(2 * p.numel() for p in a["params"] if p.dim() == 2)
        per_row += a["num_layers"] * directions * elementwise * hidden
        if a["train"] and a["dropout"]:
            per_row += (a["num_layers"] - 1) * directions * 2 * int(tensors(a["hx"])[0].shape[-1])
        return int(rows * per_row)

    return rule


def _result(a: Arguments) -> tuple[Tensor, ...]:
    """Tensors of the shapes that the layer returns: the sequence, then each final state."""
    data: Tensor = a["input"] if "input" in a else a["data"]
    states = tensors(a["hx"])
    width = states[0].shape[-1] * (2 if a["bidirectional"] else 1)
    return (data.new_empty((*data.shape[:-1], width)), *(state.clone() for state in states))


RULES: dict[str, Rule] = {name: _rule(*cell) for name, cell in _CELLS.items()}
RESULTS = dict.fromkeys(RULES, _result)
