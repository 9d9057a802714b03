"""Parameters as the framework's own initialisers leave them, and what the optimizer says about gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bare_numbers import audited, learned, of
from torch import Tensor, nn

from paramaudit.audit import Options, open_target, scan_loaded
from paramaudit.bare.untrained import LEVEL
from paramaudit.records import Tier

INIT = nn.init
DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "kaiming_uniform(a=sqrt(5))": lambda t: INIT.kaiming_uniform_(t, a=math.sqrt(5)),
    "kaiming_uniform": INIT.kaiming_uniform_,
    "xavier_uniform": INIT.xavier_uniform_,
    "xavier_normal": INIT.xavier_normal_,
    "kaiming_normal": INIT.kaiming_normal_,
    "normal of 0.02": lambda t: INIT.normal_(t, std=0.02),
    "normal of 1": INIT.normal_,
    "truncated normal of 0.02": lambda t: INIT.trunc_normal_(t, std=0.02, a=-0.04, b=0.04),
}


def untrained(weight: Tensor) -> bool:
    return any(
        f.p_value is not None for f in of(audited({"a.weight": weight}, select=("untrained",)), "untrained")
    )


@pytest.mark.parametrize("name", list(DRAWS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_draws_of_initialisers_are_recognised(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(len(name))
    audit = audited({"a.weight": DRAWS[name](torch.empty(96, 160)).to(dtype)})
    [finding] = of(audit, "untrained")
    assert finding.arguments == {"initialiser": name}
    assert finding.tier is Tier.SUSPECTED
    assert not finding.applied_by_default
    assert finding.p_value is not None
    assert finding.p_value >= LEVEL
    assert f"p = {finding.p_value:.2g}; this is no proof" in finding.reason
    assert audit.totals.parameters_after == audit.totals.parameters_before


def test_about_one_in_a_hundred_untouched_tensors_is_missed() -> None:
    torch.manual_seed(7)
    missed = sum(not untrained(DRAWS[name](torch.empty(40, 64))) for name in DRAWS for _ in range(5))
    assert missed <= 3  # 40 tensors; 4 or more has a chance of 1e-3 at 1 %


def trained_like(kind: str, generator: torch.Generator, rows: int, columns: int) -> Tensor:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    size = math.exp(3 * float(torch.rand(1, generator=generator)) - 5)
    half = torch.rand(rows, columns, generator=generator) < 0.5
    uniform = (2 * torch.rand(rows, columns, generator=generator) - 1) / columns**0.5
    return {
        "mixture": size * torch.where(half, 2 * normal(rows, columns), normal(rows, columns)),
        "mixture of the variance of 0.02": 0.02
        * torch.where(half, 1.3 * normal(rows, columns), math.sqrt(0.31) * normal(rows, columns)),
        "heavy tails": size * normal(rows, columns) / (0.2 + normal(rows, columns).abs()),
        "low rank and noise": 0.02
        * (normal(rows, 2) @ normal(2, columns) * 0.35 + math.sqrt(0.755) * normal(rows, columns)),
        "sorted rows": (0.02 * normal(rows, columns)).sort(0).values,
        "rows of growing size": 0.02 * normal(rows, columns) * torch.linspace(0.8, 1.19, rows)[:, None],
        "a step from its initialisation": uniform + 0.1 / columns**0.5 * normal(rows, 2) @ normal(2, columns),
        "a small step of all": uniform + 0.02 / columns**0.5 * normal(rows, columns),
    }[kind]


KINDS = (
    *("mixture", "mixture of the variance of 0.02", "heavy tails", "low rank and noise", "sorted rows"),
    *("rows of growing size", "a step from its initialisation", "a small step of all"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_trained_tensors_are_not_called_untrained(kind: str) -> None:
    generator = torch.Generator().manual_seed(KINDS.index(kind))
    shapes = [(64, 64), (32, 128), (256, 64), (128, 128), (40, 300)]
    wrong = sum(untrained(trained_like(kind, generator, *shapes[i % len(shapes)])) for i in range(30))
    assert wrong <= 1  # of 30, so at most a few per cent


def test_small_tensors_do_not_speak_for_themselves() -> None:
    torch.manual_seed(0)
    assert not untrained(nn.Linear(8, 8).weight.detach())


def test_a_bias_speaks_beside_its_weight() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 32).state_dict()
    found = {f.tensors[0] for f in of(audited({f"a.{n}": t for n, t in layer.items()}), "untrained")}
    assert found == {"a.weight", "a.bias"}
    alone = {"a.weight": learned(32, 64), "a.bias": layer["bias"]}
    assert not of(audited(alone), "untrained")


def test_norms_of_ones_and_zeros() -> None:
    found = of(audited({f"n.{n}": t for n, t in nn.LayerNorm(32).state_dict().items()}), "untrained")
    assert [f.arguments["initialiser"] for f in found] == ["ones", "zeros"]
    assert all(f.p_value is None and "this is no proof" in f.reason for f in found)


def test_a_padding_row_is_passed_over() -> None:
    torch.manual_seed(3)
    assert untrained(nn.Embedding(80, 40, padding_idx=0).weight.detach())


# --- optimizer state -------------------------------------------------------------------------------


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 5)
        self.read = nn.Linear(5, 3)
        self.forgotten = nn.Linear(4, 4)

    def forward(self, index: Tensor) -> Tensor:
        return self.read(self.table(index))


def checkpoint(groups: int = 1, named: bool = False) -> tuple[dict[str, Tensor], dict[str, object]]:
    torch.manual_seed(0)
    model = Words()
    parameters = list(model.named_parameters() if named else model.parameters())
    split = [parameters[i::groups] for i in range(groups)]
    optimizer = torch.optim.AdamW([{"params": part} for part in split], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.tensor([1, 2, 3, 7])).square().sum().backward()
        optimizer.step()
    return model.state_dict(), optimizer.state_dict()


@pytest.mark.parametrize(("groups", "named"), [(1, False), (2, True)])
def test_the_optimizer_says_what_it_never_saw(groups: int, named: bool) -> None:
    audit = audited(*checkpoint(groups, named))
    found = {f.tensors[0]: f for f in of(audit, "untrained")}
    assert set(found) == {"table.weight", "forgotten.weight", "forgotten.bias"}
    assert found["table.weight"].arguments == {"evidence": "exp_avg_sq", "rows": 8}
    assert found["forgotten.weight"].arguments == {"evidence": "no state"}
    assert {f.tier for f in found.values()} == {Tier.SUSPECTED}
    assert audit.model.parameters == 12 * 5 + 18 + 20  # the state is not counted


@pytest.mark.parametrize("key", ["optimizer", "optimizer_state_dict"])
def test_a_training_checkpoint_is_read_with_its_optimizer(tmp_path: Path, key: str) -> None:
    tensors, optimizer = checkpoint()
    torch.save({"model": tensors, key: optimizer, "epoch": 3}, tmp_path / "last.ckpt")
    loaded = open_target(str(tmp_path / "last.ckpt"))
    audit = scan_loaded(loaded, Options(), lambda _stage: None).audit
    assert "forgotten.bias" in {f.tensors[0] for f in of(audit, "untrained")}
    assert audit.model.parameters == 12 * 5 + 18 + 20


def test_groups_without_names_cannot_be_told_apart() -> None:
    audit = audited(*checkpoint(groups=2))
    assert not of(audit, "untrained")
    assert any("optimizer" in skip.reason for skip in audit.skipped)


def test_an_optimizer_without_memory_says_nothing() -> None:
    tensors, _ = checkpoint()
    audit = audited(tensors, torch.optim.SGD([torch.zeros(2, requires_grad=True)]).state_dict())
    assert not of(audit, "untrained")
    assert not audit.skipped
