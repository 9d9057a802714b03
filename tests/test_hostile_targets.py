"""Targets that raise, exit, print or lie: one clear line and the right exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import call, one_line

# --- hostile targets ----------------------------------------------------------------------------

HOSTILE = """
import os, random, sys
import numpy as np
import torch
from torch import nn


class Odd(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.layer, self.run = nn.Sequential(nn.Linear(6, 20), nn.Linear(20, 4)), run

    def forward(self, x):
        return self.run(self.layer, x)


def plain(layer, x):
    return layer(x)


def odd(run=plain, inputs=(torch.ones(3, 6),)):
    torch.manual_seed(0)
    return Odd(run), inputs


def branches():
    return odd(lambda layer, x: layer(x) if layer(x).sum() > 0 else x)


def raises():
    raise RuntimeError("the weights\\nare gone")


def a_list():
    return [odd()[0]]


def a_class():
    return Odd


def wide():
    return odd(inputs=(torch.ones(3, 5),))


def whole():
    return odd(inputs=(torch.ones(3, 6, dtype=torch.int64),))


def two():
    return odd(inputs=(torch.ones(3, 6), torch.ones(3)))


def renamed():
    return odd(inputs={"y": torch.ones(3, 6)})


def exits():
    sys.exit(0)


def exits_later():
    return odd(lambda layer, x: sys.exit(0))


def prints():
    print("building")

    def run(layer, x):
        print("running")
        os.write(1, b"from below")
        return layer(x)

    return odd(run)


def draws():
    random.seed(1), np.random.seed(1)

    def run(layer, x):
        torch.manual_seed(random.randrange(1000))
        np.random.seed(random.randrange(1000))
        return layer(x)

    return odd(run)


def not_a_number():
    net, inputs = odd()
    net.layer[0].weight.data[0, 0] = float("nan")
    return net, inputs


def infinite():
    net, inputs = odd()
    net.layer[0].weight.data[0, 0] = float("inf")
    return net, inputs


class Bare(nn.Module):
    def forward(self, x):
        return 2 * x


def bare():
    return Bare(), (torch.ones(3, 6),)
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with models that nobody should write, and that people do write."""
    (tmp_path / "odd.py").write_text(HOSTILE, encoding="utf-8")
    (tmp_path / "empty.py").touch()
    (tmp_path / "empty.pt").touch()
    (tmp_path / "broken.py").write_text("def build(:\n", encoding="utf-8")
    (tmp_path / "noise.pt2").write_bytes(bytes(range(256)) * 8)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "code", "says"),
    [
        ("odd.py:branches", 3, "cannot be exported"),
        ("odd.py:raises", 2, "the weights are gone (odd.py:"),
        ("odd.py:a_list", 2, "returned list"),
        ("odd.py:a_class", 2, "not an instance"),
        ("odd.py:nowhere", 2, "has no 'nowhere'"),
        ("odd.py:wide", 2, "does not run on its example inputs"),
        ("odd.py:whole", 2, "does not run on its example inputs"),
        ("odd.py:two", 2, "does not run on its example inputs"),
        ("odd.py:renamed", 2, "does not run on its example inputs"),
        ("odd.py:exits", 2, "SystemExit"),
        ("odd.py:exits_later", 2, "SystemExit"),
        ("missing.py:build", 2, "does not exist"),
        ("missing.pt2", 2, "does not exist"),
        ("empty.py:build", 2, "has no 'build'"),
        ("empty.pt", 2, "empty"),
        ("broken.py:build", 2, "SyntaxError"),
        ("noise.pt2", 2, "noise.pt2"),
        (".", 2, ""),
    ],
)
def test_a_target_that_cannot_be_audited_is_one_line(
    target: str, code: int, says: str, hostile: Path
) -> None:
    one_line(call(hostile, "scan", target, "--format", "json"), code, says)
    assert not (hostile / ".paramaudit").exists()


@pytest.mark.parametrize("target", ["prints", "draws", "not_a_number", "infinite", "bare"])
def test_an_odd_target_is_audited_and_stdout_stays_pure(target: str, hostile: Path) -> None:
    done = call(hostile, "scan", f"odd.py:{target}", "--format", "json")
    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr
    totals = done.document["totals"]
    left = {"bare": 0, "not_a_number": 224, "infinite": 224}.get(target, 28)
    assert totals["parameters_after"] == left
    assert done.document == json.loads((hostile / ".paramaudit" / "audit.json").read_text(encoding="utf-8"))


def test_a_model_that_draws_numbers_is_the_same_every_time(hostile: Path) -> None:
    first, second = (call(hostile, "scan", "odd.py:draws", "--format", "json").document for _ in range(2))
    assert first["model"]["sha256"] == second["model"]["sha256"]
    assert first["findings"] == second["findings"]


@pytest.mark.parametrize("target", ["not_a_number", "infinite", "bare"])
def test_there_is_nothing_to_apply_to_it(target: str, hostile: Path) -> None:
    done = call(hostile, "refactor", f"odd.py:{target}", "--apply")
    assert done.code == 3
    assert "nothing to apply" in done.stderr
    assert not list(hostile.glob("*.refactored.pt2"))
