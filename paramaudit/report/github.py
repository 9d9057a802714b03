"""Notices as workflow commands of GitHub Actions: annotations at lines of a pull request's files.

GitHub shows ten of each level a step, so the heaviest come first.
"""

from __future__ import annotations

from paramaudit.report.notices import Notice, Notices, place
from paramaudit.report.page import clean

COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def render(found: Notices) -> str:
    """One line a notice; nothing where there is nothing to look at."""
    return "".join(f"{_line(notice)}\n" for notice in found.notices)


def _line(notice: Notice) -> str:
    where = place(notice.source)
    properties = {"file": where[0], "line": str(where[1])} if where else {}
    properties["title"] = f"paramaudit {notice.rule}"
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{COMMANDS[notice.level]} {listed}::{_data(notice.message)}"


def _data(text: str) -> str:
    """The message of a command, escaped as GitHub's own toolkit does."""
    return clean(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
