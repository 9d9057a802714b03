"""Documents: what a person or a program reads. One file a format.

Nothing here is imported before a document is rendered, so that a wrong format is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paramaudit.errors import OptionError

if TYPE_CHECKING:
    from paramaudit.records import (
        Audit,
        Certificate,
        Check,
        Comparison,
        Diff,
        Finding,
        Judgement,
        Plan,
        Replay,
    )
    from paramaudit.records.report import Report
    from paramaudit.report.notices import Notices

    Record = Audit | Plan | Certificate | Comparison | Check | Diff | Judgement | Replay | Report

FORMATS = {
    "table": ".txt",
    "json": ".json",
    "markdown": ".md",
    "html": ".html",
    "sarif": ".sarif",
    "github": ".annotations",
    "junit": ".xml",
}
"""The formats that can be written, each with the suffix of its files."""

FOR_CI = ("sarif", "github", "junit")
"""The formats that machines of a CI system read."""

__all__ = ["FORMATS", "check_format", "render", "render_atlas", "render_page"]


def check_format(name: str) -> str:
    """The name itself.

    Raises:
        OptionError: there is no such format.
    """
    if name in FORMATS:
        return name
    raise OptionError(f"unknown format {name!r}; there are {', '.join(FORMATS)}")


def render(
    record: Record,
    name: str,
    *,
    findings: Sequence[Finding] = (),
    width: int = 140,
    color: bool = False,
    audit: Audit | None = None,
    atlas: Mapping[str, str] | None = None,
    strict: bool = False,
) -> str:
    """One record as a document that ends with a newline; annotations may be no line at all.

    Args:
        record: what to show.
        name: a key of :data:`FORMATS`.
        findings: for a plan, which holds ids only, the findings that it speaks about.
        width: columns of a table.
        color: whether a table may hold terminal colours.
        audit: for a plan, the audit that it was made of, which knows lines of source.
        atlas: the documentation of every operator and rewrite, which rules of SARIF quote.
        strict: for claims, whether those that do not hold fail the command.

    Raises:
        OptionError: there is no such format.
    """
    from paramaudit.report import content, document, json_, markdown, table

    check_format(name)
    if name == "json":
        return json_.dumps(document.document(record))
    if name in FOR_CI:
        from paramaudit.report.notices import notices

        return _for_ci(notices(record, audit, atlas, strict=strict), name)
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
    if name in FOR_CI:
        return _atlas_for_ci(page.title, atlas, name)
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
    if name in FOR_CI:
        return _atlas_for_ci(key, {key: text}, name)
    return f"# {key}\n\n```text\n{body}\n```\n" if name == "markdown" else f"{key}\n\n{body}\n"


def _for_ci(found: Notices, name: str) -> str:
    from paramaudit.report import github, junit, sarif

    return {"sarif": sarif.render, "github": github.render, "junit": junit.render}[name](found)


def _atlas_for_ci(title: str, atlas: Mapping[str, str], name: str) -> str:
    """Rules without results, cases that judge nothing."""
    from paramaudit.report.notices import Case, Notices

    cases = tuple(Case("operators", key, "passed", _summary(text)) for key, text in sorted(atlas.items()))
    return _for_ci(Notices(title, "", (), cases, atlas), name)


def _summary(text: str) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(text.strip().split("\n\n")[0].split())
