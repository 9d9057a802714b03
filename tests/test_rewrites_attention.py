"""Attention over one key, softmaxes of one score, and biases that a softmax ignores or passes on."""

import pytest
import torch
import torch.nn.functional as F
from pipeline import after, assert_same, draw, found, names, offered, scan, seeded, size, skipped, untouched
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


class Projections(nn.Module):
    """Attention written with four linear layers; ``bias`` says which of q, k, v, out have one."""

    def __init__(self, bias: str = "qkvo", *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH, bias=name in bias) for name in "qkvo")

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q, k, v = self.split(self.q(x)), self.split(self.k(y)), self.split(self.v(y))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(out.transpose(1, 2).flatten(-2))


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


@pytest.mark.parametrize("causal", [False, True])
def test_key_and_value_biases_of_cross_attention_go(causal):
    model = seeded(Projections, causal=causal)
    result = scan(model, SEQUENCE, draw(2, 4, WIDTH, seed=2))
    assert after(result) == 4 * WIDTH * WIDTH + 2 * WIDTH
    assert {f.operator for f in found(result)} == {"shift-invariant-bias"}
    assert_same(result, model, draw(4, 5, WIDTH, seed=3), draw(4, 7, WIDTH, seed=4))


def test_key_and_value_biases_of_packed_projections_go():
    model = seeded(SelfAttention)
    result = scan(model, SEQUENCE)
    assert after(result) == 4 * WIDTH * WIDTH + 2 * WIDTH
    (finding,) = found(result, "shift-invariant-bias")
    assert finding.arguments == {"keys": WIDTH, "values": WIDTH}
    assert_same(result, model, draw(4, 5, WIDTH, seed=3))


def test_key_biases_go_where_the_weights_are_written_out():
    class Weighted(SelfAttention):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.attend(x, x, x)

    model = seeded(Weighted)
    result = scan(model, SEQUENCE)
    assert after(result) <= size(model) - WIDTH
    assert_same(result, model, draw(4, 5, WIDTH, seed=3))


@pytest.mark.parametrize("heads", [1, 3])
def test_grouped_heads_are_left_or_right(heads):
    class Grouped(nn.Module):
        """Three query heads, and ``heads`` of keys and values."""

        def __init__(self) -> None:
            super().__init__()
            self.q, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
            self.k, self.v = (nn.Linear(WIDTH, 2 * heads) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (f(x).unflatten(-1, (-1, 2)).transpose(1, 2) for f in (self.q, self.k, self.v))
            out = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            return self.out(out.transpose(1, 2).flatten(-2))

    model = seeded(Grouped)
    result = scan(model, SEQUENCE)
    assert found(result, "shift-invariant-bias")
    assert_same(result, model, draw(4, 5, WIDTH, seed=3))
    single = scan(model, SEQUENCE, static={"x_1": 1})
    assert_same(single, model, draw(4, 1, WIDTH, seed=3))


def test_a_value_bias_under_a_mask_stays():
    """A query that may look at nothing gets zeros, not the bias."""

    class Masked(Projections):
        def forward(self, x: Tensor, y: Tensor, seen: Tensor) -> Tensor:
            q, k, v = self.split(self.q(x)), self.split(self.k(y)), self.split(self.v(y))
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            return self.out(out.transpose(1, 2).flatten(-2))

    model = seeded(Masked)
    seen = draw(3, 4, seed=7) > 0
    seen[0] = False
    result = scan(model, SEQUENCE, draw(2, 4, WIDTH, seed=2), seen)
    assert not offered(result, "v.bias")
    assert_same(result, model, draw(4, 3, WIDTH, seed=3), draw(4, 4, WIDTH, seed=4), seen)


def test_a_value_bias_under_attention_dropout_stays():
    class Dropped(Projections):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            q, k, v = self.split(self.q(x)), self.split(self.k(y)), self.split(self.v(y))
            drop = 0.5 if self.training else 0.0
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=drop)
            return self.out(out.transpose(1, 2).flatten(-2))

    result = scan(seeded(Dropped), SEQUENCE, draw(2, 4, WIDTH, seed=2), mode="train")
    assert not offered(result, "v.bias")


def test_rotary_positions_keep_the_key_bias():
    class Rotary(Projections):
        def turned(self, x: Tensor) -> Tensor:
            angle = torch.arange(x.shape[-2], dtype=x.dtype).unsqueeze(-1) * 0.3
            first, *rest = x.unbind(-1)
            second = rest[0]
            pair = (first * angle[:, 0].cos() - second * angle[:, 0].sin(), second)
            return torch.stack([*pair, *rest[1:]], -1)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            q, k, v = (self.split(f(z)) for f, z in ((self.q, x), (self.k, y), (self.v, y)))
            out = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v)
            return self.out(out.transpose(1, 2).flatten(-2))

    model = seeded(Rotary, "qk")
    result = scan(model, SEQUENCE, draw(2, 4, WIDTH, seed=2))
    assert untouched(result, model)
    assert_same(result, model, draw(4, 5, WIDTH, seed=3), draw(4, 7, WIDTH, seed=4))
