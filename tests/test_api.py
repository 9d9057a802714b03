"""The library entry points: the same pipeline as the command line, on models in memory."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

import paramaudit as pa
from paramaudit.errors import CaptureError, InputError, NotAuditableError
from paramaudit.records import Tier, Verdict


class Padded(nn.Module):
    """Two linears with nothing between, a GELU MLP, and a branch that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Sequential(nn.Linear(24, 96), nn.Linear(96, 8))
        self.learned = nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Linear(32, 5))
        self.never = nn.Linear(7, 7)

    def forward(self, x: Tensor, *, scale: Tensor) -> dict[str, Tensor]:
        return {"pair": self.pair(x) * scale, "learned": self.learned(x)}


@pytest.fixture
def model() -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    made = Padded()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 5)
    return made.train()


def example() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {"x": torch.randn(3, 24, generator=generator), "scale": torch.randn(3, 1, generator=generator)}


MERGED = 24 * 8 + 8
LEARNED = 24 * 32 + 32 + 32 * 5 + 5


def test_scan_counts_and_leaves_the_model_alone(model: nn.Module) -> None:
    before = copy.deepcopy(model.state_dict())
    rng = torch.random.get_rng_state()
    audit = pa.scan(model, example())
    assert audit.totals.parameters_before == sum(p.numel() for p in model.parameters())
    assert audit.totals.parameters_after == MERGED + LEARNED
    assert {f.operator for f in audit.findings if f.applied_by_default} == {"linear-chain", "unused"}
    rows = {row.path: row for row in audit.modules}
    assert rows["never"].verdict is Verdict.REDUNDANT
    assert rows["learned"].verdict is Verdict.DL_REQUIRED
    assert sum(row.own_parameters for row in audit.modules) == audit.totals.parameters_before
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(rng, torch.random.get_rng_state())


def test_refactor_returns_a_module_that_is_the_same_function(model: nn.Module) -> None:
    new = pa.refactor(model, example())
    assert isinstance(new, nn.Module)
    assert sum(p.numel() for p in new.parameters()) == MERGED + LEARNED
    inputs = {"x": torch.randn(11, 24), "scale": torch.randn(11, 1)}
    with torch.no_grad():
        old, got = model(**inputs), new(**inputs)
    for name, value in old.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-5)
    kept = dict(new.named_parameters())
    for name, tensor in model.learned.named_parameters(prefix="learned"):
        assert torch.equal(kept[name], tensor)
        assert kept[name].data_ptr() != tensor.data_ptr()


def test_verify_says_how_strongly(model: nn.Module) -> None:
    new = pa.refactor(model, example())
    certificate = pa.verify(model, new, example())
    assert certificate.equivalent is True
    assert certificate.tier is Tier.EXACT
    assert {o.name for o in certificate.outputs} == {"pair", "learned"}


def test_verify_finds_a_changed_weight(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.chdir(str(tmp_path))
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.learned[0].weight[0, 0] += 0.3
    certificate = pa.verify(model, other, example())
    assert certificate.equivalent is False
    assert certificate.counterexample is not None


def test_compare_counts_both(model: nn.Module) -> None:
    comparison = pa.compare(model, pa.refactor(model, example()), example())
    assert (
        comparison.original.parameters - comparison.refactored.parameters == 24 * 96 + 96 + 96 * 8 + 56 - 192
    )
    assert comparison.latency["cpu"] > 0


def test_nothing_to_apply_is_said() -> None:
    with pytest.raises(NotAuditableError, match="nothing to apply"):
        pa.refactor(nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 4)), torch.randn(2, 6))


def test_inputs_that_do_not_fit(model: nn.Module) -> None:
    with pytest.raises(InputError, match="does not run on its example inputs"):
        pa.scan(model, {"x": torch.randn(3, 23), "scale": torch.randn(3, 1)})


def test_a_model_that_cannot_be_exported() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(CaptureError, match="cannot be exported"):
        pa.scan(Branches(), torch.randn(2, 3))


def test_unknown_options_are_named(model: nn.Module) -> None:
    with pytest.raises(TypeError, match="unknown option 'speed'"):
        pa.scan(model, example(), speed=3)


def test_an_exported_program_is_a_model_too(model: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(model.eval(), (), example())
    audit = pa.scan(exported)
    assert audit.totals.parameters_after == MERGED + LEARNED
    assert audit.contract is not None
    assert all(isinstance(size, int) for spec in audit.contract.inputs for size in spec.shape)
