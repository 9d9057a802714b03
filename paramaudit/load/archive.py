"""The shape of a zip archive, checked before anything inside is believed.

torch writes archives that store every entry as it is. Whatever deviates (compression, two entries under one
name, names that leave the folder, sizes beyond the file's own) could make two readers see different files or
unpack to far more than the file holds, so it is refused.
"""

from __future__ import annotations

import struct
import zipfile
from typing import IO

from paramaudit.errors import TargetError, UnsafeTargetError

_MAX_ENTRIES = 1_000_000


def entries(file: IO[bytes], label: str) -> list[str]:
    """Names of all entries of a zip archive that is plainly stored.

    Args:
        file: an open archive; its position is moved.
        label: how messages call it.

    Raises:
        TargetError: the archive is broken.
        UnsafeTargetError: it is not laid out as torch lays archives out.
    """
    size = file.seek(0, 2)
    try:
        with zipfile.ZipFile(file) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError, IndexError) as error:
        raise TargetError(f"{label} is a broken or truncated zip archive: {error}") from error
    if len(listed) > _MAX_ENTRIES:
        raise UnsafeTargetError(f"{label} lists {len(listed)} entries, too many for a model")
    for entry in listed:
        if problem := _problem(entry):
            raise UnsafeTargetError(f"{label}: entry {entry.filename!r} {problem}; re-save it with torch")
    if len({entry.filename.casefold() for entry in listed}) != len(listed):
        raise UnsafeTargetError(f"{label} holds two entries under one name, so readers may disagree on it")
    if sum(entry.file_size for entry in listed) > size:
        raise UnsafeTargetError(f"{label} claims to hold more bytes than the file has")
    return [entry.filename for entry in listed]


def split_root(names: list[str]) -> tuple[str, list[str]]:
    """The folder that all entries share and their names inside it; ``("", names)`` when there is none."""
    roots = {name.split("/", 1)[0] for name in names if "/" in name}
    if len(roots) != 1 or any("/" not in name for name in names):
        return "", names
    root = roots.pop()
    return root, [name[len(root) + 1 :] for name in names]


def _problem(entry: zipfile.ZipInfo) -> str | None:
    name = entry.filename
    # orig_filename: zipfile cuts a name at its first NUL, torch's reader need not.
    if name != entry.orig_filename or "\\" in name or name.startswith("/") or ".." in name.split("/"):
        return "has a name that leaves the archive"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        return "is compressed, which torch never does"
    return None
