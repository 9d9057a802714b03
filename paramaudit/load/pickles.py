"""The names that a pickle wants to load, read from its opcodes without running any of them.

The list is for people: it says what a refused file asked for. It decides nothing, because names can be
built on the stack where no scan sees them. What decides is ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import io
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator
from typing import IO, Any

_STRINGS = {
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_HARMLESS = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch(\.storage)?\.\w*Storage"
    r"|torch\.(Size|device|Tensor|b?float\w*|half|double|u?int\w*|long|short|bool|complex\w*|bfloat16)"
    r"|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout|collections\.(OrderedDict|Counter)"
    r"|_codecs\.encode|builtins\.(bytearray|set|complex)"
)
# A torch file without zip is five pickles: magic number, protocol, system, the object, storage keys.
_PICKLES = 5
_BROKEN = (
    ValueError,
    IndexError,
    OverflowError,
    MemoryError,
    EOFError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
)


def wanted_by(file: IO[bytes]) -> tuple[str, ...]:
    """Dotted names that a file wants to load, in order, without those that every state dict has.

    Args:
        file: a pickle, or a zip archive with pickles in it, from its beginning.

    Returns:
        Names such as ``os.system``; ``?.?`` where the pickle computes the name itself. Names before a broken
        byte are listed too.
    """
    found: dict[str, None] = {}
    file.seek(0)
    try:
        if file.read(2) == b"PK":
            with zipfile.ZipFile(file) as archive:
                for entry in archive.namelist():
                    if entry.endswith(".pkl"):
                        _collect(io.BytesIO(archive.read(entry)), found)
        else:
            file.seek(0)
            for _ in range(_PICKLES):
                _collect(file, found)
    except _BROKEN:
        pass  # what was found so far is the answer
    return tuple(name for name in found if not _HARMLESS.fullmatch(name))


def _collect(file: IO[bytes], found: dict[str, None]) -> None:
    for name in _names(file):
        found[name] = None


def is_pickle(file: IO[bytes]) -> bool:
    """True when a whole pickle of more than one opcode stands at ``file``'s position.

    Pickles of protocol 0 and 1 have no magic number, so this is the only way to tell them from text.
    """
    count = 0
    try:
        for count, _ in enumerate(_opcodes(file)):  # noqa: B007 - the last index is what counts
            pass
    except _BROKEN:
        return False
    return count > 0


def _opcodes(file: IO[bytes]) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    with warnings.catch_warnings():  # of odd escapes in names
        warnings.filterwarnings("ignore", message="invalid (octal )?escape", category=DeprecationWarning)
        yield from pickletools.genops(file)


def _names(file: IO[bytes]) -> Iterator[str]:
    strings: list[str] = []
    memo: dict[int, str] = {}
    last: str | None = None
    memoized = 0
    for opcode, argument, _ in _opcodes(file):
        kind = opcode.name
        if kind in _PUTS or kind == "MEMOIZE":
            if last is not None:
                memo[memoized if kind == "MEMOIZE" else int(argument)] = last
            memoized += 1
            continue
        last = None
        if kind in _STRINGS:
            last = str(argument)
        elif kind in _GETS:
            last = memo.get(int(argument))
        elif kind in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".", 1)
        elif kind == "STACK_GLOBAL":
            yield ".".join(strings[-2:]) if len(strings) > 1 else "?.?"
        elif kind.startswith("EXT"):
            yield f"copyreg extension {argument}"
        if last is not None:
            strings = [*strings[-1:], last]
