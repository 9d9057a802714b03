"""Which rows and columns of a character table are these? Of cyclic groups (Fourier) and of bits (Hadamard).

In ``W = diag(r) P F Q diag(c)`` with everything but the table F unknown, dividing by one row and one column
leaves ``chi(a_i, b_j)``, a character in both labels. Labels of one side, even rough ones, give those of the
other: numbers are added up by label, transformed, and stand out at their partner. So both are read in turns,
from the rows that are understood to all of them, and noise averages out.

Source:
    Terras, Fourier Analysis on Finite Groups and Applications (1999), chapters 1, 2 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from paramaudit.numerics.noise import SIGMAS, left_over, spread

TRIES = 12
ROUNDS = 10
CLOSED = 128
"""Of so many rows, products of rows are compared with rows first; of fewer, chance may make them alike."""

Fast = Callable[[Tensor], Tensor]
"""The transform along the first dimension that turns sums by label into coefficients."""


@dataclass(frozen=True)
class Labels:
    """Labels of rows ``(m,)`` and of columns ``(n,)``, int64 below n; those of columns are all different."""

    rows: Tensor
    columns: Tensor


def hadamard(values: Tensor) -> Tensor:
    """The Walsh-Hadamard transform along the first dimension, whose size is a power of two."""
    size, shape = values.shape[0], values.shape
    half = 1
    while half < size:
        pairs = values.reshape(size // (2 * half), 2, half, *shape[1:])
        values = torch.cat([pairs[:, :1] + pairs[:, 1:], pairs[:, :1] - pairs[:, 1:]], dim=1)
        half *= 2
    return values.reshape(shape)


def one_modulus(weight: Tensor) -> bool:
    """Whether sampled rows look like one row of moduli times a number each: no table of characters else."""
    some = weight[torch.linspace(0, weight.shape[0] - 1, min(6, weight.shape[0])).long()].abs()
    logs = some.clamp_min(1e-30 * max(float(some.max()), 1e-270)).log()
    centred = logs - logs.median(dim=1, keepdim=True).values
    off = (centred[1:] - centred[:1]).abs()
    # 0.5 and 0.31 where real and complex numbers are half noise, 0.88 and 0.55 where they are Gaussian
    return float(off.median()) <= (0.42 if weight.is_complex() else 0.66)


def cyclic_labels(table: Tensor) -> Labels | None:
    """Labels of ``exp(-2 pi i a b / n)`` under complex scales, from ``(m, n)`` complex; None when it is not.

    They hold up to a shift of either and a unit that multiplies one and divides the other.
    """
    size = table.shape[1]
    signs = torch.sgn(table).to(torch.complex64)
    for reference in _spread_out(len(signs), 2):
        turned = _divided(signs, reference)
        found = _in_order(turned, _fourier)
        if found is not None:
            return found
        for base in _other_rows(len(signs), reference):
            if float(turned[base].mean().abs()) > 3 * size**-0.5 and size > 8:
                continue
            angle = turned[base].angle() * (-size / (2 * math.pi))
            found = _decoded(turned, angle.round().long() % size, _fourier)
            if found is not None:
                return found
    return None


def bit_labels(table: Tensor) -> Labels | None:
    """Labels of ``(-1)^(bits that a and b share)`` under real scales; ``(n, n)``, n a power of two."""
    signs = table.sign().float()
    if len(signs) >= CLOSED and not _closed(signs):
        return None
    for reference in _spread_out(len(signs), 3):
        turned = _divided(signs, reference)
        found = _in_order(turned, hadamard)
        if found is not None:
            return found
        found = _decoded(turned, _grown(turned), hadamard)
        if found is not None:
            return found
    return None


def _closed(signs: Tensor) -> bool:
    """Whether products of three rows are rows again, but for some signs and one of all, as characters' are.

    Of nine, half agree with a row by 0.64 or more under scales and 30 % of noise; of waves, by 0.5 or less.
    """
    generator = torch.Generator().manual_seed(len(signs))
    some = torch.stack([torch.randperm(len(signs), generator=generator)[:3] for _ in range(9)])
    agree = (signs[some].prod(1) @ signs.T).abs().amax(1) / signs.shape[1]
    return float(agree.median()) >= 0.55


def _fourier(values: Tensor) -> Tensor:
    result: Tensor = torch.fft.ifft(values, dim=0, norm="forward")
    return result


def _clear(size: int) -> float:
    """What part of a row must stand at one label so that this is no chance."""
    part = 1.3 * math.sqrt(2 * math.log(size) / size)
    return min(0.6, max(0.25, part)) * size


def _in_order(turned: Tensor, fast: Fast) -> Labels | None:
    """The labels where columns stand in their plain order, by a look at a few rows first."""
    size = turned.shape[1]
    plain = torch.arange(size)
    some = turned[_spread_out(len(turned), 8)]
    clear = float(_best(some.T, plain, fast, size)[1].abs().median()) >= _clear(size)
    return _decoded(turned, plain, fast) if clear else None


def _divided(signs: Tensor, reference: int) -> Tensor:
    """Rows divided by a reference row and then by their own first entry."""
    turned = signs * signs[reference].conj()
    return turned * turned[:, :1].conj()


def _spread_out(count: int, most: int) -> list[int]:
    return sorted(set(torch.linspace(0, count - 1, min(most, count)).long().tolist()))


def _other_rows(count: int, reference: int) -> list[int]:
    """Rows to start from, in an order without a pattern, so that no divisor of the size meets them all."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(count)).tolist()
    return [row for row in order if row != reference][:TRIES]


def _best(lines: Tensor, labels: Tensor, fast: Fast, size: int) -> tuple[Tensor, Tensor]:
    """The partner label of each column of ``lines`` ``(k, c)``, whose rows have these labels; and its sum."""
    summed = torch.zeros(size, lines.shape[1], dtype=lines.dtype).index_add_(0, labels, lines)
    sums = fast(summed)
    power = torch.view_as_real(sums).square().sum(-1) if sums.is_complex() else sums.abs()
    best = power.argmax(0)
    return best, sums.gather(0, best[None])[0]


def _decoded(turned: Tensor, columns: Tensor, fast: Fast) -> Labels | None:
    """Rows from columns and columns from rows, until all rows are understood; None when they never are.

    The signs of the sums take out what noise in the reference row and column left.
    """
    count, size = turned.shape
    across = turned.T.contiguous()
    signs = turned.new_ones(size)
    known = 0
    for _ in range(ROUNDS):
        rows, sums = _best(across * signs[:, None], columns, fast, size)
        clear = sums.abs() >= _clear(size)
        before, known = known, int(clear.sum())
        if (known <= before and known < count) or known < 2:
            break
        turns = torch.sgn(sums[clear]).conj()
        again, sums = _best(turned[clear] * turns[:, None], rows[clear], fast, size)
        settled = torch.equal(again, columns) and known == count
        columns, signs = again, torch.sgn(sums).conj()
        if settled:
            break
    whole = known == count and _different(columns) and _different(rows)
    return Labels(rows, columns) if whole else None


def _different(labels: Tensor) -> bool:
    return int(labels.bincount().max()) == 1


def _grown(turned: Tensor) -> Tensor:
    """Labels of columns, bit by bit: each bit is a row that those before do not explain.

    After each, all rows that are explained vote on the bits so far.
    """
    size = turned.shape[1]
    across = turned.T.contiguous()
    columns, signs = torch.zeros(size, dtype=torch.int64), turned.new_ones(size)
    for bit in range(size.bit_length() - 1):
        some = 2**bit
        rows, sums = _best(across * signs[:, None], columns, hadamard, some)
        clear = sums.abs() >= _clear(size)
        if some > 2:
            turns = sums[clear].sign()[:, None]
            columns, votes = _best(turned[clear] * turns, rows[clear], hadamard, some)
            signs = votes.sign()
            sums = _best(across * signs[:, None], columns, hadamard, some)[1]
        new = turned[int(sums.abs().argmin())] * signs
        columns = columns + some * (new < 0).long()
    return columns


@dataclass(frozen=True)
class Scaled:
    """A table under scales: ``(m,)`` and ``(n,)``, how much is left over, and its spread.

    ``slack`` says how far each row's and each column's scale may be off a clean one, relative to its size.
    """

    rows: Tensor
    columns: Tensor
    left: float
    slack: tuple[Tensor, Tensor]


def rescaled(weight: Tensor, table: Tensor, noise: float) -> Scaled | None:
    """The scales ``r, c`` under which ``diag(r) table diag(c)`` is nearest; moduli of the table are 1.

    By power iteration from the largest row: sums of columns vanish on a plain Hadamard matrix.

    Args:
        weight: ``(m, n)``.
        table: likewise.
        noise: unit roundoff of the numbers' dtype.

    Returns:
        None when a row or column vanishes.
    """
    products = weight * table.conj()
    columns = products[int(products.abs().square().sum(1).argmax())]
    for _ in range(2):
        rows = products @ columns.conj() / columns.abs().square().sum()
        columns = rows.conj() @ products / rows.abs().square().sum()
    # once more by sums in pairs: equal numbers that are added one by one are all rounded the same way
    rows = (products * columns.conj()).sum(1) / columns.abs().square().sum()
    columns = (products.T * rows.conj()).sum(1) / rows.abs().square().sum()
    if not bool((rows.abs() > 0).all()) or not bool((columns.abs() > 0).all()):
        return None
    residual = products - rows[:, None] * columns
    off = spread(residual, len(rows) + len(columns))
    floor = 4 * max(noise, 2.0**-50)  # a fast transform rounds a little more than float64 does
    slack = (
        SIGMAS * off / (rows.abs() * columns.norm()) + floor,
        SIGMAS * off / (columns.abs() * rows.norm()) + floor,
    )
    return Scaled(rows, columns, left_over(residual, weight), slack)
