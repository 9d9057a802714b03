"""No prover lets a broken swap through, and none refutes a swap that is not broken."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from mutants import affine, curves, everything, programs, relu, rewritten, textbook
from mutants.models import MODELS
from mutants.verdicts import Outcome, Verdict, missed, settled, share_invisible, table

from paramaudit.operators import looking_at
from paramaudit.records import Curve, Matrix, Tier

pytestmark = [
    pytest.mark.usefixtures("single_threaded"),
    pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*is not leaf Tensor is being accessed.*:UserWarning"),
]
MOST_INVISIBLE = 0.03


def firsts(view: type) -> list[str]:
    return [operator.name for operator in looking_at(view)]


@pytest.mark.parametrize("name", [*firsts(Matrix), "stft"])
def test_no_broken_matrix_is_safe(name: str) -> None:
    case = next(affine.cases(torch.float32, only=name))
    assert case.evidence(case.layer).tier.safe
    verdicts = list(everything.of_matrices(iter([case]), 2))
    assert len(verdicts) >= 8
    assert missed(verdicts) == []


def test_no_broken_merge_is_safe() -> None:
    case = affine.merged_chain(12, 20, 1)
    assert case.evidence(case.layer).tier.safe
    verdicts = list(everything.of_matrices(iter([case])))
    assert len(verdicts) > 20
    assert missed(verdicts) == []


@pytest.mark.parametrize("name", firsts(Curve))
def test_no_broken_curve_is_safe(name: str) -> None:
    case = next(curves.cases(only=name))
    assert case.evidence(case.layer).tier.safe
    verdicts = [v for b in islice(curves.mutants(case), 0, None, 4) if (v := curves.judged(case, b))]
    assert len(verdicts) >= 3
    assert missed(verdicts) == []


def test_no_broken_pair_of_units_is_safe() -> None:
    for case in islice(relu.cases(), 1, 2):
        verdicts = [relu.judged(case, broken) for broken in relu.mutants(case)]
        assert len(verdicts) > 20
        assert missed(verdicts) == []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.rewrite}: {model.name}")
def test_no_broken_rewrite_is_applied(model) -> None:
    case = rewritten.case_of(model)
    assert rewritten.applied(case)
    verdicts = [v for b in islice(rewritten.mutants(case), 0, None, 5) if (v := rewritten.judged(case, b))]
    assert verdicts
    assert missed(verdicts) == []


@pytest.mark.parametrize("which", [0, 1])
def test_no_broken_program_is_certified(which: int) -> None:
    case = next(islice(programs.cases(16), which, None))
    assert programs.certified(case, case.written).equivalent is True
    verdicts = [v for b in islice(programs.mutants(case), 0, None, 2) if (v := programs.judged(case, b))]
    assert len(verdicts) >= 2
    assert missed(verdicts) == []


def test_a_mutant_is_missed_only_above_the_rounding() -> None:
    """The harness itself: what is safe and off by more than the rounding is missed, and named."""
    outcomes = {
        (safe, apart): settled("a", "b", "c", safe=safe, apart=apart, witness=1.0).outcome
        for safe in (True, False)
        for apart in (0.5, 2.0)
    }
    assert outcomes == {
        (True, 0.5): Outcome.INVISIBLE,
        (True, 2.0): Outcome.MISSED,
        (False, 0.5): Outcome.CAUGHT,
        (False, 2.0): Outcome.CAUGHT,
    }
    verdicts = [Verdict("a", "b", "c", outcome, 2.0, 1.0) for outcome in Outcome]
    assert missed(verdicts) == ["a: b: c is missed: 2.00e+00 apart, rounding 1.00e+00"]
    assert share_invisible(verdicts) == pytest.approx(1 / 3)
    assert table(verdicts).splitlines()[-1] == "| all | 3 | 1 | 1 | 1 |"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_find_is_refuted(dtype: torch.dtype) -> None:
    """What is stored is the operator rounded to a dtype: that may be no proof, but never a difference."""
    cases = list(affine.cases(dtype, every=12))
    tiers = [case.evidence(case.layer).tier for case in cases]
    assert Tier.REFUTED not in tiers
    assert sum(tier.safe for tier in tiers) >= (1.0 if dtype == torch.float32 else 0.75) * len(tiers)


@pytest.mark.slow
def test_no_textbook_map_is_refuted_in_float64() -> None:
    """In float64 the layer's own map is known up to rounding only: some are bounded, none is refuted."""
    tiers = [case.evidence(case.layer).tier for case in textbook.cases()]
    assert len(tiers) > 70
    assert Tier.REFUTED not in tiers


@pytest.mark.slow
def test_no_mutant_at_all_is_safe() -> None:
    """Every mutant of every swap: about five minutes on one core."""
    verdicts = list(everything.all_verdicts())
    print(table(verdicts))  # noqa: T201 - shown with -s
    assert missed(verdicts) == []
    assert len(verdicts) >= 2000
    assert share_invisible(verdicts) <= MOST_INVISIBLE
