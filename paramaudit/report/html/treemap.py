"""Where the parameters are: modules as rectangles within rectangles, laid out once in per cent.

A rectangle's place is relative to the one that it lies in, so that going into a module is a matter of
showing it as large as the whole: nothing is laid out again in a browser.

Source: Bruls, Huizing and van Wijk, Squarified Treemaps, Data Visualization 2000.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from paramaudit.records import Audit, ModuleRow
from paramaudit.report.html.numbers import compact
from paramaudit.report.page import ROOT, clean, number

STAGE = (1100.0, 560.0)
"""The size at which shapes are judged; it is shown at any other."""
CAPTION = 22.0
MOST = 1_500
"""Rectangles; smaller modules beyond share one."""
DEEPEST = 40
"""Levels; what lies deeper hangs below this one."""
LONGEST = 300
"""Characters that are said of a module."""


@dataclass(frozen=True)
class Box:
    """A rectangle: left, top, width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Node:
    """A module, the parameters that a module holds itself beside those of its parts, or some small ones."""

    name: str
    path: str
    count: str
    verdict: str
    about: tuple[str, ...]
    box: Box
    kids: tuple[Node, ...]


@dataclass(frozen=True)
class _Weight:
    """A module with what is stored in it and below."""

    row: ModuleRow
    total: int
    kids: tuple[_Weight, ...]


def treemap(audit: Audit, most: int = MOST) -> Node | None:
    """The audited model, None where no parameter is stored."""
    tree = _tree(audit)
    if tree is None or not tree.total:
        return None
    totals = sorted((weight.total for weight in _all(tree)), reverse=True)
    smallest = totals[most - 1] if len(totals) > most else 1
    return _node(tree, "", Box(0, 0, 100, 100), STAGE, max(1, smallest))


def squarified(sizes: Sequence[float], width: float, height: float) -> list[Box]:
    """Rectangles of these areas, largest first, that fill a rectangle and are about square.

    Args:
        sizes: positive, descending; only their ratios count.
        width: of the whole.
        height: of the whole.
    """
    scale = width * height / sum(sizes)
    areas = [size * scale for size in sizes]
    boxes: list[Box] = []
    left = top = 0.0
    while areas:
        side = min(width, height)
        count = 1
        while count < len(areas) and _worst(areas[: count + 1], side) <= _worst(areas[:count], side):
            count += 1
        thick = sum(areas[:count]) / side
        along = 0.0
        for area in areas[:count]:
            long = area / thick
            if width >= height:
                boxes.append(Box(left, top + along, thick, long))
            else:
                boxes.append(Box(left + along, top, long, thick))
            along += long
        if width >= height:
            left, width = left + thick, max(width - thick, 1e-9)
        else:
            top, height = top + thick, max(height - thick, 1e-9)
        areas = areas[count:]
    return boxes


def _worst(areas: Sequence[float], side: float) -> float:
    """The most slender of rectangles in a row along a side, as long over short."""
    thick = sum(areas) / side
    return max(max(area / thick**2, thick**2 / area) for area in areas)


def _tree(audit: Audit) -> _Weight | None:
    """The modules as a tree; a path whose parent is not listed hangs below the nearest that is."""
    rows = {row.path: row for row in audit.modules}
    below: dict[str, list[ModuleRow]] = {path: [] for path in rows}
    top = rows.get("")
    for row in audit.modules:
        path = row.path
        while path:
            path = path.rpartition(".")[0]
            if path in rows and path.count(".") < DEEPEST:
                below[path].append(row)
                break
    return None if top is None else _weigh(top, below)


def _weigh(row: ModuleRow, below: dict[str, list[ModuleRow]]) -> _Weight:
    kids = tuple(_weigh(kid, below) for kid in below[row.path])
    kids = tuple(sorted((kid for kid in kids if kid.total), key=lambda kid: (-kid.total, kid.row.path)))
    return _Weight(row, row.own_parameters + sum(kid.total for kid in kids), kids)


def _all(weight: _Weight) -> Iterator[_Weight]:
    yield weight
    for kid in weight.kids:
        yield from _all(kid)


def _node(weight: _Weight, above: str, box: Box, size: tuple[float, float], smallest: int) -> Node:
    row = weight.row
    name = row.path.removeprefix(f"{above}.") if above else row.path or ROOT
    inner = size[0], max(size[1] - CAPTION, 1.0)
    kids = _kids(weight, inner, smallest) if weight.kids else ()
    about = (
        f"{number(row.parameters)} parameters, {number(row.parameters_after)} after; {row.verdict}",
        _short(f"{row.type}: {row.reason}" if row.reason else row.type),
    )
    return Node(name, row.path or ROOT, compact(weight.total), str(row.verdict), about, box, kids)


def _short(text: str) -> str:
    """What fits below the map; the table of modules has all of it."""
    flat = clean(text)
    return flat if len(flat) <= LONGEST else f"{flat[:LONGEST]}…"


def _kids(weight: _Weight, size: tuple[float, float], smallest: int) -> tuple[Node, ...]:
    """Parts, what the module holds itself, and small parts as one, as rectangles."""
    row = weight.row
    large = [kid for kid in weight.kids if kid.total >= smallest]
    small = [kid for kid in weight.kids if kid.total < smallest]
    rest = sum(kid.total for kid in small)
    extra = [("held by itself", row.own_parameters), (f"{len(small):,} small parts", rest)]
    shares: list[tuple[int, _Weight | str]] = [(kid.total, kid) for kid in large]
    shares += [(count, name) for name, count in extra if count]
    shares.sort(key=lambda share: -share[0])
    # between the shape that it has here and the one that it has as the whole
    aspect = (size[0] / size[1] * STAGE[0] / STAGE[1]) ** 0.5
    boxes = squarified([count for count, _ in shares], aspect, 1.0)
    nodes = []
    for (count, what), box in zip(shares, boxes, strict=True):
        share = Box(100 * box.left / aspect, 100 * box.top, 100 * box.width / aspect, 100 * box.height)
        if isinstance(what, _Weight):
            inner = (size[0] * share.width / 100, size[1] * share.height / 100)
            nodes.append(_node(what, row.path, share, inner, smallest))
        else:
            about = (f"{number(count)} parameters, part of {row.path or ROOT}",)
            nodes.append(Node(what, row.path or ROOT, compact(count), str(row.verdict), about, share, ()))
    return tuple(nodes)
