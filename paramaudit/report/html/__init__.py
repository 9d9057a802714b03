"""Pages of HTML: one file that needs no network, whatever it shows.

The page's style and script lie beside this file and are written into it; its policy allows nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from paramaudit import __version__
from paramaudit.report.html.numbers import plain
from paramaudit.report.html.view import View, cut, longest, of_page, view
from paramaudit.report.page import Page, clean

if TYPE_CHECKING:
    from paramaudit.records import Finding
    from paramaudit.report import Record

LIMIT = 2_900_000
"""Bytes that a page may have; longer tables are cut, and say so."""

__all__ = ["LIMIT", "render", "render_page", "render_text"]


def render(record: Record, findings: Sequence[Finding] = (), limit: int = LIMIT) -> str:
    """One record as a page of at most ``limit`` bytes, as far as cutting tables can do it."""
    return _render(view(record, findings), limit)


def render_page(page: Page, limit: int = LIMIT) -> str:
    """Lines and tables as a page."""
    return _render(of_page(page), limit)


def render_text(title: str, text: str) -> str:
    """Text as it is, in a page."""
    return _render(View(title, text=text), LIMIT)


def _render(whole: View, limit: int) -> str:
    env = Environment(
        loader=PackageLoader("paramaudit.report", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update(clean=clean, plain=plain)
    script = _beside("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = {"version": __version__, "style": _beside("style.css"), "script": script, "digest": digest}
    template = env.get_template("page.html.j2")
    rows = longest(whole)
    shown = whole
    while True:
        text = template.render(view=shown, places=whole.places, **page)
        if len(text.encode()) <= limit or not rows:
            return text
        rows //= 2
        shown = cut(whole, rows)


def _beside(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
