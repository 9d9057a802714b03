"""Recursive filters as numerators and poles: their impulse responses, and both from an impulse response.

A pole is stored by its decay ``-log |p|`` and its angle, both over a whole response: an angle is
``pi (bin + detune) / size`` with a whole bin. So a rounded number shifts the last sample by about its own
relative error, however slowly the filter decays; radius and angle themselves would be off by the
filter's quality times that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from paramaudit.numerics.layers import fast_length
from paramaudit.numerics.noise import SIGMAS
from paramaudit.numerics.refine import Fit, refine

MOST = 16
"""The highest order that is looked for."""

SAMPLES = 512
"""Poles are first read off this many samples."""

SWEEPS = 3
"""How often all numbers are tried one step up and down when they are rounded."""

SLOWEST = 1e-9
"""An angle (in radians) below which a pole counts as real."""


@dataclass(frozen=True)
class Form:
    """How many numbers of each kind a filter has: taps of the numerator, pairs of poles, real poles.

    The numerator is those taps times ``(1 - 1/z)^dc (1 + 1/z)^nyquist``: zeros at DC and Nyquist, as
    band-pass and high-pass filters have many. Taps that only multiply out to them would not survive
    rounding. Stored numbers come in the order taps, decays of pairs, detunes of pairs, decays of real
    poles; bins in the order pairs, real poles, the latter 0 or ``size`` (negative).
    """

    taps: int
    pairs: int
    reals: int
    dc: int = 0
    nyquist: int = 0

    @property
    def numbers(self) -> int:
        """How many are stored."""
        return self.taps + 2 * self.pairs + self.reals

    @property
    def bins(self) -> int:
        """How many whole numbers are stored."""
        return self.pairs + self.reals


@dataclass(frozen=True)
class Filter:
    """One filter: its form, its numbers ``(form.numbers,)`` and its bins ``(form.bins,)`` int64."""

    form: Form
    values: Tensor
    bins: Tensor


def responses(form: Form, values: Tensor, bins: Tensor, size: int) -> Tensor:
    """Impulse responses ``(..., size)`` of filters of one form, from ``(..., numbers)`` and ``(..., bins)``.

    Sections of one or two poles have closed forms, and a cascade convolves them.
    """
    sizes = [form.taps, form.pairs, form.pairs, form.reals]
    taps, slow, detune, decay = torch.split(values, sizes, dim=-1)
    time = torch.arange(size, dtype=values.dtype, device=values.device)
    sections = []
    if form.pairs:
        angle = (math.pi / size) * (bins[..., : form.pairs] + detune).unsqueeze(-1)
        ringing = torch.sin(angle * (time + 1)) / torch.sin(angle)
        sections += list((ringing * torch.exp(slow.unsqueeze(-1) * (-time / size))).unbind(-2))
    if form.reals:
        sign = torch.where(bins[..., form.pairs :].unsqueeze(-1) > 0, -1.0, 1.0).to(time.dtype)
        sections += list((sign**time * torch.exp(decay.unsqueeze(-1) * (-time / size))).unbind(-2))
    result = sections[0]
    length = fast_length(2 * size - 1)
    for section in sections[1:]:
        spectrum = torch.fft.rfft(result, n=length) * torch.fft.rfft(section, n=length)
        result = torch.fft.irfft(spectrum, n=length)[..., :size]
    for factor in [-1] * form.dc + [1] * form.nyquist:
        result = result + factor * F.pad(result[..., :-1], (1, 0))
    shifted = [F.pad(result[..., : size - j], (j, 0)) for j in range(form.taps)]
    return (taps.unsqueeze(-2) * torch.stack(shifted, dim=-1)).sum(-1)


def poles(found: Filter, size: int) -> tuple[Tensor, Tensor]:
    """Radius and angle of one of each pair, then of each real pole."""
    form = found.form
    _, slow, detune, decay = torch.split(found.values, [form.taps, form.pairs, form.pairs, form.reals])
    detune = F.pad(detune, (0, form.reals))
    return torch.exp(-torch.cat([slow, decay]) / size), (found.bins + detune) * (math.pi / size)


def identify(response: Tensor, unit: Tensor, size: int, dtype: torch.dtype) -> Filter | None:
    """The filter of the lowest order that meets every sample within its noise.

    Args:
        response: ``(m,)``, m at most ``size``.
        unit: ``(m,)``, the standard deviation of each sample.
        size: the length that decays and angles are measured by.
        dtype: what the numbers will be stored in.

    Source:
        Order: Kronecker's theorem (Kailath, Linear Systems, 1980, 5.1). Poles: Hua and Sarkar, Matrix
        pencil method, IEEE Trans. ASSP 38 (1990); Roy and Kailath, ESPRIT, IEEE Trans. ASSP 37 (1989).
    """
    hankel, noise = _hankel(response, unit)
    if min(hankel.shape) < 2:
        return None
    basis, values, _ = torch.linalg.svd(hankel, full_matrices=False)
    order = int((values > noise).sum())
    if not 1 <= order <= MOST:
        return None
    for tried in range(order, min(order + 4, MOST + 1, min(hankel.shape))):
        if 2 * tried + 1 >= len(response):
            break
        start = _start(_poles(basis[:, :tried]), response, unit, size)
        found = _settled(start, response, unit, size) if start is not None else None
        if found is not None:
            return _rounded(found, size, dtype)
    return None


def _rounded(found: Filter, size: int, dtype: torch.dtype) -> Filter:
    """The filter with its numbers rounded together: each up or down, so that their errors cancel.

    Each rounded by itself, the errors would add up to more than those of a stored response.
    """
    exact = responses(found.form, found.values, found.bins, size)

    def off(values: Tensor) -> float:
        error = responses(found.form, values, found.bins, size) - exact
        return float(torch.fft.rfft(error, n=2 * size).abs().max())

    values = found.values.to(dtype).to(torch.float64)
    least = off(values)
    for step in [-1, 1] * SWEEPS:
        for index in range(len(values)):
            tried = values.clone()
            tried[index] += step * torch.finfo(dtype).eps * abs(float(values[index]))
            tried = tried.to(dtype).to(torch.float64)
            error = off(tried)
            if error < least:
                values, least = tried, error
    return replace(found, values=values)


def _hankel(response: Tensor, unit: Tensor) -> tuple[Tensor, float]:
    """The Hankel matrix of the samples after the first, and what singular values noise alone may have."""
    samples = response[1 : 1 + SAMPLES]
    columns = len(samples) // 2
    if columns < 2:
        return samples[None, :], 0.0
    matrix = samples.unfold(0, columns, 1)
    level = float(unit[1 : 1 + SAMPLES].square().mean().sqrt())
    return matrix, 2 * level * (matrix.shape[0] ** 0.5 + columns**0.5)


def _poles(basis: Tensor) -> Tensor:
    """The poles ``(p,)``, complex, of a signal subspace ``(m, p)``: it moves on by one sample."""
    step: Tensor = torch.linalg.lstsq(basis[:-1], basis[1:]).solution
    found: Tensor = torch.linalg.eigvals(step)
    return found


def _start(found: Tensor, response: Tensor, unit: Tensor, size: int) -> Filter | None:
    """A filter with these poles and its best numerator; None when they are no poles of a filter."""
    radius = found.abs()
    growth = radius.clamp_min(1e-300).log() * size
    if not bool(radius.isfinite().all()) or float(radius.min()) < 1e-3 or float(growth.max()) > 40:
        return None
    real = found.imag.abs() <= SLOWEST * radius
    upper = found.imag > SLOWEST * radius
    if 2 * int(upper.sum()) + int(real.sum()) != len(found):
        return None
    places = found[upper].angle() * (size / math.pi)
    bins = torch.cat([places.round(), torch.where(found[real].real < 0, float(size), 0.0)]).long()
    decays = [-growth[upper], places - places.round(), -growth[real]]
    form = Form(len(found) + 1, int(upper.sum()), int(real.sum()))
    return _numerator(form, torch.cat(decays), bins, response, unit, size)


def _numerator(
    form: Form, rest: Tensor, bins: Tensor, response: Tensor, unit: Tensor, size: int
) -> Filter | None:
    """The filter of a form with these poles and its best taps; None when it is not finite."""
    one = responses(replace(form, taps=1), torch.cat([torch.ones(1, dtype=unit.dtype), rest]), bins, size)
    columns = [F.pad(one, (j, 0))[: len(response)] for j in range(form.taps)]
    shifted = torch.stack(columns, dim=1) / unit[:, None]
    if not bool(shifted.isfinite().all()):
        return None
    sizes = shifted.norm(dim=0).clamp_min(torch.finfo(unit.dtype).tiny)
    target = (response / unit)[:, None]
    taps = torch.linalg.lstsq(shifted / sizes, target, driver="gelsd").solution[:, 0] / sizes
    return Filter(form, torch.cat([taps, rest]), bins)


def _settled(start: Filter, response: Tensor, unit: Tensor, size: int) -> Filter | None:
    """The filter refined, with as few taps as meet the samples as well; None when none do.

    First the last taps go that are zero within the noise, then zeros at DC and Nyquist are taken out.
    """
    fit, found = _fitted(start, response, unit, size)
    if not fit.worst <= SIGMAS:
        return None
    while found.form.taps > 1:
        taps = found.form.taps
        if abs(float(fit.values[taps - 1])) > SIGMAS * float(fit.deviations[taps - 1]):
            break
        form = replace(found.form, taps=taps - 1)
        fewer = torch.cat([fit.values[: taps - 1], fit.values[taps:]])
        shorter, kept = _fitted(Filter(form, fewer, found.bins), response, unit, size)
        if not shorter.worst <= SIGMAS:
            break
        fit, found = shorter, kept
    return _without_zeros(found, response, unit, size)


def _without_zeros(found: Filter, response: Tensor, unit: Tensor, size: int) -> Filter:
    """The filter with as many zeros at DC and Nyquist taken out of its taps as meet the samples.

    Classical designs have all of them at one of the two or half at each, which is tried first.
    """

    def taken(form: Form, dc: int, nyquist: int) -> Filter | None:
        fewer = replace(form, taps=form.taps - dc - nyquist, dc=form.dc + dc, nyquist=form.nyquist + nyquist)
        start = _numerator(fewer, found.values[form.taps :], found.bins, response, unit, size)
        if start is None:
            return None
        fit, kept = _fitted(start, response, unit, size)
        return kept if fit.worst <= SIGMAS else None

    zeros = found.form.taps - 1
    for dc in {0: (), 1: (0, 1)}.get(zeros, (0, zeros, zeros // 2)):
        all_out = taken(found.form, dc, zeros - dc)
        if all_out is not None:
            return all_out
    for one in ((1, 0), (0, 1)):
        while found.form.taps > 1:
            fewer = taken(found.form, *one)
            if fewer is None:
                break
            found = fewer
    return found


def _fitted(start: Filter, response: Tensor, unit: Tensor, size: int) -> tuple[Fit, Filter]:
    def formula(values: Tensor) -> Tensor:
        return responses(start.form, values, start.bins, size)[: len(response)]

    fit = refine(formula, start.values, response, unit)
    return fit, Filter(start.form, fit.values, start.bins)
