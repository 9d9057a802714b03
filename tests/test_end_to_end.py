"""The command line on small models, from the first scan to a file that runs without this package."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Done, call, one_line
from safetensors.torch import load_file
from torch import Tensor

NET = '''
import torch
from scipy.linalg import circulant
from torch import nn


class Net(nn.Module):
    """A filter that is a formula, a pair to merge, a learned body, a spare layer and a buffer."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Linear(32, 32, bias=False)
        self.front = nn.Sequential(nn.Linear(32, 64), nn.Linear(64, 16))
        self.body = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 4))
        self.spare = nn.Linear(7, 5)
        self.register_buffer("scale", torch.tensor([0.5, 1.0, 2.0, 4.0]))

    def forward(self, frame):
        score = self.body(torch.tanh(self.front(frame))) * self.scale
        return {"filtered": self.filter(frame), "score": score}


def build(seed=0):
    generator = torch.Generator().manual_seed(seed)
    net = Net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        kernel = torch.zeros(32)
        kernel[:3] = torch.tensor([0.5, 0.3, 0.2])
        net.filter.weight.copy_(torch.from_numpy(circulant(kernel.numpy())))
    return net.eval(), (torch.randn(3, 32, generator=generator),)


def reseeded():
    return build(1)


def nudged():
    net, inputs = build()
    with torch.no_grad():
        net.body[0].weight[3, 5] *= 1.01
    return net, inputs


def unnamed():
    return build()[0]
'''
KEPT = ("body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias", "scale")
PARAMETERS = 32 * 32 + (32 * 64 + 64) + (64 * 16 + 16) + (16 * 24 + 24) + (24 * 4 + 4) + (7 * 5 + 5)
BODY = 16 * 24 + 24 + 24 * 4 + 4
MERGED = 32 * 16 + 16
BUFFERS = 4


def imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def floats(program: torch.export.ExportedProgram) -> int:
    """Every floating-point number that an exported program stores, each memory once."""
    held = [*program.state_dict.values(), *program.constants.values()]
    stored = {
        t.untyped_storage().data_ptr(): t for t in held if isinstance(t, Tensor) and t.is_floating_point()
    }
    return sum(tensor.numel() for tensor in stored.values())


# --- scan, plan, apply, verify, compare ---------------------------------------------------------


@dataclass(frozen=True)
class Flow:
    """A folder in which the five commands ran, and what each gave."""

    folder: Path
    before: str
    scan: Done
    plan: Done
    apply: Done
    verify: Done
    compare: Done

    @property
    def written(self) -> Path:
        return self.folder / "net.refactored.pt2"


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Flow:
    folder = tmp_path_factory.mktemp("flow")
    source = folder / "net.py"
    source.write_text(NET, encoding="utf-8")
    before = digest(source)
    pair = ("net.py:build", "net.refactored.pt2", "--format", "json")
    return Flow(
        folder,
        before,
        call(folder, "scan", "net.py:build", "--format", "json"),
        call(folder, "refactor", "--format", "json"),
        call(folder, "refactor", "--apply", "--format", "json"),
        call(folder, "verify", *pair),
        call(folder, "compare", *pair),
    )


def test_every_command_succeeds(flow: Flow) -> None:
    done = [flow.scan, flow.plan, flow.apply, flow.verify, flow.compare]
    assert [(d.code, d.stderr) for d in done if d.code] == []
    assert [d.document["schema"].split("/")[1] for d in done] == [
        *("audit", "plan", "certificate", "certificate", "compare")
    ]


def test_nothing_but_the_documents_is_written(flow: Flow) -> None:
    assert names(flow.folder) == {
        *("net.py", "net.refactored.pt2"),
        *(f".paramaudit/{name}.json" for name in ("audit", "certificate", "comparison")),
        ".paramaudit/certificate.witness.safetensors",
    }
    assert digest(flow.folder / "net.py") == flow.before


def test_the_account_holds_together(flow: Flow) -> None:
    audit, plan, comparison = flow.scan.document, flow.plan.document, flow.compare.document
    totals = audit["totals"]
    assert audit["model"]["parameters"] == totals["parameters_before"] == PARAMETERS
    assert audit["model"]["buffers"] == BUFFERS
    assert totals["parameters_after"] <= BODY + MERGED + 32
    assert plan["totals"] == totals
    assert comparison["original"]["parameters"] == PARAMETERS
    assert comparison["refactored"]["parameters"] == totals["parameters_after"]
    assert comparison["savings"]["parameters"] == PARAMETERS - totals["parameters_after"]
    modules = {row["path"]: row for row in audit["modules"]}
    assert sum(row["own_parameters"] for row in audit["modules"]) == PARAMETERS
    assert modules[""]["parameters"] == PARAMETERS
    assert modules[""]["parameters_after"] == totals["parameters_after"]
    verdicts = {path: modules[path]["verdict"] for path in ("filter", "body", "spare")}
    assert verdicts == {"filter": "ml-replaceable", "body": "dl-required", "spare": "redundant"}


def test_plan_and_certificate_speak_of_the_same_findings(flow: Flow) -> None:
    findings = {finding["id"]: finding for finding in flow.scan.document["findings"]}
    applied = {key for key, finding in findings.items() if finding["applied_by_default"]}
    assert {"circulant", "linear-chain", "unused"} <= {findings[key]["operator"] for key in applied}
    assert all(findings[key]["tier"] in ("exact", "rounding") for key in applied)
    assert set(flow.plan.document["apply"]) == applied
    assert {swap["id"] for swap in flow.apply.document["swaps"]} == applied
    assert {refusal["id"] for refusal in flow.plan.document["refused"]} == findings.keys() - applied


def test_the_certificates_hold(flow: Flow) -> None:
    saved = json.loads((flow.folder / ".paramaudit" / "certificate.json").read_text(encoding="utf-8"))
    assert saved == flow.apply.document
    assert flow.apply.document["models"] == flow.verify.document["models"]
    assert flow.apply.document["models"] == {
        "original": flow.scan.document["model"]["sha256"],
        "refactored": digest(flow.written),
    }
    for certificate in (flow.apply.document, flow.verify.document):
        assert certificate["equivalent"] is True
        assert certificate["tier"] in ("exact", "rounding")
        assert [output["name"] for output in certificate["outputs"]] == ["filtered", "score"]
        for output in certificate["outputs"]:
            assert output["max_abs"] < 1e-4
            assert output["max_abs"] <= 1.001 * (output["original_error"] + output["refactored_error"])


def test_a_second_scan_says_the_same(flow: Flow, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    again = call(tmp_path, "scan", "net.py:build", "--format", "json").document
    first = flow.scan.document
    # without the seconds that each stage and each operator took
    timed = ("looked", "seconds")
    plain = [{**document, **{key: sorted(document[key]) for key in timed}} for document in (again, first)]
    assert plain[0] == plain[1]


STANDALONE = """
import importlib.abc, json, sys


class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "paramaudit":
            raise ImportError("there is no paramaudit here")


sys.meta_path.insert(0, Blocked())
import torch

program = torch.export.load(sys.argv[1])
inputs, wanted = torch.load(sys.argv[2], weights_only=True)
outputs = program.module()(inputs)
print(json.dumps({name: float((outputs[name] - wanted[name]).abs().max()) for name in wanted}))
"""


def test_the_file_runs_without_this_package_and_with_another_batch(flow: Flow, tmp_path: Path) -> None:
    net, _ = imported(flow.folder / "net.py").build()
    inputs = torch.randn(11, 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.save((inputs, net(inputs)), tmp_path / "case.pt")
    done = subprocess.run(
        [sys.executable, "-I", "-c", STANDALONE, str(flow.written), str(tmp_path / "case.pt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(difference < 1e-5 for difference in json.loads(done.stdout).values())


def test_the_file_holds_what_the_table_said(flow: Flow) -> None:
    program = torch.export.load(flow.written)
    assert floats(program) == flow.scan.document["totals"]["parameters_after"] + BUFFERS
    net, _ = imported(flow.folder / "net.py").build()
    state = net.state_dict()
    assert set(KEPT) <= program.state_dict.keys()
    for key in KEPT:
        assert torch.equal(program.state_dict[key], state[key]), key
    assert not any(key.startswith(("spare", "filter")) for key in program.state_dict.keys() & state.keys())


def test_a_refactored_file_has_nothing_left_to_refactor(flow: Flow, tmp_path: Path) -> None:
    plan = call(tmp_path, "refactor", str(flow.written), "--format", "json")
    assert (plan.code, plan.document["apply"]) == (0, [])
    again = call(tmp_path, "refactor", str(flow.written), "--apply")
    assert again.code == 3
    assert names(tmp_path) == set()


# --- what is not equivalent, not provable, or not the same any more -----------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the small model."""
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    return tmp_path


def test_a_tampered_file_is_refuted_with_a_counterexample(flow: Flow, folder: Path) -> None:
    program = torch.export.load(flow.written)
    weight = program.state_dict["body.0.weight"]
    with torch.no_grad():
        weight.view(-1)[weight.abs().argmax()] *= 1.01
    torch.export.save(program, folder / "tampered.pt2")
    done = call(folder, "verify", "net.py:build", "tampered.pt2", "--format", "json")
    assert done.code == 1
    certificate = done.document
    assert certificate["equivalent"] is False
    assert certificate["tier"] == "refuted"
    witness = load_file((folder / certificate["counterexample"]).with_suffix(".safetensors"))
    net, _ = imported(folder / "net.py").build()
    with torch.no_grad():
        frame = witness["frame"]
        apart = (net(frame)["score"] - program.module()(frame)["score"]).abs().max()
    assert apart > 1e-5


def test_one_weight_changed_in_the_source_is_refuted(folder: Path) -> None:
    assert call(folder, "verify", "net.py:build", "net.py:nudged").code == 1
    same = call(folder, "verify", "net.py:build", "net.py:build", "--format", "json")
    assert (same.code, same.document["tier"]) == (0, "exact")


def test_equal_but_not_provable_is_no_certificate(folder: Path) -> None:
    (folder / "angles.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Angles(nn.Module):\n"
        "    def __init__(self, double):\n"
        "        super().__init__()\n"
        "        self.layer, self.double = nn.Linear(6, 4), double\n"
        "        nn.init.constant_(self.layer.weight, 0.1)\n"
        "        nn.init.zeros_(self.layer.bias)\n"
        "    def forward(self, x):\n"
        "        y = self.layer(x)\n"
        "        return torch.sin(2 * y) if self.double else 2 * torch.sin(y) * torch.cos(y)\n"
        "def one(): return Angles(True), (torch.ones(2, 6),)\n"
        "def two(): return Angles(False), (torch.ones(2, 6),)\n",
        encoding="utf-8",
    )
    done = call(folder, "verify", "angles.py:one", "angles.py:two", "--format", "json")
    assert (done.code, done.document["equivalent"], done.document["tier"]) == (3, None, "tested")
    assert call(folder, "verify", "angles.py:one", "angles.py:two", "--allow", "tested").code == 0


def test_models_with_other_interfaces_are_not_compared(folder: Path) -> None:
    (folder / "other.py").write_text(
        "import torch\ndef build(): return torch.nn.Linear(32, 32), (torch.ones(3, 32),)\n", encoding="utf-8"
    )
    done = call(folder, "verify", "net.py:build", "other.py:build")
    assert (done.code, done.stdout) == (2, "")
    assert "outputs" in done.stderr


def test_a_stale_audit_is_refused(folder: Path) -> None:
    assert call(folder, "scan", "net.py:build").code == 0
    source = folder / "net.py"
    source.write_text(NET.replace("def build(seed=0)", "def build(seed=2)"), encoding="utf-8")
    done = call(folder, "refactor", "--apply")
    assert (done.code, done.stdout) == (2, "")
    assert "changed since it was audited" in done.stderr
    assert names(folder) == {"net.py", ".paramaudit/audit.json"}


def test_a_plan_is_not_applied_under_another_contract(folder: Path) -> None:
    assert call(folder, "scan", "net.py:build", "--static", "batch=4").code == 0
    one_line(call(folder, "refactor", "--apply"), 2, "another contract")
    assert not (folder / "net.refactored.pt2").exists()
    done = call(folder, "refactor", "--apply", "--static", "batch=4", "--format", "json")
    assert (done.code, done.document["contract"]["inputs"][0]["shape"]) == (0, [4, 32])


def test_a_saved_file_and_a_restricted_plan(folder: Path) -> None:
    args = ("refactor", "net.py:build", "--apply", "--select", "unused", "--save", "small.pt2", "-q")
    done = call(folder, *args)
    assert (done.code, done.stderr) == (0, "")
    program = torch.export.load(folder / "small.pt2")
    assert floats(program) == PARAMETERS - (7 * 5 + 5) + BUFFERS
    assert call(folder, "verify", "net.py:build", "small.pt2").code == 0


def test_inputs_may_come_from_the_command_line(folder: Path) -> None:
    one_line(call(folder, "scan", "net.py:unnamed"), 2, "no example inputs")
    done = call(folder, "scan", "net.py:unnamed", "--inputs", "float32[batch,32]", "--format", "json")
    assert done.document["contract"]["inputs"] == [
        {"name": "frame", "dtype": "float32", "shape": ["batch", 32]}
    ]


def test_a_checkpoint_is_audited_in_its_factory(folder: Path) -> None:
    net, _ = imported(folder / "net.py").reseeded()
    torch.save({"state_dict": net.state_dict(), "epoch": 3}, folder / "last.ckpt")
    before = digest(folder / "last.ckpt")
    done = call(folder, "refactor", "last.ckpt", "--factory", "net.py:build", "--apply", "--format", "json")
    assert (done.code, done.document["models"]["original"]) == (0, before)
    assert digest(folder / "last.ckpt") == before
    kept = torch.export.load(folder / "last.refactored.pt2").state_dict["body.0.weight"]
    assert torch.equal(kept, net.state_dict()["body.0.weight"])
    assert call(folder, "verify", "net.py:build", "last.refactored.pt2").code == 1
