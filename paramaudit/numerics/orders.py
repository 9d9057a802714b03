"""Orders of indices: by a closed form, which stores nothing, or listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from paramaudit.records import Json


@dataclass(frozen=True)
class Order:
    """Which of ``size`` places stand where: ``count`` of them.

    Attributes:
        name: "progression" (``first + step i`` modulo the size), one of :data:`CLOSED`, or "listed".
        size: how many places there are.
        count: how many of them are named.
        first: of a progression.
        step: of a progression.
        places: ``(count,)`` int64, when they are listed.
    """

    name: str
    size: int
    count: int
    first: int = 0
    step: int = 1
    places: Tensor | None = None

    @property
    def natural(self) -> bool:
        """Whether all places stand in their own order."""
        return self.name == "progression" and (self.first, self.step, self.count) == (0, 1, self.size)

    @property
    def rank(self) -> int:
        """How hard it is to say: the lower, the simpler."""
        if self.natural:
            return 0
        if self.name == "progression":
            return 1 if self.step in (1, self.size - 1) else 3
        return 4 if self.places is not None else 2

    def index(self, device: torch.device | str = "cpu") -> Tensor:
        """The places ``(count,)``, computed; not for listed ones, which a layer keeps as a buffer."""
        steps = torch.arange(self.count, device=device)
        if self.name == "progression":
            return (self.first + self.step * steps) % self.size
        return CLOSED[self.name](steps, self.size)

    def said(self, what: str) -> dict[str, Json]:
        """The order in words, as arguments of a layer: ``what`` is "rows" or "columns"."""
        if self.places is not None:
            return {what: "permuted" if self.count == self.size else "listed"}
        if self.name != "progression":
            return {what: self.name}
        if self.natural:
            return {what: "natural"}
        if (self.first, self.step, self.count) == (self.size - 1, self.size - 1, self.size):
            return {what: "reversed"}
        return {what: "progression", f"{what}_first": self.first, f"{what}_step": self.step}


def natural(size: int) -> Order:
    """All places in their own order."""
    return Order("progression", size, size)


def order_of(places: Tensor, size: int) -> Order:
    """The simplest order that says these places ``(count,)``, int64 below ``size``."""
    count = len(places)
    first = int(places[0]) if count else 0
    step = int(places[1] - places[0]) % size if count > 1 else 1
    plain = Order("progression", size, count, first, step)
    if torch.equal(plain.index(), places):
        return plain
    for name in usual_names(size) if count == size else ():
        known = Order(name, size, size)
        if torch.equal(known.index(), places):
            return known
    return Order("listed", size, count, places=places.clone())


def usual_names(size: int) -> tuple[str, ...]:
    """The closed forms that exist for a size."""
    return tuple(CLOSED) if size & (size - 1) == 0 else ("even-odd", "interleaved")


def _bits(size: int) -> range:
    return range(size.bit_length() - 1)


def _bit_reversed(steps: Tensor, size: int) -> Tensor:
    return sum((steps // 2**k % 2 * (size // 2 ** (k + 1)) for k in _bits(size)), torch.zeros_like(steps))


def _sequency(steps: Tensor, size: int) -> Tensor:
    """Rows of a Hadamard matrix by how often their sign changes: the reflected code, bits reversed."""
    turned = ((steps // 2**k + steps // 2 ** (k + 1)) % 2 * (size // 2 ** (k + 1)) for k in _bits(size))
    return sum(turned, torch.zeros_like(steps))


def _even_odd(steps: Tensor, size: int) -> Tensor:
    half = (size + 1) // 2
    return torch.where(steps < half, 2 * steps, 2 * (steps - half) + 1)


def _interleaved(steps: Tensor, size: int) -> Tensor:
    return steps // 2 + steps % 2 * ((size + 1) // 2)


CLOSED: dict[str, Callable[[Tensor, int], Tensor]] = {
    "bit-reversed": _bit_reversed,
    "even-odd": _even_odd,
    "interleaved": _interleaved,
    "sequency": _sequency,
}
"""Orders of all places by name; the first and the last are for powers of two."""
