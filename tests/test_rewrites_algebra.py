"""The algebra of every rewrite, against formulas written out in numpy and exact rational numbers.

Where an identity is polynomial all numbers are small integers (or halves), which float64 adds and multiplies
without rounding: there original, formula and rewritten program must agree to the last bit.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import after, names, scan
from torch import Tensor, nn

FEW = settings(max_examples=2, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 10**6)


def integers(module: nn.Module, seed: int, low: int = -3, high: int = 4) -> nn.Module:
    """The module in float64 with small integers for all parameters."""
    rng = np.random.default_rng(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(rng.integers(low, high, parameter.shape).astype(float)))
    return module


def whole(*shape: int, seed: int = 5) -> Tensor:
    """Small integers in float64."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-4, 5, shape).astype(float))


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()}


def rewritten(module: nn.Module, example: Tensor, inputs: Tensor, operator: str) -> np.ndarray:
    """What the program computes after the rewrite, which must have been applied."""
    result = scan(module, example)
    assert operator in names(result)
    assert after(result) < sum(p.numel() for p in module.parameters())
    (value,) = result.refactored.call(inputs).values()
    return value.detach().numpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# --- identities over all small rational numbers -------------------------------------------------

SMALL = [Fraction(a, b) for a in range(-2, 3) for b in (1, 2, 3)]


def relu(t: Fraction) -> Fraction:
    return max(t, Fraction(0))


def test_relu_of_opposite_units_is_linear():
    for w, x, b, v in itertools.product(SMALL[::2], repeat=4):
        for c in (Fraction(1, 3), Fraction(1), Fraction(5, 2)):
            a = w * x + b
            assert v * relu(a) + (-v / c) * relu(-c * a) == v * a
            assert relu(a) == (a + abs(a)) / 2


def test_a_unit_without_its_partner_is_not_linear():
    values = [relu(t) - Fraction(1, 2) * relu(-t) for t in (Fraction(-1), Fraction(0), Fraction(1))]
    assert values[2] - values[1] != values[1] - values[0]


def test_identities_hold_as_symbols():
    s1, s2, s3, c, g, m, r, h, w, x, b, n = sympy.symbols("s1 s2 s3 c g m r h w x b n", real=True)
    total = sympy.exp(s1 + c) + sympy.exp(s2 + c) + sympy.exp(s3 + c)
    plain = sympy.exp(s1) + sympy.exp(s2) + sympy.exp(s3)
    assert sympy.simplify(sympy.exp(s1 + c) / total - sympy.exp(s1) / plain) == 0
    assert sympy.simplify(sympy.exp(s1) / sympy.exp(s1) - 1) == 0
    norm = g * (w * x + b - m) / r + h
    assert sympy.expand(norm - ((g / r * w) * x + (g * (b - m) / r + h))) == 0
    assert sympy.expand(w * (g * n + h) + b - ((w * g) * n + (w * h + b))) == 0
    a1, a2, v1, v2, d = sympy.symbols("a1 a2 v1 v2 d", real=True)
    mixed = a1 * (v1 + d) + a2 * (v2 + d)
    assert sympy.simplify((mixed - (a1 * v1 + a2 * v2 + d)).subs(a2, 1 - a1)) == 0
    i, f, o, cell = sympy.symbols("i f o cell", real=True)
    step = o * sympy.tanh(f * cell + i * g)
    assert step.subs(cell, 0) == o * sympy.tanh(i * g)
    z, old = sympy.symbols("z old", real=True)
    assert ((1 - z) * n + z * old).subs(old, 0) == (1 - z) * n
    assert sympy.simplify((1 - 1 / (1 + sympy.exp(-z))) - 1 / (1 + sympy.exp(z))) == 0


# --- chains -------------------------------------------------------------------------------------


@FEW
@given(st.integers(1, 6), st.integers(6, 9), st.integers(1, 4), SEEDS)
def test_linear_layers_compose(width, middle, out, seed):
    module = integers(nn.Sequential(nn.Linear(width, middle), nn.Linear(middle, out)), seed)
    p, x = arrays(module), whole(7, width)
    got = rewritten(module, whole(3, width, seed=6), x, "linear-chain")
    hidden = x.numpy() @ p["0.weight"].T + p["0.bias"]
    assert np.array_equal(got, hidden @ p["1.weight"].T + p["1.bias"])


def correlated(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """``y[n, o, t] = b[o] + sum_{i,k} w[o, i, k] x[n, i, t stride + k - padding]``."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding)))
    taps = kernel.shape[2]
    starts = range(0, x.shape[2] - taps + 1, stride)
    columns = [np.einsum("nik,oik->no", x[:, :, s : s + taps], kernel) for s in starts]
    return np.stack(columns, 2) + bias[:, None]


@pytest.mark.parametrize(("taps", "stride"), [((1, 3), (1, 1)), ((2, 2), (2, 1)), ((3, 2), (3, 2))])
@pytest.mark.parametrize("padding", [0, 2])
def test_convolutions_compose(taps, stride, padding):
    layers = [
        nn.Conv1d(2, 20, taps[0], stride=stride[0], padding=padding),
        nn.Conv1d(20, 2, taps[1], stride=stride[1]),
    ]
    module = integers(nn.Sequential(*layers), sum(taps))
    p, x = arrays(module), whole(3, 2, 31)
    got = rewritten(module, whole(2, 2, 25, seed=6), x, "linear-chain")
    middle = correlated(x.numpy(), p["0.weight"], p["0.bias"], stride[0], padding)
    assert np.array_equal(got, correlated(middle, p["1.weight"], p["1.bias"], stride[1], 0))


# --- norms --------------------------------------------------------------------------------------


@FEW
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), SEEDS)
def test_a_batch_norm_folds(channels, out, taps, padding, seed):
    """With ``v + eps`` a power of four the scale is a power of two, and nothing is rounded."""
    module = nn.Sequential(nn.Conv1d(channels, out, taps, padding=padding), nn.BatchNorm1d(out, eps=0.25))
    integers(module, seed)
    rng = np.random.default_rng(seed)
    deviation = 2.0 ** rng.integers(0, 3, out)
    with torch.no_grad():
        module[1].running_var.copy_(torch.from_numpy(deviation**2 - 0.25))
        module[1].running_mean.copy_(torch.from_numpy(rng.integers(-3, 4, out).astype(float)))
    p, x = arrays(module), whole(4, channels, 9)
    got = rewritten(module, whole(2, channels, 8, seed=6), x, "batch-norm-fold")
    conv = correlated(x.numpy(), p["0.weight"], p["0.bias"], 1, padding)
    centred = (conv - p["1.running_mean"][:, None]) / deviation[:, None]
    assert np.array_equal(got, centred * p["1.weight"][:, None] + p["1.bias"][:, None])


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_a_norm_folds_into_its_reader(kind):
    norm = nn.LayerNorm(6, eps=1e-5) if kind == "layer" else nn.RMSNorm(6, eps=1e-5)
    module = integers(nn.Sequential(norm, nn.Linear(6, 3)), 4)
    p, x = arrays(module), whole(9, 6)
    got = rewritten(module, whole(3, 6, seed=6), x, "norm-affine-fold")
    rows = x.numpy() - (x.numpy().mean(1, keepdims=True) if kind == "layer" else 0.0)
    plain = rows / np.sqrt((rows**2).mean(1, keepdims=True) + 1e-5)
    expected = (plain * p["0.weight"] + p.get("0.bias", 0.0)) @ p["1.weight"].T + p["1.bias"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


# --- units and constants ------------------------------------------------------------------------


@FEW
@given(st.integers(2, 5), st.integers(3, 6), st.integers(1, 3), SEEDS)
def test_paired_units_are_a_linear_map(width, pairs, out, seed):
    """Scales that are powers of two: the original, its linear half and the formula agree to the last bit."""
    rng = np.random.default_rng(seed)
    rows, outer = rng.integers(-3, 4, (pairs, width + 1)), rng.integers(-3, 4, (out, pairs))
    rows[:, -1] += 9  # no row is zero or parallel to the next by chance
    rows[:, 0] = np.arange(pairs) + 1
    scale = 2.0 ** rng.integers(-1, 3, pairs)
    order = rng.permutation(2 * pairs)
    first = np.concatenate([rows, -scale[:, None] * rows])[order]
    second = np.concatenate([outer, -outer / scale], 1)[:, order]
    module = nn.Sequential(nn.Linear(width, 2 * pairs), nn.ReLU(), nn.Linear(2 * pairs, out)).double()
    with torch.no_grad():
        for tensor, value in zip(
            module.parameters(), (first[:, :-1], first[:, -1], second, np.arange(out)), strict=True
        ):
            tensor.copy_(torch.from_numpy(value.astype(float)))
    x = whole(20, width)
    got = rewritten(module.eval(), whole(3, width, seed=6), x, "paired-relu")
    tilde = np.concatenate([x.numpy(), np.ones((20, 1))], 1)
    assert np.array_equal(got, np.maximum(tilde @ first.T, 0) @ second.T + np.arange(out))
    assert np.array_equal(got, tilde @ rows.T @ outer.T + np.arange(out))


def test_a_vector_that_every_row_sees_is_a_bias():
    class Conditioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vector, self.mix = nn.Parameter(torch.zeros(3)), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(torch.cat([self.vector.expand(x.shape[0], 3), x], -1)).relu()

    module = integers(Conditioned(), 8)
    p, x = arrays(module), whole(6, 2)
    got = rewritten(module, whole(3, 2, seed=6), x, "constant-input")
    joined = np.concatenate([np.tile(p["vector"], (6, 1)), x.numpy()], 1)
    assert np.array_equal(got, np.maximum(joined @ p["mix.weight"].T + p["mix.bias"], 0))


def test_what_is_computed_of_numbers_alone_is_a_number():
    class Computed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(4, 6)), nn.Parameter(torch.zeros(6))

        def forward(self, x: Tensor) -> Tensor:
            return (x + (self.a @ self.b) ** 2).relu()

    module = integers(Computed(), 9)
    p, x = arrays(module), whole(5, 4)
    got = rewritten(module, whole(3, 4, seed=6), x, "constant")
    assert np.array_equal(got, np.maximum(x.numpy() + (p["a"] @ p["b"]) ** 2, 0))


def test_rows_that_nobody_reads_go():
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 9)

        def forward(self, x: Tensor) -> Tensor:
            h = self.layer(x)
            return h[:, 2:4].relu() + h[:, 7:].relu()

    module = integers(Rows(), 10)
    p, x = arrays(module), whole(6, 4)
    got = rewritten(module, whole(3, 4, seed=6), x, "unused")
    hidden = np.maximum(x.numpy() @ p["layer.weight"].T + p["layer.bias"], 0)
    assert np.array_equal(got, hidden[:, 2:4] + hidden[:, 7:])


# --- recurrent layers ---------------------------------------------------------------------------


def lstm(x: np.ndarray, p: dict[str, np.ndarray]) -> np.ndarray:
    """Hidden states ``(batch, time, hidden)`` from a zero state; gates i, f, g, o."""
    hidden = p["cell.weight_hh_l0"].shape[1]
    h = c = np.zeros((len(x), hidden))
    states = []
    for step in x.transpose(1, 0, 2):
        gates = step @ p["cell.weight_ih_l0"].T + p["cell.bias_ih_l0"] + p["cell.bias_hh_l0"]
        i, f, g, o = np.split(gates + h @ p["cell.weight_hh_l0"].T, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states, 1)


def gru(x: np.ndarray, p: dict[str, np.ndarray]) -> np.ndarray:
    """Hidden states from a zero state; the reset gate multiplies ``U h + b_hn``."""
    h = np.zeros((len(x), p["cell.weight_hh_l0"].shape[1]))
    states = []
    for step in x.transpose(1, 0, 2):
        r, z, n = np.split(step @ p["cell.weight_ih_l0"].T + p["cell.bias_ih_l0"], 3, axis=1)
        u, v, m = np.split(h @ p["cell.weight_hh_l0"].T + p["cell.bias_hh_l0"], 3, axis=1)
        new = np.tanh(n + sigmoid(r + u) * m)
        keep = sigmoid(z + v)
        h = (1 - keep) * new + keep * h
        states.append(h)
    return np.stack(states, 1)


class Steps(nn.Module):
    def __init__(self, kind: str, width: int, hidden: int, one: bool) -> None:
        super().__init__()
        self.one = one
        self.cell = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](width, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x.unsqueeze(1))[0] if self.one else self.cell(x)[0]


@pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export:UserWarning")
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize(("width", "hidden"), [(1, 1), (5, 4), (3, 7)])
def test_one_step_from_zero(kind, width, hidden):
    """3 H I + 3 H numbers of an LSTM stay, and 3 H I + 4 H of a GRU: ``b_hn`` is gated, so it stays apart."""
    module = integers(Steps(kind, width, hidden, True), 11, -1, 2)
    p, x = arrays(module), whole(6, width) / 4
    formula = {"lstm": lstm, "gru": gru}[kind]
    got = rewritten(module, whole(3, width, seed=6), x, "single-step-recurrence")
    np.testing.assert_allclose(got, formula(x.numpy()[:, None], p), rtol=0, atol=1e-14)
    extra = {"lstm": 3, "gru": 4}[kind]
    assert after(scan(module, whole(3, width, seed=6))) == 3 * hidden * width + extra * hidden


@pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export:UserWarning")
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_two_biases_are_one(kind):
    module = integers(Steps(kind, 3, 4, False), 12, -1, 2)
    p, x = arrays(module), whole(5, 6, 3) / 4
    formula = {"lstm": lstm, "gru": gru}[kind]
    got = rewritten(module, whole(2, 4, 3, seed=6), x, "duplicate")
    np.testing.assert_allclose(got, formula(x.numpy(), p), rtol=0, atol=1e-13)
    freed = {"lstm": 4 * 4, "gru": 2 * 4}[kind]
    parameters = sum(value.size for value in p.values())
    assert after(scan(module, whole(2, 4, 3, seed=6))) == parameters - freed


# --- attention ----------------------------------------------------------------------------------


class Attention(nn.Module):
    """One head, written with four linear layers; over the sequence itself or over its mean."""

    def __init__(self, one_key: bool) -> None:
        super().__init__()
        self.one_key = one_key
        self.q, self.k, self.v, self.out = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = x.sum(1, keepdim=True) if self.one_key else x
        mixed = nn.functional.scaled_dot_product_attention(self.q(x), self.k(y), self.v(y))
        return self.out(mixed)


@pytest.mark.parametrize(
    ("one_key", "operator"), [(True, "single-key-attention"), (False, "shift-invariant-bias")]
)
def test_attention(one_key, operator):
    module = integers(Attention(one_key), 13, -2, 3)
    p, x = arrays(module), whole(3, 5, 4) / 4
    got = rewritten(module, whole(2, 3, 4, seed=6), x, operator)
    y = x.numpy().sum(1, keepdims=True) if one_key else x.numpy()
    q, k, v = (
        a @ p[f"{name}.weight"].T + p[f"{name}.bias"] for name, a in (("q", x.numpy()), ("k", y), ("v", y))
    )
    scores = np.exp(q @ k.transpose(0, 2, 1) / 2)
    mixed = scores / scores.sum(-1, keepdims=True) @ v
    expected = mixed @ p["out.weight"].T + p["out.bias"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


def test_a_softmax_of_one_score_is_one():
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.value = nn.Linear(4, 1), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return (self.score(x).softmax(-1) * self.value(x)).relu()

    module = integers(One(), 14)
    p, x = arrays(module), whole(5, 4)
    got = rewritten(module, whole(3, 4, seed=6), x, "singleton-softmax")
    assert np.array_equal(got, np.maximum(x.numpy() @ p["value.weight"].T + p["value.bias"], 0))
