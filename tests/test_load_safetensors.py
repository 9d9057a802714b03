"""Safetensors: files, indexes of shards and folders, with and without a factory; hostile ones are refused."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest
import torch
from safetensors.torch import save, save_file, save_model
from torch import nn
from typer.testing import CliRunner

from paramaudit.cli import app
from paramaudit.errors import TargetError
from paramaudit.load import load

FACTORY = """
import torch
from torch import nn

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), torch.ones(2, 4)

def tied():
    made, inputs = model()
    made[2].weight = made[0].weight
    return made, inputs

def half():
    made, inputs = model()
    return made.bfloat16(), inputs.bfloat16()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.py").write_text(FACTORY)
    return tmp_path


def numbers(seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = {"0.weight": (4, 4), "0.bias": (4,), "2.weight": (4, 4), "2.bias": (4,)}
    return {name: torch.randn(*shape, generator=generator) for name, shape in names.items()}


def sharded(folder, tensors, *, index=None):
    """Two shards and their index, as large models are published."""
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:2], "model-00002-of-00002.safetensors": names[2:]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    where = {name: file for file, held in parts.items() for name in held}
    text = json.dumps({"metadata": {"total_size": 160}, "weight_map": {**where, **(index or {})}})
    (folder / "model.safetensors.index.json").write_text(text)
    return folder / "model.safetensors.index.json"


# --- read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin", "model"])
def test_a_bare_file_gives_its_tensors(folder, name):
    save_file(numbers(), folder / name)
    loaded = load(name)
    assert loaded.module is None
    assert loaded.format == "safetensors"
    assert loaded.sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert loaded.tensors is not None
    assert loaded.tensors.keys() == numbers().keys()
    assert all(torch.equal(loaded.tensors[key], value) for key, value in numbers().items())


@pytest.mark.parametrize("target", ["file", "index", "folder of a file", "folder of shards"])
def test_a_factory_is_filled(folder, target):
    (folder / "m").mkdir()
    (folder / "m" / "config.json").write_text('{"hidden_size": 4}')
    if "file" in target:
        save_file(numbers(), folder / "m" / "weights")
        name = "m/weights" if target == "file" else "m"
    else:
        sharded(folder / "m", numbers())
        name = "m/model.safetensors.index.json" if target == "index" else "m"
    module = load(name, factory="f.py:model").module
    assert module is not None
    assert all(torch.equal(value, numbers()[key]) for key, value in module.state_dict().items())


def test_the_hash_of_an_index_is_that_of_its_shards_too(folder):
    index = sharded(folder, numbers())
    before = load(str(index)).sha256
    assert load(str(folder)).sha256 == before
    sharded(folder, numbers(2))
    assert load(str(index)).sha256 != before


def test_tied_weights_that_the_format_drops_are_filled():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    save_model(model, "tied.safetensors")
    module = load("tied.safetensors", factory="f.py:tied").module
    assert module is not None
    assert module[2].weight is module[0].weight
    assert torch.equal(module[2].weight, model[0].weight)
    with pytest.raises(TargetError, match=r"1 missing: (0|2)\.weight"):
        load("tied.safetensors", factory="f.py:model")


def test_other_numbers_for_a_tied_weight_are_refused():
    save_file(numbers(), "a.safetensors")
    with pytest.raises(TargetError, match=r"2\.weight \(one tensor with 0\.weight in the module, other"):
        load("a.safetensors", factory="f.py:tied")
    torch.save(numbers(), "a.pt")
    with pytest.raises(TargetError, match="one tensor with"):
        load("a.pt", factory="f.py:tied")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_short_floats_are_read_and_fill_what_holds_them(dtype):
    held = {name: value.to(dtype) for name, value in numbers().items()}
    save_file(held, "s.safetensors")
    tensors = load("s.safetensors").tensors
    assert tensors is not None
    assert {value.dtype for value in tensors.values()} == {dtype}
    module = load("s.safetensors", factory="f.py:model").module
    assert module is not None
    assert torch.equal(module[0].weight, held["0.weight"].float())


def test_a_dtype_that_does_not_fit_is_refused():
    save_file(numbers(), "a.safetensors")
    with pytest.raises(TargetError, match=r"0\.weight \(float32\[4, 4\] in the file, bfloat16\[4, 4\] in"):
        load("a.safetensors", factory="f.py:half")


# --- hostile ------------------------------------------------------------------------------------


def raw(header: object, data: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start: int, stop: int, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


GOOD = {"a": entry(0, 4), "b": entry(4, 8)}
ONE = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'
TWICE = b"{" + ONE % (0, 4) + b"," + ONE % (4, 8) + b"}"

BROKEN = {
    "a huge header": (raw(GOOD, length=1 << 60), "its header is said to be"),
    "a header longer than the file": (raw(GOOD, length=500), "broken or truncated"),
    "truncated": (save(numbers())[:-5], "broken"),
    "more data than tensors": (raw(GOOD, b"\0" * 12), "broken"),
    "overlapping": (raw({"a": entry(0, 8, shape=(2,)), "b": entry(4, 8)}), "broken"),
    "beyond the end": (raw({"a": entry(0, 4), "b": entry(4, 1 << 40)}), "broken"),
    "backwards": (raw({"a": entry(4, 0), "b": entry(4, 8)}), "broken"),
    "negative": (raw({"a": entry(-4, 0), "b": entry(0, 8, shape=(2,))}), "broken"),
    "size that overflows": (raw({"a": entry(0, 8, shape=(1 << 40, 1 << 40))}), "broken"),
    "shape and bytes differ": (raw({"a": entry(0, 8, shape=(3,))}), "broken"),
    "an unknown dtype": (raw({"a": entry(0, 8, "F7", (2,))}), "broken"),
    "a name twice": (raw(TWICE), "the name 'a' comes twice"),
    "no JSON": (raw(b'{"a": [}'), "its header"),
    "deep JSON": (raw(b'{"a":' + b"[" * 200_000), "its header"),
    "no object": (raw({"a": 3}), "broken"),
    "no tensors": (raw({}, b""), "without tensors"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_line(folder, name):
    data, message = BROKEN[name]
    (folder / "x.safetensors").write_bytes(data)
    with pytest.raises(TargetError, match=message) as caught:
        load("x.safetensors")
    assert "\n" not in str(caught.value)
    result = CliRunner().invoke(app, ["scan", "x.safetensors"])
    assert result.exit_code == 2


INDEXES = {
    "outside": ({"0.bias": "../other.safetensors"}, "no plain file name"),
    "absolute": ({"0.bias": "/etc/passwd"}, "no plain file name"),
    "backslash": ({"0.bias": "..\\other.safetensors"}, "no plain file name"),
    "dots": ({"0.bias": ".."}, "no plain file name"),
    "missing": ({"0.bias": "model-00003-of-00002.safetensors"}, "does not exist"),
    "no safetensors": ({"0.bias": "f.py"}, "Python source, not safetensors"),
    "an index": ({"0.bias": "model.safetensors.index.json"}, "not safetensors"),
    "another shard": ({"0.bias": "model-00002-of-00002.safetensors"}, "does not fit its shard"),
    "not there": ({"extra": "model-00002-of-00002.safetensors"}, "lacks extra"),
    "a number": ({"0.bias": 3}, "no table of file names"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_a_hostile_index_is_refused(folder, name):
    entries, message = INDEXES[name]
    save_file(numbers(), folder.parent / "other.safetensors")
    index = sharded(folder, numbers(), index=entries)
    with pytest.raises(TargetError, match=message) as caught:
        load(str(index))
    assert "\n" not in str(caught.value)


def test_an_index_that_names_a_tensor_twice_is_refused(folder):
    (folder / "i.json").write_text('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}')
    with pytest.raises(TargetError, match="the name 'a' comes twice"):
        load("i.json")


def test_a_folder_with_several_models_asks_for_one(folder):
    save_file(numbers(), "one.safetensors")
    save_file(numbers(), "two.safetensors")
    with pytest.raises(TargetError, match=r"holds 2 models \(one.safetensors, two.safetensors\); name one"):
        load(str(folder))
