"""Drawings of transforms: windows, bins, basis functions, kernels, banks."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from paramaudit.numerics.auditory import SCALES, corners
from paramaudit.numerics.wavelets import analysis_filters, filter_length
from paramaudit.numerics.windows import WINDOWS, placed
from paramaudit.report.html.arguments import Arguments, count, number, span, whole
from paramaudit.report.html.draw import Frame, Mark, Plot, around

SHOWN = 3
"""Basis functions."""


def fourier(given: Arguments) -> tuple[Plot, ...]:
    """The window and the bins."""
    return *_window(given), *_bins(given)


def _window(given: Arguments) -> tuple[Plot, ...]:
    name, size = given.get("window"), count(given.get("n"))
    if size is None or name not in WINDOWS:
        return ()
    place = None
    if "window_first" in given:
        first, length = whole(given["window_first"]), count(given.get("window_length"))
        if first is None or length is None or first < 0 or first + length > size:
            return ()
        place = (first, length)
    values = placed(str(name), size, place, torch.float64).tolist()
    frame = Frame(0, max(size - 1, 1), 0, 1)
    line = frame.line(list(enumerate(values)))
    return (Plot(f"window: {name}", (*frame.guides([0.0, 1.0]), line), frame.labels("sample")),)


def _bins(given: Arguments) -> tuple[Plot, ...]:
    """Which bins are read, real parts upward and imaginary ones downward."""
    size = count(given.get("n"))
    if size is None:
        return ()
    nyquist = size // 2
    frame = Frame(0, max(nyquist, 1), -1, 1)
    marks: list[Mark] = []
    names = []
    for series, (part, sign) in enumerate((("real", 1.0), ("imaginary", -1.0))):
        bins = span(given.get(part))
        if bins is None or bins[1] > nyquist:
            continue
        names.append(f"{part} {bins[0]} to {bins[1]}")
        low, high = bins[0], max(bins[1], bins[0] + 0.5)
        corner = [(low, 0.0), (low, 0.8 * sign), (high, 0.8 * sign), (high, 0.0)]
        marks.append(frame.line(corner, series, "area"))
    if not names:
        return ()
    return (
        Plot(f"bins: {', '.join(names)}", (*frame.guides([0.0]), *marks), frame.labels("bin", upright=False)),
    )


def cosines(given: Arguments) -> tuple[Plot, ...]:
    """The first rows of a discrete cosine transform, up to their gains."""
    return _rows(given, _COSINES, "cosines")


def sines(given: Arguments) -> tuple[Plot, ...]:
    """The first rows of a discrete sine transform, up to their gains."""
    return _rows(given, _SINES, "sines")


Angle = Callable[[int, int, int], float]
_COSINES: dict[int, Angle] = {
    1: lambda t, k, n: math.cos(math.pi * t * k / max(n - 1, 1)),
    2: lambda t, k, n: math.cos(math.pi * (t + 0.5) * k / n),
    3: lambda t, k, n: math.cos(math.pi * t * (k + 0.5) / n),
    4: lambda t, k, n: math.cos(math.pi * (t + 0.5) * (k + 0.5) / n),
}
_SINES: dict[int, Angle] = {
    1: lambda t, k, n: math.sin(math.pi * (t + 1) * (k + 1) / (n + 1)),
    2: lambda t, k, n: math.sin(math.pi * (t + 0.5) * (k + 1) / n),
    3: lambda t, k, n: math.sin(math.pi * (t + 1) * (k + 0.5) / n),
    4: lambda t, k, n: math.sin(math.pi * (t + 0.5) * (k + 0.5) / n),
}


def _rows(given: Arguments, kinds: dict[int, Angle], name: str) -> tuple[Plot, ...]:
    size, kind = count(given.get("n")), whole(given.get("type"))
    rows = span(given.get("rows"))
    if size is None or kind not in kinds or rows is None or rows[1] >= size:
        return ()
    frame = Frame(0, max(size - 1, 1), -1, 1)
    shown = range(rows[0], min(rows[1] + 1, rows[0] + SHOWN))
    marks = [
        frame.line([(t, kinds[kind](t, row, size)) for t in range(size)], series)
        for series, row in enumerate(shown)
    ]
    title = f"{name} of rows {shown[0]} to {shown[-1]}, of {rows[0]} to {rows[1]}"
    return (Plot(title, (*frame.guides([0.0]), *marks), frame.labels("sample")),)


def wavelet(given: Arguments) -> tuple[Plot, ...]:
    """The low-pass and the high-pass filter."""
    name = given.get("wavelet")
    if not isinstance(name, str) or filter_length(name) is None:
        return ()
    filters = analysis_filters(name)
    titles = (f"{name}: low-pass filter", f"{name}: high-pass filter")
    plots = []
    for series, (title, taps) in enumerate(zip(titles, filters, strict=True)):
        points = [(float(index), float(tap)) for index, tap in enumerate(taps)]
        frame = around(points)
        marks = (*frame.guides([0.0]), *frame.stems(points, series))
        plots.append(Plot(title, marks, frame.labels("tap")))
    return tuple(plots)


def hilbert(given: Arguments) -> tuple[Plot, ...]:
    """The kernel about its middle."""
    size, gain = count(given.get("n")), number(given.get("gain"))
    if size is None or size < 4 or gain is None:
        return ()
    inner = torch.zeros(size // 2 + 1, dtype=torch.float64)
    inner[1 : (size + 1) // 2] = -gain
    kernel = torch.fft.irfft(torch.complex(torch.zeros_like(inner), inner), n=size).tolist()
    reach = min(size // 2 - 1, 24)
    points = [(float(lag), kernel[lag % size]) for lag in range(-reach, reach + 1)]
    frame = around(points)
    marks = (*frame.guides([0.0]), *frame.stems(points))
    return (Plot("kernel about its middle", marks, frame.labels("lag")),)


def bank(given: Arguments) -> tuple[Plot, ...]:
    """The triangles over frequency."""
    scale, filters = given.get("scale"), count(given.get("n_mels"), 512)
    low, high = number(given.get("f_min")), number(given.get("f_max"))
    if scale not in SCALES or filters is None or low is None or high is None or not 0 <= low < high:
        return ()
    ends = [torch.tensor(end, dtype=torch.float64) for end in (low, high)]
    points = corners(str(scale), filters, *ends).tolist()
    frame = Frame(0.0, high, 0.0, 1.0)
    marks = []
    for index in range(filters):
        rise, top, fall = points[index : index + 3]
        marks.append(frame.line([(rise, 0.0), (top, 1.0), (fall, 0.0)], index % 2, "thin"))
    title = f"{filters} triangles, {scale} scale"
    return (Plot(title, (*frame.guides([0.0]), *marks), frame.labels("Hz")),)
