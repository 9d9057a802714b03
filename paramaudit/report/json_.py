"""JSON text of a document: strict JSON, ASCII, one trailing newline."""

from __future__ import annotations

import json
from collections.abc import Mapping

from paramaudit.records import Json


def dumps(document: Mapping[str, Json] | Mapping[str, object]) -> str:
    """The document as text.

    Raises:
        ValueError: it holds NaN or an infinity; a document never does.
    """
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
