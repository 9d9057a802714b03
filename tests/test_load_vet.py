"""What a .pt2 archive may hold: pickles and foreign entries are refused, and never run."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
from test_load_plants import Touch, plant, program, records, refused, runs_when_trusted, saved_bytes
from torch._export.serde.serialize import serialize

from paramaudit.errors import TargetError, UnsafeTargetError
from paramaudit.load import load


@pytest.fixture
def marker(tmp_path):
    """Must not be there after a test."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


# --- pickles in it ------------------------------------------------------------------------------


def test_example_inputs_that_run(tmp_path, marker):
    target = plant(tmp_path, {"data/sample_inputs/model.pt": saved_bytes(((Touch(marker),), {}))})
    error = refused(target, "sample_inputs", "mkdir")
    assert any("mkdir" in name for name in error.wanted)
    runs_when_trusted(target, marker)


@pytest.mark.parametrize("name", ["data/weights/model.pt", "data/constants/model.pt"])
def test_older_payloads_that_run(tmp_path, marker, name):
    target = plant(tmp_path, {name: saved_bytes({"w": Touch(marker)})})
    refused(target, name, "mkdir")
    runs_when_trusted(target, marker)


def test_a_weight_marked_use_pickle(tmp_path, marker):
    config = json.loads(records()["data/weights/model_weights_config.json"])
    config["config"]["inner.weight"]["use_pickle"] = True
    planted = {
        "data/weights/model_weights_config.json": json.dumps(config).encode(),
        "data/weights/" + config["config"]["inner.weight"]["path_name"]: saved_bytes(Touch(marker)),
    }
    target = plant(tmp_path, planted)
    refused(target, "use_pickle")
    runs_when_trusted(target, marker)


def test_a_pickled_constant(tmp_path, marker):
    config = json.loads(records()["data/constants/model_constants_config.json"])
    config["config"]["constant"].update(path_name="opaque_obj_0", use_pickle=True, tensor_meta=None)
    planted = {
        "data/constants/model_constants_config.json": json.dumps(config).encode(),
        "data/constants/opaque_obj_0": pickle.dumps(Touch(marker)),
    }
    target = plant(tmp_path, planted)
    refused(target, "opaque_obj_0")
    runs_when_trusted(target, marker)


@pytest.mark.parametrize("part", ["state_dict", "constants", "example_inputs"])
def test_the_layout_of_torch_2_6_and_2_7(tmp_path, marker, part):
    artifact = serialize(program())
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_exported_program.json", artifact.exported_program)
        for name in ("state_dict", "constants", "example_inputs"):
            data = saved_bytes({"w": Touch(marker)}) if name == part else getattr(artifact, name)
            archive.writestr(f"serialized_{name}.pt", data)
    refused(str(path), part, "mkdir")
    runs_when_trusted(str(path), marker)


def test_both_layouts_in_one_archive(tmp_path, marker):
    """When the new layout fails to load, torch falls back to the old one."""
    target = plant(tmp_path, {"serialized_state_dict.pt": saved_bytes({"w": Touch(marker)})})
    refused(target, "serialized_state_dict.pt")


# --- entries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("data/aotinductor/model/model.so", "compiled by AOTInductor"),
        ("data/aotinductor/model/model.o", "compiled by AOTInductor"),
        ("data/constants/custom_obj_0", "custom C++ object"),
        ("models/other.json", "more than one program"),
        ("data/xl_weights/w", "not known"),
        ("code/model.py", "not known"),
        ("libevil.so", "not known"),
        ("data/weights/weight_0.py", "not known"),
    ],
)
def test_entries_that_are_not_known(tmp_path, name, says):
    refused(plant(tmp_path, {name: b"x"}), name, says)


def test_extra_files_are_only_text(tmp_path):
    assert load(plant(tmp_path, {"extra/note.txt": b"hello"})).exported is not None


def rezipped(path, change):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records().items():
            archive.writestr(f"model/{name}", data)
        change(archive)
    return str(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_layouts_on_which_readers_could_disagree(tmp_path):
    path = tmp_path / "zipped.pt2"

    def twice(archive):
        archive.writestr("model/models/model.json", b"{}")

    def other_case(archive):
        archive.writestr("model/MODELS/model.json", b"{}")

    def leaving(archive):
        archive.writestr("model/extra/../../x", b"")

    def absolute(archive):
        archive.writestr("/model/x", b"")

    def compressed(archive):
        archive.writestr("model/extra/bomb", b"\0" * 10**6, zipfile.ZIP_DEFLATED)

    for change in (twice, other_case, leaving, absolute, compressed):
        with pytest.raises(TargetError):
            load(rezipped(path, change))


def zip_bytes(entries) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def two_faced(for_torch: bytes, for_zipfile: bytes) -> bytes:
    """zipfile looks for the directory just before the end record, torch where the record says."""
    end = struct.Struct("<4s4H2LH")
    _, _, _, _, entries, size, offset, _ = end.unpack(for_torch[-22:])
    other = end.unpack(for_zipfile[-22:])
    assert (entries, size) == (other[4], other[5]), "the two directories must be of one size"
    last = end.pack(b"PK\5\6", 0, 0, entries, entries, size, offset, 0)
    return for_torch[:-22] + for_zipfile[other[6] : -22] + last


def test_two_readers_see_two_archives(tmp_path):
    inside = {f"model/{name}": data for name, data in records().items()} | {"model/.data/version": b"6"}
    hidden = zip_bytes({**inside, "model/models/other.json": b"{}"})
    shown = zip_bytes({**inside, "model/extra/xother.json": b"{}"})
    path = tmp_path / "planted.pt2"
    path.write_bytes(two_faced(hidden, shown))
    assert "model/models/other.json" not in zipfile.ZipFile(path).namelist()
    refused(str(path), "two zip readers disagree")


def test_the_old_layout_in_front_of_a_new_one(tmp_path, marker):
    """torch tries the new layout first."""
    inputs = saved_bytes(((Touch(marker),), {}))
    planted = {**records(), "data/sample_inputs/model.pt": inputs, ".data/version": b"6"}
    hidden = zip_bytes({f"model/{name}": data for name, data in planted.items()})
    lengths = [len(name) + len("model/") for name in planted]
    names = ["version", "serialized_exported_program.json"]
    rest = sum(lengths) - sum(map(len, names))
    padding = [f"extra_files/{i:02}" for i in range(len(lengths) - len(names))]
    padding[0] += "x" * (rest - sum(map(len, padding)))
    artifact = serialize(program())
    old = dict.fromkeys(padding, b"") | {"version": b"8.8", names[1]: artifact.exported_program}
    path = tmp_path / "planted.pt2"
    path.write_bytes(two_faced(hidden, zip_bytes(old)))
    assert "version" in zipfile.ZipFile(path).namelist()
    refused(str(path), "two zip readers disagree")
    runs_when_trusted(str(path), marker)


def test_an_entry_larger_than_the_file(tmp_path):
    """A zip bomb without compression: entries that share their bytes."""
    path = Path(plant(tmp_path, {}))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    size = struct.pack("<II", 10**9, 10**9)
    data[at + 20 : at + 28] = size
    path.write_bytes(data)
    with pytest.raises(TargetError):
        load(str(path))


# --- broken, not unsafe -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"models/model.json": b"not json"},
        {"models/model.json": b"{}"},
        {"models/model.json": b"[" * 100_000},
        {"models/model.json": b"\xff\xfe"},
        {"data/weights/model_weights_config.json": b"{}"},
        {"data/weights/model_weights_config.json": b'{"config": {"inner.weight": {}}}'},
        {"data/weights/weight_0": b""},
        {"data/weights/weight_0": b"\0" * 8},
        {"archive_version": b"99"},
    ],
)
def test_broken_archives(tmp_path, changed):
    with pytest.raises(TargetError) as caught:
        load(plant(tmp_path, changed))
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, UnsafeTargetError)
