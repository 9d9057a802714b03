"""Attention over one key, and softmaxes of one score."""

import pytest
import torch
from pipeline import after, assert_same, draw, found, names, offered, scan, seeded, skipped, untouched
from torch import Tensor, nn

WIDTH, HEADS = 6, 2
LINEAR = WIDTH * WIDTH + WIDTH


class SelfAttention(nn.Module):
    """``nn.MultiheadAttention`` of a sequence with itself."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(WIDTH, HEADS, **{"batch_first": True, **options})

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x, x, x, need_weights=False)[0]


class OneKey(SelfAttention):
    """Attention of a sequence to one token; ``weights`` says whether they are asked for."""

    weights = False

    def forward(self, x: Tensor, token: Tensor) -> Tensor:
        token = token.unsqueeze(1)
        return self.attend(x, token, token, need_weights=self.weights)[0]


class OneKeyWrittenOut(OneKey):
    weights = True


SEQUENCE, TOKENS = draw(2, 3, WIDTH), draw(2, WIDTH, seed=2)


@pytest.mark.parametrize("kind", [OneKey, OneKeyWrittenOut])
def test_one_key_leaves_value_and_output(kind):
    model = seeded(kind)
    result = scan(model, SEQUENCE, TOKENS)
    assert "single-key-attention" in names(result)
    assert after(result) == 2 * LINEAR
    assert_same(result, model, draw(4, 5, WIDTH, seed=3), draw(4, WIDTH, seed=4))


def test_attention_over_a_fresh_axis_is_one_map():
    class Alone(SelfAttention):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.unsqueeze(1)).squeeze(1)

    model = seeded(Alone)
    result = scan(model, TOKENS)
    assert after(result) == LINEAR
    assert {f.tier for f in result.audit.findings} == {"exact"}
    assert_same(result, model, draw(5, WIDTH, seed=3))


@pytest.mark.parametrize("length", [1, 3])
def test_a_length_from_the_example_is_no_fact(length):
    model = seeded(SelfAttention)
    result = scan(model, draw(2, length, WIDTH))
    assert not found(result, "single-key-attention")
    assert after(result) > 3 * WIDTH * WIDTH
    assert_same(result, model, draw(4, 6, WIDTH, seed=3))


def test_a_length_declared_one_is_a_fact():
    model = seeded(SelfAttention)
    result = scan(model, SEQUENCE, static={"x_1": 1})
    assert after(result) == LINEAR
    assert_same(result, model, draw(4, 1, WIDTH, seed=3))


@pytest.mark.parametrize("weights", [False, True])
def test_a_forgotten_batch_first_attends_across_the_batch(weights):
    class Across(SelfAttention):
        def forward(self, x: Tensor) -> Tensor:
            x = x.unsqueeze(1)
            return self.attend(x, x, x, need_weights=weights)[0].squeeze(1)

    model = seeded(Across, batch_first=False)
    result = scan(model, draw(1, WIDTH))
    assert not offered(result) & {"single-key-attention", "singleton-softmax"}
    assert "attends across the batch" in skipped(result)
    assert_same(result, model, draw(6, WIDTH, seed=3))


def test_attention_dropout_in_train_mode_keeps_everything():
    model = seeded(OneKey, dropout=0.5)
    assert "single-key-attention" in names(scan(model, SEQUENCE, TOKENS))
    result = scan(model, SEQUENCE, TOKENS, mode="train")
    assert not found(result, "single-key-attention")
    assert "dropout" in skipped(result)


def test_attention_weights_that_are_dropped_in_train_mode_are_kept():
    result = scan(seeded(OneKeyWrittenOut, dropout=0.5), SEQUENCE, TOKENS, mode="train")
    assert not found(result, "single-key-attention")


@pytest.mark.parametrize("option", ["add_zero_attn", "add_bias_kv"])
@pytest.mark.parametrize("kind", [OneKey, OneKeyWrittenOut])
def test_an_extra_key_makes_two(kind, option):
    model = seeded(kind, **{option: True})
    result = scan(model, SEQUENCE, TOKENS)
    assert not found(result, "single-key-attention")
    assert not found(result, "singleton-softmax")
    assert not found(result, "shift-invariant-bias")
    assert_same(result, model, draw(4, 5, WIDTH, seed=3), draw(4, WIDTH, seed=4))


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("mask", ["attn_mask", "key_padding_mask"])
def test_a_masked_single_key_is_left(mask, weights):
    class Masked(OneKey):
        def forward(self, x: Tensor, token: Tensor, hide: Tensor) -> Tensor:
            token = token.unsqueeze(1)
            return self.attend(x, token, token, need_weights=weights, **{mask: hide})[0]

    model = seeded(Masked)
    hide = torch.tensor([[True], [False], [False]])[: 3 if mask == "attn_mask" else 2]
    result = scan(model, SEQUENCE, TOKENS, hide)
    assert not found(result, "single-key-attention")
    assert not found(result, "singleton-softmax")
    assert "mask" in skipped(result)
    with torch.no_grad():
        hidden, shown = model(SEQUENCE, TOKENS, hide), model(SEQUENCE, TOKENS, torch.zeros_like(hide))
    assert not torch.equal(hidden, shown)
    (got,) = result.refactored.call(SEQUENCE, TOKENS, hide).values()
    torch.testing.assert_close(got, hidden, equal_nan=True)


def test_an_output_projection_that_is_read_elsewhere_stays():
    class ReadsIt(OneKey):
        def forward(self, x: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(x, token), x @ self.attend.out_proj.weight

    model = seeded(ReadsIt)
    result = scan(model, SEQUENCE, TOKENS)
    assert "attend.out_proj.weight" in result.refactored.parameters
    assert_same(result, model, draw(4, 5, WIDTH, seed=3), draw(4, WIDTH, seed=4))


def test_one_key_whose_projections_are_not_finite_is_left():
    model = seeded(OneKey)
    with torch.no_grad():
        model.attend.in_proj_weight[0, 0] = torch.nan
    result = scan(model, SEQUENCE, TOKENS)
    assert untouched(result, model)
    assert "NaN or infinite" in skipped(result)


def test_a_softmax_of_one_score_is_one():
    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.head = nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x * torch.softmax(self.score(x), -1))

    model = seeded(Pool)
    result = scan(model, TOKENS)
    assert "singleton-softmax" in names(result)
    assert after(result) == WIDTH * 2 + 2
    assert_same(result, model, draw(5, WIDTH, seed=3))


def test_a_softmax_in_another_dtype_keeps_its_dtype():
    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = nn.Linear(WIDTH, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.softmax(self.score(x), -1, dtype=torch.float64)

    model = seeded(Pool).float()
    result = scan(model, TOKENS.float())
    assert after(result) == 0
    assert_same(result, model, draw(5, WIDTH, seed=3).float())


def test_a_softmax_over_the_batch_is_left():
    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = nn.Linear(WIDTH, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.softmax(self.score(x), 0)

    model = seeded(Pool)
    result = scan(model, draw(1, WIDTH))
    assert not found(result, "singleton-softmax")
    assert_same(result, model, draw(5, WIDTH, seed=3))
