"""``--inputs``."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paramaudit.errors import InputError, ParamauditError
from paramaudit.load import load


@pytest.fixture
def target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.py").write_text(
        "import torch\n"
        "def make():\n    return torch.nn.Linear(4, 2)\n"
        "def one():\n    return torch.ones(7, 4)\n"
        "def many():\n    return {'input': torch.ones(7, 4)}\n"
        "def none():\n    return None\n"
    )
    return "f.py:make"


def test_names_get_sizes_of_their_own(target):
    loaded = load(target, inputs=["float32[batch,4]", "float64[batch, time]", "bool[time]"])
    assert [tuple(a.shape) for a in loaded.args] == [(2, 4), (2, 3), (3,)]
    assert [a.dtype for a in loaded.args] == [torch.float32, torch.float64, torch.bool]
    assert loaded.symbols == {(0, 0): "batch", (1, 0): "batch", (1, 1): "time", (2, 0): "time"}
    assert loaded.has_inputs


def test_integers_stay_below_their_bound(target):
    small, large = load(target, inputs=["int64[1000]", "int32[1000]<100"]).args
    assert set(small.tolist()) == {0, 1}
    assert 50 < large.max() < 100


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64", "uint8", "int8", "int16"])
def test_every_dtype(target, dtype):
    (example,) = load(target, inputs=[f"{dtype}[2]"]).args
    assert example.dtype == getattr(torch, dtype)


def test_a_scalar(target):
    assert load(target, inputs=["float32[]"]).args[0].shape == ()


def test_the_same_numbers_each_time_and_none_taken_from_the_global_generator(target):
    state = torch.get_rng_state()
    first, second = (load(target, inputs=["float32[n,4]"]).args[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


def test_from_a_function(target):
    assert load(target, inputs=["f.py:one"]).args[0].shape == (7, 4)
    assert list(load(target, inputs=["f.py:many"]).kwargs) == ["input"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["float32"], "malformed"),
        (["float32(2)"], "malformed"),
        (["float32[2"], "malformed"),
        (["float31[2]"], "no dtype"),
        (["float32[2,]"], "neither a size nor a name"),
        (["float32[-1]"], "neither a size nor a name"),
        (["float32[2]<5"], "only integers"),
        (["int64[2]<0"], "bound"),
        (["int8[2]<1000"], "bound"),
        (["int64[2]<x"], "malformed"),
        (["float32[1000000000000000000]"], "cannot be made"),
        (["float32[99999999999999999999999]"], "cannot be made"),
        ([""], "malformed"),
        (["f.py:one", "float32[2]"], "not both"),
        (["f.py:none"], "gave NoneType"),
        (["f.py:missing"], "has no 'missing'"),
        (["nowhere.py:one"], "does not exist"),
    ],
)
def test_malformed(target, values, says):
    with pytest.raises(InputError, match=says) as caught:
        load(target, inputs=values)
    assert "\n" not in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_inputs_or_an_error(text):
    # The target does not exist, so that only reading the inputs is tried.
    with pytest.raises(ParamauditError):
        load("/nowhere/at/all.pt", inputs=[text])
