"""Hidden differences are found, and what is the same function is never refuted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from attacked_models import TRICKS, Gate, Hidden, Tokens, captured, rows
from torch import Tensor, nn

import paramaudit as pa
from paramaudit.attack import FACTOR, attack
from paramaudit.audit import Options, scan_loaded
from paramaudit.records import Loaded

# --- what differs -------------------------------------------------------------------------------


@pytest.mark.parametrize("trick", TRICKS)
def test_a_hidden_difference_is_found(trick: str) -> None:
    first, second = Hidden(), Hidden(trick)
    tried = attack(captured(first, rows()), captured(second, rows()))
    assert tried.refuted
    assert "differs by" in tried.reason
    x = tried.counterexample["x"]  # type: ignore[index]
    with torch.no_grad():
        apart = (first.double()(x.double()) - second.double()(x.double())).abs().max()
    assert apart > 1e-4


@pytest.mark.parametrize("changed", [0, 17, 2999])
def test_one_token_is_found(changed: int) -> None:
    ids = torch.randint(0, 50, (3, 5), generator=torch.Generator().manual_seed(0))
    tried = attack(captured(Tokens(), ids), captured(Tokens(changed), ids))
    assert tried.refuted
    assert changed in tried.counterexample["ids"]  # type: ignore[index]


def test_a_flag_is_tried_both_ways() -> None:
    class Flag(nn.Module):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = by

        def forward(self, x: Tensor, keep: Tensor) -> Tensor:
            return torch.where(keep.all(), x * self.by, x)

    inputs = rows(), torch.zeros(4, dtype=torch.bool)
    assert attack(captured(Flag(2.0), *inputs), captured(Flag(3.0), *inputs)).refuted


def test_a_strict_comparison_is_not_the_other_one() -> None:
    class At(nn.Module):
        def __init__(self, *, strict: bool) -> None:
            super().__init__()
            self.strict = strict

        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 8 if self.strict else x >= 8, 2 * x, x)

    assert attack(captured(At(strict=True), rows()), captured(At(strict=False), rows())).refuted


# --- what is the same ---------------------------------------------------------------------------


class Merge(nn.Module):
    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 40), nn.Linear(40, 10)
        self.middle, self.last = middle, nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.second(self.first(x))))


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv1d(3, 16, 3, padding=1), nn.Conv1d(16, 4, 1)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.norm(self.narrow(self.wide(x))))


class Ahead(nn.Module):
    """Two layers that merge, ahead of any other."""

    def __init__(self, width: int, then: nn.Module) -> None:
        super().__init__()
        self.up, self.down, self.then = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), then

    def forward(self, x: Tensor) -> Tensor:
        found = self.then(self.down(self.up(x)))
        return found[0] if isinstance(found, tuple) else found


class Looked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.rest = nn.Embedding(100, 12), Merge(nn.Tanh())

    def forward(self, ids: Tensor) -> Tensor:
        return self.rest(self.table(ids)).mean(1)


class Chosen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores, self.table = Merge(nn.Identity()), nn.Parameter(torch.randn(5, 12))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.table[self.scores(x).argmax(-1)]


HEALTHY = {
    "gelu": (lambda: Merge(nn.GELU()), (3, 12)),
    "norm": (lambda: Merge(nn.LayerNorm(10)), (3, 12)),
    "convolution": (Convolutions, (2, 3, 20)),
    "attention": (
        lambda: Ahead(8, nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)),
        (2, 5, 8),
    ),
    "embedding": (Looked, None),
    "lstm": (lambda: Ahead(6, nn.LSTM(6, 8, batch_first=True)), (2, 5, 6)),
    "gate": (Chosen, (3, 12)),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, torch.float32) for name in HEALTHY]
    + [(name, dtype) for name in ("attention", "gate") for dtype in (torch.bfloat16, torch.float64)],
    ids=str,
)
def test_what_is_proven_is_never_refuted(name: str, dtype: torch.dtype) -> None:
    make, shape = HEALTHY[name]
    torch.manual_seed(2)
    model = make().eval().to(dtype)
    x = torch.randint(0, 100, (3, 7)) if shape is None else torch.randn(shape).to(dtype)
    done = scan_loaded(Loaded("m", "factory", module=model, args=(x,)), Options(), lambda _: None)
    assert done.plan.apply, "nothing was swapped, so nothing is tested"
    tried = attack(done.original, done.refactored)
    assert tried.reason == ""
    assert tried.attack.inputs >= 200
    assert tried.attack.factor == FACTOR


def test_the_same_seed_tries_the_same() -> None:
    first, second = captured(Hidden(), rows()), captured(Hidden("a thin window"), rows())
    one, other = attack(first, second, 5), attack(first, second, 5)
    assert one.attack == other.attack
    assert torch.equal(one.counterexample["x"], other.counterexample["x"])  # type: ignore[index]


def test_no_gradient_is_no_obstacle() -> None:
    class Steps(nn.Module):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = by

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.by).round().int().float()

    assert not attack(captured(Steps(2.0), rows()), captured(Steps(2.0), rows())).refuted
    assert attack(captured(Steps(2.0), rows()), captured(Steps(2.001), rows())).refuted


# --- ties ---------------------------------------------------------------------------------------


def test_ties_are_counted_and_not_refuted() -> None:
    x = torch.randn(4, 6)
    tried = attack(captured(Gate(near=True), x), captured(Gate(near=True, order=True), x))
    assert tried.reason == ""
    assert tried.attack.ties > 0


def test_clear_choices_are_no_ties() -> None:
    x = torch.randn(4, 6)
    same = captured(Gate(near=False), x), captured(Gate(near=False, order=True), x)
    assert not attack(*same).refuted
    assert attack(same[0], captured(Gate(near=False, wrong=True), x)).refuted


def test_a_tie_hides_no_difference_in_other_rows() -> None:
    """Rows 0 and 1 of the scores tie wherever one of them wins; where row 2 wins, the table is wrong."""
    x = torch.randn(4, 6)
    tried = attack(captured(Gate(near=True), x), captured(Gate(near=True, order=True, wrong=True), x))
    assert tried.refuted


def test_verify_never_says_equivalent(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    certificate = pa.verify(Hidden().eval(), Hidden("a late rectifier").eval(), rows())
    assert certificate.equivalent is False
    assert certificate.attack.inputs > 0
