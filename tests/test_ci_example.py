"""The example workflow, the action and the hook, run step by step in a scratch git repository."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ROOT, call, one_line

EXAMPLE = ROOT / "examples" / "ci"
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")  # as GitHub runs a step
# 160 hidden units rather than 128: 64 * 160 + 160 = 10,400 numbers, 160 * 160 + 160 = 25,760 and
# 160 * 10 + 10 = 1,610, which were 8,320, 16,512 and 1,290.
GROWN = (
    "parameters 37,770 is over the budget of 30,000 by 7,770; most of it: encoder.2 (+9,248), "
    "encoder.0 (+2,080), head (+320)"
)


@dataclass(frozen=True)
class Job:
    """A repository with the programs that a runner brings; pip only notes what it was asked for."""

    folder: Path
    tools: Path

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        (self.tools / "summary.md").write_text("", encoding="utf-8")
        environment = {
            **os.environ,
            "PATH": f"{self.tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "GITHUB_STEP_SUMMARY": str(self.tools / "summary.md"),
            "GITHUB_ACTION_PATH": str(ROOT),
            **variables,
        }
        return subprocess.run(
            [*BASH, "-c", script],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def summary(self) -> str:
        return (self.tools / "summary.md").read_text(encoding="utf-8")

    @property
    def installed(self) -> list[str]:
        return (self.tools / "pip.log").read_text(encoding="utf-8").splitlines()

    def commit(self, message: str) -> None:
        for command in ("add -A", f"-c user.name=n -c user.email=e@x.org commit -q -m {message}"):
            subprocess.run(["git", *command.split()], cwd=self.folder, check=True)

    def grow(self) -> None:
        path = self.folder / "model.py"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("HIDDEN = 128", "HIDDEN = 160"), encoding="utf-8")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    folder, tools = tmp_path / "repo", tmp_path / "tools"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".github" / "workflows").mkdir(parents=True)
    (folder / "paramaudit.yml").rename(folder / ".github" / "workflows" / "paramaudit.yml")
    (folder / ".gitignore").write_text("__pycache__/\n.paramaudit/\n", encoding="utf-8")
    tools.mkdir()
    for name, line in (
        ("paramaudit", f'exec {shlex.quote(sys.executable)} -m paramaudit "$@"'),
        ("pip", f'echo "$@" >> {shlex.quote(str(tools / "pip.log"))}'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    made = Job(folder, tools)
    made.commit("first")
    return made


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_steps_of_the_workflow(job: Job) -> None:
    workflow = read(job.folder / ".github" / "workflows" / "paramaudit.yml")
    assert workflow["permissions"] == {"contents": "read"}
    [steps] = [body["steps"] for body in workflow["jobs"].values()]
    install, check = (step["run"] for step in steps if "run" in step)

    assert job.run(install).returncode == 0
    assert [line.split()[:2] for line in job.installed] == [["install", "torch"], ["install", "paramaudit"]]
    done = job.run(check)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "within budgets and baseline" in job.summary

    job.grow()
    done = job.run(check)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == GROWN
    assert "OVER" in job.summary


def test_the_action_installs_checks_and_writes_the_summary(job: Job) -> None:
    action = read(ROOT / "action.yml")
    assert action["runs"]["using"] == "composite"
    defaults = {name: str(about.get("default", "")) for name, about in action["inputs"].items()}
    install, check = action["runs"]["steps"]
    for step in (install, check):
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "an input in a script would run what it holds"

    given = {**defaults, "target": "model.py:build", "arguments": "--seed 3"}
    assert job.run(install["run"], **variables(install, given)).returncode == 0
    assert job.installed == [f"install {ROOT}"]
    job.grow()
    done = job.run(check["run"], **variables(check, given))
    assert (done.returncode, done.stdout, done.stderr.splitlines()[0]) == (1, "", GROWN)
    assert job.summary.startswith("## Check of model.py:build\n\nOVER\n")
    hostile = {**given, "target": "$(touch stolen)"}
    done = job.run(check["run"], **variables(check, hostile))
    assert (done.returncode, job.summary) == (2, "")
    assert done.stderr.startswith("error: ")
    assert not (job.folder / "stolen").exists()


def variables(step: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, str]:
    """The environment of an action's step, its expressions put in as GitHub does."""
    found = {}
    for name, expression in step["env"].items():
        assert expression.startswith("${{ inputs.")
        found[name] = inputs[expression.removeprefix("${{ inputs.").removesuffix(" }}")]
    return found


def test_the_hook_checks_whatever_files_changed(job: Job) -> None:
    [hook] = read(ROOT / ".pre-commit-hooks.yaml")
    program, *command = shlex.split(hook["entry"])
    assert (hook["id"], program, hook["pass_filenames"]) == ("paramaudit-check", "paramaudit", False)
    done = call(job.folder, *command, "model.py:build")
    assert (done.code, done.stderr) == (0, "")
    job.grow()
    done = call(job.folder, *command, "model.py:build", "--format", "json", "-q")
    assert done.code == 1
    assert done.document["reasons"][0] == GROWN
    assert call(job.folder, *command, "model.py:build", "--update-baseline").code == 0
    job.commit("accepted")
    reasons = call(job.folder, *command, "model.py:build", "--format", "json", "-q").document["reasons"]
    assert [reason.split(";")[0] for reason in reasons] == [
        "parameters 37,770 is over the budget of 30,000 by 7,770",
        "bytes 151,080 B is over the budget of 131,072 B by 20,008 B",
    ]
    one_line(call(job.folder, *command, "gone.py:build"), 2, "gone.py")
