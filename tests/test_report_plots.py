"""Drawings of operators: the numbers in their paths, and arguments that make no sense."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from samples import FINDINGS

from paramaudit import operators
from paramaudit.records import Finding, Tier
from paramaudit.report.html.numbers import compact, plain, sort_key
from paramaudit.report.html.plots import DRAWN, plots


def finding(operator: str, **arguments: Any) -> Finding:
    return replace(FINDINGS[0], operator=operator, arguments=arguments)


def paths(operator: str, **arguments: Any) -> list[str]:
    """The paths of the first plot that are no thin guides."""
    plot = plots(finding(operator, **arguments))[0]
    return [mark.path for mark in plot.marks if mark.kind not in ("guide", "ring")]


# The frame is 268 wide from 42, and 110 high above 120.


def test_a_knee_bends_where_it_says() -> None:
    [line] = paths("knee", threshold=1.0, ratio=2.0, gain=1.0, side="both")
    assert line == "M42 106.25L109 92.5L243 37.5L310 23.75"
    [clipped] = paths("knee", threshold=1.0, ratio=None, gain=1.0, side="above")
    assert clipped == "M42 120L243 37.5L310 37.5"


def test_an_envelope_rises_falls_holds_and_is_released() -> None:
    [line] = paths("envelope", attack=[0.25], decay=[0.25], sustain=[0.5], release=[0.25], peak=2.0, end=1.0)
    assert line == "M42 120L109 10L176 65L243 65L310 120"


def test_a_comb_answers_at_its_delay() -> None:
    stems, dots = paths(
        "comb", rows=7, combs=[{"delay": 3, "starts_at": 0, "dry": 1.0, "wet": 0.0, "feedback": 0.5}]
    )
    assert stems == "M42 120L42 10M176 120L176 65M310 120L310 92.5"  # 1, 1/2 and 1/4 at 0, 3 and 6
    assert dots == "M42 10h0M176 65h0M310 92.5h0"


def test_a_recursive_filter_rings() -> None:
    pole = {"radius": 0.5, "angle": 0.0}
    one = {"order": 1, "b": [1.0], "zeros_at_dc": 0, "zeros_at_nyquist": 0, "poles": [pole]}
    [line] = paths("iir", rows=5, filters=[one])
    assert line == "M42 10L109 65L176 92.5L243 106.25L310 113.125"  # halves
    ring = {**one, "order": 2, "poles": [{"radius": 1.0, "angle": 1.5707963267948966}]}
    [line] = paths("iir", rows=5, filters=[ring])
    assert line == "M42 10L109 65L176 120L243 65L310 10"  # 1, 0, -1, 0, 1
    crosses = plots(finding("iir", rows=5, filters=[ring]))[1].marks[-1].path
    assert crosses.count("M") == 4  # both poles of the pair, two strokes each


def test_delays_taps_and_knots_stand_in_their_places() -> None:
    stems, _ = paths("delay", lines=[{"delays": [0, 2, 4], "gains": [1.0, 0.5, 0.25]}])
    assert stems == "M42 120L42 10M176 120L176 65M310 120L310 92.5"
    stems, _ = paths("fir", filters=[[1.0, 0.5]], starts_at=1)
    assert stems == "M176 120L176 10M310 120L310 65"
    stems, _ = paths("piecewise", knots=3, channels=1, at=[-1.0, None, 0.0, 1.0])
    assert stems == "M42 120L42 65M176 120L176 65M310 120L310 65"


def test_a_window_and_bins_are_drawn() -> None:
    window, bins = plots(finding("rdft", n=4, window="hann", real=[1, 2], imaginary=None))
    assert window.marks[-1].path == "M42 120L131.333 65L220.667 10L310 65"  # 0, 1/2, 1, 1/2
    assert bins.title == "bins: real 1 to 2"
    [only] = plots(finding("rdft", n=16, window="stored", real=[0, 8], imaginary=[1, 7]))
    assert only.title == "bins: real 0 to 8, imaginary 1 to 7"


def test_poles_lie_about_the_unit_circle() -> None:
    [plot] = plots(finding("state-space", poles=[[1.0, 0.0]]))
    middle = 75 + 65 / 1.1
    assert plot.marks[-1].path.startswith(f"M{plain(middle - 3.5)} 71.5l7 7")


def test_what_was_refuted_is_not_drawn() -> None:
    assert plots(replace(finding("wavelet", wavelet="db4"), tier=Tier.REFUTED)) == ()
    assert len(plots(finding("wavelet", wavelet="db4"))) == 2


@pytest.mark.parametrize(
    "operator", [one for one in operators.OPERATORS if one.name in DRAWN], ids=lambda one: one.name
)
def test_what_an_operator_says_of_itself_can_be_drawn(operator: Any) -> None:
    layer = operator.propose(operator.finds[0].build())
    shown = plots(finding(operator.name, **layer.arguments()))
    assert shown
    for plot in shown:
        for mark in plot.marks:
            assert re.fullmatch(r"[MLhlZ\d. -]+", mark.path)


WRONG: tuple[Any, ...] = (
    None,
    "x",
    -1,
    0,
    True,
    10**12,
    1e300,
    float("nan"),
    [],
    [None],
    [[]],
    {},
    [{}],
    [1, 2, 3],
)


@pytest.mark.parametrize("operator", sorted(DRAWN))
def test_arguments_that_make_no_sense_draw_nothing_and_raise_nothing(operator: str) -> None:
    good: dict[str, dict[str, Any]] = {
        "iir": {"rows": 5, "filters": [{"order": 1, "b": [1.0], "poles": [{"radius": 0.5, "angle": 0.0}]}]},
        "comb": {"rows": 5, "combs": [{"delay": 2, "starts_at": 0, "dry": 1.0, "wet": 0.0, "feedback": 0.5}]},
        "knee": {"threshold": 1.0, "ratio": 2.0, "gain": 1.0, "side": "both"},
        "envelope": {
            **{stage: [0.1] for stage in ("attack", "decay", "sustain", "release")},
            "peak": 1.0,
            "end": 1.0,
        },
        "filter-bank": {"scale": "htk", "n_mels": 4, "f_min": 0.0, "f_max": 4000.0},
        "delay": {"lines": [{"delays": [1], "gains": [1.0]}]},
        "hilbert": {"n": 16, "gain": 1.0},
    }
    base = good.get(operator, {"n": 16, "type": 2, "rows": [0, 3], "window": "hann", "real": [0, 3]})
    assert plots(finding(operator)) == ()
    for name in base:
        for value in WRONG:
            for plot in plots(finding(operator, **{**base, name: value})):
                assert all(re.fullmatch(r"[MLhlZ\d. -]+", mark.path) for mark in plot.marks)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("153,300,000", 153.3e6),
        ("613 MB", 613e6),
        ("-23.11 %", -23.11),
        ("over -99.99 %", -99.99),
        ("3.1e-07 spectral per |x|", 3.1e-7),
        ("8 + 32 indices", 8),
        ("unknown", None),
        ("", None),
    ],
)
def test_cells_sort_by_their_number(text: str, key: float | None) -> None:
    assert sort_key(text) == key


def test_numbers_are_short() -> None:
    assert [compact(n) for n in (0, 999, 1_000, 153_300_000, 999_960)] == ["0", "999", "1k", "153.3M", "1M"]
    assert [plain(x) for x in (-0.0001, 1e-9, 2.5, 100.0)] == ["0", "0", "2.5", "100"]
