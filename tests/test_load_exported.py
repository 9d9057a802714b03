"""Benign .pt2 files of every layout."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import zipfile

import pytest
import torch
from torch import nn
from torch._export.serde.serialize import serialize

from paramaudit.errors import OptionError, TargetError
from paramaudit.load import load


class Model(nn.Module):
    """Parameters, a buffer, a constant, a keyword, symbolic arithmetic and a branch."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.GELU())
        self.tied = self.inner[0]
        self.names = nn.ParameterDict({"a b": torch.ones(4), "c-d": torch.ones(4)})
        self.register_buffer("scale", torch.full((4,), 2.0))
        self.constant = torch.arange(4.0)

    def forward(self, x, *, extra):
        y = self.tied(self.inner(x)) * self.scale + self.constant + extra["left"] + self.names["a b"]
        y = torch.cond(y.sum() > 0, lambda t: t * 2, lambda t: t + self.names["c-d"], (y,))
        return {"out": y.reshape(-1, 2), "rows": x.shape[0] * 2}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    kwargs = {"extra": {"left": torch.ones(4)}}
    shapes = {"x": {0: torch.export.Dim("batch", min=2, max=64)}, "extra": {"left": {}}}
    program = torch.export.export(
        Model().eval().requires_grad_(False), (torch.randn(3, 4),), kwargs, dynamic_shapes=shapes
    )
    torch.export.save(program, path, extra_files={"note.txt": "made by a test"})
    return path, program


def test_it_round_trips(saved):
    path, program = saved
    loaded = load(str(path))
    assert loaded.format == "pt2"
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.module is None
    assert loaded.tensors is None
    assert loaded.has_inputs
    assert loaded.exported.state_dict.keys() == program.state_dict.keys()
    before = program.module()(*loaded.args, **loaded.kwargs)
    after = loaded.exported.module()(*loaded.args, **loaded.kwargs)
    assert torch.equal(before["out"], after["out"])
    assert before["rows"] == after["rows"] == 6


def test_dynamic_shapes_stay(saved):
    loaded = load(str(saved[0]))
    run = loaded.exported.module()
    for batch in (2, 5, 64):
        assert run(torch.randn(batch, 4), **loaded.kwargs)["rows"] == 2 * batch
    (limits,) = loaded.exported.range_constraints.values()
    assert (limits.lower, limits.upper) == (2, 64)


def test_given_inputs_go_before_the_stored(saved):
    loaded = load(str(saved[0]), inputs=["float32[batch,4]"])
    assert loaded.args[0].shape == (2, 4)
    assert dict(loaded.kwargs) == {}


@pytest.mark.parametrize("name", ["model.pth", "model", "model.safetensors", "mödel 1.zip"])
def test_the_ending_plays_no_part(saved, tmp_path, name):
    shutil.copy(saved[0], tmp_path / name)
    assert load(str(tmp_path / name)).format == "pt2"


def test_guards_and_strict_mode(tmp_path):
    class Guarded(nn.Module):
        def forward(self, x, y, mode):
            both = torch.cat([x, y])
            if x.shape[0] > 3 and x.shape[0] % 2 == 0:
                both = both * 2
            return both[: x.shape[0] // 2].reshape(-1) if mode == "half" else both

    auto = torch.export.Dim.AUTO
    for strict in (False, True):
        args = (torch.randn(8, 6), torch.randn(8, 6), "half")
        shapes = ({0: auto, 1: auto}, {0: auto, 1: auto}, None)
        program = torch.export.export(Guarded(), args, dynamic_shapes=shapes, strict=strict)
        path = tmp_path / f"{strict}.pt2"
        torch.export.save(program, path)
        loaded = load(str(path))
        assert loaded.args[2] == "half"
        assert torch.equal(loaded.exported.module()(*loaded.args), program.module()(*loaded.args))


def test_a_program_without_example_inputs(tmp_path):
    program = torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),))
    program.example_inputs = None
    path = tmp_path / "bare.pt2"
    torch.export.save(program, path)
    loaded = load(str(path))
    assert not loaded.has_inputs
    assert load(str(path), inputs=["float32[1,2]"]).args[0].shape == (1, 2)


def test_the_layout_of_torch_2_6_and_2_7(saved, tmp_path):
    path = tmp_path / "old.pt2"
    old_layout(saved[1], path)
    loaded = load(str(path))
    assert loaded.exported.module()(*loaded.args, **loaded.kwargs)["rows"] == 6


def test_sizes_as_torch_2_6_wrote_them(saved, tmp_path):
    """Then ``expr_str`` was plain arithmetic such as ``2*s0``."""
    path = tmp_path / "older.pt2"
    old_layout(saved[1], path, lambda text: re.sub(r"Symbol\('(\w+)'[^)]*\)", r"\1", text))
    assert "Symbol(" not in zipfile.ZipFile(path).read("serialized_exported_program.json").decode()
    assert load(str(path)).exported is not None


def old_layout(program, path, edit=lambda text: text):
    artifact = serialize(program)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_exported_program.json", edit(artifact.exported_program.decode()))
        archive.writestr("serialized_state_dict.pt", artifact.state_dict)
        archive.writestr("serialized_constants.pt", artifact.constants)
        archive.writestr("serialized_example_inputs.pt", artifact.example_inputs)


def test_a_later_version_of_the_format(saved, tmp_path):
    path = tmp_path / "later.pt2"
    old_layout(saved[1], path, lambda text: text.replace('"major": 8', '"major": 99'))
    with pytest.raises(TargetError, match="cannot be loaded by torch") as caught:
        load(str(path))
    assert "schema version" in str(caught.value)


def test_weights_that_were_never_there(tmp_path):
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    program = torch.export.export(model, (torch.empty(1, 2, device="meta"),))
    buffer = io.BytesIO()
    try:
        torch.export.save(program, buffer)
    except (RuntimeError, NotImplementedError):
        pytest.skip("this torch does not save them")
    path = tmp_path / "meta.pt2"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(TargetError):
        load(str(path))


def test_nothing_is_printed(saved, tmp_path, capfd):
    whole = saved[0].read_bytes()
    (tmp_path / "cut.pt2").write_bytes(whole[:-3000])
    with pytest.raises(TargetError):
        load(str(tmp_path / "cut.pt2"))
    load(str(saved[0]))
    assert capfd.readouterr() == ("", "")


def test_factory_makes_no_sense(saved):
    with pytest.raises(OptionError, match="--factory"):
        load(str(saved[0]), factory="x.py:make")
