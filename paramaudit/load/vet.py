"""What a .pt2 would make torch run, found before torch opens it.

``torch.export.load`` unpickles without restraint when a payload says so, when example inputs do not load
safely, and for custom objects; it starts compiled code and evaluates parts of the graph (see ``program.py``).
Each entry of the archive must be one that is known, and harmless, or the archive is refused. Both layouts are
covered: the archive of torch 2.8 and later, and the plain zip of 2.6 and 2.7, which later torch still reads.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import torch

from paramaudit.errors import TargetError, UnsafeTargetError
from paramaudit.load import archive, pickles, program
from paramaudit.load.text import cause, is_plain, short

_TRUST = "--trust reads it anyway, only for files you made"
_PLAIN = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|\.format_version"
    r"|\.storage_alignment|models/model\.json|data/weights/weight_\d+|data/constants/tensor_\d+|extra/.+"
    r"|data/(weights/model_weights|constants/model_constants)_config\.json"
)
_JSON = re.compile(r"models/model\.json|data/\w+/model_\w+_config\.json")
_TORCH_PICKLE = re.compile(r"data/(weights|constants|sample_inputs)/model\.pt")
_FORBIDDEN = (
    (r"data/aotinductor/", "machine code compiled by AOTInductor"),
    (r"data/constants/custom_obj_", "a custom C++ object"),
    (r"data/constants/opaque_obj_", "a pickled Python object"),
    (r"models/", "more than one program"),
)
_OLD_PICKLE = re.compile(r"serialized_(state_dict|constants|example_inputs)\.(pt|json)")
_OLD_PLAIN = re.compile(r"version|extra_files/.+")
_OLD_PROGRAM = "serialized_exported_program.json"


def vet_pt2(file: IO[bytes], label: str) -> None:
    """Refuse an exported program whose reading could run code that it brings.

    Args:
        file: the open archive. It must be this file that torch gets afterwards.
        label: how messages call it.

    Raises:
        UnsafeTargetError: an entry is not known to be harmless; says which and what it wanted.
        TargetError: the archive is broken.
    """
    names = archive.entries(file, label)
    if _OLD_PROGRAM in names:
        return _vet_old(file, names, label)
    root, inner = archive.split_root(names)
    for name in inner:
        if not (root and (_PLAIN.fullmatch(name) or _TORCH_PICKLE.fullmatch(name))):
            raise _foreign(label, name)
    file.seek(0)
    # Through torch's own reader, so that what is vetted is what torch will see.
    try:
        reader = torch._C.PyTorchFileReader(file)
        if sorted(reader.get_all_records()) != sorted(inner):
            raise _two_faced(label)
        contents = {
            n: reader.get_record(n) for n in inner if _JSON.fullmatch(n) or _TORCH_PICKLE.fullmatch(n)
        }
        sizes = {n: reader.get_record_size(n) for n in inner}
    except UnsafeTargetError:
        raise
    except Exception as error:  # the reader raises what its C++ code feels like; reported
        raise TargetError(f"{label} is a broken .pt2 archive: {short(error)}") from error
    for name, data in contents.items():
        if _TORCH_PICKLE.fullmatch(name):
            vet_pickle(data, f"{label}: {name}")
            continue
        document = program.vet_json(data, f"{label}: {name}")
        if name.endswith("_config.json"):
            _vet_payloads(document, name, sizes, label)
    return None


def vet_pickle(data: bytes, label: str) -> None:
    """Load bytes written by torch.save in the safe way, so that torch will not try the unsafe one.

    It tries ``weights_only=True`` first and falls back to running the pickle when that fails. That cannot
    fail on bytes that have just loaded.

    Raises:
        UnsafeTargetError: they do not load safely; lists the names that they want.
    """
    if not data:
        return
    try:
        archive.entries(io.BytesIO(data), label)
        held = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except UnsafeTargetError:
        raise
    except Exception as error:  # torch raises anything here; each is a reported refusal
        wanted = pickles.wanted_by(io.BytesIO(data))
        listed = ", ".join(wanted) or "something it cannot name"
        raise UnsafeTargetError(
            f"{label} is a pickle that wants to load {listed}; {_TRUST}", wanted
        ) from error
    _vet_keys(held, label)


def _vet_old(file: IO[bytes], names: list[str], label: str) -> None:
    for name in names:
        if name != _OLD_PROGRAM and not (_OLD_PLAIN.fullmatch(name) or _OLD_PICKLE.fullmatch(name)):
            raise _foreign(label, name)
    if _readable_by_torch(file):  # torch would try that first, and find an archive of the new layout
        raise _two_faced(label)
    try:
        with zipfile.ZipFile(file) as opened:  # torch reads this layout with zipfile too
            contents = {n: opened.read(n) for n in names if n == _OLD_PROGRAM or _OLD_PICKLE.fullmatch(n)}
    except Exception as error:  # zipfile raises a dozen types on broken headers; reported
        raise TargetError(f"{label} is a broken .pt2 archive: {cause(error)}") from error
    for name, data in contents.items():
        if name == _OLD_PROGRAM:
            program.vet_json(data, f"{label}: {name}")
        else:
            vet_pickle(data, f"{label}: {name}")


def _readable_by_torch(file: IO[bytes]) -> bool:
    file.seek(0)
    try:
        torch._C.PyTorchFileReader(file)
    except Exception:  # noqa: BLE001 - any failure is the answer that is hoped for
        return False
    return True


def _vet_payloads(document: Any, name: str, sizes: Mapping[str, int], label: str) -> None:
    """Each payload is a raw tensor that the archive holds; torch fills a missing one with zeros."""
    folder = name.rsplit("/", 1)[0]
    try:
        for tensor, meta in document["config"].items():
            size = sizes[f"{folder}/{meta['path_name']}"]
            if size == 0 and math.prod(length["as_int"] for length in meta["tensor_meta"]["sizes"]):
                raise TargetError(
                    f"{label}: {tensor!r} has a shape but no numbers; it was exported from a fake tensor"
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise TargetError(f"{label}: {name} is broken: {cause(error)}") from error


def _vet_keys(held: object, label: str) -> None:
    """Keys of example inputs end up in generated source."""
    if isinstance(held, Mapping):
        for key, value in held.items():
            if isinstance(key, str) and not is_plain(key):
                raise UnsafeTargetError(
                    f"{label} has a key that is no plain text: {key[:80]!r}; {_TRUST}", (key,)
                )
            _vet_keys(value, label)
    elif isinstance(held, tuple | list):
        for value in held:
            _vet_keys(value, label)


def _two_faced(label: str) -> UnsafeTargetError:
    return UnsafeTargetError(f"{label} is an archive on which two zip readers disagree; {_TRUST}")


def _foreign(label: str, name: str) -> UnsafeTargetError:
    for pattern, what in _FORBIDDEN:
        if re.match(pattern, name):
            return UnsafeTargetError(f"{label} holds {what} ({name}); {_TRUST}", (name,))
    return UnsafeTargetError(
        f"{label} holds an entry that is not known to be harmless: {name!r}; {_TRUST}", (name,)
    )
