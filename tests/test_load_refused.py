"""Files that are no model of torch: each refused by one line that says what it is and what to do."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from paramaudit.errors import TargetError
from paramaudit.load import load


def zipped(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def numpy_bytes(save, *args, **kwargs) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *args, **kwargs)
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pt"), io.BytesIO())
    return buffer.getvalue()


FILES = {
    "is empty": b"",
    "is JSON": b'  {"hidden_size": 3}',
    "GGUF": b"GGUF\x03\0\0\0" + b"\0" * 64,
    "HDF5": b"\x89HDF\r\n\x1a\n" + b"\0" * 64,
    "ONNX": b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + b":\x02\x0a\x00" * 9,
    "gzip": gzip.compress(b"x" * 100),
    "bzip2": b"BZh91AY&SY" + b"\0" * 9,
    "xz": b"\xfd7zXZ\x00" + b"\0" * 9,
    "zstd": b"\x28\xb5\x2f\xfd" + b"\0" * 9,
    "7z": b"7z\xbc\xaf\x27\x1c" + b"\0" * 9,
    "tar archive": tar(),
    "ExecuTorch": b"\x28\0\0\0ET12" + b"\0" * 30,
    "executable or shared library": b"\x7fELF\x02\x01\x01" + b"\0" * 30,
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "HTML page": b"<!DOCTYPE html>\n<html><body>404</body></html>",
    "FILE.py:FUNCTION": b"import torch\n\ndef make():\n    pass\n",
    "plain text": "größe: drei\nnothing else\n".encode(),
    "no format that is known": bytes(range(1, 200)) * 9,
    "NumPy .npz": numpy_bytes(np.savez, a=np.ones(3)),
    "NumPy array": numpy_bytes(np.save, np.ones(3)),
    "Keras": zipped(**{"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b""}),
    "torch.package": zipped(**{"p__.data__extern_modules": b"", "p__.data__version": b"3"}),
    "no graph": zipped(
        m__archive_format=b"pt2", m__archive_version=b"0", m__data__aotinductor__model__m__so=b""
    ),
    "is a zip archive, but no model": zipped(**{"readme.txt": b"hello"}),
    "broken or truncated zip": zipped(**{"readme.txt": b"hello"})[:-30],
}


@pytest.mark.parametrize("says", FILES)
@pytest.mark.parametrize("trust", [False, True])
def test_what_it_is(tmp_path, says, trust):
    path = tmp_path / "model.pt"
    path.write_bytes(FILES[says])
    with pytest.raises(TargetError) as caught:
        load(str(path), trust=trust)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_torchscript(tmp_path):
    path = tmp_path / "script.pt"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # as torch.jit.save lays it out
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"script/{name}", b"")
    path.write_bytes(buffer.getvalue())
    with pytest.raises(TargetError, match="TorchScript archive, which carries code; export the model"):
        load(str(path))


def test_a_folder(tmp_path):
    with pytest.raises(TargetError, match="is a folder; name a file in it"):
        load(str(tmp_path))


@pytest.mark.parametrize("target", ["nowhere.pt2", "no/where.pt", "", " ", "x" * 5000, "a\0b", "C:\\x.pt"])
def test_no_such_file(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TargetError) as caught:
        load(target)
    assert len(str(caught.value)) < 400


def test_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TargetError, match="no regular file"):
        load(str(tmp_path / "pipe"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"w": torch.ones(1)}, path)
    path.chmod(0)
    with pytest.raises(TargetError, match="Permission denied"):
        load(str(path))
