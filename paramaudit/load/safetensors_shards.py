"""Safetensors in several files: an index that names the file of each tensor, and folders that hold one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from paramaudit.errors import TargetError
from paramaudit.load import sniff
from paramaudit.load.safetensors_file import parse_once, read_tensors
from paramaudit.load.text import short

_LARGEST_INDEX = 1 << 28
_LISTED = 5


def in_folder(folder: Path) -> Path:
    """The index or, without one, the only safetensors file of a folder, told by content.

    Raises:
        TargetError: there is none, or more than one.
    """
    kinds = {path: sniff.identify(path) for path in sorted(folder.iterdir()) if path.is_file()}
    for wanted in (sniff.SAFETENSORS_INDEX, sniff.SAFETENSORS):
        found = [path for path, kind in kinds.items() if kind == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            raise TargetError(
                f"{folder} holds {len(found)} models ({_listed(p.name for p in found)}); name one"
            )
    raise TargetError(f"{folder} is a folder; name a file in it")


def read_index(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of all shards that an index names, and the SHA-256 of index and shards together.

    Args:
        path: a file that was told to be an index by its content; its shards lie beside it.

    Raises:
        TargetError: the index is malformed, names a file elsewhere or a missing one, or its shards hold
            other tensors than it says.
    """
    names = _weight_map(path)
    files = {shard: _shard(path, shard) for shard in sorted(set(names.values()))}
    digest = hashlib.sha256(path.read_bytes())
    tensors: dict[str, Tensor] = {}
    for shard, file in files.items():
        held = read_tensors(file)
        _check_shard(path, shard, names, held)
        tensors.update(held)
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return tensors, digest.hexdigest()


def _weight_map(path: Path) -> dict[str, str]:
    if path.stat().st_size > _LARGEST_INDEX:
        raise TargetError(f"{path} is too large for an index of safetensors shards")
    try:
        index = parse_once(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise TargetError(f"{path} is a broken index of safetensors shards: {short(error)}") from error
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(v, str) for v in names.values()):
        msg = "its weight_map is no table of file names by tensor"
        raise TargetError(f"{path} is a broken index of safetensors shards: {msg}")
    return names


def _shard(path: Path, shard: str) -> Path:
    """The shard's file, which must lie beside the index: a plain name, no path."""
    if shard in ("", ".", "..") or any(c in "/\\:" or not c.isprintable() for c in shard):
        msg = "which is no plain file name; shards lie beside the index"
        raise TargetError(f"{path} names the shard {short(shard)!r}, {msg}")
    file = path.parent / shard
    if not file.is_file():
        raise TargetError(f"{path} names the shard {short(shard)!r}, which does not exist; download it too")
    kind = sniff.identify(file)
    if kind != sniff.SAFETENSORS:
        what = sniff.REFUSED[kind][0] if kind in sniff.REFUSED else f"is a {kind}"
        raise TargetError(f"{path} names the shard {short(shard)!r}, which {what}, not safetensors")
    return file


def _check_shard(path: Path, shard: str, names: Mapping[str, str], held: Mapping[str, Tensor]) -> None:
    meant = {name for name, file in names.items() if file == shard}
    for what, wrong in (("lacks", meant - held.keys()), ("also holds", held.keys() - meant)):
        if wrong:
            raise TargetError(
                f"{path} does not fit its shard {short(shard)!r}, which {what} {_listed(wrong)}"
            )


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(short(n) for n in found[:_LISTED]) + (", ..." if len(found) > _LISTED else "")
