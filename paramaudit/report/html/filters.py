"""Drawings of filters and of state spaces: impulse responses and poles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from paramaudit.report.html.arguments import Arguments, count, number, numbers, objects, whole
from paramaudit.report.html.draw import Plot, Point, around, circle

SAMPLES = 256
SHOWN = 4
"""Filters of a bank whose responses are drawn, one on the other."""
STEMS = 64

Array = NDArray[np.float64]


def iir(given: Arguments) -> tuple[Plot, ...]:
    """Impulse responses and poles."""
    size = min(count(given.get("rows")) or SAMPLES, SAMPLES)
    filters = objects(given.get("filters"))
    sections = [found for one in filters if (found := _sections(one)) is not None]
    if not filters or len(sections) != len(filters):
        return ()
    responses = [_ringing(one, found, size) for one, found in zip(filters, sections, strict=True)]
    drawn = _responses([response for response in responses if response is not None])
    poles = [pole for found in sections for pole in found]
    return *drawn, *_poles([(pole.real, pole.imag) for pole in poles])


def comb(given: Arguments) -> tuple[Plot, ...]:
    """Echoes that are a delay apart."""
    size = min(count(given.get("rows")) or SAMPLES, SAMPLES)
    echoes = [_echoes(one, size) for one in objects(given.get("combs"))]
    return _stems([points for points in echoes if points], "impulse response")


def delay(given: Arguments) -> tuple[Plot, ...]:
    """A stem at each delay."""
    lines = []
    for line in objects(given.get("lines")):
        delays, gains = numbers(line.get("delays")), numbers(line.get("gains"))
        if delays is None or gains is None or len(delays) != len(gains):
            return ()
        lines.append(list(zip(delays, gains, strict=True)))
    return _stems(lines, "impulse response")


def fir(given: Arguments) -> tuple[Plot, ...]:
    """A stem for each tap."""
    start = whole(given.get("starts_at")) or 0
    filters = given.get("filters")
    taps = [numbers(one) for one in filters] if isinstance(filters, list) else []
    known = [one for one in taps if one is not None]
    return _stems([[(float(start + k), tap) for k, tap in enumerate(one)] for one in known], "taps")


def state_space(given: Arguments) -> tuple[Plot, ...]:
    """The poles."""
    poles = given.get("poles")
    found = [numbers(pole) for pole in poles] if isinstance(poles, list) else []
    return _poles([(pole[0], pole[1]) for pole in found if pole is not None and len(pole) == 2])


def _sections(one: Arguments) -> list[complex] | None:
    """All poles of one filter: pairs stand first and name one of the two, real ones follow."""
    given, order = objects(one.get("poles")), whole(one.get("order"), 512)
    if order is None or not len(given) <= order <= 2 * len(given):
        return None
    poles: list[complex] = []
    for index, pole in enumerate(given):
        radius, angle = number(pole.get("radius")), number(pole.get("angle"))
        if radius is None or angle is None:
            return None
        at = complex(radius * math.cos(angle), radius * math.sin(angle))
        poles += [at, at.conjugate()] if index < order - len(given) else [complex(at.real)]
    return poles


def _ringing(one: Arguments, poles: Sequence[complex], size: int) -> Array | None:
    """The impulse response of one filter, section by section."""
    numerator = numbers(one.get("b"))
    if numerator is None or any(abs(pole) > 1.5 for pole in poles):
        return None
    zeros = [(1.0, whole(one.get("zeros_at_dc"), 64)), (-1.0, whole(one.get("zeros_at_nyquist"), 64))]
    response = np.zeros(size)
    response[: len(numerator)] = numerator[:size]
    for place, times in zeros:
        for _ in range(times or 0):
            response = np.asarray(scipy.signal.lfilter([1.0, -place], [1.0], response))
    for pole in poles:
        if pole.imag > 0:
            section = [1.0, -2 * pole.real, abs(pole) ** 2]
        elif pole.imag == 0:
            section = [1.0, -pole.real]
        else:
            continue  # the other one of a pair
        response = np.asarray(scipy.signal.lfilter([1.0], section, response))
    return response if np.isfinite(response).all() else None


def _echoes(one: Arguments, size: int) -> list[Point]:
    """What one comb answers to a pulse: ``y[t] = dry x[t] + wet x[t - d] + g y[t - d]``."""
    lag, after = count(one.get("delay")), whole(one.get("starts_at"))
    dry, wet, feedback = (number(one.get(name)) for name in ("dry", "wet", "feedback"))
    if lag is None or after is None or dry is None or wet is None or feedback is None:
        return []
    points, level = [(float(after), dry)], wet + feedback * dry
    for place in range(after + lag, max(size, after + lag + 1), lag):
        if abs(level) > 1e6:
            break
        points.append((float(place), level))
        level *= feedback
    return points


def _responses(responses: Sequence[Array]) -> tuple[Plot, ...]:
    shown = responses[:SHOWN]
    if not shown:
        return ()
    lines = [list(enumerate(map(float, response))) for response in shown]
    frame = around([point for line in lines for point in line])
    marks = [frame.line([(float(t), y) for t, y in line], series) for series, line in enumerate(lines)]
    title = _counted("impulse response", len(shown), len(responses))
    return (Plot(title, (*frame.guides([0.0]), *marks), frame.labels("sample")),)


def _stems(lines: Sequence[list[Point]], name: str) -> tuple[Plot, ...]:
    shown = [line[:SAMPLES] for line in lines[:SHOWN]]
    if not shown:
        return ()
    frame = around([(0.0, 0.0), *(point for line in shown for point in line)])
    marks = [mark for series, line in enumerate(shown) for mark in frame.stems(line, series)]
    return (
        Plot(_counted(name, len(shown), len(lines)), (*frame.guides([0.0]), *marks), frame.labels("sample")),
    )


def _poles(points: Sequence[Point]) -> tuple[Plot, ...]:
    return (circle(points[:STEMS], "poles and the unit circle"),) if points else ()


def _counted(name: str, shown: int, all_: int) -> str:
    return name if all_ == 1 else f"{name}s, {shown} of {all_}" if shown < all_ else f"{all_} {name}s"
