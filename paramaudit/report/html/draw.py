"""Small plots as lines of SVG, in the units of their data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paramaudit.report.html.numbers import plain

WIDTH, HEIGHT = 320.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 10.0, 10.0, 30.0
MOST = 512
"""Points of a line; more are thinned out."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """A path: ``kind`` is its class (line, stem, dot, cross, guide), ``series`` tells it from its like."""

    kind: str
    path: str
    series: int = 0


@dataclass(frozen=True)
class Label:
    """Text beside an axis; ``anchor`` is start, middle or end."""

    text: str
    x: str
    y: str
    anchor: str


@dataclass(frozen=True)
class Plot:
    """A drawing of ``width`` by ``height`` with what it shows in words."""

    title: str
    marks: tuple[Mark, ...]
    labels: tuple[Label, ...]
    width: str = plain(WIDTH)
    height: str = plain(HEIGHT)


@dataclass(frozen=True)
class Frame:
    """The part of a plane that a plot shows."""

    left: float
    right: float
    low: float
    high: float

    def at(self, point: Point) -> Point:
        """A point of the plane on the drawing."""
        wide, tall = (self.right - self.left) or 1.0, (self.high - self.low) or 1.0
        x = LEFT + (point[0] - self.left) / wide * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - self.low) / tall * (HEIGHT - TOP - BOTTOM)
        return x, y

    def line(self, points: Sequence[Point], series: int = 0, kind: str = "line") -> Mark:
        """One line through the points."""
        step = max(1, -(-len(points) // MOST))
        thin = [*points[::step], *([points[-1]] if step > 1 else [])]
        return Mark(kind, "M" + "L".join(_text(self.at(point)) for point in thin), series)

    def stems(self, points: Sequence[Point], series: int = 0) -> tuple[Mark, ...]:
        """A line from zero to each point, with a dot on it."""
        foot = min(max(0.0, self.low), self.high)
        lines = "".join(f"M{_text(self.at((x, foot)))}L{_text(self.at((x, y)))}" for x, y in points)
        if len(points) > 80:  # dots would cover the lines
            return (Mark("stem", lines, series),)
        dots = "".join(f"M{_text(self.at(point))}h0" for point in points)
        return Mark("stem", lines, series), Mark("dot", dots, series)

    def guides(self, across: Iterable[float] = (), up: Iterable[float] = ()) -> tuple[Mark, ...]:
        """Thin lines at some heights and at some places, where these are shown."""
        flat = [[(self.left, y), (self.right, y)] for y in across if self.low <= y <= self.high]
        tall = [[(x, self.low), (x, self.high)] for x in up if self.left <= x <= self.right]
        return tuple(self.line(ends, kind="guide") for ends in (*flat, *tall))

    def labels(self, axis: str, *, upright: bool = True) -> tuple[Label, ...]:
        """The ends of the axes, zero where it lies well between, and what the horizontal one is."""
        ends = [self.low, self.high]
        if self.low < 0 < self.high and min(-self.low, self.high) > 0.15 * (self.high - self.low):
            ends.append(0.0)
        heights = ends if upright else []
        up = [(f"{y:.3g}", LEFT - 5, self.at((self.left, y))[1] + 3.5, "end") for y in heights]
        floor = HEIGHT - BOTTOM + 14
        right = WIDTH - RIGHT
        along = [(f"{self.left:.4g}", LEFT, floor, "start"), (f"{self.right:.4g}", right, floor, "end")]
        along.append((axis, (LEFT + right) / 2, floor, "middle"))
        return tuple(Label(text, plain(x), plain(y), anchor) for text, x, y, anchor in (*up, *along))


def around(points: Iterable[Point], *, zero: bool = True) -> Frame:
    """The frame that holds all points, and the height zero."""
    xs, ys = zip(*points, strict=True)
    low, high = min(ys), max(ys)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high = low + 1.0
    return Frame(min(xs), max(xs), low, high)


def circle(points: Sequence[Point], title: str) -> Plot:
    """Points of the complex plane with the unit circle."""
    reach = max(1.1, *(1.1 * max(abs(x), abs(y)) for x, y in points))
    side, middle = 150.0, 75.0
    scale = 65.0 / reach

    def place(point: Point) -> Point:
        return middle + point[0] * scale, middle - point[1] * scale

    ring = [place((math.cos(turn), math.sin(turn))) for turn in (math.pi * k / 32 for k in range(64))]
    axes = [((-reach, 0.0), (reach, 0.0)), ((0.0, -reach), (0.0, reach))]
    lines = "".join(f"M{_text(place(a))}L{_text(place(b))}" for a, b in axes)
    crosses = (
        f"M{_text((x - 3.5, y - 3.5))}l7 7M{_text((x - 3.5, y + 3.5))}l7 -7" for x, y in map(place, points)
    )
    marks = (
        Mark("guide", lines),
        Mark("ring", "M" + "L".join(_text(point) for point in ring) + "Z"),
        Mark("cross", "".join(crosses)),
    )
    return Plot(title, marks, (), plain(side), plain(side))


def _text(point: Point) -> str:
    return f"{plain(point[0])} {plain(point[1])}"
