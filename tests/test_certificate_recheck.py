"""Certificates as files: made again under their own options, and exposed when they claim too much."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Done, call, one_line
from safetensors.torch import load_file

from paramaudit.errors import ParamauditError
from paramaudit.kept import certificate_in
from paramaudit.recheck import recheck

MODEL = """
import math, torch
from torch import nn

def _dft():
    n = torch.arange(32, dtype=torch.float64)
    angles = 2 * math.pi * torch.outer(n[:17], n) / 32
    return torch.cat([torch.cos(angles), -torch.sin(angles)])

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.spectrum, self.a, self.b = nn.Linear(32, 34, bias=False), nn.Linear(34, 9), nn.Linear(9, 4)
        with torch.no_grad():
            self.spectrum.weight.copy_(_dft())

    def forward(self, x):
        return self.b(torch.relu(self.a(torch.relu(self.spectrum(x)))))

def build():
    return Net(), torch.randn(3, 32, generator=torch.Generator().manual_seed(1))

def other():
    net, x = build()
    with torch.no_grad():
        net.b.weight[0, 0] += 0.25
    return net, x

def same():
    return build()
"""


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("applied")
    (folder / "model.py").write_text(MODEL)
    done = call(folder, "refactor", "model.py:build", "--apply", "--save", "small.pt2", "-q")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def folder(applied: Path, tmp_path: Path) -> Path:
    shutil.copytree(applied, tmp_path, dirs_exist_ok=True)
    return tmp_path


def certificate(folder: Path) -> Path:
    return folder / ".paramaudit" / "certificate.json"


def checked(folder: Path, file: str = ".paramaudit/certificate.json", *more: str) -> Done:
    return call(folder, "verify", "--certificate", file, "--format", "json", "-q", *more)


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> Done:
    document = json.loads(certificate(folder).read_text())
    change(document)
    (folder / "edited.json").write_text(json.dumps(document))
    return checked(folder, "edited.json")


def test_what_apply_wrote_holds(folder: Path) -> None:
    saved = json.loads(certificate(folder).read_text())
    assert saved["targets"] == ["model.py:build", "small.pt2"]
    assert saved["options"]["command"] == "refactor"
    assert saved["options"]["mode"] == "eval"
    done = checked(folder)
    assert done.code == 0
    assert done.document["recheck"]["holds"] is True
    assert done.document["models"] == saved["models"]
    assert (done.document["tier"], done.document["gap"]) == (saved["tier"], saved["gap"])
    assert (folder / ".paramaudit" / "certificate.json").read_text() == json.dumps(saved, indent=2) + "\n"


def test_a_witness_input_shows_the_witness_again(folder: Path) -> None:
    """The original's product of the kept input, in float32, against the same in numpy's float64."""
    saved = json.loads(certificate(folder).read_text())
    kept = load_file(folder / ".paramaudit" / saved["witnesses"])
    (swap,) = [swap for swap in saved["swaps"] if "rdft" in swap["id"]]
    assert set(kept) == {swap["id"]}
    x = kept[swap["id"]]
    assert (x.shape, x.dtype) == ((32,), torch.float32)
    n = np.arange(32)
    angles = 2 * math.pi * np.outer(n[:17], n) / 32
    weight = torch.from_numpy(np.concatenate([np.cos(angles), -np.sin(angles)])).float()
    exact = weight.double().numpy() @ x.double().numpy()
    size = math.sqrt(float(x.double().square().sum()) + 1)
    found = [torch.nn.functional.linear(x.repeat(count, 1), weight)[0].double().numpy() for count in (1, 16)]
    seen = max(float(np.linalg.norm(one - exact)) for one in found) / size
    assert seen == pytest.approx(swap["witness"]["value"], rel=1e-2)
    assert swap["gap"]["value"] <= swap["witness"]["value"]


def claim_exact(document: dict[str, Any]) -> None:
    document["tier"] = "exact"


def claim_less(document: dict[str, Any]) -> None:
    document["gap"]["value"] /= 2


def claim_less_of_a_swap(document: dict[str, Any]) -> None:
    document["swaps"][0] |= {"tier": "exact", "gap": None}


def claim_a_bound(document: dict[str, Any]) -> None:
    document["end_to_end"]["bounds"][0] = {"output": "output", "value": 1e-30, "per": "|[x;1]|"}


def claim_all_sizes(document: dict[str, Any]) -> None:
    document["contract"]["inputs"][0]["shape"] = ["batch", "length"]


@pytest.mark.parametrize(
    "change", [claim_exact, claim_less, claim_less_of_a_swap, claim_a_bound, claim_all_sizes]
)
def test_a_certificate_that_claims_more_is_exposed(
    folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    done = edited(folder, change)
    assert done.code == 1
    assert done.document["recheck"]["holds"] is False
    assert done.document["recheck"]["reasons"]
    assert done.document["equivalent"] is True


def test_a_changed_model_is_refused(folder: Path) -> None:
    (folder / "model.py").write_text(MODEL.replace("manual_seed(0)", "manual_seed(7)"))
    one_line(checked(folder), 2, "model.py:build", "not the model that was certified", "SHA-256")


@pytest.mark.slow
def test_a_changed_file_is_refused(folder: Path) -> None:
    call(folder, "refactor", "model.py:other", "--apply", "--save", "small.pt2", "--certificate", "c.json")
    one_line(checked(folder), 2, "small.pt2", "not the model that was certified")


def test_verify_writes_a_certificate_that_holds_from_another_folder(folder: Path) -> None:
    done = call(folder, "verify", "model.py:build", "small.pt2", "--certificate", "c.json", "-q")
    assert done.code == 0
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    again = checked(elsewhere, "../c.json")
    assert (again.code, again.document["recheck"]["holds"]) == (0, True)


def test_two_that_differ_still_differ(folder: Path) -> None:
    done = call(folder, "verify", "model.py:build", "model.py:other", "--certificate", "c.json", "-q")
    assert done.code == 1
    again = checked(folder, "c.json")
    assert (again.code, again.document["equivalent"]) == (1, False)
    assert again.document["recheck"]["holds"] is True
    document = json.loads((folder / "c.json").read_text())
    (folder / "c.json").write_text(json.dumps({**document, "equivalent": True, "tier": "exact"}))
    lied = checked(folder, "c.json")
    assert (lied.code, lied.document["recheck"]["holds"]) == (1, False)


HOSTILE: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: d.update(targets=None), "names no models"),
    (lambda d: d.update(targets=["model.py:build"]), "damaged"),
    (lambda d: d.update(targets=[3, 4]), "damaged"),
    (lambda d: d.update(targets=["gone.py:build", "small.pt2"]), "does not exist"),
    (lambda d: d.update(targets=["os:abort", "small.pt2"]), "--trust"),
    (lambda d: d.update(targets=["/usr/lib/python3/x.py:f", "small.pt2"]), "--trust"),
    (lambda d: d.update(targets=["../../x.py:f", "small.pt2"]), "--trust"),
    (lambda d: d["options"].update(inputs=["shutil:rmtree"]), "--trust"),
    (lambda d: d["options"].update(factory="os:abort"), "--trust"),
    (lambda d: d["options"].update(command="format"), "which command"),
    (lambda d: d["options"].update(mode="sleep"), "sleep"),
    (lambda d: d["options"].update(seed="1"), "seed"),
    (lambda d: d["options"].update(static=["batch=-3"]), "static"),
    (lambda d: d["options"].update(trust=True), "trust"),
    (lambda d: d.update(options=[]), "damaged"),
    (lambda d: d.update(schema="paramaudit/audit/1"), "schema"),
    (lambda d: d.pop("swaps"), "missing"),
]


def refused(folder: Path, text: str) -> str:
    """What is said of a certificate with this text, in one line."""
    file = folder / "edited.json"
    file.write_text(text)
    with pytest.raises(ParamauditError) as caught:
        recheck(certificate_in(file), file, trust=False, progress=lambda _: None)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("change", "says"), HOSTILE)
def test_a_hostile_certificate_is_refused(
    applied: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    document = json.loads(certificate(applied).read_text())
    change(document)
    assert says in refused(tmp_path, json.dumps(document))


BROKEN = [
    *((text, "cannot be read") for text in ("", "{", "[" * 5000, "\x00\xff")),
    *((text, "not a saved certificate") for text in ("[]", "null", '{"schema": 1}')),
]


@pytest.mark.parametrize(("text", "says"), BROKEN)
def test_a_broken_certificate_is_refused(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(tmp_path, text)


def test_neither_models_nor_a_certificate_is_one_line(folder: Path) -> None:
    one_line(call(folder, "verify", "model.py:build"), 2, "ORIGINAL and REFACTORED", "--certificate")
    (folder / "bad.json").write_text(certificate(folder).read_text().replace("model.py:build", "os:abort"))
    one_line(checked(folder, "bad.json"), 2, "--trust")
    one_line(checked(folder, "missing.json"), 2, "missing.json does not exist")
