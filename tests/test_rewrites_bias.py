"""Biases that a softmax ignores or passes on."""

import pytest
import torch
import torch.nn.functional as F
from pipeline import after, assert_same, draw, found, offered, scan, seeded, size, untouched
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


class WrittenOut(Projections):
    """Attention as products, its weights made by ``norm``."""

    def __init__(self, norm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q, k, v = self.split(self.q(x)), self.split(self.k(y)), self.split(self.v(y))
        out = self.norm(q @ k.transpose(-1, -2)) @ v
        return self.out(out.transpose(1, 2).flatten(-2))


def test_value_biases_go_where_the_weights_are_returned_too():
    class Averaged(SelfAttention):
        def forward(self, x: Tensor) -> Tensor:
            return self.attend(x, x, x)[0]

    for model, inputs in (
        (seeded(Averaged), [SEQUENCE]),
        (seeded(WrittenOut, lambda s: s.softmax(-1)), [SEQUENCE, draw(2, 4, WIDTH, seed=2)]),
    ):
        result = scan(model, *inputs)
        assert after(result) == 4 * WIDTH * WIDTH + 2 * WIDTH
        fresh = [draw(4, 5 + i, WIDTH, seed=3 + i) for i in range(len(inputs))]
        assert_same(result, model, *fresh)


@pytest.mark.parametrize(
    "norm",
    [
        lambda s: s.sigmoid(),
        lambda s: s.softmax(-2),
        lambda s: s.softmax(-1) * 2,
        lambda s: s.softmax(-1).transpose(-1, -2).transpose(-1, -2) + 1e-3,
    ],
)
def test_a_value_bias_stays_where_the_weights_do_not_add_up_to_one(norm):
    model = seeded(WrittenOut, norm)
    result = scan(model, SEQUENCE, SEQUENCE + 1)
    assert after(result) >= 4 * WIDTH * WIDTH + 3 * WIDTH
    assert_same(result, model, draw(4, 5, WIDTH, seed=3), draw(4, 5, WIDTH, seed=4))
