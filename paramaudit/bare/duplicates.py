"""Numbers that are stored twice: tied tensors, equal ones, transposed ones, rows in another order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from paramaudit.bare.offers import Offer, saving, told
from paramaudit.bare.stored import Stored, bits
from paramaudit.records import Evidence, Tier

NAME = "duplicate"

_MIX = (-7046029254386353131, -4417276706812531889)  # odd, so that each is a bijection modulo 2^64


def find(held: Mapping[str, Stored]) -> Iterator[Offer]:
    """A finding for every tensor whose numbers an earlier one holds too.

    Constant tensors are no evidence of copying and are left; so is a row.
    """
    sizes = Counter((stored.tensor.dtype, stored.tensor.numel()) for stored in held.values())
    groups: dict[tuple[object, ...], list[Stored]] = defaultdict(list)
    for stored in held.values():
        size = stored.tensor.dtype, stored.tensor.numel()
        if sizes[size] < 2 or stored.tensor.numel() < 2:
            continue
        found = bits(stored.tensor)
        first, second = found.reshape(-1)[:2].tolist()
        if first != second or bool((found != first).any()):
            groups[*size, _sum(found)].append(stored)
    for group in (group for rough in groups.values() for group in _split(rough)):
        for number, stored in enumerate(group):
            offers = (_compared(earlier, stored) for earlier in group[:number])
            yield from (offer for offer in [next(filter(None, offers), None)] if offer is not None)


def _compared(kept: Stored, copy: Stored) -> Offer | None:
    """What the copy has of the tensor that is kept; None where only their sums agree."""
    first, second = bits(kept.tensor), bits(copy.tensor)
    if first.shape == second.shape and torch.equal(first, second):
        return _tied(kept, copy) if not copy.numbers else _offer(kept, copy, "the same numbers as", "equal")
    if first.dim() == 2 and first.shape == second.T.shape and torch.equal(first, second.T):
        return _offer(kept, copy, "the transpose of", "transposed")
    order = _order(first, second)
    if order is not None and order.numel() < copy.numbers:
        return _offer(kept, copy, "the rows, in another order, of", "rows permuted", order.numel())
    return None


def _tied(kept: Stored, copy: Stored) -> Offer:
    numbers = copy.tensor.numel()
    reason = f"the same memory as {kept.name}: tied, and counted once"
    counts, arguments = (numbers, numbers), {"of": kept.name, "how": "tied"}
    return told(NAME, copy.path, (copy.name,), reason, counts, tier=Tier.EXACT, arguments={**arguments})


def _offer(kept: Stored, copy: Stored, words: str, how: str, indices: int = 0) -> Offer:
    evidence = Evidence(Tier.EXACT, f"{words} {kept.name}, to the last bit")
    arguments = {"of": kept.name, "how": how}
    return saving(NAME, copy, evidence, 0, indices=indices, arguments={**arguments}, sources=(kept.name,))


def _order(first: Tensor, second: Tensor) -> Tensor | None:
    """The index vector by which the rows of the first are those of the second, ``(rows,)``."""
    if first.dim() < 2 or first.shape != second.shape:
        return None
    ours, theirs = (_sums(table.reshape(len(table), -1)) for table in (first, second))
    left, right = ours.argsort(stable=True), theirs.argsort(stable=True)
    if not torch.equal(ours[left], theirs[right]):
        return None
    order = torch.empty_like(left)
    order[right] = left
    return order if torch.equal(first[order], second) else None


def _split(group: list[Stored]) -> list[list[Stored]]:
    """Tensors of one sum by a checksum that takes longer; most sums are of one tensor alone."""
    if len(group) < 2:
        return [group]
    found: dict[int, list[Stored]] = defaultdict(list)
    for stored in group:
        found[_checksum(bits(stored.tensor))].append(stored)
    return list(found.values())


def _sum(whole: Tensor) -> int:
    """The sum modulo 2^64 of numbers as they are stored, which no reordering changes."""
    return int(whole.sum(dtype=torch.int64)) % 2**64


def _checksum(whole: Tensor) -> int:
    """The same of mixed bits, so that numbers that differ hardly ever agree."""
    parts = torch.split(whole.reshape(-1), 1 << 22)
    return sum(int(_mixed(part.to(torch.int64)).sum()) for part in parts) % 2**64


def _sums(rows: Tensor) -> Tensor:
    """A checksum of every row that depends on the order of its numbers, ``(rows,)``."""
    weights = _mixed(torch.arange(1, rows.shape[1] + 1))
    return torch.stack([(_mixed(row.to(torch.int64)) * weights).sum() for row in rows])


def _mixed(values: Tensor) -> Tensor:
    mixed = values * _MIX[0]
    return (mixed ^ (mixed >> 29)) * _MIX[1]
