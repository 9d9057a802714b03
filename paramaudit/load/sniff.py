"""What a file is, by its content; its name plays no part."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import IO

from paramaudit.load import pickles
from paramaudit.load.archive import split_root

PT2 = "pt2"
OLD_PT2 = "pt2 of torch 2.7 or older"
TORCH_ZIP = "torch zip"
PICKLE = "pickle"
SAFETENSORS = "safetensors file"
SAFETENSORS_INDEX = "index of safetensors shards"
FOLDER = "folder"

_EXPORT = "export the model with torch.export.save, or save a state_dict and pass --factory"
# What each kind that is not read is called, and what to do about it.
REFUSED = {
    "empty": ("is empty", "write it again"),
    "zip": ("is a zip archive, but no model of torch", _EXPORT),
    "broken zip": ("is a broken or truncated zip archive", "download or save it again"),
    "torchscript": ("is a TorchScript archive, which carries code", _EXPORT),
    "torch package": ("is a torch.package archive, which carries code", _EXPORT),
    "compiled": (
        "holds code compiled by AOTInductor and no graph",
        "name the .pt2 that torch.export.save wrote",
    ),
    "npz": ("is a NumPy .npz archive", "save its arrays as a state_dict with torch.save"),
    "npy": ("is a NumPy array", "save it with torch.save as a state_dict"),
    "keras": ("is a Keras archive", "only PyTorch models are read"),
    "gguf": ("is a GGUF file, quantised for llama.cpp", "use the PyTorch checkpoint that it was made from"),
    "hdf5": ("is an HDF5 file (Keras or other)", "only PyTorch models are read"),
    "onnx": ("looks like an ONNX model", "name the PyTorch model that it was exported from"),
    "gzip": ("is compressed with gzip", "unpack it first"),
    "bzip2": ("is compressed with bzip2", "unpack it first"),
    "xz": ("is compressed with xz", "unpack it first"),
    "zstd": ("is compressed with zstd", "unpack it first"),
    "7z": ("is a 7z archive", "unpack it first"),
    "tar": ("is a tar archive", "unpack it and name the file inside"),
    "executorch": ("is an ExecuTorch program", "name the exported program that it was lowered from"),
    "program": ("is an executable or shared library", "name a model"),
    "lfs": ("is a Git LFS pointer: the model itself was not fetched", "run: git lfs pull"),
    "html": ("is an HTML page, so the download went wrong", "download the file itself"),
    "json": ("is JSON, not a model", "name the checkpoint itself"),
    "python": ("is Python source", "name the function that builds the model: FILE.py:FUNCTION"),
    "text": ("is plain text, not a model", "name a checkpoint or an exported program"),
    "unknown": ("has no format that is known here", _EXPORT),
}

_HEAD = 1 << 16
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"GGUF", "gguf"),
    (b"\x93NUMPY", "npy"),
    (b"\x7fELF", "program"),
    (b"MZ", "program"),
    (b"version https://git-lfs", "lfs"),
)


def identify(path: Path) -> str:
    """The kind of what is at ``path``: one of the kinds named above, or a key of REFUSED.

    Raises:
        OSError: the file cannot be read.
    """
    if path.is_dir():
        return FOLDER
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if not head:
            return "empty"
        if head[:2] == b"PK" and head[2:4] in (b"\x03\x04", b"\x05\x06", b"\x07\x08"):
            return _zip_kind(file)
        if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
            return PICKLE
        if _is_safetensors(head, file.seek(0, 2)):
            return SAFETENSORS
        for magic, kind in _MAGIC:
            if head.startswith(magic):
                return kind
        if head[257:262] == b"ustar":
            return "tar"
        if head[4:8] in (b"ET12", b"ET13"):
            return "executorch"
        # ONNX is a bare protobuf: field 1 (a small version number), then field 2, 7 or 8.
        if head[0] == 0x08 and head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x3a", b"\x42"):
            return "onnx"
        if pickles.is_pickle(io.BytesIO(head)):
            return PICKLE
        return _text_kind(head)


def _zip_kind(file: IO[bytes]) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError, IndexError):
        return "broken zip"
    inner = set(split_root(names)[1])
    if "serialized_exported_program.json" in names:
        return OLD_PT2
    if "archive_format" in inner:
        compiled = any(name.startswith("data/aotinductor/") for name in inner)
        return "compiled" if compiled and not any(name.startswith("models/") for name in inner) else PT2
    if any(name.startswith("code/") for name in inner) or "bytecode.pkl" in inner or "constants.pkl" in inner:
        return "torchscript"
    if ".data/extern_modules" in inner:
        return "torch package"
    if "data.pkl" in inner:
        return TORCH_ZIP
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "keras" if "model.weights.h5" in names else "zip"


def _is_safetensors(head: bytes, size: int) -> bool:
    if len(head) < 10 or head[8:9] != b"{":
        return False
    length = int.from_bytes(head[:8], "little")
    # With a wrong length it is a broken one, and said to be.
    return 2 <= length <= size - 8 or head[8:].replace(b" ", b"")[:2] == b'{"'


def _text_kind(head: bytes) -> str:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else only the last character is cut
            return "unknown"
        text = head[: error.start].decode()
    if not all(c.isprintable() or c in "\t\n\r\f" for c in text):
        return "unknown"
    start = text.lstrip("\ufeff \t\r\n").lower()
    if start.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        return "html"
    if start.startswith(("{", "[")):
        return SAFETENSORS_INDEX if '"weight_map"' in start else "json"
    return "python" if "\ndef " in "\n" + text or "import " in text else "text"
