"""One safetensors file: a header of JSON that says where each tensor's bytes are, then the bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from paramaudit.errors import TargetError
from paramaudit.load.text import cause, short

LONGEST_HEADER = 100_000_000
"""Bytes; the limit that the format sets."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one file under their names, mapped from the file.

    Args:
        path: a file that was told to be safetensors by its content.

    Raises:
        TargetError: it is broken or truncated, holds a dtype that torch lacks, or holds no tensors.

    Source:
        The safetensors format description: eight bytes of header length, the header, the data.
    """
    _check_header(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise TargetError(f"{path} is a broken safetensors file: {cause(error)}") from error
    if not tensors:
        raise TargetError(f"{path} is a safetensors file without tensors; save it again")
    return tensors


def _check_header(path: Path) -> None:
    """What the library does not say clearly, or passes over: a wrong length, a name that comes twice."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, LONGEST_HEADER):
            msg = f"its header is said to be {length:,} bytes long, and the file has {size:,}"
            raise TargetError(f"{path} is a broken or truncated safetensors file: {msg}; download it again")
        header = file.read(length)
    try:
        parse_once(header)
    except (ValueError, RecursionError) as error:
        raise TargetError(f"{path} is a broken safetensors file: its header: {short(error)}") from error


def parse_once(text: bytes) -> object:
    """JSON in which no name of an object comes twice, so that every reader reads the same.

    Raises:
        ValueError: it is no JSON, or a name comes twice.
    """
    return json.loads(text.decode(), object_pairs_hook=_unique)


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {short(twice)!r} comes twice")
    return found
