"""Pages as GitHub Markdown: for job summaries, and for comments on pull requests, whose length is limited."""

from __future__ import annotations

import re
from collections.abc import Sequence

from paramaudit.report.page import Page, Table, clean

LIMIT = 65_536
"""Characters that GitHub takes in a comment; a page stays within as many bytes, and says what it left out."""

CELL = 200
"""Characters that are left of a long cell or line where cutting rows alone is not enough."""


def render(page: Page, limit: int = LIMIT) -> str:
    """The page as Markdown of at most ``limit`` bytes: long tables are cut evenly, then long cells."""
    longest = max((len(table.rows) for table in page.tables), default=0)
    text = _render(page, longest)
    if _size(text) <= limit:
        return text
    fits, most = 0, longest  # the most rows that fit, found by halving: the size grows with them
    while most - fits > 1:
        middle = (fits + most) // 2
        fits, most = (middle, most) if _size(_render(page, middle)) <= limit else (fits, middle)
    text = _render(page, fits)
    return text if _size(text) <= limit else _shortened(page, limit)


def escape(text: str) -> str:
    """The text as one Markdown line that shows exactly these characters, also in a table's cell."""
    return re.sub(r"([\\|`*_~\[\]#$])", r"\\\1", clean(text)).replace("&", "&amp;").replace("<", "&lt;")


def _size(text: str) -> int:
    return len(text.encode())


def _shortened(page: Page, limit: int) -> str:
    """A page whose lines alone are too long: each cut, and as many as there is room for."""
    shown = [f"## {escape(_cut(page.title))}", *(escape(_cut(line)) for line in page.lines)]
    rows = sum(len(table.rows) for table in page.tables)
    note = f"Lines are cut and {rows:,} rows left out to stay within {LIMIT:,} characters; {WHOLE}"
    while len(shown) > 1 and _size("\n\n".join([*shown, note])) + 1 > limit:
        shown.pop()
    return "\n\n".join([*shown, note]) + "\n"


def _cut(text: str) -> str:
    return text if len(text) <= CELL else f"{text[:CELL]}..."


WHOLE = "the JSON document has everything."


def _render(page: Page, most: int) -> str:
    parts = [f"## {escape(page.title)}"]
    parts.extend(escape(line) for line in page.lines)
    parts.extend(_table(table, most) for table in page.tables if table.rows)
    left = [
        f"{len(table.rows) - most:,} of {len(table.rows):,} rows of {escape(table.title or 'the table')}"
        for table in page.tables
        if len(table.rows) > most
    ]
    if left:
        parts.append(f"Left out to stay within {LIMIT:,} characters: {'; '.join(left)}; {WHOLE}")
    return "\n\n".join(parts) + "\n"


def _table(table: Table, most: int) -> str:
    rules = ["---:" if index in table.right else "---" for index in range(len(table.columns))]
    lines = [_row([escape(column) for column in table.columns]), _row(rules)]
    lines.extend(_row([escape(cell) for cell in row]) for row in table.rows[:most])
    left = len(table.rows) - most
    if left > 0:
        lines.append(_row([f"and {left:,} more, left out", *[""] * (len(table.columns) - 1)]))
    if table.footer is not None:
        lines.append(_row([f"**{escape(cell)}**" if cell else "" for cell in table.footer]))
    title = f"### {escape(table.title)}\n\n" if table.title else ""
    return title + "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
