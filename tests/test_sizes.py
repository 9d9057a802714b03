"""Sizes of inputs: which ones a capture holds for, and which ones are tried."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from commands import call
from torch import Tensor, nn

import paramaudit as pa
from paramaudit.attack import attack
from paramaudit.audit import Options, scan_loaded
from paramaudit.graph.conditions import conditions, met
from paramaudit.graph.program import Program
from paramaudit.records import InputSpec, Loaded

BRANCHES = """
import torch
from torch import nn


class Branches(nn.Module):
    def __init__(self, takes):
        super().__init__()
        self.layers, self.takes = nn.Sequential(nn.Linear(6, 40), nn.Linear(40, 4)), takes

    def forward(self, x, y):
        out = self.layers(x) + y.sum()
        return out if self.takes(x, y) else 2 * out


def made(takes):
    torch.manual_seed(0)
    return Branches(takes), (torch.ones(7, 6), torch.ones(7, 3))


def large():
    return made(lambda x, y: x.shape[0] > 4)


def odd():
    return made(lambda x, y: x.shape[0] % 2 == 1)


def alike():
    return made(lambda x, y: x.shape[0] == y.shape[0])


def always():
    return made(lambda x, y: True)
"""
NEEDS = {
    "large": ["x.size()[0] > 4"],
    "odd": ["(x.size()[0] % 2) == 1"],
    "alike": [],  # said by the shapes: both have the same first dimension
    "always": [],
}


def pair(inside: int = 4) -> nn.Sequential:
    """Two layers that merge."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inside, 40), nn.Linear(40, 3))


class Cut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = pair()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x[..., :4])


class Kernel(Cut):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Conv1d(1, 4, 9, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.kernel(x[:, None]).mean(-1))


class Pairs(Cut):
    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.reshape(x.shape[0], x.shape[1] // 2, 2, 4).mean(2)).sum(1)


class Table(Cut):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(30, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x[..., None] * self.table[: x.shape[1]]).sum(1)


def program(model: nn.Module, *inputs: Tensor) -> Program:
    loaded = Loaded("model", "factory", module=model.eval(), args=inputs)
    return scan_loaded(loaded, Options(), lambda _stage: None).original


# --- the contract -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEEDS)
def test_a_written_file_is_right_or_refuses(name: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(BRANCHES, encoding="utf-8")
    done = call(tmp_path, "refactor", f"net.py:{name}", "--apply", "--format", "json")
    assert (done.code, done.document["contract"]["conditions"]) == (0, NEEDS[name])
    scope: dict[str, object] = {}
    exec(compile(BRANCHES, "net.py", "exec"), scope)  # noqa: S102 - the text above
    model, _ = scope[name]()  # type: ignore[operator]
    written = torch.export.load(tmp_path / "net.refactored.pt2").module()
    ran = 0
    for first in range(2, 10):
        for second in (first, first + 1):
            inputs = torch.randn(first, 6), torch.randn(second, 3)
            try:
                got = written(*inputs)
            except AssertionError:  # a guard of the file
                continue
            torch.testing.assert_close(got, model(*inputs))
            ran += 1
    assert ran >= 4
    assert call(tmp_path, "verify", f"net.py:{name}", "net.refactored.pt2").code == 0


@pytest.mark.parametrize("name", NEEDS)
def test_a_refactored_module_is_right_or_refuses(name: str) -> None:
    scope: dict[str, object] = {}
    exec(compile(BRANCHES, "net.py", "exec"), scope)  # noqa: S102 - the text above
    model, inputs = scope[name]()  # type: ignore[operator]
    new = pa.refactor(model, inputs)
    refused = 0
    for first in range(2, 7):
        inputs = torch.randn(first, 6), torch.randn(6, 3)
        try:
            got = new(*inputs)
        except ValueError:
            refused += 1
        else:
            torch.testing.assert_close(got, model(*inputs))
    assert refused == {"large": 3, "odd": 3, "alike": 4, "always": 0}[name]


def test_a_condition_is_shown(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(BRANCHES, encoding="utf-8")
    assert "only where x.size()[0] > 4\n" in call(tmp_path, "scan", "net.py:large").stdout


def test_conditions_are_what_the_shapes_do_not_say() -> None:
    static = ("L['x'].size()[1] == 6", "(8 + L['x'].size()[1]) == 14")
    shared = "L['x'].size()[0] == L['y'].size()[0]"
    assert conditions((*static, shared, "L['x'].size()[0] <= 499")) == ("x.size()[0] <= 499",)
    fixed = InputSpec("x", "float32", ("batch", 6))
    assert conditions((static[1],), [fixed]) == ()
    assert conditions((static[1],)) == ("(8 + x.size()[1]) == 14",)


def test_nested_inputs_meet_their_conditions() -> None:
    class Nested(Cut):
        def forward(self, parts: dict[str, list[Tensor]]) -> Tensor:
            first, second = parts["both"]
            return self.layers(first) + second.sum() * (1 if second.shape[0] > 5 else 2)

    parts = {"both": [torch.ones(3, 4), torch.ones(8)]}
    model = program(Nested(), parts)  # type: ignore[arg-type]
    assert met(model, ({"both": [torch.ones(2, 4), torch.ones(6)]},), {})
    assert not met(model, ({"both": [torch.ones(2, 4), torch.ones(5)]},), {})


# --- what is tried ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shape", "others"),
    [
        (Cut, (3, 12), [(5, 7), (2, 24)]),
        (Kernel, (3, 12), [(5, 11), (2, 24)]),
        (Pairs, (3, 12, 4), [(5, 4, 4), (2, 24, 4)]),
        (Table, (3, 12), [(5, 3), (2, 24)]),
    ],
)
def test_a_model_that_needs_certain_sizes_is_tried_on_such(
    kind: type[Cut], shape: tuple[int, ...], others: list[tuple[int, ...]]
) -> None:
    model = kind().eval()
    new = pa.refactor(model, torch.randn(*shape))
    for other in others:
        inputs = torch.randn(*other)
        with torch.no_grad():
            torch.testing.assert_close(new(inputs), model(inputs))


def test_a_model_that_fails_where_the_original_runs_is_refuted() -> None:
    class Reads(Cut):
        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x[..., :4]) + 0 * x[:, 9:10]

    first, second = program(Cut(), torch.randn(3, 12)), program(Reads(), torch.randn(3, 12))
    tried = attack(first, second)
    assert tried.refuted
    assert tried.reason
