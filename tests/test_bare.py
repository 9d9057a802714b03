"""A checkpoint without its model is audited from its stored numbers alone, in every format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from bare_numbers import audited, learned, of, only
from faked_pipeline import call
from torch import nn

from paramaudit.audit import Options, diff_loaded
from paramaudit.records import Loaded, Tier, Verdict
from paramaudit.report import FORMATS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dft(size: int) -> torch.Tensor:
    waves = np.fft.fft(np.eye(size))[: size // 2 + 1]
    return torch.tensor(np.concatenate([waves.real, waves.imag]), dtype=torch.float32)


def test_the_account_of_a_checkpoint() -> None:
    tensors = {
        "front.analyser.weight": dft(64),
        "body.weight": learned(32, 24),
        "body.bias": torch.zeros(32),
        "norm.running_mean": torch.ones(24),
        "norm.steps": torch.tensor(3),
    }
    audit = audited(tensors)
    numbers = 66 * 64 + 32 * 24 + 32
    assert (audit.model.parameters, audit.model.buffers) == (numbers, 24)
    assert not audit.model.exported
    assert "--factory" in str(audit.model.why_not)
    assert audit.contract is None
    assert audit.totals.parameters_before == numbers
    assert audit.totals.parameters_after == 32 * 24
    assert audit.totals.bytes_before - audit.totals.bytes_after == 4 * (66 * 64 + 32)
    rows = {row.path: row for row in audit.modules}
    assert list(rows) == ["", "front", "front.analyser", "body", "norm"]
    assert {row.type for row in audit.modules} == {""}
    assert sum(row.own_parameters for row in audit.modules) == numbers
    assert rows[""].parameters_after == audit.totals.parameters_after
    assert rows["front"].verdict is Verdict.ML_REPLACEABLE
    assert rows["body"].verdict is Verdict.DL_REQUIRED


def test_every_number_counts_once_however_much_is_found() -> None:
    table = dft(32)
    audit = audited({"a.weight": table, "b.weight": table.clone(), "c.weight": table.T.contiguous()})
    assert audit.totals.parameters_after == 0
    for name in ("a.weight", "b.weight", "c.weight"):
        counted = [f for f in audit.findings if f.applied_by_default and f.tensors[-1] == name]
        assert len(counted) == 1


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_takes_such_an_audit(folder: Path, name: str) -> None:
    torch.save({"a.weight": torch.eye(12), "b.bias": torch.zeros(7)}, folder / "w.pt")
    result = call("scan", "w.pt", "-q", "--format", name)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip()
    if name in ("json", "sarif"):
        assert json.loads(result.stdout)


def test_the_document_can_be_read_back(folder: Path) -> None:
    torch.save({"a.weight": torch.eye(12)}, folder / "w.pt")
    document = json.loads(call("scan", "w.pt", "--format", "json").stdout)
    assert document["contract"] is None
    assert document["model"]["exported"] is False
    assert call("report").exit_code == 0


@pytest.mark.parametrize("arguments", [("refactor", "w.pt"), ("refactor",), ("refactor", "w.pt", "--apply")])
def test_nothing_can_be_swapped(folder: Path, arguments: tuple[str, ...]) -> None:
    torch.save({"a.weight": torch.eye(12)}, folder / "w.pt")
    assert call("scan", "w.pt").exit_code == 0
    result = call(*arguments)
    assert result.exit_code == 3
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "--factory" in line


@pytest.mark.parametrize(("limit", "code"), [("60", 0), ("40", 1)])
def test_waste_of_a_checkpoint_is_held_to_its_budget(folder: Path, limit: str, code: int) -> None:
    torch.save({"a.weight": learned(8, 8), "b.bias": torch.zeros(64)}, folder / "w.pt")
    (folder / "pyproject.toml").write_text(f'[tool.paramaudit]\nmax-waste = "{limit}%"\n', encoding="utf-8")
    result = call("check", "w.pt")
    assert result.exit_code == code, result.stderr


def test_flops_of_a_checkpoint_cannot_be_checked(folder: Path) -> None:
    torch.save({"a.weight": torch.eye(12)}, folder / "w.pt")
    (folder / "pyproject.toml").write_text(
        '[tool.paramaudit]\nmax-flops = "9"\nmax-waste = "100%"\n', encoding="utf-8"
    )
    assert call("check", "w.pt").exit_code == 2


def test_a_claim_about_stored_numbers_is_judged(folder: Path) -> None:
    torch.save({"a.weight": dft(32), "b.weight": learned(8, 8)}, folder / "w.pt")
    (folder / "c.toml").write_text(
        '[[claim]]\nid = "dft"\nkind = "equivalence"\nstatement = "a is a DFT"\nmodule = "a"\n'
        'operator = "rdft"\n'
        '[[claim]]\nid = "learned"\nkind = "equivalence"\nstatement = "b is one"\nmodule = "b"\n'
        'operator = "rdft"\n',
        encoding="utf-8",
    )
    result = call("claims", "w.pt", "c.toml", "--format", "json")
    assert result.exit_code == 0, result.stderr
    verdicts = {c["id"]: c["verdict"] for c in json.loads(result.stdout)["claims"]}
    assert verdicts["dft"] == "right"
    assert verdicts["learned"] == "wrong"


def test_a_file_without_floats_is_no_audit(folder: Path) -> None:
    torch.save({"a": torch.arange(5)}, folder / "w.pt")
    assert call("scan", "w.pt").exit_code == 3


def test_two_checkpoints_are_compared() -> None:
    before = Loaded("a.pt", "state-dict", tensors={"a.weight": learned(9, 9)})
    after = Loaded("b.pt", "state-dict", tensors={"a.weight": learned(9, 9), "b.weight": torch.zeros(5, 5)})
    found = diff_loaded(before, after, Options(), lambda _stage: None)
    assert [(c.path, c.change) for c in found.modules] == [("", "parameters"), ("b", "added")]
    assert [(w.operator, w.change) for w in found.waste] == [("zero", "new")]


def test_numbers_that_are_no_numbers_are_said_and_left() -> None:
    broken = learned(8, 8)
    broken[2, 3] = float("nan")
    audit = audited({"a.weight": broken, "b.weight": torch.eye(8)})
    assert any("a.weight" in skip.reason and "NaN" in skip.reason for skip in audit.skipped)
    assert not any("a.weight" in f.tensors for f in audit.findings)
    assert audit.totals.parameters_after == 64


def test_a_tensor_is_left_as_it_was() -> None:
    tensors = {"a.weight": dft(32), "b.weight": learned(12, 12)}
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    audited(tensors)
    assert all(torch.equal(tensors[name], copies[name]) for name in tensors)


def test_ignored_kinds_are_not_looked_for() -> None:
    audit = audited({"a.weight": torch.zeros(5, 5), "b.weight": torch.zeros(5, 5)}, ignore=("a:zero",))
    assert [f.path for f in of(audit, "zero")] == ["b"]


# --- operators ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_operator_is_proven_in_the_stored_dtype(dtype: torch.dtype) -> None:
    column = np.random.default_rng(0).standard_normal(48)
    weight = torch.tensor(scipy.linalg.circulant(column)).to(dtype)
    audit = audited({"mix.weight": weight})
    [counted] = [f for f in audit.findings if f.applied_by_default]
    assert counted.operator == "circulant"
    assert counted.tier.safe
    assert audit.totals.parameters_after == 48


def test_a_matrix_stored_for_the_other_side_is_seen_too() -> None:
    bank = torch.tensor(np.fft.rfft(np.eye(96) * np.hanning(96)[:, None], axis=0).real, dtype=torch.float32)
    found = [f for f in audited({"analysis": bank.T.contiguous()}).findings if f.applied_by_default]
    assert sum(f.parameters_after for f in found) < bank.numel() / 10


def test_a_convolution_of_frames() -> None:
    waves = np.fft.rfft(np.eye(128), axis=0) * np.hanning(129)[:-1]
    kernel = torch.tensor(np.concatenate([waves.real, waves.imag])[:, None], dtype=torch.float32)
    finding = only(audited({"stft.weight": kernel}), "stft")
    assert finding.applied_by_default
    assert (finding.parameters_before, finding.parameters_after) == (130 * 128, 0)
    assert "hop" not in finding.arguments  # numbers do not tell it


def test_one_number_off_is_not_safe() -> None:
    weight = dft(64)
    weight[3, 5] *= 1.01
    assert not any(f.applied_by_default for f in audited({"a.weight": weight}).findings)


def test_noise_of_shorter_storage_is_called_by_its_name() -> None:
    exact = dft(64) * 0.37
    stored = exact.half().float()
    found = [f for f in audited({"a.weight": stored}).findings if f.tier is Tier.BOUNDED]
    assert any("float16" in f.reason for f in found)
    assert not any(f.applied_by_default and f.operator == "rdft" for f in found)


@pytest.mark.parametrize("seed", range(3))
def test_learned_numbers_have_no_name(seed: int) -> None:
    tensors = {
        "a.weight": learned(48, 64, seed=seed),
        "b.weight": learned(16, 3, 9, seed=seed + 50),
        "c.weight": learned(7, seed=seed + 90),
    }
    audit = audited(tensors)
    assert not any(f.applied_by_default for f in audit.findings)
    assert audit.totals.parameters_after == audit.totals.parameters_before


def test_a_module_of_torch_in_all_its_parts() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(40, 40), nn.LayerNorm(40), nn.Conv1d(3, 8, 5), nn.Embedding(30, 20))
    audit = audited(module.state_dict())
    assert not any(f.applied_by_default and f.path in ("0", "2", "3") for f in audit.findings)


def test_a_position_table_may_stand_in_a_batch_of_one() -> None:
    position, rate = np.arange(40)[:, None], 10000.0 ** (-np.arange(16) / 16)
    table = np.concatenate([np.sin(position * rate), np.cos(position * rate)], axis=1)
    found = only(audited({"position": torch.from_numpy(table).float()[None]}), "sinusoid")
    assert found.tier is Tier.EXACT
    assert (found.parameters_before, found.parameters_after) == (1280, 0)
