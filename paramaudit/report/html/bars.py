"""Before and after as pairs of bars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from paramaudit.records import Comparison, Cost, Totals
from paramaudit.report.page import change, number, size


@dataclass(frozen=True)
class Bar:
    """A bar of ``width`` per cent with its spread; where that is unknown ``text`` says so."""

    side: str
    text: str
    width: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Pair:
    """One quantity of the original and of the refactored model."""

    name: str
    change: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class _Value:
    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


def of_totals(totals: Totals) -> tuple[Pair, ...]:
    """What an audit alone knows."""
    parameters = _whole(totals.parameters_before), _whole(totals.parameters_after)
    stored = _stored(totals.bytes_before), _stored(totals.bytes_after)
    return _pair("parameters", *parameters), _pair("bytes", *stored)


def of_comparison(comparison: Comparison) -> tuple[Pair, ...]:
    """Parameters, bytes, FLOPs, then memory and latency of each device."""
    before, after = comparison.original, comparison.refactored
    pairs = [
        _pair("parameters", _whole(before.parameters), _whole(after.parameters)),
        _pair("bytes", _stored(before.bytes), _stored(after.bytes)),
        _pair("FLOPs", _flops(before), _flops(after)),
    ]
    for device in dict.fromkeys([*before.devices, *after.devices]):
        pairs += _of_device(before, after, device)
    return tuple(pairs)


def _of_device(before: Cost, after: Cost, device: str) -> Iterator[Pair]:
    peaks = [_peak(cost, device) for cost in (before, after)]
    if any(peak.value is not None for peak in peaks):
        yield _pair(f"peak memory, {device}", *peaks)
    yield _pair(f"latency, {device}", _latency(before, device), _latency(after, device))


def _pair(name: str, before: _Value, after: _Value) -> Pair:
    ends = [n for side in (before, after) for n in (side.value, side.high) if n is not None]
    largest = max(ends, default=0.0) or 1.0
    known = before.value is not None and after.value is not None
    text = change(before.value or 0.0, after.value or 0.0) if known else ""
    return Pair(name, text, (_bar("original", before, largest), _bar("refactored", after, largest)))


def _bar(side: str, value: _Value, largest: float) -> Bar:
    shares = [None if n is None else 100 * n / largest for n in (value.value, value.low, value.high)]
    return Bar(side, value.text, *shares)


def _whole(count: int | None) -> _Value:
    return _Value(number(count), count)


def _stored(count: int | None) -> _Value:
    return _Value(size(count), count)


def _flops(cost: Cost) -> _Value:
    text = number(cost.flops.total) if cost.flops.total is not None else "not all operators are counted"
    return _Value(text, cost.flops.total)


def _peak(cost: Cost, device: str) -> _Value:
    spent = cost.devices.get(device)
    return _stored(spent.peak_bytes if spent else None)


def _latency(cost: Cost, device: str) -> _Value:
    spent = cost.devices.get(device)
    if spent is None or spent.latency_ms is None:
        why = spent.unavailable if spent else None
        return _Value(f"unavailable: {why}" if why else "not measured")
    times = spent.latency_ms
    text = f"{times.median:.4g} ms ({times.low:.4g} to {times.high:.4g})"
    finite = [n if n >= 0 and n < float("inf") else None for n in (times.median, times.low, times.high)]
    return _Value(text, *finite)
