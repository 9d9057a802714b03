"""Notices as SARIF 2.1.0, which code scanning shows at the lines of the model's source.

The same audit gives the same bytes: there are no times, and fingerprints are those of the findings, which
stay what they are when lines move.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from urllib.parse import quote

from paramaudit import __version__
from paramaudit.records import Json
from paramaudit.report import json_
from paramaudit.report.notices import Notice, Notices, place
from paramaudit.report.page import ROOT, clean

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
BASE = "%SRCROOT%"
"""What relative addresses are relative to: the folder that the command ran in."""

Object = dict[str, Json]


def render(found: Notices) -> str:
    """One run with a rule for each operator named and a result for each notice."""
    names = sorted(found.rules)
    driver: Object = {
        "name": "paramaudit",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(name, found.rules[name]) for name in names],
    }
    run: Object = {
        "tool": {"driver": driver},
        "originalUriBaseIds": {BASE: {"description": {"text": "The folder that paramaudit ran in."}}},
        "results": [_result(notice, names.index(notice.rule), found.target) for notice in found.notices],
    }
    return json_.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(name: str, text: str) -> Object:
    """A rule: the first line of its documentation, and all of it as help."""
    body = text.strip()
    first = " ".join(body.split("\n\n")[0].split()) or name
    rule: Object = {
        "id": name,
        "shortDescription": {"text": first},
        "help": {"text": body or name, "markdown": f"```text\n{body or name}\n```"},
        "defaultConfiguration": {"level": "warning"},
    }
    return rule


def _result(notice: Notice, index: int, target: str) -> Object:
    digest = hashlib.sha256(f"{notice.rule}\n{notice.key}".encode()).hexdigest()
    result: Object = {
        "ruleId": notice.rule,
        "ruleIndex": index,
        "level": notice.level,
        "message": {"text": clean(notice.message)},
    }
    location = _location(notice, target)
    if location:
        result["locations"] = [location]
    # The second is the one that GitHub's code scanning tells results apart by.
    result["partialFingerprints"] = {
        "paramauditFinding/v1": digest,
        "primaryLocationLineHash": f"{digest[:16]}:1",
    }
    return result


def _location(notice: Notice, target: str) -> Object:
    """The line that builds the module; where it is not known, the file of the model."""
    location: Object = {}
    where = place(notice.source)
    if where:
        location["physicalLocation"] = {
            "artifactLocation": _file(where[0]),
            "region": {"startLine": where[1]},
        }
    elif file := _model_file(target):
        location["physicalLocation"] = {"artifactLocation": _file(file)}
    if notice.path is not None:
        name = clean(notice.path) or ROOT
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "module"}]
    return location


def _model_file(target: str) -> str | None:
    """The file that a target names: ``net.py`` of ``net.py:build``, ``net.pt2``; a type's name is none."""
    file = target.rpartition(":")[0] if ".py:" in target else target
    return file if PurePosixPath(file).suffix and ":" not in file else None


def _file(name: str) -> Object:
    """The address of a file; one outside the folder of the run stands for itself."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute():
        return {"uri": path.as_uri()}
    address: Object = {"uri": quote(path.as_posix())}
    return address if ".." in path.parts else {**address, "uriBaseId": BASE}
