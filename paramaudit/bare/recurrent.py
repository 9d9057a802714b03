"""The two bias vectors of recurrent layers, which are only ever added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paramaudit.bare.offers import Offer
from paramaudit.bare.stored import Stored
from paramaudit.records import Evidence, Tier

NAME = "duplicate"

_KINDS = {4: ("LSTM", 4), 3: ("GRU", 2), 1: ("RNN", 1)}
"""By rows of a weight a hidden unit: the layer, and for how many gates its two biases are added."""


def find(held: Mapping[str, Stored]) -> Iterator[Offer]:
    """A finding for every pair of biases that torch's own layers, by their names, only ever add.

    For an LSTM and a plain RNN all of the second vector can go; for a GRU the new gate's part of it is
    multiplied by the reset gate first, and stays.

    Source:
        The equations in the documentation of ``torch.nn.LSTM``, ``torch.nn.GRU`` and ``torch.nn.RNN``.
    """
    for name, second in held.items():
        if not second.last.startswith("bias_hh"):
            continue
        kept = held.get(name.replace("bias_hh", "bias_ih"))
        inner = held.get(name.replace("bias_hh", "weight_hh"))
        outer = held.get(name.replace("bias_hh", "weight_ih"))
        kind = _kind(held, kept, second, inner, outer)
        if kept is not None and kind is not None and kept.numbers and second.numbers:
            yield _offer(held, kept, second, kind)


def _kind(
    held: Mapping[str, Stored],
    kept: Stored | None,
    second: Stored,
    inner: Stored | None,
    outer: Stored | None,
) -> tuple[str, int, int] | None:
    """Layer, merged gates and all gates, where the shapes are those of the layer."""
    if kept is None or inner is None or outer is None or inner.tensor.dim() != 2 or outer.tensor.dim() != 2:
        return None
    rows, hidden = inner.tensor.shape
    projected = held.get(inner.name.replace("weight_hh", "weight_hr"))
    if projected is not None and projected.tensor.dim() == 2:
        hidden = projected.tensor.shape[1]
    gates = rows // hidden if hidden and rows % hidden == 0 else 0
    shapes = {tuple(kept.tensor.shape), tuple(second.tensor.shape), (rows,)}
    if gates not in _KINDS or len(shapes) > 1 or outer.tensor.shape[0] != rows:
        return None
    return *_KINDS[gates], gates


def _offer(held: Mapping[str, Stored], kept: Stored, second: Stored, kind: tuple[str, int, int]) -> Offer:
    layer, merged, gates = kind
    numbers = second.tensor.numel()
    left = numbers - numbers * merged // gates
    prefix = f"{second.path}." if second.path else ""
    inside = [name.removeprefix(prefix) for name in held if name.startswith(prefix)]
    own = all(name.startswith(("weight_", "bias_")) and "." not in name for name in inside)
    part = "" if not left else "; of the second the part of the new gate stays, which is gated first"
    reason = f"the two bias vectors of the {layer} are only ever added{part}"
    if not own:
        reason += "; its module holds more than torch's own layer, so that the names are no proof"
    evidence = Evidence(Tier.EXACT if own else Tier.SUSPECTED, reason)
    return Offer(
        NAME,
        second.path,
        (kept.name, second.name),
        evidence,
        2 * numbers,
        numbers + left,
        arguments={"bias": "recurrent", "layer": layer},
        requires=(f"{second.path or 'the model'} is torch's own {layer}, as its names and shapes say",),
        shrinks=second.name,
        left=left,
        sources=(kept.name,),
        changes=(kept.name,),
    )
