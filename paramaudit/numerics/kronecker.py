"""The nearest sum of a few Kronecker products, for every way to split the rows and columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from paramaudit.numerics.noise import NOISY, left_over
from paramaudit.numerics.norms import back
from paramaudit.numerics.rank_one import leading, power_of_two, shares, usual_share
from paramaudit.numerics.residual import MANY, noise_like
from paramaudit.numerics.storage import STORED

MOST_TERMS = 3
MOST_USUAL = 0.8
"""A row must come halfway from what is usual to one; what is usual of a short row counts for no more."""

NEAR = 64
"""A sum that leaves no more than this many units of rounding is one."""

LARGE = 32
"""Of fewer rows or columns, folded, a few terms take up so much that what is left says little."""

SAMPLED = 48
"""So many entries, and of each the row and column of the folded matrix, are looked at first."""

SLACK = 1.3
"""A sample may be so much noisier than the whole."""

FITTED = 12
"""At most so many splits are looked at in full, those that store least; of sums fewer."""

CLOSER = 1.5
"""What is left must be so many times less for more numbers to be worth storing."""

FIRM = 1e-3
"""Where nearly every matrix is near a product, only one that leaves at most this much is one."""


@dataclass(frozen=True)
class Products:
    """``sum_k first[k] (x) second[k]``, ``(K, m1, n1)`` and ``(K, m2, n2)``, and what that leaves.

    It is ``settled`` when that is noise: more terms would only take up some of it.
    """

    first: Tensor
    second: Tensor
    left: float
    settled: bool = False

    @property
    def numbers(self) -> int:
        """How many are stored."""
        return self.first.numel() + self.second.numel()


def products(weight: Tensor, dtype: torch.dtype, noise: float) -> Products | None:
    """The sum of at most three Kronecker products with the fewest numbers among the near ones.

    A few rows and columns dismiss nearly all splits: every row of ``A (x) B`` is the Kronecker product of two
    vectors, that is of rank one when it is folded, and so is every column.

    Args:
        weight: ``(m, n)``.
        dtype: that of the stored numbers; the first factors are rounded to it.
        noise: its unit roundoff.

    Source:
        Van Loan and Pitsianis, Approximation with Kronecker products (1993).
    """
    found: list[Products] = []
    wide = _folds(weight)
    tall = _folds(weight.T) if any(wide) else wide
    if not any(tall) and not any(wide):
        return None
    best = 1.0
    some, gain = _heavy(weight), power_of_two(weight)
    scaled = weight / gain
    for terms in range(1, MOST_TERMS + 1):
        splits = _splits(weight, tall[terms - 1], wide[terms - 1])
        fit = sorted((_stored(weight, at, terms), at) for at in splits if _looks_so(weight, at, terms, some))
        for numbers, at in fit[: FITTED // terms]:
            if numbers < weight.numel():
                # those before store less
                below = min((one.left / CLOSER for one in found if one.settled), default=1.0)
                fitted = _fitted(scaled, at, terms, dtype, noise, below)
                found += [] if fitted is None else [fitted]
                if fitted is not None and fitted.left <= NEAR * noise:
                    break  # those to come store more
        best = min((one.left for one in found), default=1.0)
        if best <= NEAR * noise or any(one.settled for one in found):
            break
    near = [one for one in found if one.left <= CLOSER * best + 2 * noise]
    if not near:
        return None
    least = min(near, key=lambda one: one.numbers)
    return replace(least, second=gain * least.second)


def _splits(weight: Tensor, tall: list[int], wide: list[int]) -> Iterator[tuple[int, int]]:
    """Sizes ``(m1, n1)`` of first factors; not the matrix itself, nor the product of two vectors."""
    rows, columns = weight.shape
    for m1 in (1, *tall, rows):
        for n1 in (1, *wide, columns):
            if m1 not in (1, rows) or n1 not in (1, columns):
                yield m1, n1


def _folds(weight: Tensor) -> list[list[int]]:
    """For 1, 2, ... terms: the sizes n1 at which the heaviest of a few rows, folded, has that rank."""
    rows, columns = weight.shape
    some = weight[torch.linspace(0, rows - 1, min(8, rows)).long()]
    row = some[int(some.abs().sum(1).argmax())]
    found: list[list[int]] = [[] for _ in range(MOST_TERMS)]
    for n1 in range(2, columns // 2 + 1):
        n2 = columns // n1
        if n1 * n2 != columns:
            continue
        held = shares(row.reshape(n1, n2)).tolist()
        usual = usual_share(n1, n2)
        # of short rows several products say nothing
        most = 1 if min(n1, n2) < 4 else min(n1, n2) // 2
        for terms in range(1, min(MOST_TERMS, most) + 1):
            if held[terms - 1] >= (1 + min(MOST_USUAL, terms * usual)) / 2:
                found[terms - 1].append(n1)
    return found


def _stored(weight: Tensor, at: tuple[int, int], terms: int) -> int:
    """How many numbers so many products with first factors of this size take."""
    first = at[0] * at[1]
    return terms * (first + weight.numel() // first)


def _heavy(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns ``(k,)`` of some entries that are not small, in places without a pattern."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(weight.numel(), (SAMPLED**2,), generator=generator)
    sizes = weight.reshape(-1)[drawn].abs()
    where = weight.nonzero() if float(sizes.median()) == 0.0 else weight.new_empty(0)
    if len(where):  # few entries are not zero
        drawn = where[:, 0] * weight.shape[1] + where[:, 1]
        drawn = drawn[torch.randint(len(drawn), (SAMPLED,), generator=generator)]
    else:  # the heaviest of all, and those of a few rows, which stand out of noise though they are few
        drawn = drawn[sizes.topk(SAMPLED // 2).indices]
        rows = torch.randint(len(weight), (SAMPLED // 2,), generator=generator)
        drawn = torch.cat([drawn, rows * weight.shape[1] + weight[rows].abs().argmax(1)])
    return drawn // weight.shape[1], drawn % weight.shape[1]


def _looks_so(weight: Tensor, at: tuple[int, int], terms: int, some: tuple[Tensor, Tensor]) -> bool:
    """Whether the rows and columns of some entries, of the folded matrix, are near so many products."""
    rows, columns = weight.shape
    (m1, n1), (m2, n2) = at, (rows // at[0], columns // at[1])
    if terms >= min(m1 * n1, m2 * n2):
        return False
    first = torch.unique(some[0] // m2 * n1 + some[1] // n2)
    second = torch.unique(some[0] % m2 * n2 + some[1] % n2)
    row = (first // n1)[:, None] * m2 + second // n2
    column = (first % n1)[:, None] * n2 + second % n2
    part = weight[row, column]
    if min(part.shape) <= terms:
        return True
    usual = min(1.0, terms * usual_share(*part.shape))
    return float(shares(part)[terms - 1]) >= 1 - NOISY**2 * (1 - min(MOST_USUAL, usual)) * SLACK


def _fitted(
    weight: Tensor, at: tuple[int, int], terms: int, dtype: torch.dtype, noise: float, below: float
) -> Products | None:
    """The nearest sum of so many products of these sizes, when it is near and leaves less than ``below``."""
    rows, columns = weight.shape
    m1, n1 = at
    folded = weight.reshape(m1, rows // m1, n1, columns // n1).permute(0, 2, 1, 3).reshape(m1 * n1, -1)
    usual = 1 - min(1.0, terms * usual_share(*folded.shape))
    most = min(below, max(FIRM, NOISY * usual**0.5))
    least = (1 - (most + FIRM) ** 2) * float(torch.linalg.matrix_norm(folded)) ** 2
    if terms == 1:
        left, right = leading(folded, dtype)
        left, right = left[:, None], right[None]
    else:
        several = _several(folded, terms, dtype, least)
        if several is None:
            return None
        left, right = several
    # orthogonal to what is taken up, the rest is told by its length, but for rounding
    if float(((left.T @ left) * (right @ right.T)).sum()) < least:
        return None
    missed = folded - left @ right
    residual = left_over(missed, folded)
    if not residual <= most:
        return None
    noisy = min(folded.shape) >= LARGE and noise_like(missed)
    if terms > 1 and not (residual <= NEAR * noise or noisy):
        return None  # a smooth matrix is near a few products, as a function is near a few terms of a series
    # what storage leaves goes by rows, and is not spread evenly
    if not (residual <= STORED or noisy or min(folded.shape) < LARGE):
        return None
    factors = left.T.reshape(-1, *at), right.reshape(-1, rows // m1, columns // n1)
    return Products(*factors, residual, noisy and weight.numel() >= MANY)


def _several(folded: Tensor, terms: int, dtype: torch.dtype, least: float) -> tuple[Tensor, Tensor] | None:
    """The leading factors by subspace iteration from the heaviest rows, the first one rounded.

    None where even some more of them hold less than ``least`` of the squares.
    """
    if len(folded) > folded.shape[1] and folded.shape[1] <= 4 * terms:
        right = torch.eye(folded.shape[1], dtype=folded.dtype)
    else:
        right = folded[folded.square().sum(1).topk(min(4 * terms, len(folded))).indices].T
        for step in range(6):
            right = torch.linalg.qr(back(folded, torch.linalg.qr(folded @ right).Q)).Q
            if step == 1 and float((folded @ right).square().sum()) < least:
                return None
    small, _, _ = torch.linalg.svd(folded @ right, full_matrices=False)
    left = small[:, :terms].to(dtype).to(folded.dtype)
    second = torch.linalg.lstsq(left, folded).solution
    return left, second
