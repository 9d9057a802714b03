"""Pages as text for a terminal."""

from __future__ import annotations

from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from paramaudit.report.page import Page, Table, clean

ROOMY = 100
"""From so many columns on, short cells need not wrap; below, a table would not fit otherwise."""

STYLES = {
    "dl-required": "green",
    "ml-replaceable": "cyan",
    "redundant": "magenta",
    "mixed": "yellow",
    "unproven": "yellow",
    "exact": "green",
    "rounding": "green",
    "refuted": "red",
}


def render(page: Page, *, width: int = 140, color: bool = False) -> str:
    """The page as text at most ``width`` columns wide; cells wrap rather than being cut.

    Args:
        page: what to show.
        width: columns.
        color: whether to use terminal colours; without it there is no escape sequence at all.
    """
    target = StringIO()
    system = "standard" if color else None
    console = Console(
        file=target,
        width=width,
        force_terminal=color,
        color_system=system,  # type: ignore[arg-type]
        no_color=not color,
        legacy_windows=False,
        _environ={},
    )
    console.print(Text(clean(page.title), style="bold"))
    for line in page.lines:
        console.print(Text(clean(line)))
    for table in page.tables:
        if table.rows:
            console.print()
            console.print(_table(table, roomy=width >= ROOMY))
    return "\n".join(line.rstrip() for line in target.getvalue().splitlines()) + "\n"


def _table(table: Table, *, roomy: bool) -> RichTable:
    rich = RichTable(
        title=Text(table.title, style="bold") if table.title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_footer=table.footer is not None,
        pad_edge=False,
    )
    for index, column in enumerate(table.columns):
        footer = Text(clean(table.footer[index])) if table.footer is not None else ""
        justify = "right" if index in table.right else "left"
        rich.add_column(
            Text(column),
            footer=footer,
            justify=justify,  # type: ignore[arg-type]
            overflow="fold",
            no_wrap=roomy and index in table.short,
        )
    for row in table.rows:
        rich.add_row(*(Text(clean(cell), style=STYLES.get(cell, "")) for cell in row))
    return rich
