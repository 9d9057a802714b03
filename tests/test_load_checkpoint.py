"""Files of torch.save: state dicts with and without a factory, pickled modules, planted pickles."""

from __future__ import annotations

import argparse
import collections
import hashlib
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from paramaudit.errors import TargetError, UnsafeTargetError
from paramaudit.load import load

FACTORY = """
import torch
from torch import nn

def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model

def with_inputs():
    return tied(), torch.ones(2, 4)

def wider():
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(4), nn.Linear(4, 4))

def half():
    return tied().half()

def double():
    return tied().double()

def many():
    return nn.ModuleDict({f"layer{i}": nn.Linear(1, 1) for i in range(9)})
"""


class Touch:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.py").write_text(FACTORY)
    return tmp_path


@pytest.fixture
def model():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "name", ["model.pt", "model.pth", "model.bin", "model.pt2", "model.safetensors", "model"]
)
def test_a_state_dict_alone(folder, model, name, zipped):
    torch.save(model.state_dict(), name, _use_new_zipfile_serialization=zipped)
    loaded = load(name)
    assert loaded.format == "state-dict"
    assert loaded.module is None
    assert loaded.exported is None
    assert not loaded.has_inputs
    assert loaded.sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert loaded.tensors.keys() == model.state_dict().keys()
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.tensors[key], tensor)
    tied = loaded.tensors["0.weight"].data_ptr(), loaded.tensors["2.weight"].data_ptr()
    assert tied[0] == tied[1]


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_a_training_checkpoint(model, key):
    optimizer = torch.optim.Adam(model.parameters())
    torch.save({"epoch": 3, key: model.state_dict(), "optimizer": optimizer.state_dict()}, "train.ckpt")
    assert load("train.ckpt").tensors.keys() == model.state_dict().keys()


def test_a_bare_tensor():
    torch.save(nn.Parameter(torch.eye(3)), "t.pt")
    assert torch.equal(load("t.pt").tensors["tensor"], torch.eye(3))


def test_extra_state_is_no_tensor():
    torch.save({"w": torch.eye(2), "_extra_state": {"version": 1}}, "x.pt")
    assert list(load("x.pt").tensors) == ["w"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"epoch": 1, "lr": 0.1}, "a dict with epoch, lr"),
        ({}, "an empty dict"),
        ([torch.ones(1)], "a list"),
        (5, "a int"),
        ({"w": torch.ones(1), "epoch": 3}, "a dict with w, epoch"),
    ],
)
def test_no_state_dict(value, says):
    torch.save(value, "x.pt")
    with pytest.raises(TargetError, match=says):
        load("x.pt")


# --- with a factory -----------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_loaded_into_the_module_of_a_factory(model, zipped):
    torch.save(model.state_dict(), "m.pt", _use_new_zipfile_serialization=zipped)
    loaded = load("m.pt", factory="f.py:with_inputs")
    assert loaded.format == "state-dict"
    assert loaded.tensors is None
    assert loaded.sha256 is not None
    assert loaded.args[0].shape == (2, 4)
    assert loaded.module[0].weight is loaded.module[2].weight
    assert torch.equal(loaded.module[0].weight, model[0].weight)
    assert load("m.pt", factory="f.py:tied", inputs=["float32[n,4]"]).symbols == {(0, 0): "n"}


def test_wider_numbers_are_kept_narrower_ones_refused(model):
    torch.save(model.state_dict(), "m.pt")
    assert load("m.pt", factory="f.py:double").module[0].weight.dtype == torch.float64
    with pytest.raises(TargetError, match=r"8 mismatched: .*float32\[4, 4\] in the file, float16\[4, 4\]"):
        load("m.pt", factory="f.py:half")


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("f.py:wider", ["2 mismatched", "0.weight (float32[4, 4] in the file, float32[5, 4] in the module)"]),
        ("f.py:many", ["18 missing: layer0.weight, ", ", ...", "9 unexpected: 0.weight, "]),
    ],
)
def test_what_does_not_fit(model, factory, says):
    torch.save(model.state_dict(), "m.pt")
    with pytest.raises(TargetError) as caught:
        load("m.pt", factory=factory)
    for words in says:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_of_a_wrapped_model(model):
    torch.save({f"module.{name}": tensor for name, tensor in model.state_dict().items()}, "m.pt")
    with pytest.raises(TargetError, match="saved from a wrapped model"):
        load("m.pt", factory="f.py:tied")


# --- pickles that want more ---------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module(model, zipped):
    torch.save(model, "whole.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeTargetError) as caught:
        load("whole.pt")
    assert "torch.nn.modules.container.Sequential" in caught.value.wanted
    assert "torch.nn.modules.linear.Linear" in str(caught.value)
    assert "--trust runs the code of this file; only for files you made; or save a state_dict" in str(
        caught.value
    )
    loaded = load("whole.pt", trust=True, inputs=["float32[n,4]"])
    assert loaded.format == "module"
    assert loaded.has_inputs
    assert torch.equal(loaded.module[0].weight, model[0].weight)


def test_a_whole_module_whose_class_is_gone(folder):
    torch.save(nn.Linear(1, 1), "whole.pt", _use_new_zipfile_serialization=False)
    data = (
        (folder / "whole.pt").read_bytes().replace(b"torch.nn.modules.linear\n", b"torch.nn.modules.linaer\n")
    )
    (folder / "whole.pt").write_bytes(data)
    with pytest.raises(TargetError, match=r"could not be unpickled: ModuleNotFoundError"):
        load("whole.pt", trust=True)


def planted_zip(path, marker):
    torch.save({"w": torch.ones(1), "x": Touch(marker)}, path)


def planted_legacy(path, marker):
    torch.save({"w": torch.ones(1), "x": Touch(marker)}, path, _use_new_zipfile_serialization=False)


def planted_protocol(protocol):
    def write(path, marker):
        path.write_bytes(pickle.dumps(Touch(marker), protocol=protocol))

    return write


PLANTS = {"zip": planted_zip, "legacy": planted_legacy}
PLANTS |= {f"pickle protocol {p}": planted_protocol(p) for p in range(6)}


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_pickles_never_run(folder, plant):
    marker, path = folder / "marker", folder / "planted.pth"
    PLANTS[plant](path, marker)
    with pytest.raises(UnsafeTargetError) as caught:
        load("planted.pth")
    assert not marker.exists()
    assert any(name.endswith(".mkdir") for name in caught.value.wanted)
    assert "mkdir" in str(caught.value)


@pytest.mark.parametrize("plant", ["zip", "legacy"])
def test_the_plants_are_live(folder, plant):
    marker, path = folder / "marker", folder / "planted.pth"
    PLANTS[plant](path, marker)
    with pytest.raises(TargetError):
        load("planted.pth", trust=True)
    assert marker.exists()


def test_a_name_that_the_pickle_computes(folder):
    """``STACK_GLOBAL`` on strings from a memo."""
    body = b"\x80\x04\x8c\x05posix\x94\x8c\x05mkdir\x94000h\x00h\x01\x93\x8c\x06marker\x85R."
    (folder / "x.pt").write_bytes(body)
    with pytest.raises((UnsafeTargetError, TargetError)):
        load("x.pt")
    assert not (folder / "marker").exists()


def test_harmless_types_that_torch_does_not_know_are_named(model):
    torch.save({"state_dict": model.state_dict(), "args": argparse.Namespace(lr=1)}, "x.ckpt")
    with pytest.raises(UnsafeTargetError) as caught:
        load("x.ckpt")
    assert caught.value.wanted == ("argparse.Namespace",)
    assert load("x.ckpt", trust=True).tensors.keys() == model.state_dict().keys()


def test_a_planted_pickle_beside_a_planted_folder(folder):
    """Modules of the current folder are not imported by looking at a file."""
    (folder / "planted_by_name.py").write_text("import os\nos.mkdir('marker')\n")
    data = b"\x80\x02cplanted_by_name\nx\n."
    (folder / "x.pt").write_bytes(data)
    with pytest.raises(UnsafeTargetError, match=r"planted_by_name\.x"):
        load("x.pt")
    assert not (folder / "marker").exists()


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.9, 0.999])
def test_truncated(folder, model, zipped, keep):
    torch.save(model.state_dict(), "m.pt", _use_new_zipfile_serialization=zipped)
    data = (folder / "m.pt").read_bytes()
    (folder / "m.pt").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(TargetError) as caught:
        load("m.pt")
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, UnsafeTargetError)


def test_a_compressed_archive(model):
    torch.save(model.state_dict(), "m.pt")
    with zipfile.ZipFile("m.pt") as old, zipfile.ZipFile("c.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(UnsafeTargetError, match="compressed"):
        load("c.pt")


def test_tensors_in_order_of_the_file():
    names = [f"t{i}" for i in (3, 1, 2)]
    torch.save(collections.OrderedDict((n, torch.ones(1)) for n in names), "m.pt")
    assert list(load("m.pt").tensors) == names
