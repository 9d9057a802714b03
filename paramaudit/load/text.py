"""Text that a file brings: how it is shown, and when it is plain enough to be pasted into source."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[\w .:/@<>=+\-]*")
_SHOWN = 160


def is_plain(text: str) -> bool:
    """True for dotted names and ordinary keys: nothing that could end a string literal or call anything."""
    return _PLAIN.fullmatch(text) is not None


def short(value: object) -> str:
    """``str(value)`` on one line, cut, without control characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def cause(error: BaseException) -> str:
    """``Type: message`` of an exception on one line."""
    message = short(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
