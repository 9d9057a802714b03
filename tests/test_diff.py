"""What changed from one model to another: module by module, and which waste is new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from commands import call, one_line
from samples import AUDIT, FINDINGS

from paramaudit import report
from paramaudit.changes import changes
from paramaudit.records import Diff, ModuleChange, ModuleRow, Tier, Verdict
from paramaudit.report.diff import telling

NET = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.front = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(torch.relu(self.front(x)))


class Grown(Net):
    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
        self.extra = nn.Linear(4, 4)

    def forward(self, x):
        return torch.relu(self.extra(torch.relu(super().forward(x))))


class Odd(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


def old():
    torch.manual_seed(0)
    return Net(), (torch.randn(2, 8),)


def new():
    torch.manual_seed(0)
    return Grown(), (torch.randn(2, 8),)


def odd():
    return Odd(), (torch.randn(2, 8),)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("diff")
    (made / "net.py").write_text(NET, encoding="utf-8")
    return made


def row(path: str, kind: str, total: int, own: int, source: str | None = None) -> ModuleRow:
    return ModuleRow(path, kind, total, own, total, None, Verdict.DL_REQUIRED, "", source)


def diff(before: list[ModuleRow], after: list[ModuleRow]) -> Diff:
    models = [replace(AUDIT.model, parameters=rows[0].parameters) for rows in (before, after)]
    audits = [
        replace(AUDIT, model=model, modules=tuple(rows), findings=())
        for model, rows in zip(models, (before, after), strict=True)
    ]
    return changes(*audits)


def test_the_pull_request_view_of_a_grown_model(folder: Path) -> None:
    done = call(folder, "diff", "net.py:old", "net.py:new", "--format", "json")
    assert done.code == 0
    document = done.document
    assert document["schema"] == "paramaudit/diff/1"
    # 8 * 16 + 16 + 16 * 8 + 8 = 280 and 8 * 4 + 4 = 36; then 8 * 6 + 6 + 6 * 4 + 4 = 82 and 4 * 4 + 4 = 20
    assert (document["original"]["parameters"], document["refactored"]["parameters"]) == (316, 382)
    modules = {entry.pop("path"): entry for entry in document["modules"]}
    assert list(modules) == ["", "extra", "head", "head.0", "head.1"]
    assert modules["head"] == {
        "change": "type",
        "type_before": "Linear",
        "type_after": "Sequential",
        "parameters_before": 36,
        "parameters_after": 82,
        "own_before": 36,
        "own_after": 0,
        "source": "net.py:18",
    }
    assert (modules["extra"]["change"], modules["extra"]["parameters_after"]) == ("added", 20)
    assert modules["extra"]["source"] == "net.py:19"
    assert document["unchanged"] == 3  # front and its two layers
    # front merges to 8 * 8 + 8 = 72 on both sides: 208 could go; head's 82 could be 36, which is new
    assert (document["waste_before"], document["waste_after"]) == (208, 254)
    [waste] = document["waste"]
    assert (waste["path"], waste["operator"], waste["change"]) == ("head", "linear-chain", "new")
    assert (waste["saved_before"], waste["saved_after"], waste["source"]) == (0, 46, "net.py:18")


def test_every_format_shows_it_and_exits_alike(folder: Path) -> None:
    options = [part for name in report.FORMATS for part in ("--format", name)]
    assert call(folder, "diff", "net.py:new", "net.py:old", *options, "-o", "out", "-q").code == 0
    for suffix in (".txt", ".md"):
        text = (folder / f"out{suffix}").read_text(encoding="utf-8")
        assert "382 -> 316 parameters (-17.28 %)" in text
        assert "Waste that is gone" in text
        assert "Waste that is new" not in text
    found = (folder / "out.annotations").read_text(encoding="utf-8").splitlines()
    assert found[0].startswith("::notice file=net.py,line=18,title=paramaudit linear-chain::head: gone waste")
    shown = "::notice file=net.py,line=9,title=paramaudit module-change::head: Sequential -> Linear; 0 -> 36"
    assert [line for line in found if line.startswith(shown)]


def test_a_refactored_file_borrows_the_inputs_and_shows_what_went(folder: Path) -> None:
    made = call(folder, "refactor", "net.py:old", "--apply", "--save", "small.pt2", "-q")
    assert made.code == 0, made.stderr
    document = call(folder, "diff", "net.py:old", "small.pt2", "--format", "json").document
    assert (document["waste_before"], document["waste_after"]) == (208, 0)
    assert [entry["change"] for entry in document["waste"]] == ["gone"]
    assert not [entry for entry in document["modules"] if entry["change"] == "type"]
    assert document["refactored"]["parameters"] == 108


def test_the_same_model_has_no_differences(folder: Path) -> None:
    document = call(folder, "diff", "net.py:old", "net.py:old", "--format", "json").document
    assert (document["modules"], document["waste"], document["unchanged"]) == ([], [], 5)


@pytest.mark.parametrize(
    "pair", [("net.py:old", "none.pt2"), ("net.py:odd", "net.py:old"), ("net.py:old", "net.py:x")]
)
def test_what_cannot_be_compared_is_one_line(folder: Path, pair: tuple[str, str]) -> None:
    one_line(call(folder, "diff", *pair, "-q"), 2)


def test_differences_sum_to_the_whole_however_modules_came_and_went() -> None:
    before = [
        row("", "Net", 100, 5),
        row("a", "Linear", 40, 40),
        row("b", "Block", 55, 0),
        row("b.x", "Linear", 55, 55),
    ]
    after = [
        row("", "Net", 131, 6),
        row("a", "Conv1d", 50, 50),
        row("c", "Block", 75, 25),
        row("c.y", "Linear", 50, 50),
    ]
    found = diff(before, after)
    told = [(entry.path, entry.change, old, new) for entry, old, new in telling(found)]
    assert told == [
        ("", "parameters", 5, 6),
        ("a", "type", 40, 50),
        ("b", "removed", 55, 0),
        ("c", "added", 0, 75),
    ]
    assert sum(new - old for _, _, old, new in told) == 131 - 100
    page = report.render(found, "table")
    assert "Linear -> Conv1d" in page
    assert page.rstrip().endswith("+31")


def test_a_container_that_only_holds_a_larger_part_is_not_told_but_recorded() -> None:
    before = [row("", "Net", 10, 0), row("a", "Block", 10, 0), row("a.0", "Linear", 10, 10, "n.py:1")]
    after = [row("", "Net", 12, 0), row("a", "Block", 12, 0), row("a.0", "Linear", 12, 12, "n.py:2")]
    found = diff(before, after)
    assert [entry.path for entry in found.modules] == ["", "a", "a.0"]
    assert [entry.path for entry, _, _ in telling(found)] == ["a.0"]
    assert found.modules[2] == ModuleChange("a.0", "parameters", "Linear", "Linear", 10, 12, 10, 12, "n.py:2")


def test_numbered_modules_stand_in_their_order() -> None:
    names = [*(str(i) for i in range(12)), "head"]
    found = diff(
        [row("", "Net", 0, 0)], [row("", "Net", 13, 0), *(row(name, "Linear", 1, 1) for name in names)]
    )
    assert sorted(names, key=lambda name: (name != "head", int(name) if name != "head" else 0)) == [
        entry.path for entry in found.modules[1:]
    ]


def test_an_exported_root_has_no_type_to_compare() -> None:
    assert not diff([row("", "Net", 5, 5)], [row("", "ExportedProgram", 5, 5)]).modules


def test_waste_is_what_would_save_and_was_not_refuted() -> None:
    chain, named = FINDINGS[1], FINDINGS[0]
    grown = replace(named, parameters_before=900)
    bounded = replace(named, id="body:low-rank", tier=Tier.BOUNDED, applied_by_default=False, path="body")
    first = replace(AUDIT, findings=(named, chain))
    second = replace(AUDIT, findings=(grown, chain, bounded, FINDINGS[2]))
    told = [(w.id, w.change, w.saved_before, w.saved_after) for w in changes(first, second).waste]
    assert told == [("body:low-rank", "new", 0, 800), ("front:rdft", "grown", 800, 900)]
    back = [(w.id, w.change) for w in changes(second, first).waste]
    assert back == [("body:low-rank", "gone"), ("front:rdft", "shrunk")]
