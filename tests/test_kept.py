"""What commands keep in a folder, and the report that is made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faked_pipeline import Pipeline, call, one_line
from samples import AUDIT, COMPARISON, certificate

from paramaudit.errors import TargetError
from paramaudit.records import Certificate
from paramaudit.report.document import document
from paramaudit.report.json_ import dumps
from paramaudit.report.read import read_certificate, read_comparison

PLACE = Path(".paramaudit")
PROOF = replace(certificate(True), original=AUDIT.model.sha256)


def finite(proof: Certificate) -> Certificate:
    """JSON knows no infinity and no NaN, so that these are not compared."""
    outputs = tuple(replace(out, refactored_error=1.0) for out in proof.outputs)
    return replace(proof, outputs=outputs, attack=replace(proof.attack, worst=0.5))


def keep(**records: Any) -> None:
    PLACE.mkdir(exist_ok=True)
    for name, record in records.items():
        (PLACE / f"{name}.json").write_text(dumps(document(record)), encoding="utf-8")


@pytest.mark.parametrize("equivalent", [True, False, None])
def test_a_certificate_is_read_back(equivalent: bool | None) -> None:
    proof = finite(certificate(equivalent))
    assert read_certificate(json.loads(dumps(document(proof)))) == proof


def test_a_comparison_is_read_back() -> None:
    back = read_comparison(json.loads(dumps(document(COMPARISON))))
    assert back == COMPARISON


@pytest.mark.parametrize(
    ("read", "record", "change", "says"),
    [
        (read_certificate, PROOF, {"schema": "paramaudit/audit/1"}, "not a saved certificate"),
        (read_certificate, PROOF, {"attack": 1}, "certificate.attack is not an object"),
        (read_certificate, PROOF, {"versions": {"torch": 2}}, "certificate.versions.torch"),
        (read_certificate, PROOF, {"models": {}}, "certificate.original is missing"),
        (read_comparison, COMPARISON, {"savings": {}}, "comparison.latency is missing"),
        (read_comparison, COMPARISON, {"original": {}}, "comparison.original.parameters is missing"),
    ],
)
def test_what_is_damaged_is_refused_in_one_line(read: Any, record: Any, change: Any, says: str) -> None:
    with pytest.raises(TargetError) as error:
        read({**document(record), **change})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_compare_keeps_its_result(pipeline: Pipeline) -> None:  # noqa: ARG001
    result = call("compare", "a.pt", "b.pt2", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    assert read_comparison(json.loads((PLACE / "comparison.json").read_text("utf-8"))) == COMPARISON


@pytest.mark.parametrize("name", ["table", "markdown", "json", "html"])
def test_a_report_joins_the_last_results(name: str, pipeline: Pipeline) -> None:
    keep(audit=AUDIT, certificate=finite(PROOF), comparison=COMPARISON)
    result = call("report", "--format", name)
    assert (result.exit_code, result.stderr) == (0, "")
    assert not pipeline.opened
    for said in ("rdft", "db4" if name == "json" else "wavelet", "front:rdft", "no CUDA"):
        assert said in result.stdout
    if name == "json":
        shown = json.loads(result.stdout)
        assert shown["schema"] == "paramaudit/report/1"
        assert shown["notes"] == []
        parts = {"audit": AUDIT, "certificate": finite(PROOF), "comparison": COMPARISON}
        assert {key: shown[key] for key in parts} == {key: document(part) for key, part in parts.items()}


def test_a_file_that_ends_in_html_is_a_page(pipeline: Pipeline) -> None:  # noqa: ARG001
    keep(audit=AUDIT)
    assert call("report", "-o", "r.html").exit_code == 0
    assert Path("r.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert call("report", "-o", "r.html", "--format", "json").exit_code == 0
    assert json.loads(Path("r.html").read_text("utf-8"))["audit"]["schema"] == "paramaudit/audit/1"


def test_what_is_missing_names_the_command_that_makes_it(pipeline: Pipeline) -> None:  # noqa: ARG001
    keep(audit=AUDIT)
    notes = json.loads(call("report", "--format", "json").stdout)["notes"]
    assert [note.partition(" here")[0] for note in notes] == ["no certificate", "no comparison"]
    assert "paramaudit verify ORIGINAL REFACTORED --certificate" in notes[0]
    assert "paramaudit compare ORIGINAL REFACTORED" in notes[1]
    (PLACE / "audit.json").unlink()
    one_line(call("report"), 2, "nothing to report here yet", "paramaudit scan TARGET")
    keep(comparison=COMPARISON)
    assert (
        "no audit here yet: `paramaudit scan TARGET` makes one" in call("report", "--format", "html").stdout
    )


def test_what_is_of_another_model_is_left_out(pipeline: Pipeline) -> None:  # noqa: ARG001
    other = replace(COMPARISON, original=replace(COMPARISON.original, parameters=5))
    keep(audit=AUDIT, certificate=certificate(True), comparison=other)
    shown = json.loads(call("report", "--format", "json").stdout)
    assert (shown["certificate"], shown["comparison"]) == (None, None)
    assert all("of another model than the audit" in note for note in shown["notes"])


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"schema": 3}', "[" * 100_000])
@pytest.mark.parametrize("name", ["audit", "certificate", "comparison"])
def test_a_damaged_file_is_one_line(name: str, text: str, pipeline: Pipeline) -> None:  # noqa: ARG001
    keep(audit=AUDIT)
    (PLACE / f"{name}.json").write_text(text, encoding="utf-8")
    one_line(call("report"), 2, name)
