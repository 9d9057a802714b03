"""The redesign lane: layers fitted to recordings, with an error that is true and totals of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Done, call, one_line
from memo_style import CURVES, EMBEDDING, FRAME, RULES, rules
from memo_style import build as untrained
from pipeline import load
from torch import Tensor, nn

import paramaudit as pa
from paramaudit.audit import Options, fit_scan, scan_loaded
from paramaudit.records import Tier

ROWS = 1500
# A block that was trained to do what the memo says of it, so that there is something to fit.
FACTORY = f"""
import sys
import numpy as np
import torch
sys.path.insert(0, {str(Path(__file__).parent)!r})
from memo_style import CURVES, FRAME, build as untrained


def spectrum(x):
    bins = torch.fft.rfft(x * torch.hann_window(FRAME))[:, 1 : FRAME // 2 + 1]
    return torch.cat([bins.real, bins.imag], 1) / 4


def adsr(t):
    attack, decay, release = (torch.linspace(*ends, CURVES) for ends in ((0.1, 0.3), (0.1, 0.2), (0.1, 0.3)))
    sustain = torch.linspace(0.3, 0.8, CURVES)
    up, down = (t / attack).clamp(0, 1), ((t - attack) / decay).clamp(0, 1) * (1 - sustain)
    return (up - down) * (1 - ((t - 1 + release) / release).clamp(0, 1))


def echoes(x):
    y = x.clone()
    y[:, 5:] += 0.5 * x[:, :-5]
    y[:, 17:] -= 0.3 * x[:, :-17]
    return y


def build():
    model, inputs = untrained()
    model.train()
    torch.manual_seed(1)
    jobs = [
        (model.freq_analyzer, spectrum, lambda: torch.randn(256, FRAME), 400),
        (model.adsr_generator, adsr, lambda: torch.rand(256, 1), 300),
        (model.reverb, echoes, lambda: torch.randn(256, FRAME), 400),
    ]
    for block, truth, draw, steps in jobs:
        optimizer = torch.optim.Adam(block.parameters(), 3e-3)
        for _ in range(steps):
            x = draw()
            optimizer.zero_grad()
            (block(x) - truth(x)).square().mean().backward()
            optimizer.step()
    return model.eval(), inputs


def data():
    torch.manual_seed(2)
    return torch.randn({ROWS}, FRAME), torch.randn({ROWS}, 48), torch.rand({ROWS}, 1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with its blocks trained once and kept as a checkpoint, its rules and recorded inputs."""
    path = tmp_path_factory.mktemp("redesign")
    (path / "train.py").write_text(FACTORY, encoding="utf-8")
    scope: dict[str, Any] = {}
    exec(compile(FACTORY, "train.py", "exec"), scope)  # noqa: S102 - the text above
    model, _ = scope["build"]()
    torch.save(model.state_dict(), path / "weights.pt")
    (path / "net.py").write_text(
        f"""
import sys
import torch
sys.path.insert(0, {str(Path(__file__).parent)!r})
from memo_style import build as untrained
from train import data


def build():
    model, inputs = untrained()
    model.load_state_dict(torch.load({str(path / "weights.pt")!r}))
    return model, inputs
""",
        encoding="utf-8",
    )
    (path / "rules.toml").write_text(RULES, encoding="utf-8")
    frame, embedding, time = scope["data"]()
    np.savez(path / "data.npz", frame=frame, embedding=embedding, time=time)
    return path


def refactor(folder: Path, *args: str) -> Done:
    return call(folder, "refactor", "net.py:build", "--rules", "rules.toml", *args)


@pytest.fixture(scope="module")
def fitted(folder: Path) -> dict[str, Any]:
    """What a plan with recorded data says of each block."""
    done = refactor(folder, "--fit", "data.npz", "--allow", "fitted", "--format", "json")
    assert done.code == 0, done.stderr
    return done.document


def model_of(folder: Path) -> nn.Module:
    model, _ = untrained()
    model.load_state_dict(torch.load(folder / "weights.pt"))
    return model


def test_totals_hold_the_safe_part_alone(folder: Path, fitted: dict[str, Any]) -> None:
    safe = refactor(folder, "--format", "json").document
    assert fitted["totals"] == safe["totals"]
    assert fitted["beyond"]["parameters_after"] < 0.7 * safe["totals"]["parameters_after"]
    assert safe["beyond"] is None
    applied = [key for key in fitted["apply"] if key not in safe["apply"]]
    assert {key.partition(":")[0] for key in applied} >= {"adsr_generator", "freq_analyzer"}
    shown = refactor(folder, "--fit", "data.npz", "--allow", "fitted").stdout
    assert "with what was fitted, another function: " in shown


def test_fitted_is_refused_unless_it_is_allowed(folder: Path) -> None:
    plan = refactor(folder, "--fit", "train.py:data", "--format", "json").document
    assert plan["beyond"] is None
    refused = {entry["id"].partition(":")[0]: entry["reason"] for entry in plan["refused"]}
    assert "--allow fitted" in refused["adsr_generator"]


def test_the_error_is_the_true_one(folder: Path) -> None:
    """Fresh rows, an independent measure: the file that was written against the model."""
    done = refactor(folder, "--fit", "data.npz", "--allow", "fitted", "--apply", "--format", "json")
    assert done.code == 0, done.stderr
    assert (done.document["equivalent"], done.document["tier"]) == (None, "fitted")
    assert "another function by intent" in done.document["reason"]
    written = torch.export.load(folder / "net.refactored.pt2").module()
    generator = torch.Generator().manual_seed(77)
    frame = torch.randn(4000, FRAME, generator=generator)
    inputs = (
        frame,
        torch.randn(4000, EMBEDDING, generator=generator),
        torch.rand(4000, 1, generator=generator),
    )
    with torch.no_grad():
        expected, got = model_of(folder)(*inputs), written(*inputs)
    names = ("freq_analyzer", "adsr_generator", "valence_arousal", "reverb")
    stated = {s["id"].partition(":")[0]: s for s in done.document["swaps"] if s["tier"] == "fitted"}
    assert {"freq_analyzer", "adsr_generator"} <= stated.keys()
    for name, mine, theirs in zip(names, expected, got, strict=True):
        left = float((mine - theirs).norm() / (mine - mine.mean(0)).norm())
        if name not in stated:
            assert left < 1e-4
            continue
        said = float(done.document["reason"].partition(f"{name} ")[2].partition("%")[0]) / 100
        assert 0.02 < left < 0.95
        assert abs(left - said) <= 0.1 * said + 0.01


def test_a_fit_that_explains_nothing_is_refused(tmp_path: Path) -> None:
    class Arbitrary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.freq_analyzer = nn.Sequential(nn.Linear(FRAME, 200), nn.Tanh(), nn.Linear(200, FRAME))

        def forward(self, frame: Tensor) -> Tensor:
            return self.freq_analyzer(3 * frame)

    options = Options(rules=rules(tmp_path), allow=frozenset({Tier.FITTED}))
    result = scan_loaded(load(Arbitrary().eval(), torch.randn(4, FRAME)), options, lambda _stage: None)
    after = fit_scan(result, [torch.randn(400, FRAME)], options, lambda _stage: None)
    (refused,) = [f for f in after.audit.findings if f.arguments.get("redesign")]
    assert refused.tier is Tier.REFUTED
    assert "explains nothing" in refused.reason
    assert refused.arguments["held_out_error"] > 0.95
    assert (after.fitted, after.plan.beyond) == (None, None)
    assert after.audit.totals == result.audit.totals


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"frame": (40, FRAME)}, "no array 'embedding'"),
        (
            {"frame": (40, FRAME - 1), "embedding": (40, EMBEDDING), "time": (40, 1)},
            "the model takes [rows, 64]",
        ),
        ({"frame": (40, FRAME), "embedding": (41, EMBEDDING), "time": (40, 1)}, "40, 41 rows"),
        ({"frame": (9, FRAME), "embedding": (9, EMBEDDING), "time": (9, 1)}, "at least 32"),
    ],
)
def test_data_that_do_not_fit_are_told(folder: Path, arrays: dict[str, tuple[int, ...]], says: str) -> None:
    np.savez(folder / "bad.npz", **{name: np.ones(shape, np.float32) for name, shape in arrays.items()})
    one_line(refactor(folder, "--fit", "bad.npz"), 2, says)


def test_what_is_no_data_is_told(folder: Path) -> None:
    (folder / "text.npz").write_text("no archive", encoding="utf-8")
    one_line(refactor(folder, "--fit", "text.npz"), 2, "no .npz file")
    one_line(refactor(folder, "--fit", "absent.npz"), 2, "no such file")
    np.savez(folder / "objects.npz", frame=np.array([{}], dtype=object))
    one_line(refactor(folder, "--fit", "objects.npz"), 2, "no .npz file")


def test_from_python(folder: Path) -> None:
    model = model_of(folder)
    inputs = (torch.randn(4, FRAME), torch.randn(4, EMBEDDING), torch.rand(4, 1))
    with np.load(folder / "data.npz") as data:
        recorded = [torch.from_numpy(data[name]) for name in ("frame", "embedding", "time")]
    before = json.dumps({k: v.sum().item() for k, v in model.state_dict().items()})
    new = pa.refactor(
        model, inputs, fit=recorded, rules=folder / "rules.toml", allow=frozenset({Tier.FITTED})
    )
    assert json.dumps({k: v.sum().item() for k, v in model.state_dict().items()}) == before
    assert sum(p.numel() for p in new.parameters()) < 0.7 * sum(p.numel() for p in model.parameters())
    assert new(*inputs)[1].shape == (4, CURVES)
