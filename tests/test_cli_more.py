"""The command line without a model: verify, compare, the atlas and the configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faked_pipeline import ATLAS, Pipeline, call, configure, one_line

import paramaudit
from paramaudit import audit

# --- verify, compare, the atlas -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["table", "json", "markdown"])
@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 1), (None, 3)])
def test_verify_answers_with_its_exit_code(
    name: str, answer: bool | None, code: int, pipeline: Pipeline
) -> None:
    pipeline.answer = answer
    result = call("verify", "a.pt", "b.pt2", "--format", name)
    assert result.exit_code == code
    assert result.stdout
    assert [target for target, _ in pipeline.opened] == ["a.pt", "b.pt2"]
    assert not list(Path().iterdir())


def test_verify_writes_its_certificate_where_asked(pipeline: Pipeline) -> None:
    pipeline.answer = False
    call("verify", "a.pt", "b.pt2", "--certificate", "c.json")
    assert json.loads(Path("c.json").read_text(encoding="utf-8"))["equivalent"] is False


def test_compare_prints_the_savings(pipeline: Pipeline) -> None:  # noqa: ARG001
    result = call("compare", "a.pt", "b.pt2")
    assert result.exit_code == 0
    assert "-75.00 %" in result.stdout
    assert "2.00x (faster)" in result.stdout
    assert (
        json.loads(call("compare", "a.pt", "b.pt2", "--format", "json").stdout)["savings"]["bytes"] == 3_600
    )


def test_the_atlas_is_listed_and_explained(pipeline: Pipeline) -> None:  # noqa: ARG001
    listed = call("operators")
    assert listed.exit_code == 0
    assert "linear-chain" in listed.stdout
    assert "A real transform." in listed.stdout
    assert "What it finds" not in listed.stdout
    explained = call("explain", "rdft")
    assert (explained.exit_code, explained.stdout) == (0, f"rdft\n\n{ATLAS['rdft']}\n")
    assert json.loads(call("explain", "rdft", "--format", "json").stdout)["text"] == ATLAS["rdft"]


def test_an_unknown_operator_gets_a_suggestion(pipeline: Pipeline) -> None:  # noqa: ARG001
    one_line(call("explain", "rdtf"), 2, "'rdtf'", "did you mean rdft?")
    one_line(call("explain", "zzz"), 2, "`paramaudit operators` lists them all")


# --- the configuration --------------------------------------------------------------------------


def test_defaults_come_from_pyproject_and_the_command_line_wins(pipeline: Pipeline) -> None:
    configure(
        """
        [tool.other]
        x = 1
        [tool.paramaudit]
        format = "json"
        mode = "train"
        tolerance = 1
        seed = 3
        static = { tokens = 16 }
        read = ["a", "b"]
        rules = "r.toml"
        trust = true
        quiet = true
        inputs = "float32[b,2]"
        [tool.paramaudit.ignore]
        "front:dct" = "we ship the dense layer"
        """
    )
    result = call("scan", "net.pt", "--mode", "eval", "--read", "c")
    assert json.loads(result.stdout)
    assert result.stderr.startswith("warning: pyproject.toml says trust = true")
    assert pipeline.options == audit.Options(
        tolerance=1.0,
        seed=3,
        static={"tokens": 16},
        read=("c",),
        rules=Path("r.toml"),
        ignore=("front:dct",),
    )
    assert pipeline.opened[0][1]["trust"] is True
    assert pipeline.opened[0][1]["inputs"] == ["float32[b,2]"]
    assert call("scan", "net.pt", "--no-trust").stderr == ""
    assert pipeline.opened[1][1]["trust"] is False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.paramaudit", "not valid TOML"),
        ("[tool.paramaudit]\ncolour = 1", "unknown key 'colour'"),
        ("[tool]\nparamaudit = 3", "must be a table"),
        ("tool = 3", "must be a table"),
        ("[tool.paramaudit]\nformat = 3", "'format' must be a list of strings"),
        ("[tool.paramaudit]\nseed = true", "'seed' must be a whole number"),
        ("[tool.paramaudit]\ntolerance = 'x'", "'tolerance' must be a number"),
        ("[tool.paramaudit]\ntrust = 'yes'", "'trust' must be true or false"),
        ("[tool.paramaudit]\nstatic = { t = 'x' }", "'t=x' is not NAME=SIZE"),
        ("[tool.paramaudit]\nignore = { dct = '' }", "'dct' needs a reason"),
        ("[tool.paramaudit]\nmode = 'fast'", "mode: 'fast' is not one of"),
        ("[tool.paramaudit]\nformat = 'pdf'", "unknown format 'pdf'"),
    ],
)
def test_a_wrong_configuration_is_one_line(text: str, says: str, pipeline: Pipeline) -> None:
    configure(text)
    one_line(call("scan", "net.pt"), 2, says)
    assert not pipeline.opened


def test_a_pyproject_of_somebody_else_changes_nothing(pipeline: Pipeline) -> None:
    configure("[project]\nname = 'x'\n")
    assert call("scan", "net.pt").exit_code == 0
    assert pipeline.options == audit.Options()


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paramaudit", "refactor"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(paramaudit.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no audit here yet")
