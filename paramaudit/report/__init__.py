"""Documents: what a person or a program reads. One file a format.

Nothing here is imported before a document is rendered, so that a wrong format is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paramaudit.errors import OptionError

if TYPE_CHECKING:
    from paramaudit.records import Audit, Certificate, Check, Comparison, Finding, Judgement, Plan
    from paramaudit.records.report import Report

    Record = Audit | Plan | Certificate | Comparison | Check | Judgement | Report

FORMATS = {"table": ".txt", "json": ".json", "markdown": ".md", "html": ".html"}
"""The formats that can be written, each with the suffix of its files."""

LATER = ("sarif", "github", "junit")

__all__ = ["FORMATS", "check_format", "render", "render_atlas", "render_page"]


def check_format(name: str) -> str:
    """The name itself.

    Raises:
        OptionError: there is no such format, or not yet.
    """
    if name in FORMATS:
        return name
    known = ", ".join(FORMATS)
    if name in LATER:
        raise OptionError(f"format {name!r} comes later; for now there are {known}")
    raise OptionError(f"unknown format {name!r}; there are {known}")


def render(
    record: Record,
    name: str,
    *,
    findings: Sequence[Finding] = (),
    width: int = 140,
    color: bool = False,
) -> str:
    """One record as a document that ends with a newline.

    Args:
        record: what to show.
        name: a key of :data:`FORMATS`.
        findings: for a plan, which holds ids only, the findings that it speaks about.
        width: columns of a table.
        color: whether a table may hold terminal colours.

    Raises:
        OptionError: there is no such format.
    """
    from paramaudit.report import content, document, json_, markdown, table

    check_format(name)
    if name == "json":
        return json_.dumps(document.document(record))
    if name == "html":
        from paramaudit.report import html

        return html.render(record, findings)
    page = content.page(record, findings)
    return markdown.render(page) if name == "markdown" else table.render(page, width=width, color=color)


def render_atlas(atlas: Mapping[str, str], name: str, *, width: int = 140, color: bool = False) -> str:
    """Every operator and rewrite with the first line of its docstring."""
    from paramaudit.report import json_, markdown, table
    from paramaudit.report.page import Page, Table

    check_format(name)
    rows = tuple((key, _summary(text)) for key, text in sorted(atlas.items()))
    if name == "json":
        entries = [{"name": key, "summary": summary} for key, summary in rows]
        return json_.dumps({"schema": "paramaudit/operators/1", "operators": entries})
    page = Page("Operators and rewrites", (), (Table("", ("name", "what it is"), rows),))
    if name == "html":
        from paramaudit.report import html

        return html.render_page(page)
    return markdown.render(page) if name == "markdown" else table.render(page, width=width, color=color)


def render_page(key: str, text: str, name: str) -> str:
    """One entry of the atlas: its whole docstring."""
    from paramaudit.report import json_

    check_format(name)
    body = text.strip()
    if name == "json":
        return json_.dumps({"schema": "paramaudit/explain/1", "name": key, "text": body})
    if name == "html":
        from paramaudit.report import html

        return html.render_text(key, body)
    return f"# {key}\n\n```text\n{body}\n```\n" if name == "markdown" else f"{key}\n\n{body}\n"


def _summary(text: str) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(text.strip().split("\n\n")[0].split())
