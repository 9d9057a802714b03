"""`check` in a scratch git repository: budgets, the committed baseline, and what it says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import Done, call, one_line

from paramaudit.report import FORMATS

BASELINE = ".paramaudit-baseline.json"
MODEL = """
import torch
from torch import nn

WIDTH = {width}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.front = nn.Linear(16, WIDTH)
        self.head = nn.Sequential()
        self.head.add_module("fc", nn.Linear(WIDTH, 4))
        self.spare = nn.Linear(4, {spare}) if {spare} else None

    def forward(self, x):
        return self.head(torch.relu(self.front(x)))


def build():
    torch.manual_seed(0)
    return Net(), torch.ones(2, 16)
"""
# front 16 * 8 + 8 = 136, head.fc 8 * 4 + 4 = 36: 172 parameters, 688 bytes.


def model(folder: Path, width: int = 8, spare: int = 0) -> None:
    text = MODEL.replace("{width}", str(width)).replace("{spare}", str(spare))
    (folder / "net.py").write_text(text, encoding="utf-8")


def configure(folder: Path, *lines: str) -> None:
    text = "\n".join(("[tool.paramaudit]", *lines, ""))
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def flat(text: str) -> str:
    """A table's text, which is wrapped to the terminal, on one line."""
    return " ".join(text.split())


def git(folder: Path, *args: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=e@x.org")
    done = subprocess.run(["git", *who, *args], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def check(folder: Path, *args: str) -> Done:
    return call(folder, "check", "net.py:build", *args)


def accept(folder: Path) -> Any:
    """Write and commit the baseline; its document."""
    assert check(folder, "--update-baseline", "-q").code == 0
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "baseline")
    return json.loads((folder / BASELINE).read_text(encoding="utf-8"))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    model(tmp_path)
    git(tmp_path, "init", "-q")
    return tmp_path


# --- budgets ------------------------------------------------------------------------------------


def test_a_model_within_its_budgets_passes_and_writes_nothing(repo: Path) -> None:
    configure(repo, 'max-parameters = "172"', "max_bytes = 688")
    git(repo, "add", "-A")
    done = check(repo, "--format", "json")
    assert (done.code, done.stderr) == (0, "")
    document = done.document
    assert (document["schema"], document["passed"]) == ("paramaudit/check/1", True)
    assert document["budgets"] == [
        {"name": "parameters", "unit": "", "limit": 172, "actual": 172, "passed": True, "why_not": None},
        {"name": "bytes", "unit": "B", "limit": 688, "actual": 688, "passed": True, "why_not": None},
    ]
    assert (document["baseline"], document["reasons"]) == ([], [])
    assert "??" not in git(repo, "status", "--porcelain").replace("?? __pycache__/", "")


def test_one_parameter_too_many_fails_and_says_where(repo: Path) -> None:
    configure(repo, 'max-parameters = "171"', 'max-bytes = "1 KiB"')
    line = "parameters 172 is over the budget of 171 by 1; the largest: front (136), head.fc (36)"
    done = check(repo)
    assert done.code == 1
    assert line in flat(done.stdout)
    assert done.stderr == ""  # the table has said it
    done = check(repo, "--format", "json")
    assert (done.code, done.document["passed"]) == (1, False)
    assert done.document["reasons"] == [line]
    assert done.stderr.splitlines() == [line]  # for the log of a job


def test_flops_and_latency_are_measured_where_asked_for(repo: Path) -> None:
    configure(repo, 'max-flops = "1k"', 'max-latency = { cpu = "1 ns", cuda = "60 s" }')
    done = check(repo, "--format", "json", "-q")
    flops, cpu, cuda = done.document["budgets"]
    assert done.code == 1
    # Two rows: 2 * 2 * (16 * 8 + 8 * 4) for the products with their biases, and 2 * 8 for the ReLU.
    assert (flops["limit"], flops["actual"], flops["passed"]) == (1000, 656, True)
    assert (cpu["name"], cpu["unit"], cpu["limit"], cpu["passed"]) == ("latency.cpu", "ms", 1e-6, False)
    assert 1e-6 < cpu["actual"] < 60_000
    slow, *rest = done.document["reasons"]
    assert slow.startswith("latency on cpu ")
    if cuda["actual"] is None:
        assert cuda["passed"] is None
        assert "CUDA" in cuda["why_not"]
        assert rest == [f"latency on cuda was not measured: {cuda['why_not']}"]
        configure(repo, 'max-latency = { cuda = "60 s" }')
        assert check(repo).code == 0
        one_line(check(repo, "--device", "cuda"), 2, "max-latency: cuda:")


def test_flops_over_their_budget_name_the_largest_modules(repo: Path) -> None:
    configure(repo, 'max-flops = "0.6k"')
    done = check(repo, "--format", "json")
    line = "FLOPs 656 is over the budget of 600 by 56; the largest: front (512), head.fc (128), (root) (16)"
    assert (done.code, done.document["reasons"]) == (1, [line])
    accept(repo)
    model(repo, width=9)  # 2 * 2 * (16 * 9 + 9 * 4) + 2 * 9
    configure(repo, 'max-flops = "1k"')
    flops = check(repo, "--format", "json", "-q").document["baseline"][2]
    assert (flops["name"], flops["before"], flops["actual"]) == ("flops", 656, 738)


def test_waste_is_what_the_default_plan_removes(repo: Path) -> None:
    model(repo, spare=5)  # nobody reads spare: 4 * 5 + 5 = 25 of 197, 12.69 %
    configure(repo, 'max-waste = "12 %"')
    done = check(repo, "--format", "json")
    assert done.code == 1
    assert done.document["budgets"][0]["actual"] == pytest.approx(100 * 25 / 197)
    [reason] = done.document["reasons"]
    assert reason.startswith("waste 12.69 % is over the budget of 12 % by 0.6904 %; most of it: ")
    assert "spare (25)" in reason
    configure(repo, 'max-waste = "13 %"')
    assert check(repo).code == 0


# --- the baseline -------------------------------------------------------------------------------


def test_the_baseline_accepts_what_a_grown_layer_costs(repo: Path) -> None:
    first = accept(repo)
    assert first["schema"] == "paramaudit/baseline/1"
    assert (first["target"], first["format"], first["sha256"]) == ("net.py:build", "factory", None)
    assert first["totals"] == {"parameters": 172, "buffers": 0, "bytes": 688, "flops": None}
    assert first["modules"] == {"front": 136, "head.fc": 36}
    assert first["versions"].keys() == {"paramaudit", "torch"}
    assert check(repo).code == 0

    model(repo, width=9)  # 17 numbers more in front, 4 in head.fc
    done = check(repo, "--format", "json", "-q")
    assert done.code == 1
    assert done.document["baseline"][0] == {
        "name": "parameters",
        "unit": "",
        "before": 172,
        "limit": 172,
        "actual": 193,
        "passed": False,
    }
    assert done.document["reasons"] == [
        "parameters 193 is over the baseline of 172 by 21 (+12.21 %, 0 % tolerated); "
        "most of it: front (+17), head.fc (+4)",
        "bytes 772 B is over the baseline of 688 B by 84 B (+12.21 %, 0 % tolerated); "
        "most of it: front (+17 parameters), head.fc (+4 parameters)",
    ]
    assert git(repo, "status", "--porcelain", BASELINE) == ""  # a check writes nothing

    assert accept(repo)["totals"]["parameters"] == 193
    assert check(repo).code == 0


def test_growth_within_the_threshold_is_tolerated(repo: Path) -> None:
    accept(repo)
    model(repo, width=9)  # 193 of 172 is 12.21 % more
    configure(repo, 'threshold = "12.2 %"')
    assert check(repo).code == 1
    configure(repo, 'threshold = "12.3 %"')
    done = check(repo, "--format", "json")
    assert (done.code, done.document["passed"]) == (0, True)
    assert done.document["baseline"][0]["limit"] == 193  # 172 * 1.123 = 193.156


def test_a_budget_names_what_grew_since_the_baseline(repo: Path) -> None:
    accept(repo)
    model(repo, spare=5)
    configure(repo, 'max-parameters = "0.18k"', 'threshold = "50 %"')
    done = check(repo, "-o", "page.md", "--format", "markdown")
    assert done.code == 1
    line = "parameters 197 is over the budget of 180 by 17; most of it: spare (+25)"
    assert done.stderr.splitlines() == ["wrote page.md", line]
    page = (repo / "page.md").read_text(encoding="utf-8")
    assert "most of it: spare (+25)" in page
    assert "| spare | 0 | 25 | new |" in page


def test_what_shrank_passes_and_is_said(repo: Path) -> None:
    model(repo, spare=5)
    accept(repo)
    model(repo)
    done = check(repo)
    assert done.code == 0
    hint = "parameters fell by 25 and bytes fell by 100 B below the baseline; --update-baseline"
    assert hint in flat(done.stdout)
    assert "spare" in done.stdout  # among the modules that changed


def test_informational_reports_and_never_fails(repo: Path) -> None:
    accept(repo)
    model(repo, width=9)
    configure(repo, "max-parameters = 1", "informational = true")
    done = check(repo, "--format", "json")
    assert (done.code, done.document["passed"], done.document["informational"]) == (0, False, True)
    assert len(done.document["reasons"]) == 3
    assert "over, and informational: nothing fails" in check(repo).stdout


def test_the_baseline_may_have_another_name(repo: Path) -> None:
    configure(repo, 'baseline = "cost.json"')
    one_line(check(repo), 2, "cost.json does not exist; --update-baseline writes it")
    done = check(repo, "--update-baseline")
    assert (done.code, done.stderr) == (0, "wrote cost.json\n")
    assert not (repo / BASELINE).exists()
    assert check(repo).code == 0


def test_updating_accepts_whatever_was_there_and_exits_0(repo: Path) -> None:
    configure(repo, "max-parameters = 1")
    (repo / BASELINE).write_text("<<<<<<< HEAD", encoding="utf-8")
    assert check(repo, "--update-baseline").code == 0
    assert json.loads((repo / BASELINE).read_text(encoding="utf-8"))["totals"]["parameters"] == 172
    first = (repo / BASELINE).read_bytes()
    assert check(repo, "--update-baseline").code == 0
    assert (repo / BASELINE).read_bytes() == first
    assert {path.name for path in repo.iterdir()} - {"__pycache__"} == {
        ".git",
        BASELINE,
        "net.py",
        "pyproject.toml",
    }


def test_a_checkpoint_without_a_graph_is_counted(repo: Path) -> None:
    import torch

    weights = {"a.weight": torch.zeros(3, 4), "a.norm.running_mean": torch.zeros(4)}
    torch.save(weights, repo / "net.pt")
    configure(repo, "max-parameters = 12", 'max-bytes = "64 B"')
    done = call(repo, "check", "net.pt", "--format", "json")
    assert [budget["actual"] for budget in done.document["budgets"]] == [12, 64]
    assert call(repo, "check", "net.pt", "--update-baseline", "-q").code == 0
    saved = json.loads((repo / BASELINE).read_text(encoding="utf-8"))
    assert saved["modules"] == {"a": 12}
    assert len(saved["sha256"]) == 64
    configure(repo, 'max-flops = "1k"')
    one_line(call(repo, "check", "net.pt"), 2)  # never 3: a gate is open, shut or broken


# --- exit codes, and what never crashes ---------------------------------------------------------


@pytest.mark.parametrize(("most", "code"), [(172, 0), (171, 1)])
@pytest.mark.parametrize("name", FORMATS)
def test_the_exit_code_does_not_depend_on_the_format(name: str, most: int, code: int, repo: Path) -> None:
    configure(repo, f"max-parameters = {most}")
    done = check(repo, "--format", name)
    assert done.code == code
    assert done.stdout or (name, code) == ("github", 0)  # nothing to annotate
    (repo / "net.py").unlink()
    one_line(check(repo, "--format", name), 2, "net.py")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "its schema is None"),
        ('{"schema": "paramaudit/audit/1"}', "its schema is 'paramaudit/audit/1'"),
        ('{"schema": "paramaudit/baseline/1"}', "totals is not an object"),
        ('{"totals": {"parameters": true}}', "totals.parameters is True, not a count"),
        ('{"totals": {"parameters": -1}}', "totals.parameters is -1, not a count"),
        ('{"totals": {}}', "totals.parameters is None, not a count"),
        ('{"modules": {"front": "x"}}', "modules.front is 'x', not a count"),
        ('{"target": 3}', "target is 3, not text"),
        ('{"target": "other.py:build"}', "the baseline is of other.py:build, not of net.py:build"),
    ],
)
def test_a_damaged_baseline_is_one_line(text: str, says: str, repo: Path) -> None:
    good: dict[str, Any] = {
        "schema": "paramaudit/baseline/1",
        "target": "net.py:build",
        "format": "factory",
        "sha256": None,
        "totals": {"parameters": 172, "buffers": 0, "bytes": 688},
        "modules": {"front": 136},
        "versions": {"torch": "2"},
    }
    if text.startswith('{"') and "schema" not in text:
        text = json.dumps({**good, **json.loads(text)})
    (repo / BASELINE).write_text(text, encoding="utf-8")
    one_line(check(repo), 2, says, "--update-baseline")


def test_no_model_and_broken_ones_are_one_line(repo: Path) -> None:
    configure(repo, "max-parameters = 1")
    (repo / "empty").mkdir()
    (repo / "lazy.py").write_text(
        "from torch import nn\n\n\ndef build():\n    return nn.LazyLinear(3)\n", encoding="utf-8"
    )
    (repo / "raises.py").write_text("def build():\n    raise KeyError('x')\n", encoding="utf-8")
    for target in ("empty", "none.pt", "net.py:nothing", "raises.py:build"):
        one_line(call(repo, "check", target), 2)
    one_line(call(repo, "check", "lazy.py:build"), 2, "lazy parameters")
    (repo / "pyproject.toml").write_text("[tool.paramaudit", encoding="utf-8")
    one_line(check(repo), 2, "not valid TOML")


def test_a_model_that_cannot_be_exported_is_counted_but_not_audited(repo: Path) -> None:
    text = (repo / "net.py").read_text(encoding="utf-8")
    text = text.replace("return self.head", "x = x if x.sum() > 0 else -x\n        return self.head")
    (repo / "net.py").write_text(text, encoding="utf-8")
    configure(repo, "max-parameters = 172")
    assert check(repo).code == 0
    for line in ('max-waste = "2 %"', 'max-flops = "1k"'):
        configure(repo, line)
        one_line(check(repo), 2, "export")


def test_the_baseline_never_replaces_the_model(repo: Path) -> None:
    import torch

    torch.save({"a.weight": torch.zeros(3)}, repo / "net.pt")
    configure(repo, 'baseline = "net.pt"')
    one_line(call(repo, "check", "net.pt", "--update-baseline"), 2, "would overwrite the model net.pt")
