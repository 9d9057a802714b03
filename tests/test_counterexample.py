"""Counterexamples are small, are files that others can read, and can be run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from attacked_models import Hidden, Tokens, captured, rows
from safetensors.torch import load_file, save_file

from paramaudit.attack import attack
from paramaudit.audit import Options, verify_loaded
from paramaudit.cli_options import Flags
from paramaudit.config import settle
from paramaudit.errors import ParamauditError, StaleError, TargetError
from paramaudit.load import load
from paramaudit.recheck import recorded
from paramaudit.replay import completed, replay

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, extra):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.extra = nn.Sequential(nn.Linear(9, 12), nn.GELU(), nn.Linear(12, 2)), extra

    def forward(self, x):
        return self.body(x) + self.extra * torch.relu(x[:, 4:5] - 6)


def good():
    return Net(0.0), (torch.zeros(3, 9),)


def bad():
    return Net(0.5), (torch.zeros(3, 9),)
"""


def test_a_counterexample_is_a_single_entry() -> None:
    tried = attack(captured(Hidden(), rows()), captured(Hidden("a late rectifier"), rows()))
    x = tried.counterexample["x"]  # type: ignore[index]
    assert x.shape == (1, 12)
    assert x.nonzero().tolist() == [[0, 0]]
    assert x[0, 0] > 6


def test_a_counterexample_of_a_batch_position_has_no_more_rows() -> None:
    tried = attack(captured(Hidden(), rows()), captured(Hidden("a batch position"), rows()))
    x = tried.counterexample["x"]  # type: ignore[index]
    assert len(x) == 21
    assert int((x != 0).sum()) <= 1


def test_ids_differ_from_the_commonest_in_one_place() -> None:
    ids = torch.randint(0, 50, (3, 5), generator=torch.Generator().manual_seed(0))
    tried = attack(captured(Tokens(), ids), captured(Tokens(1234), ids))
    found = tried.counterexample["ids"]  # type: ignore[index]
    assert 1234 in found
    assert int((found != found.flatten().mode().values).sum()) <= 1


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `verify net.py:good net.py:bad` leaves behind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    models = load("net.py:good"), load("net.py:bad")
    certificate = verify_loaded(*models, Options(), lambda _: None)
    completed(recorded(certificate, ("net.py:good", "net.py:bad"), "verify", settle(Flags(), {})))
    return Path(str(certificate.counterexample))


def again(file: Path) -> Any:
    return replay(file, trust=False, progress=lambda _: None)


def test_a_saved_counterexample_is_read_by_others_and_runs_again(saved: Path) -> None:
    assert saved == Path(".paramaudit/counterexample.json")
    document = json.loads(saved.read_text(encoding="utf-8"))
    assert document["schema"] == "paramaudit/counterexample/1"
    assert document["targets"] == ["net.py:good", "net.py:bad"]
    assert {len(digest) for digest in document["models"].values()} == {64}
    x = load_file(saved.with_suffix(".safetensors"))["x"]
    value = document["values"][0]
    row, column = value["index"]
    expected = 0.5 * (float(x[row, 4]) - 6)
    assert value["refactored"] - value["original_float64"] == pytest.approx(expected, rel=1e-5)
    found = again(saved)
    assert found.differs
    assert found.values[0].difference == pytest.approx(value["difference"])
    assert column in (0, 1)


def test_inputs_on_which_the_models_agree_differ_no_more(saved: Path) -> None:
    save_file({"x": torch.zeros(2, 9)}, saved.with_suffix(".safetensors"))
    assert not again(saved).differs


def test_a_changed_model_is_refused(saved: Path) -> None:
    net = Path("net.py")
    net.write_text(NET.replace("Net(0.5)", "Net(0.25)"), encoding="utf-8")
    with pytest.raises(StaleError, match=r"net\.py:bad is not the model that was attacked"):
        again(saved)


@pytest.mark.parametrize(
    "harm",
    [
        lambda d, _: d.pop("models"),
        lambda d, _: d.update(inputs="../elsewhere.safetensors"),
        lambda d, _: d.update(schema="paramaudit/certificate/1"),
        lambda d, _: d.update(options={"command": "rm"}),
        lambda d, _: d.update(targets=None),
        lambda _, f: f.with_suffix(".safetensors").unlink(),
        lambda _, f: f.with_suffix(".safetensors").write_bytes(b"\xff" * 40),
        lambda _, f: save_file({"x": torch.zeros(2, 8)}, f.with_suffix(".safetensors")),
        lambda _, f: save_file({"y": torch.zeros(2, 9)}, f.with_suffix(".safetensors")),
    ],
)
def test_a_damaged_counterexample_is_one_clear_error(saved: Path, harm: Any) -> None:
    document = json.loads(saved.read_text(encoding="utf-8"))
    harm(document, saved)
    saved.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ParamauditError) as error:
        again(saved)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def test_no_counterexample_is_said(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no such file"):
        again(tmp_path / "none.json")
