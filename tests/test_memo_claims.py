"""The memo about the known-answer model: every verdict comes out of measurement and arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import start

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[1] / "examples" / "red_heart"

VERDICTS = {
    # listed figures and what they add up to
    "four-heads": "right",
    "learned": "wrong",
    "replaceable": "wrong",
    "total": "wrong",
    "model": "right",
    "needed-ml": "right",
    "needed": "right",
    "saves": "partly",
    # parts as the model holds them
    **dict.fromkeys(
        ("backbone", "head-emotion", "head-memory", "head-reasoning", "head-optimization"), "right"
    ),
    **dict.fromkeys(("bentham", "fusion", "simulator", "kalman", "resonance", "reverb"), "right"),
    # layers as they are written
    "freq-first": "partly",
    "freq-second": "partly",
    "conv-numbers": "wrong",
    "delay-numbers": "right",
    "adsr-numbers": "right",
    "va-numbers": "right",
    # formulas
    "freq-is-fft": "depends",
    "freq-np-fft": "wrong",
    "adsr-is-formula": "right",
    "va-is-linear": "right",
    "conv-is-wavelet": "wrong",
    "conv-wavelet-shapes": "wrong",
    "delay-is-gains": "right",
    "echo-is-dsp": "right",
    "resonance-is-physics": "partly",
    # the Kalman filter
    "kalman-f": "right",
    "kalman-f-and-h": "right",
    "kalman-49": "wrong",
    "kalman-needs": "wrong",
    "kalman-98": "partly",
    "kalman-constants": "right",
    "needed-kalman": "right",
    # what is needed, and what it buys
    "simulator-needs": "right",
    "needed-dsp": "right",
    "resonance-needs": "wrong",
    "reverb-needs": "partly",
    "needed-measured": "partly",
    "dsp-is-faster": "depends",
    "larger-batches": "right",
    "heads-without-waste": "right",
    "learned-without-waste": "wrong",
}
SAYS = {
    "learned": (65_850_000, "off by 64.15M"),
    "replaceable": (20_500_000, "off by 2.5M"),
    "total": (153_000_000, "off by 0.3M"),
    "saves": (18_300_000, "11.94 %"),
    "freq-first": (131_584, "only without bias: 131,072"),
    "freq-second": (65_664, "only without bias: 65,536"),
    "conv-numbers": (384, "only without bias: 320"),
    "freq-is-fft": ("rdft, 0 numbers", "32,896 numbers remain"),
    "conv-is-wavelet": ("not wavelet", "db4 has 8 taps, and a kernel of 5 cannot hold them"),
    "conv-wavelet-shapes": ("8 taps; level 5 from 224 samples on", "8 taps"),
    "kalman-49": ("state-space, 98 numbers", "49 numbers do not hold it"),
    "kalman-98": ("state-space, 98 numbers", "state-space of A and B, not kalman"),
    "learned-without-waste": (14_016_000, "context 13,983,744 of 32,902,012"),
}


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    model, memo = f"{EXAMPLE / 'model.py'}:build", str(EXAMPLE / "memo.toml")
    folder = tmp_path_factory.mktemp("memo")
    done = start(folder, "-m", "paramaudit", "claims", model, memo, "--format", "json")
    assert done.code == 0, done.stderr
    return {claim["id"]: claim for claim in done.document["claims"]}


def test_every_verdict_is_as_known(claims: dict[str, dict[str, Any]]) -> None:
    assert {key: claim["verdict"] for key, claim in claims.items()} == VERDICTS


@pytest.mark.parametrize("key", SAYS)
def test_what_was_measured_is_the_known_answer(key: str, claims: dict[str, dict[str, Any]]) -> None:
    measured, says = SAYS[key]
    assert claims[key]["measured"] == measured
    assert says in claims[key]["reason"]


def test_the_other_ways_to_the_savings_are_named(claims: dict[str, dict[str, Any]]) -> None:
    reason = claims["saves"]["reason"]
    assert "23M - 5M = 18M" in reason
    assert "20.5M - 5M = 15.5M" in reason


def test_speed_is_told_for_each_shape(claims: dict[str, dict[str, Any]]) -> None:
    reason = claims["dsp-is-faster"]["reason"]
    assert "on 1 x 256: " in reason
    assert "on 8 x 4096: " in reason
    assert "faster" in reason
    assert "slower" in reason
