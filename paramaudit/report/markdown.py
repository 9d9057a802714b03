"""Pages as GitHub Markdown, e.g. for a job summary, which GitHub drops above 1 MiB."""

from __future__ import annotations

import re
from collections.abc import Sequence

from paramaudit.report.page import Page, Table, clean

LIMIT = 1_000_000
"""Bytes that a page may have; longer tables are cut, and say so."""


def render(page: Page, limit: int = LIMIT) -> str:
    """The page as Markdown of at most ``limit`` bytes, as far as cutting tables can do it."""
    rows = max((len(table.rows) for table in page.tables), default=0)
    text = _render(page, rows)
    while len(text.encode()) > limit and rows:
        rows //= 2
        text = _render(page, rows)
    return text


def escape(text: str) -> str:
    """The text as one Markdown line that shows exactly these characters, also in a table's cell."""
    return re.sub(r"([\\|`*_~\[\]#$])", r"\\\1", clean(text)).replace("&", "&amp;").replace("<", "&lt;")


def _render(page: Page, most: int) -> str:
    parts = [f"## {escape(page.title)}"]
    parts.extend(escape(line) for line in page.lines)
    parts.extend(_table(table, most) for table in page.tables if table.rows)
    return "\n\n".join(parts) + "\n"


def _table(table: Table, most: int) -> str:
    rules = ["---:" if index in table.right else "---" for index in range(len(table.columns))]
    lines = [_row([escape(column) for column in table.columns]), _row(rules)]
    lines.extend(_row([escape(cell) for cell in row]) for row in table.rows[:most])
    left = len(table.rows) - most
    if left > 0:
        note = f"and {left:,} more, left out to stay below 1 MiB"
        lines.append(_row([note, *[""] * (len(table.columns) - 1)]))
    if table.footer is not None:
        lines.append(_row([f"**{escape(cell)}**" if cell else "" for cell in table.footer]))
    title = f"### {escape(table.title)}\n\n" if table.title else ""
    return title + "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
