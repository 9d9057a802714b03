"""Cases as JUnit XML, which most CI systems show as tests: only what fails the command is a failure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from paramaudit.report.notices import Case, Notices, place
from paramaudit.report.page import clean

COUNTED = {"failures": "failed", "errors": "error", "skipped": "skipped"}
ELEMENTS = {"failed": "failure", "error": "error", "skipped": "skipped"}


def render(found: Notices) -> str:
    """One suite a group of cases. There are no times: they would differ from run to run."""
    groups: dict[str, list[Case]] = {}
    for case in found.cases:
        groups.setdefault(case.group, []).append(case)
    root = ElementTree.Element("testsuites", {"name": clean(found.title), **_counts(found.cases)})
    for group, cases in groups.items():
        suite = ElementTree.SubElement(root, "testsuite", {"name": f"paramaudit {group}", **_counts(cases)})
        for case in cases:
            _case(suite, case, found.target)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    outcomes = [case.outcome for case in cases]
    return {"tests": str(len(cases)), **{name: str(outcomes.count(kind)) for name, kind in COUNTED.items()}}


def _case(suite: ElementTree.Element, case: Case, target: str) -> None:
    where = place(case.source)
    lines = {"file": clean(where[0]), "line": str(where[1])} if where else {}
    names = {"classname": clean(target) or "paramaudit", "name": clean(case.name)}
    element = ElementTree.SubElement(suite, "testcase", {**names, **lines})
    text = clean(case.text)
    if case.outcome == "passed":
        ElementTree.SubElement(element, "system-out").text = text
        return
    said = ElementTree.SubElement(element, ELEMENTS[case.outcome], message=text)
    if case.outcome != "skipped":
        said.text = text
