"""Every part of the known-answer model is named with the arguments that it was built from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline import load

from paramaudit.audit import Options, Scan, scan_loaded
from paramaudit.records import Finding, Tier

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[1] / "examples" / "red_heart"
DSP = "emotion_dsp_simulator"
REACHABLE = 117_877_581


@pytest.fixture(scope="module", params=[0, 5])
def scanned(request: pytest.FixtureRequest) -> tuple[Scan, Any]:
    """The audit of the model under two seeds, and what was hidden in it."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        import model
        import red_heart_truth

        module, inputs = model.build(request.param)
        truth = red_heart_truth.truth(request.param)
    finally:
        sys.path.remove(str(EXAMPLE))
    options = Options(rules=EXAMPLE / "rules.toml")
    given = load(module, kwargs=inputs) if isinstance(inputs, dict) else load(module, *inputs)
    return scan_loaded(given, options, lambda _stage: None), truth


def the(scan: Scan, path: str, operator: str) -> Finding:
    """The one applied finding of an operator at or below a path."""
    (found,) = [
        f
        for f in scan.audit.findings
        if f.operator == operator and f.path.startswith(path) and f.applied_by_default
    ]
    assert found.tier in (Tier.EXACT, Tier.ROUNDING)
    return found


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(
        np.asarray(got, dtype=float), np.asarray(expected, dtype=float), atol=1e-6, rtol=1e-6
    )


def test_the_whole_is_as_small_as_it_can_be(scanned: tuple[Scan, Any]) -> None:
    totals = scanned[0].audit.totals
    assert totals.parameters_before == 153_300_000
    assert totals.parameters_after <= REACHABLE


def test_the_transforms(scanned: tuple[Scan, Any]) -> None:
    scan, truth = scanned
    spectrum = the(scan, f"{DSP}.freq_analyzer", "rdft").arguments
    bins = [truth.first_bin, truth.last_bin]
    assert (spectrum["n"], spectrum["window"], spectrum["real"], spectrum["imaginary"]) == (
        256,
        "hann",
        bins,
        bins,
    )
    cosine = the(scan, "transform_bank.dct", "dct")
    assert (cosine.arguments["n"], cosine.arguments["type"], cosine.arguments["norm"]) == (256, 2, "ortho")
    wavelet = the(scan, "transform_bank.dwt", "wavelet")
    assert (wavelet.arguments["wavelet"], wavelet.arguments["level"]) == (truth.wavelet, truth.level)
    hilbert = the(scan, "transform_bank.hilbert", "hilbert")
    assert (hilbert.arguments["n"], hilbert.arguments["gain"]) == (256, 1.0)
    bank = the(scan, "transform_bank.mel", "filter-bank")
    assert (bank.arguments["scale"], bank.arguments["n_mels"]) == (truth.mel_scale, 64)
    close(
        [bank.arguments["sample_rate"], bank.arguments["f_max"]], [truth.sample_rate, truth.sample_rate / 2]
    )
    for found in (cosine, wavelet, hilbert, bank):
        assert found.parameters_after == 0


def test_the_envelope(scanned: tuple[Scan, Any]) -> None:
    scan, truth = scanned
    found = the(scan, f"{DSP}.adsr_generator", "envelope").arguments
    close([found[name] for name in ("attack", "decay", "sustain", "release")], truth.adsr.T)
    close([found["peak"], found["end"]], [1, 1])


def test_the_filters(scanned: tuple[Scan, Any]) -> None:
    scan, truth = scanned
    modes = the(scan, f"{DSP}.resonance_engine.mode_bank", "iir")
    rows = [(*f["b"], f["poles"][0]["radius"], f["poles"][0]["angle"]) for f in modes.arguments["filters"]]
    close(rows, truth.resonators)
    tank = the(scan, f"{DSP}.reverb_system", "comb").arguments["combs"]
    assert (tank[0]["delay"], tank[0]["dry"]) == (truth.comb_delay, 1.0)
    close(tank[0]["feedback"], truth.comb_gain)
    (line,) = the(scan, f"{DSP}.reverb_system", "delay").arguments["lines"]
    assert line["delays"] == truth.delays.tolist()
    close(line["gains"], truth.gains)
    the(scan, f"{DSP}.equaliser", "circulant")


def test_the_knee(scanned: tuple[Scan, Any]) -> None:
    scan, truth = scanned
    found = the(scan, f"{DSP}.compressor", "knee").arguments
    close([found["threshold"], found["ratio"]], [truth.threshold, truth.ratio])
    assert found["side"] == "both"


def test_the_state_space(scanned: tuple[Scan, Any]) -> None:
    scan, truth = scanned
    found = the(scan, "dynamic_kalman_filter", "state-space").arguments
    close(found["A"], truth.a)
    close(found["B"], truth.b)
    (refused,) = [f for f in scan.audit.findings if f.operator == "kalman"]
    assert refused.tier is Tier.REFUTED
    assert "49 numbers do not hold it" in refused.reason
    assert "consistent with a Kalman filter" in refused.reason


def test_what_is_left_computes_the_same(scanned: tuple[Scan, Any]) -> None:
    scan, _ = scanned
    before = scan.original.call(*scan.original.args, **dict(scan.original.kwargs))
    after = scan.refactored.call(*scan.original.args, **dict(scan.original.kwargs))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-4, msg=name)
