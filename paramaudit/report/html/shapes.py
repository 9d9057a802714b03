"""Drawings of functions of one variable: envelopes, knees, knots."""

from __future__ import annotations

from paramaudit.report.html.arguments import Arguments, number, numbers
from paramaudit.report.html.draw import Frame, Plot, Point, around

SHOWN = 8
"""Channels."""
STAGES = ("attack", "decay", "sustain", "release")


def envelope(given: Arguments) -> tuple[Plot, ...]:
    """The level of every channel over time."""
    stages = [numbers(given.get(name)) for name in STAGES]
    known = [stage for stage in stages if stage is not None]
    peak, end = number(given.get("peak")), number(given.get("end"))
    if len(known) != len(STAGES) or len({len(stage) for stage in known}) != 1 or peak is None or end is None:
        return ()
    attack, decay, sustain, release = known
    lines = [
        [(0.0, 0.0), (a, peak), (a + d, s * peak), (end - r, s * peak), (end, 0.0)]
        for a, d, s, r in zip(attack, decay, sustain, release, strict=True)
    ]
    shown = lines[:SHOWN]
    frame = around([point for line in shown for point in line])
    marks = [frame.line(line, series) for series, line in enumerate(shown)]
    channels = f"{len(lines)} channels" if len(lines) > 1 else "one channel"
    of = f", {len(shown)} of them" if len(shown) < len(lines) else ""
    return (Plot(f"level over time, {channels}{of}", (*frame.guides([0.0]), *marks), frame.labels("time")),)


def knee(given: Arguments) -> tuple[Plot, ...]:
    """Output over input, with the line of a gain alone."""
    threshold, gain = number(given.get("threshold")), number(given.get("gain"))
    ratio, side = number(given.get("ratio")), given.get("side")
    if threshold is None or gain is None or side not in ("both", "above", "below") or ratio == 0:
        return ()
    slope = 0.0 if ratio is None else gain / ratio
    reach = 2 * abs(threshold) or 1.0
    bends = [threshold] if side != "both" else [-abs(threshold), abs(threshold)]
    points: list[Point] = []
    for x in sorted([-reach, *bends, reach]):
        inner = x
        if side != "below":
            inner = min(inner, threshold)
        if side == "both":
            inner = max(inner, -threshold)
        if side == "below":
            inner = max(inner, threshold)
        points.append((x, gain * inner + slope * (x - inner)))
    straight = [(-reach, -gain * reach), (reach, gain * reach)]
    frame = around([*points, *straight])
    marks = (*frame.guides([0.0], bends), frame.line(straight, 1, "guide"), frame.line(points))
    bend = f"{threshold:.4g}" if side != "both" else f"{-abs(threshold):.4g} and {abs(threshold):.4g}"
    return (Plot(f"output over input, bends at {bend}", marks, frame.labels("input")),)


def piecewise(given: Arguments) -> tuple[Plot, ...]:
    """Where it bends."""
    at = given.get("at")
    knots = numbers([knot for knot in at if knot is not None]) if isinstance(at, list) else None
    if knots is None:
        return ()
    frame = Frame(min(knots), max(knots), 0.0, 1.0)
    marks = (*frame.guides([0.0]), *frame.stems([(knot, 0.5) for knot in knots]))
    return (Plot(f"{len(knots)} knots", marks, frame.labels("input", upright=False)),)
