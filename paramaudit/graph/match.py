"""What a rewrite offers: the nodes it replaces, what they read, and how to compute them more cheaply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import fx

from paramaudit.graph.surgery import Draft
from paramaudit.records import Json, PairedUnits, Skipped


@dataclass(frozen=True)
class Match:
    """A place where a rewrite applies.

    ``olds`` are the nodes to replace and ``inputs`` the data that they are functions of. ``build`` emits the
    replacements, starting right before the first of ``olds``, and returns one node for each. ``identity``
    names the equality that makes both the same function; it is checked in float64 before the match is
    accepted. A rewrite whose equality holds only up to rounding makes a ``claim`` instead.
    ``tensors`` are the nodes whose stored numbers the match is about, and ``requires`` says in words what the
    equality needs beyond the inputs' dtypes and shapes. It is checked with open sizes of at least ``least``.
    """

    path: str
    olds: tuple[fx.Node, ...]
    inputs: tuple[fx.Node, ...]
    build: Callable[[Draft], Sequence[fx.Node]]
    identity: str
    tensors: tuple[fx.Node, ...] = ()
    arguments: Mapping[str, Json] = field(default_factory=dict)
    claim: PairedUnits | None = None
    requires: tuple[str, ...] = ()
    least: int = 2


@dataclass(frozen=True)
class Rewrite:
    """One graph rewrite. ``stage`` 0 runs before chains are merged, 1 after."""

    name: str
    find: Callable[[Draft], Iterable[Match | Skipped]]
    stage: int = 0
