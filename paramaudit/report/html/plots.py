"""Which operators are drawn, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from paramaudit.records import Finding, Tier
from paramaudit.report.html import filters, shapes, transforms
from paramaudit.report.html.arguments import Arguments
from paramaudit.report.html.draw import Plot

DRAWN: Mapping[str, Callable[[Arguments], tuple[Plot, ...]]] = {
    "rdft": transforms.fourier,
    "stft": transforms.fourier,
    "dct": transforms.cosines,
    "dst": transforms.sines,
    "wavelet": transforms.wavelet,
    "hilbert": transforms.hilbert,
    "filter-bank": transforms.bank,
    "iir": filters.iir,
    "comb": filters.comb,
    "delay": filters.delay,
    "fir": filters.fir,
    "state-space": filters.state_space,
    "envelope": shapes.envelope,
    "knee": shapes.knee,
    "piecewise": shapes.piecewise,
}


def plots(finding: Finding) -> tuple[Plot, ...]:
    """What was recognised, drawn, where its arguments say enough; nothing for what was refuted."""
    draw = DRAWN.get(finding.operator)
    return () if draw is None or finding.tier is Tier.REFUTED else draw(finding.arguments)
