"""README, constraints, CI and the example's script agree with each other and with the command line."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from paramaudit.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = ROOT / "examples" / "red_heart" / "run.py"


def commands() -> dict[str, set[str]]:
    """Every command with its options."""
    group = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()
    }


def test_the_readme_names_commands_that_exist() -> None:
    named = set(re.findall(r"^(?:\$ )?paramaudit ([a-z]+)", README, re.MULTILINE))
    assert named <= commands().keys()
    for name in commands():
        assert f"`{name}" in README or f"paramaudit {name}" in README, name


def test_the_readme_names_options_that_exist() -> None:
    ours = [line for line in README.splitlines() if "python -m" not in line and "pip install" not in line]
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", "\n".join(ours)))
    known = set().union(*commands().values())
    assert named <= known | {"--help"}
    assert {"--apply", "--static", "--rules", "--trust"} <= named


def test_ci_runs_the_test_command_of_the_readme() -> None:
    [command] = re.findall(r"^.*'\.\[dev\]' && .*$", README, re.MULTILINE)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[^\w-]", entry)[0].lower() for entry in wanted}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if line and not line.startswith("#")}
    assert names <= pinned


@pytest.mark.parametrize("failing", [None, "refactor", "compare"])
def test_the_example_runs_all_commands_or_stops(
    failing: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("red_heart_run", RUN)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    ran: list[Sequence[str]] = []

    def record(command: Sequence[str], **_: object) -> SimpleNamespace:
        ran.append(command[1:])
        return SimpleNamespace(returncode=1 if command[1] == failing else 0)

    monkeypatch.setattr(subprocess, "run", record)
    monkeypatch.setattr(script.shutil, "which", lambda *_, **__: sys.executable)
    monkeypatch.setattr(script, "FOLDER", tmp_path / "runs")
    assert script.main() == (0 if failing is None else 1)
    names = [command[0] for command in ran]
    full = ["scan", "refactor", "refactor", "verify", "compare", "claims"]
    assert names == full if failing is None else names == full[: full.index(failing) + 1]
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("$ paramaudit")]
    assert [line.split()[2] for line in printed] == names
    for command in ran:
        options = {part for part in command if part.startswith("-")}
        assert options <= commands()[command[0]]
