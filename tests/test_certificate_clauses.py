"""What a proof needs beyond dtypes and shapes is said by the finding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import paramaudit as pa
from paramaudit.report.content import because

ONE = "tokens dimension 1 is 1"


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner(tokens, tokens, tokens, need_weights=False)[0]
        return out


class Softmax(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.score, self.value = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores = self.score(tokens) @ tokens.transpose(-2, -1)
        return torch.softmax(scores, -1) + self.value(tokens)


class Step(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 5, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.cell(tokens)[0]
        return out


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"first": torch.relu(self.a(x)), "second": torch.relu(self.b(x))}


def found(model: nn.Module, x: torch.Tensor, operator: str, **options: Any) -> Any:
    torch.manual_seed(0)
    audit = pa.scan(model.eval(), x, **options)
    return [f for f in audit.findings if f.operator == operator and f.applied_by_default]


@pytest.mark.parametrize(
    ("model", "operator", "needs"),
    [
        (
            Attention,
            "single-key-attention",
            ("tokens dimension 1 is 1", "eval mode, or no attention dropout"),
        ),
        (Step, "single-step-recurrence", (ONE,)),
        (Softmax, "singleton-softmax", (ONE,)),
    ],
)
def test_one_token_is_a_clause(model: type[nn.Module], operator: str, needs: tuple[str, ...]) -> None:
    width = 8 if model is Attention else 4
    (one,) = found(model(), torch.randn(3, 1, width), operator, static={"tokens_1": 1})
    assert one.requires == needs
    assert f"requires: {needs[0]}" in because(one)


def test_a_batch_norm_folds_in_eval_mode() -> None:
    (one,) = found(
        nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3)), torch.randn(2, 2, 9), "batch-norm-fold"
    )
    assert one.requires == ("eval mode",)


@pytest.mark.parametrize(("between", "needs"), [(nn.Dropout(0.2), ("eval mode",)), (nn.Identity(), ())])
def test_layers_merge_over_a_dropout_in_eval_mode(between: nn.Module, needs: tuple[str, ...]) -> None:
    model = nn.Sequential(nn.Linear(4, 9), between, nn.Linear(9, 3))
    (one,) = found(model, torch.randn(2, 4), "linear-chain")
    assert one.requires == needs


def test_what_is_unused_depends_on_what_is_read() -> None:
    (one,) = found(TwoHeads(), torch.randn(2, 4), "unused", read=("first",))
    assert one.requires == ("only output first is read",)
    assert found(TwoHeads(), torch.randn(2, 4), "unused") == []


class Values(nn.Module):
    """Attention whose value bias passes through to the output projection."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner(tokens, tokens, tokens, need_weights=False)[0]
        return out


def test_a_value_bias_moves_where_no_attention_is_dropped() -> None:
    torch.manual_seed(0)
    model = Values()
    with torch.no_grad():
        model.inner.in_proj_bias.normal_()
    audit = pa.scan(model.eval(), torch.randn(3, 5, 8))
    moved = [f for f in audit.findings if f.applied_by_default and f.arguments.get("values")]
    assert moved
    assert all("eval mode, or no attention dropout" in f.requires for f in moved)
    keys = [f for f in audit.findings if f.applied_by_default and f.arguments.get("keys")]
    assert all(f in moved or f.requires == () for f in keys)


def test_convolutions_merge_where_the_second_does_not_pad() -> None:
    model = nn.Sequential(nn.Conv1d(2, 9, 3, padding=1), nn.Conv1d(9, 2, 2))
    (one,) = found(model, torch.randn(2, 2, 12), "linear-chain")
    assert one.requires == ("the second convolution does not pad",)


class Conditioned(nn.Module):
    """A linear layer over the input and a stored vector, dropped in training or not."""

    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.vector, self.drop, self.mix = nn.Parameter(torch.randn(3)), drop, nn.Linear(7, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        vector = self.drop(self.vector.expand(x.shape[0], 3))
        out: torch.Tensor = self.mix(torch.cat([x, vector], -1)).tanh()
        return out


@pytest.mark.parametrize(("drop", "needs"), [(nn.Dropout(0.2), ("eval mode",)), (nn.Identity(), ())])
def test_a_constant_input_is_one_in_eval_mode(drop: nn.Module, needs: tuple[str, ...]) -> None:
    (one,) = found(Conditioned(drop), torch.randn(2, 4), "constant-input")
    assert one.requires == needs


def test_a_norm_folds_over_a_dropout_in_eval_mode() -> None:
    model = nn.Sequential(nn.LayerNorm(4), nn.Dropout(0.2), nn.Linear(4, 3), nn.Tanh())
    (one,) = found(model, torch.randn(2, 4), "norm-affine-fold")
    assert one.requires == ("eval mode",)
