"""Whatever bytes come: a model, or one clear line. Never another exception."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch._export.serde.serialize import serialize

from paramaudit.errors import ParamauditError
from paramaudit.load import load

HEADS = [
    b"",
    b"PK\x03\x04",
    b"\x80\x02",
    b"\x80\x04",
    b"\x89HDF",
    b"GGUF",
    b"\x93NUMPY",
    b"{",
    b"<html",
    b"\x1f\x8b",
    b"cos\n",
]
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, x):
        return self.inner(x) if x.shape[0] > 3 else x


@pytest.fixture(scope="module")
def valid():
    """Bytes of a .pt2 of both layouts, a zip checkpoint and one without zip."""
    program = torch.export.export(Small(), (torch.ones(8, 2),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    exported, checkpoint, legacy = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.export.save(program, exported)
    torch.save(Small().state_dict(), checkpoint)
    torch.save(Small().state_dict(), legacy, _use_new_zipfile_serialization=False)
    older, artifact = io.BytesIO(), serialize(program)
    with zipfile.ZipFile(older, "w") as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_exported_program.json", artifact.exported_program)
        for part in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{part}.pt", getattr(artifact, part))
    return [exported.getvalue(), older.getvalue(), checkpoint.getvalue(), legacy.getvalue()]


def check(path, data):
    path.write_bytes(data)
    loaded, said = None, ""
    try:
        loaded = load(str(path))
    except ParamauditError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 1000
    assert loaded is None or (loaded.exported is None) != (loaded.tensors is None)


@SETTINGS
@given(st.sampled_from(HEADS), st.binary(max_size=300))
def test_any_bytes(tmp_path, head, tail):
    check(tmp_path / "x", head + tail)


@SETTINGS
@given(st.integers(0, 3), st.data())
def test_valid_files_with_a_few_bytes_changed(tmp_path, valid, which, data):
    changed = bytearray(valid[which])
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    check(tmp_path / "x", bytes(changed))


@SETTINGS
@given(st.integers(0, 3), st.data())
def test_valid_files_cut_or_extended(tmp_path, valid, which, data):
    whole = valid[which]
    cut = data.draw(st.integers(0, len(whole)))
    check(tmp_path / "x", whole[:cut] + data.draw(st.binary(max_size=40)))


@SETTINGS
@given(st.integers(0, 2), st.data())
def test_archives_with_one_entry_changed(tmp_path, valid, which, data):
    """The checksums are right here, so that the change gets past the zip reader."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(valid[which])) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        chosen = data.draw(st.sampled_from(names))
        for name in names:
            entry = bytearray(old.read(name))
            if name == chosen and entry:
                at = data.draw(st.integers(0, len(entry) - 1))
                entry[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
            new.writestr(name, bytes(entry))
    check(tmp_path / "x", buffer.getvalue())


JSON_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**12), st.floats(), st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["as_int", "name", "x"]), st.integers()),
)  # fmt: skip


def places(item):
    """Every (container, key) of a document."""
    for key, value in item.items() if isinstance(item, dict) else enumerate(item):
        yield item, key
        if isinstance(value, dict | list):
            yield from places(value)


@SETTINGS
@given(st.data())
def test_graphs_with_one_value_changed(tmp_path, valid, data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(valid[0])) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        chosen = data.draw(st.sampled_from([name for name in names if name.endswith(".json")]))
        for name in names:
            entry = old.read(name)
            if name == chosen:
                document = json.loads(entry)
                container, key = data.draw(st.sampled_from(list(places(document)) or [({}, "x")]))
                container[key] = data.draw(JSON_VALUES)
                with contextlib.suppress(ValueError):
                    entry = json.dumps(document).encode()
            new.writestr(name, entry)
    check(tmp_path / "x", buffer.getvalue())
