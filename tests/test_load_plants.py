"""Planted .pt2 files, shared by the tests of the vet; here, that the plot itself is sound.

A plant would create a marker folder. ``runs_when_trusted`` shows that it is live in this torch: where loading
alone sets it off, the marker must then appear, so that no test passes because its plant is dead.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from paramaudit.errors import ParamauditError, UnsafeTargetError
from paramaudit.load import load


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.constant = torch.arange(4.0)

    def forward(self, x, y):
        z = torch.cat([self.inner(x), y + self.constant])
        return z * 2 if x.shape[0] > 3 else z


class Touch:
    """A pickle of this touches ``path`` when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def saved_bytes(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@functools.cache
def program() -> torch.export.ExportedProgram:
    """A benign program with a parameter, a constant, a guard and symbolic sizes."""
    auto = torch.export.Dim.AUTO
    args = (torch.randn(8, 4), torch.randn(8, 4))
    return torch.export.export(Model(), args, dynamic_shapes=({0: auto}, {0: auto}))


@functools.cache
def records() -> Mapping[str, bytes]:
    """The entries of its archive."""
    buffer = io.BytesIO()
    torch.export.save(program(), buffer)
    reader = torch._C.PyTorchFileReader(io.BytesIO(buffer.getvalue()))
    names = [n for n in reader.get_all_records() if not n.startswith(".data") and n != "byteorder"]
    return {name: reader.get_record(name) for name in names}


def plant(folder: Path, changed: Mapping[str, bytes]) -> str:
    """Write the archive with some entries replaced or added; returns its name."""
    path = folder / "planted.pt2"
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, data in {**records(), **changed}.items():
        writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return str(path)


def refused(target: str, *says: str) -> UnsafeTargetError:
    """Loading must be refused as unsafe, in one line that holds ``says`` and the way out."""
    with pytest.raises(UnsafeTargetError) as caught:
        load(target)
    message = str(caught.value)
    assert "\n" not in message
    for words in ("--trust", *says):
        assert words in message
    return caught.value


def runs_when_trusted(target: str, marker: Path) -> None:
    """The plant is live, and did not run before; takes the marker away."""
    assert not marker.exists(), "the plant ran"
    with contextlib.suppress(ParamauditError):
        load(target, trust=True)
    assert marker.exists(), "the plant is dead"
    marker.rmdir()


def test_the_untouched_archive_loads(tmp_path):
    loaded = load(plant(tmp_path, {}))
    assert loaded.exported.module()(*loaded.args).shape == (16, 4)
