"""The picture of the atlas benchmark: which share of each row was named, by noise and by gauge."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas_cases import GAUGES, NOISES, ROWS


def draw(outcomes: Sequence[Any], path: Path) -> None:
    """Write a heat map; needs matplotlib, and says so where it is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        sys.stderr.write("no picture: pip install matplotlib\n")
        return
    columns = [("none", noise) for noise in NOISES] + [(gauge, None) for gauge in GAUGES[1:]]
    grid = []
    for row in ROWS:
        own = [o for o in outcomes if o.case.row is row]
        line = []
        for gauge, noise in columns:
            some = [o.right for o in own if o.case.gauge == gauge and noise in (None, o.case.noise)]
            line.append(sum(some) / len(some) if some else float("nan"))
        grid.append(line)
    figure = Figure(figsize=(9, 0.3 * len(ROWS) + 2), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(grid, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    labels = [noise if noise else gauge for gauge, noise in columns]
    axes.set_xticks(range(len(columns)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(ROWS)), [row.name for row in ROWS])
    axes.set_title("Named rightly, by noise (left) and by gauge (right); blank: does not apply")
    figure.colorbar(image, ax=axes, label="share of the sizes")
    figure.savefig(path, dpi=110)
