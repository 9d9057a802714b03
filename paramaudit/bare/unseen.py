"""What an optimizer's state says about parameters that no gradient ever reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from paramaudit.bare.offers import Offer, told
from paramaudit.bare.stored import Stored
from paramaudit.bare.untrained import NAME
from paramaudit.records import Skipped

_SQUARES = ("exp_avg_sq", "square_avg", "sum", "max_exp_avg_sq")
"""Running sums of squared gradients, by the names that torch's optimizers give them: zero means none came."""


def find(held: Mapping[str, Stored], optimizer: Mapping[str, Any]) -> Iterator[Offer | Skipped]:
    """A finding for each parameter, or rows of one, that the optimizer never saw; or why none is known."""
    state, ids, names = _read(optimizer)
    if not any(isinstance(entry, Mapping) and entry for entry in state.values()):
        return  # an optimizer without memory saw nothing or keeps nothing
    known = _named(held, state, ids, names)
    if known is None:
        reason = "the optimizer's state cannot be told apart by parameter, so that it is no evidence"
        yield Skipped("", reason)
        return
    for key, stored in known.items():
        offer = _unseen(stored, state.get(key))
        if offer is not None:
            yield offer


def _read(optimizer: Mapping[str, Any]) -> tuple[Mapping[Any, Any], list[Any], list[str]]:
    """State by parameter, the parameters in their order, and their names where the optimizer knows them.

    Without names several groups say nothing: parameters are numbered group after group, not in their order.
    """
    state, groups = optimizer.get("state"), optimizer.get("param_groups")
    ids: list[Any] = []
    names: list[str] = []
    for group in groups if isinstance(groups, Sequence) else ():
        if isinstance(group, Mapping) and isinstance(group.get("params"), Sequence):
            ids += group["params"]
            given = group.get("param_names")
            names += given if isinstance(given, Sequence) and len(given) == len(group["params"]) else ()
    if len(names) != len(ids) and isinstance(groups, Sequence) and len(groups) != 1:
        ids = []
    return (state if isinstance(state, Mapping) else {}), ids, names


def _named(
    held: Mapping[str, Stored], state: Mapping[Any, Any], ids: Sequence[Any], names: Sequence[str]
) -> Mapping[Any, Stored] | None:
    """Which tensor each entry is about: by name, or one by one where number and every shape agree."""
    if len(names) == len(ids) and names:
        pairs = {key: held[name] for key, name in zip(ids, names, strict=True) if name in held}
    else:
        own = [stored for stored in held.values() if stored.numbers]
        if len(own) != len(ids) or ids != list(range(len(ids))):
            return None
        pairs = dict(zip(ids, own, strict=True))
    return pairs if all(_fits(stored, state.get(key)) for key, stored in pairs.items()) else None


def _fits(stored: Stored, entry: object) -> bool:
    """Whether what is kept of a parameter has its shape."""
    tensors = _tables(entry)
    return all(t.shape == stored.tensor.shape or t.dim() == 0 for t in tensors)


def _tables(entry: object) -> list[Tensor]:
    if not isinstance(entry, Mapping):
        return []
    return [t for name, t in entry.items() if isinstance(t, Tensor) and name != "step"]


def _unseen(stored: Stored, entry: object) -> Offer | None:
    numbers = stored.tensor.numel()
    if not isinstance(entry, Mapping) or not entry:
        reason = "the optimizer holds no state for it: no gradient ever reached it"
        return _told(stored, reason, numbers, {"evidence": "no state"})
    for name in _SQUARES:
        squares = entry.get(name)
        if not isinstance(squares, Tensor) or squares.shape != stored.tensor.shape:
            continue
        table = squares.reshape(len(squares), -1)
        empty = int((~table.any(1)).sum())
        if empty == len(table):
            reason = f"the optimizer's {name} is all zero: every gradient that reached it was zero"
            return _told(stored, reason, numbers, {"evidence": name})
        if empty and stored.tensor.dim() > 1:
            reason = f"the optimizer's {name} is zero for {empty:,} of {len(table):,} rows: none was trained"
            return _told(stored, reason, numbers, {"evidence": name, "rows": empty})
    return None


def _told(stored: Stored, reason: str, numbers: int, arguments: Mapping[str, str | int]) -> Offer:
    counts = (numbers, numbers)
    return told(
        NAME, stored.path, (stored.name,), f"{reason}; this is no proof", counts, arguments={**arguments}
    )
