"""The laws from which the framework draws a parameter, by its shape and name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import scipy.stats
from torch import Size

from paramaudit.bare.stored import Stored
from paramaudit.numerics.goodness import Law

_CUT = 2.0
_SHRUNK = float(scipy.stats.truncnorm(-_CUT, _CUT).std())
"""The deviation of a standard normal cut off at two deviations, which some initialisers divide out."""


def laws(stored: Stored, held: Mapping[str, Stored]) -> Iterator[tuple[str, Law]]:
    """Each law with the name of its initialiser.

    Source:
        The documentation of ``torch.nn.init`` and of the layers' own parameters; He et al. (2015) and
        Glorot and Bengio (2010) for the bounds; the normal draws of 0.02 are those of GPT and BERT.
    """
    hidden = _hidden(stored, held)
    if hidden:
        yield "uniform up to 1/sqrt(hidden)", Law("uniform", 1 / math.sqrt(hidden))
    if stored.tensor.dim() > 1:
        yield from _of_weight(stored.tensor.shape)
    elif (weight := _weight_of(stored, held)) is not None:
        yield "uniform up to 1/sqrt(fan in)", Law("uniform", 1 / math.sqrt(weight.tensor[0].numel()))


def _of_weight(shape: Size) -> Iterator[tuple[str, Law]]:
    field = math.prod(shape[2:])
    into, out = max(1, shape[1] * field), max(1, shape[0] * field)
    yield "kaiming_uniform(a=sqrt(5))", Law("uniform", 1 / math.sqrt(into))
    yield "kaiming_uniform", Law("uniform", math.sqrt(6 / into))
    yield "xavier_uniform", Law("uniform", math.sqrt(6 / (into + out)))
    yield "kaiming_normal", Law("normal", math.sqrt(2 / into))
    yield "kaiming_normal, fan out", Law("normal", math.sqrt(2 / out))
    yield "xavier_normal", Law("normal", math.sqrt(2 / (into + out)))
    yield "normal of 1/sqrt(fan in)", Law("normal", math.sqrt(1 / into))
    yield "normal of 0.02", Law("normal", 0.02)
    yield "normal of 0.01", Law("normal", 0.01)
    yield "normal of 1", Law("normal", 1.0)
    for name, scale in (("0.02", 0.02), ("1/sqrt(fan in)", math.sqrt(1 / into))):
        yield f"truncated normal of {name}", Law("normal", scale, _CUT)
        yield f"truncated normal of {name}, rescaled", Law("normal", scale / _SHRUNK, _CUT)


def _hidden(stored: Stored, held: Mapping[str, Stored]) -> int:
    """The hidden size of a recurrent layer whose parameter this is by name; 0 where it is none."""
    for prefix in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"):
        if stored.last.startswith(prefix):
            inner = held.get(stored.name.replace(prefix, "weight_hh"))
            projected = held.get(stored.name.replace(prefix, "weight_hr"))
            chosen = projected or inner
            return chosen.tensor.shape[1] if chosen is not None and chosen.tensor.dim() == 2 else 0
    return 0


def _weight_of(stored: Stored, held: Mapping[str, Stored]) -> Stored | None:
    """The weight beside a bias."""
    weight = held.get(stored.name.removesuffix("bias") + "weight") if stored.last == "bias" else None
    fits = weight is not None and weight.tensor.dim() > 1 and weight.tensor.shape[:1] == stored.tensor.shape
    return weight if fits else None
