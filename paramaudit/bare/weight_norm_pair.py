"""Weights that are stored as a direction and a length, and norms that may fold into a convolution.

What it finds:    ``weight_g`` beside ``weight_v``, or ``original0`` and ``original1`` of a parametrised
                  weight, with the shapes of weight normalisation; running statistics of a batch norm whose
                  size is that of the convolution or linear map before it by name.
Why it matters:   w = g v / |v| is one tensor: the lengths can go. A batch norm that directly follows a
                  convolution is a scale and a shift of its rows.
Proof:            The first is the definition of weight normalisation. The second is ``suspected`` only: names
                  do not say what stands between, and conv -> ReLU -> norm must not be folded so.
Swap safety:      exact for inference up to rounding the product once. Training goes on differently.
Source:           Salimans and Kingma, Weight Normalization (2016), equation 2; Ioffe and Szegedy, Batch
                  Normalization (2015), section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from paramaudit.bare.offers import Offer, told
from paramaudit.bare.stored import Stored
from paramaudit.records import Evidence, Tier

NAME = "weight-norm-pair"

_PAIRS = (("_g", "_v"), (".original0", ".original1"))


def find(held: Mapping[str, Stored], tensors: Mapping[str, Tensor]) -> Iterator[Offer]:
    """Every pair, then every norm with running statistics."""
    for name, direction in held.items():
        for short, long in _PAIRS:
            length = held.get(name.removesuffix(long) + short) if name.endswith(long) else None
            if length is not None and _fits(length.tensor, direction.tensor):
                yield _offer(length, direction)
    yield from _norms(held, tensors)


def _fits(length: Tensor, direction: Tensor) -> bool:
    """Whether there is one length for each index of one dimension, or one for all."""
    if direction.dim() < 2 or length.numel() == direction.numel():
        return False
    if length.numel() == 1:
        return True
    if length.dim() != direction.dim():
        return False
    pairs = list(zip(length.shape, direction.shape, strict=True))
    return all(ours in (1, theirs) for ours, theirs in pairs) and sum(ours > 1 for ours, _ in pairs) == 1


def _offer(length: Stored, direction: Stored) -> Offer:
    before = length.tensor.numel() + direction.tensor.numel()
    reason = f"{length.last} and {direction.last} are length and direction of one tensor: w = g v / |v|"
    path = direction.path.removesuffix("parametrizations.weight").removesuffix(".")
    return Offer(
        NAME,
        path,
        (length.name, direction.name),
        Evidence(Tier.EXACT, reason),
        before,
        direction.tensor.numel(),
        arguments={"length": length.name, "direction": direction.name},
        requires=(f"{path or 'the model'} is parametrised by torch's weight_norm, as its names say",),
        shrinks=length.name,
        left=0,
        sources=(direction.name,),
        changes=(direction.name,),
    )


def _norms(held: Mapping[str, Stored], tensors: Mapping[str, Tensor]) -> Iterator[Offer]:
    before: Stored | None = None
    for name, stored in held.items():
        if stored.tensor.dim() > 1:
            before = stored
            continue
        mean = tensors.get(f"{stored.path}.running_mean")
        if stored.last != "weight" or mean is None or before is None or mean.shape != stored.tensor.shape:
            continue
        if before.tensor.shape[0] == stored.tensor.numel():
            names = tuple(n for n in (name, f"{stored.path}.bias") if n in held)
            numbers = sum(held[n].tensor.numel() for n in names)
            reason = (
                f"its running statistics have the size of {before.name} before it; where nothing stands "
                "between them the norm folds into it; an activation between forbids it, and names do not tell"
            )
            counts, arguments = (numbers, numbers), {"after": before.name}
            yield told(NAME, stored.path, names, reason, counts, arguments={**arguments})
