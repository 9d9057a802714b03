from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import AUDIT, COMPARISON, CONTRACT, FINDINGS, PLAN, TOTALS, certificate

from paramaudit import __version__, report
from paramaudit.errors import OptionError, TargetError
from paramaudit.records import (
    Audit,
    Contract,
    Finding,
    InputSpec,
    Measured,
    ModelInfo,
    ModuleRow,
    RuleHit,
    Skipped,
    Specialised,
    Tier,
    Totals,
    Verdict,
)
from paramaudit.report.document import document
from paramaudit.report.markdown import LIMIT
from paramaudit.report.read import read_audit

RECORDS = [AUDIT, PLAN, certificate(True), certificate(False), certificate(None), COMPARISON]


def loads(text: str) -> Any:
    """Strict JSON: NaN and infinities are refused."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


# --- JSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", RECORDS)
def test_json_is_strict(record: Any) -> None:
    text = report.render(record, "json")
    assert text.isascii()
    assert text.endswith("}\n")
    loads(text)


def test_an_audit_document_has_the_published_fields() -> None:
    found = loads(report.render(AUDIT, "json"))
    assert found["schema"] == "paramaudit/audit/1"
    assert found["tool"]["version"] == __version__
    assert set(found["tool"]) == {"version", "torch"}
    assert set(found["model"]) == {
        *("target", "sha256", "format", "parameters", "buffers", "bytes", "exported", "why_not")
    }
    assert found["contract"] == {
        "mode": "eval",
        "inputs": [{"name": "frame", "dtype": "float32", "shape": ["batch", 16]}],
        "outputs": ["spectrum", "score"],
        "specialised": [{"input": "frame", "dimension": 1, "why": "a size that a layer fixes"}],
        "conditions": [],
        "read": [],
    }
    assert found["modules"][1] == {
        "path": "front",
        "type": "Sequential",
        "parameters": 800,
        "own_parameters": 0,
        "parameters_after": 0,
        "rule": {"id": "spectrum", "class": "ml-replaceable", "operator": "rdft"},
        "verdict": "ml-replaceable",
        "reason": "proved",
        "source": None,
    }
    assert found["findings"][0] == {
        "id": "front:rdft",
        "path": "front",
        "tensors": ["front.0.weight", "front.1.weight"],
        "operator": "rdft",
        "arguments": {"n": 16, "window": None, "bins": [1, 2]},
        "part_of": None,
        "tier": "rounding",
        "gap": {"value": 3.1e-7, "norm": "spectral", "per": "|x|"},
        "witness": {"value": 8.8e-7, "norm": "spectral", "per": "|x|"},
        "p_value": None,
        "parameters_before": 800,
        "parameters_after": 0,
        "indices_after": 8,
        "applied_by_default": True,
        "reason": "the product is a windowed transform",
        "counterexample": None,
        "requires": [],
        "worst_case": None,
    }
    assert found["skipped"] == [{"path": "body.odd", "reason": "a hook"}]
    assert set(found["totals"]) == {
        *("parameters_before", "parameters_after", "indices_after", "bytes_before", "bytes_after")
    }


def test_a_plan_document_has_the_published_fields() -> None:
    found = loads(report.render(PLAN, "json"))
    assert found["schema"] == "paramaudit/plan/1"
    assert set(found) == {"schema", "model", "apply", "refused", "totals", "beyond"}
    assert found["apply"] == ["front:rdft"]
    assert found["refused"] == [{"id": "body.deep:wavelet", "reason": "refuted"}]


@pytest.mark.parametrize("equivalent", [True, False, None])
def test_a_certificate_document_has_the_published_fields(equivalent: bool | None) -> None:
    found = loads(report.render(certificate(equivalent), "json"))
    assert found["schema"] == "paramaudit/certificate/1"
    published = "equivalent tier gap outputs swaps attack counterexample contract models versions"
    assert set(published.split()) <= set(found)
    assert found["equivalent"] is equivalent
    assert found["models"] == {"original": "a" * 64, "refactored": "b" * 64}
    assert found["outputs"][0]["refactored_error"] is None  # an infinity
    assert found["attack"] == {
        "restarts": 8,
        "steps": 100,
        "worst": None,
        "ties": 2,
        "factor": 64.0,
        "inputs": 0,
    }
    assert {"id", "tier", "gap", "witness", "requires", "worst_case"} <= set(found["swaps"][0])


def test_a_comparison_document_has_the_published_fields() -> None:
    found = loads(report.render(COMPARISON, "json"))
    assert found["schema"] == "paramaudit/compare/1"
    assert found["original"]["devices"]["cuda"] == {"unavailable": "no CUDA"}
    assert found["original"]["devices"]["cpu"] == {
        "latency_ms": {"median": 2.0, "low": 1.9, "high": 2.2, "runs": 30},
        "peak_bytes": 50_000,
    }
    assert found["refactored"]["flops"] == {"total": None, "uncounted": ["aten.fft"]}
    savings = found["savings"]
    assert savings["parameters"] == 900
    assert savings["bytes"] == 3_600
    assert savings["flops"] is None
    assert savings["latency"] == {"cpu": 2.0}


names = st.text(max_size=8)
counts = st.integers(0, 10**12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def many(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(kind, max_size=3).map(tuple)


measures = st.none() | st.builds(Measured, numbers, names, names)
inputs = st.builds(InputSpec, names, names, many(names | counts))
contracts = st.builds(
    Contract, names, many(inputs), many(names), many(st.builds(Specialised, names, counts, names))
)
models = st.builds(ModelInfo, names, names, names, counts, counts, counts, st.booleans(), st.none() | names)
hits = st.none() | st.builds(RuleHit, names, names, st.none() | names)
rows = st.builds(ModuleRow, names, names, counts, counts, counts, hits, st.sampled_from(Verdict), names)
findings = st.builds(
    Finding,
    id=names,
    path=names,
    tensors=many(names),
    operator=names,
    arguments=st.dictionaries(names, values, max_size=3),
    tier=st.sampled_from(Tier),
    reason=names,
    parameters_before=counts,
    parameters_after=counts,
    indices_after=counts,
    applied_by_default=st.booleans(),
    part_of=st.none() | names,
    gap=measures,
    witness=measures,
    p_value=st.none() | numbers,
    counterexample=st.none() | names,
)
audits = st.builds(
    Audit,
    models,
    st.none() | contracts,
    many(rows),
    many(findings),
    many(st.builds(Skipped, names, names)),
    st.builds(Totals, counts, counts, counts, counts, counts),
    st.dictionaries(names, numbers, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(audits)
def test_a_saved_audit_is_read_back_as_it_was(audit: Audit) -> None:
    assert read_audit(loads(report.render(audit, "json"))) == audit


def test_a_number_that_json_lacks_is_read_back_as_nan() -> None:
    odd = replace(FINDINGS[0], gap=Measured(math.inf, "spectral", "|x|"))
    back = read_audit(loads(report.render(replace(AUDIT, findings=(odd,)), "json")))
    gap = back.findings[0].gap
    assert gap is not None
    assert math.isnan(gap.value)


def test_fields_of_a_later_version_are_passed_over() -> None:
    later = document(AUDIT) | {"new": 1}
    later["totals"] = {**later["totals"], "new": 2}  # type: ignore[dict-item]
    assert read_audit(later) == AUDIT


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "paramaudit/plan/1"}, "'paramaudit/plan/1'"),
        ({"schema": None}, "not a saved audit"),
        ({"modules": None}, "audit.modules is not a list"),
        ({"modules": [{}]}, "audit.modules[0].path is missing"),
        ({"totals": 3}, "audit.totals is not an object"),
        ({"model": {**document(AUDIT)["model"], "parameters": True}}, "audit.model.parameters"),  # type: ignore[dict-item]
        ({"findings": [{**document(AUDIT)["findings"][0], "tier": "sure"}]}, "'sure'"),  # type: ignore[index,dict-item]
    ],
)
def test_a_damaged_audit_is_refused_in_one_line(change: dict[str, Any], says: str) -> None:
    with pytest.raises(TargetError) as error:
        read_audit({**document(AUDIT), **change})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_object_is_no_audit() -> None:
    with pytest.raises(TargetError):
        read_audit([])  # type: ignore[arg-type]


def test_a_record_without_a_document_is_refused() -> None:
    for name in ("json", "table"):
        with pytest.raises(TypeError):
            report.render(TOTALS, name)  # type: ignore[arg-type]


# --- what people read ---------------------------------------------------------------------------


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_table_fits_its_width_and_has_no_escape_sequences(record: Any, width: int) -> None:
    text = report.render(record, "table", width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text


def test_colour_only_colours() -> None:
    plain = report.render(AUDIT, "table")
    colored = report.render(AUDIT, "table", color=True)
    assert "\x1b[" in colored
    assert [
        line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", colored).splitlines()
    ] == plain.splitlines()


@pytest.mark.parametrize("name", ["table", "markdown"])
def test_an_audit_shows_what_a_person_asks_for(name: str) -> None:
    text = report.render(AUDIT, name, width=200).replace("\\", "")
    assert "1,200 -> 300 parameters and 8 indices (-75.00 %), 4.8 kB -> 1.26 kB" in text
    assert "contract: eval mode; inputs frame float32[batch, 16]; outputs spectrum, score" in text
    assert "frame, dimension 1: a size that a layer fixes" in text
    assert "rounding" in text
    assert "gap 3.1e-07 spectral per |x|" in text
    assert "witness 8.8e-07 spectral per |x|" in text
    assert "part of front:rdft" in text
    assert "differs | by [0.31]; p = 0.59; counterexample .paramaudit/x.pt" in text
    assert "a hook" in text
    assert "body.deep" in text
    assert text.count("body.deep.layer") == 1  # a finding names it, the table of modules is not that deep
    assert "body.act" not in text


def test_a_bare_checkpoint_says_why_it_has_no_graph() -> None:
    model = replace(AUDIT.model, exported=False, why_not="no code")
    text = report.render(replace(AUDIT, model=model, contract=None), "table")
    assert "stored numbers alone were audited: no code" in text


def cells(line: str) -> list[str]:
    return [cell.strip(" *") for cell in line.strip("|").split("|")]


def test_the_printed_rows_sum_to_the_printed_total() -> None:
    text = report.render(AUDIT, "markdown")
    lines = text.split("### Modules")[1].split("###")[0].strip().splitlines()
    column = cells(lines[0]).index("own")
    *printed, total = [int(cells(line)[column].replace(",", "")) for line in lines[2:]]
    assert sum(printed) == total == TOTALS.parameters_before
    assert sum(row.own_parameters for row in AUDIT.modules) == total
    assert cells(lines[-1])[column + 1] == f"{TOTALS.parameters_after:,}"


def test_a_plan_shows_its_findings_where_they_are_known() -> None:
    known = report.render(PLAN, "table", findings=FINDINGS)
    assert re.search(r"front:rdft +rdft +rounding +800 +0 \+ 8 indices", known)
    assert "refuted" in known
    assert "front:rdft" in report.render(PLAN, "table")
    assert "nothing would be applied" in report.render(replace(PLAN, apply=()), "table")


@pytest.mark.parametrize(
    ("equivalent", "says"),
    [(True, "equivalent (rounding"), (False, "NOT equivalent (refuted"), (None, "cannot be certified")],
)
def test_a_certificate_says_its_answer_first(equivalent: bool | None, says: str) -> None:
    lines = report.render(certificate(equivalent), "table").splitlines()
    assert lines[1].startswith(says)
    assert ("counterexample: .paramaudit/y.pt" in lines) is not equivalent


def test_a_comparison_is_a_table_of_savings() -> None:
    text = report.render(COMPARISON, "table")
    for line in (
        r"parameters +1,200 +300 +-75.00 %",
        r"buffers +7 +7 +0",
        r"bytes +4.83 kB +1.23 kB +-74.57 %",
        r"file +9 kB +unknown +unknown",
        r"FLOPs +2,400 +uncounted: aten.fft +unknown",
        r"latency cpu +2 ms \(1.9 to 2.2, 30 runs\) +1 ms \(0.9 to 1.2, 30 runs\) +2.00x \(faster\)",
        r"peak memory cpu +50 kB +40 kB +-20.00 %",
        r"latency cuda +unavailable: no CUDA +not measured +unknown",
    ):
        assert re.search(line, text), line


def test_cells_of_markdown_hold_no_bare_pipes_and_no_html() -> None:
    bad = replace(FINDINGS[0], path="a|b", reason="<script>|`x`\nnext")
    text = report.render(replace(AUDIT, findings=(bad,)), "markdown")
    line = next(line for line in text.splitlines() if line.startswith("| a"))
    assert line.startswith(r"| a\|b | rdft |")
    assert r"&lt;script>\|\`x\` next" in line
    assert len(re.findall(r"(?<!\\)\|", line)) == 7


def test_control_characters_of_a_model_file_do_not_reach_the_terminal() -> None:
    bad = replace(AUDIT, skipped=(Skipped("\x1b[2Jgone\u202e", "why"),))
    for name in report.FORMATS:
        text = report.render(bad, name)
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_a_page_of_markdown_stays_below_a_megabyte_and_says_what_it_left_out() -> None:
    many_findings = tuple(replace(FINDINGS[0], id=str(i), reason="long " * 30) for i in range(8_000))
    text = report.render(replace(AUDIT, findings=many_findings), "markdown")
    assert len(text.encode()) <= LIMIT
    left = re.search(r"and ([\d,]+) more, left out", text)
    assert left is not None
    assert text.count("| front | rdft |") + int(left[1].replace(",", "")) == 8_000


def test_the_atlas_shows_first_paragraphs() -> None:
    atlas = {"rdft": "A transform\nof reals.\n\nMore.", "dct": "Cosines."}
    shown = loads(report.render_atlas(atlas, "json"))
    assert shown["operators"] == [
        {"name": "dct", "summary": "Cosines."},
        {"name": "rdft", "summary": "A transform of reals."},
    ]
    for name in ("table", "markdown"):
        assert "A transform of reals." in report.render_atlas(atlas, name)
    assert report.render_page("rdft", atlas["rdft"], "table").endswith("of reals.\n\nMore.\n")


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(OptionError, match="unknown format 'yaml'; there are table, json, markdown"):
        report.render(AUDIT, "yaml")


def test_contract_without_inputs_is_shown() -> None:
    empty = replace(AUDIT, contract=replace(CONTRACT, inputs=(), outputs=(), specialised=()))
    assert "inputs none; outputs none" in report.render(empty, "table")
