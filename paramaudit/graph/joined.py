"""Program inputs joined into one tensor, so that maps of several inputs that are added become one map.

A region has a single anchor. ``F x + K (z - H F x)`` is affine in x and z together, yet no region of either
holds its three matrices. Here x and z become slices of ``cat([x, z], -1)``, which is an anchor like any
other. Slices that nothing came of read the inputs themselves again in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from paramaudit.graph import facts, sites
from paramaudit.graph.affine import Region, region
from paramaudit.graph.program import placeholders
from paramaudit.graph.shapes import same, shape
from paramaudit.graph.sites import Chain
from paramaudit.graph.surgery import Draft

_ADDED = ("aten::add", "aten::sub", "aten::rsub")


@dataclass(frozen=True)
class _Meeting:
    """Inputs whose affine maps are added up or joined, and the calls on the way there that read them."""

    inputs: tuple[fx.Node, ...]
    readers: frozenset[fx.Node]


def join(draft: Draft) -> tuple[fx.Node, ...]:
    """Join the inputs of which one map would store less than their own maps do; the joined tensors."""
    meetings = [met for inputs in _alike(draft) for met in _meetings(draft, inputs)]
    made = [_joined(draft, met.inputs, met.readers) for met in meetings]
    kept = _smaller(draft, made) if made else set()
    part(draft, [node for node in made if node not in kept])
    return tuple(node for node in made if node in kept)


def part(draft: Draft, joins: Iterable[fx.Node]) -> None:
    """Let slices of joined tensors read the inputs themselves again."""
    for node in joins:
        first = 0
        for source in node.args[0] if node.users and isinstance(node.args[0], list | tuple) else ():
            if not isinstance(source, fx.Node):
                break
            last = first + _width(source)
            for piece in [u for u in node.users if _is_slice(u, node) and u.args[1:] == (-1, first, last)]:
                draft.replace(piece, source)
            first = last
    draft.clean()


def _alike(draft: Draft) -> list[list[fx.Node]]:
    """Inputs that can stand side by side: of one dtype, with the same leading sizes; two or more."""
    unsafe = facts.stale(draft.graph)
    groups: list[list[fx.Node]] = []
    for node in placeholders(draft.graph):
        value, sizes = node.meta.get("val"), shape(node)
        if not isinstance(value, Tensor) or not value.is_floating_point() or node in unsafe or not node.users:
            continue
        if not sizes or not isinstance(sizes[-1], int) or not sizes[-1]:
            continue
        fitting = (g for g in groups if g[0].meta["val"].dtype == value.dtype and _same_batch(g[0], sizes))
        group = next(fitting, None)
        if group is None:
            groups.append([node])
        else:
            group.append(node)
    return [group for group in groups if len(group) > 1]


def _same_batch(node: fx.Node, sizes: Sequence[object]) -> bool:
    mine = shape(node) or ()
    return len(mine) == len(sizes) and all(map(same, mine[:-1], sizes[:-1]))


def _joined(draft: Draft, inputs: Sequence[fx.Node], readers: frozenset[fx.Node] | None = None) -> fx.Node:
    """The inputs side by side; ``readers`` (None for all) read slices of that from now on."""
    aten = torch.ops.aten
    with draft.graph.inserting_before(placeholders(draft.graph)[-1].next):
        joined = draft.call(aten.cat.default, list(inputs), -1, path_of=inputs[0])
        first = 0
        for source in inputs:
            last = first + _width(source)
            piece = draft.call(aten.slice.Tensor, joined, -1, first, last, path_of=source)
            for user in list(source.users):
                if user is not joined and (readers is None or user in readers):
                    user.replace_input_with(source, piece)
            first = last
    return joined


def _width(node: fx.Node) -> int:
    return int(node.meta["val"].shape[-1])


def _is_slice(piece: fx.Node, source: fx.Node) -> bool:
    return facts.name(piece) == "aten::slice" and piece.args[0] is source


def _meetings(draft: Draft, inputs: Sequence[fx.Node]) -> list[_Meeting]:
    """Which of these inputs meet: seen in the region of all of them joined, which is parted again.

    Inputs on which stored numbers act before they meet others come first: of two that may be a state, one is
    predicted and the other is measured.
    """
    joined = _joined(draft, inputs)
    found = region(joined, facts.constants(draft.graph))
    pieces = [node for node in joined.users if _is_slice(node, joined)]
    reach = _reach(found, pieces) if found is not None else {}
    moved = {next(iter(of)) for node, of in reach.items() if len(of) == 1 and found and _acts(node, found)}
    ordered = sorted(zip(pieces, inputs, strict=True), key=lambda pair: pair[0] not in moved)
    part(draft, [joined])
    return [
        _Meeting(tuple(source for piece, source in ordered if piece in met), readers)
        for met, readers in _met(reach)
    ]


def _reach(found: Region, pieces: Sequence[fx.Node]) -> dict[fx.Node, frozenset[fx.Node]]:
    """The pieces that each node of a region is computed from, in graph order."""
    reach: dict[fx.Node, frozenset[fx.Node]] = {piece: frozenset([piece]) for piece in pieces}
    for node in found.layouts:
        if node not in reach and node is not found.anchor:
            reach[node] = frozenset().union(*(reach.get(i, ()) for i in node.all_input_nodes))
    return reach


def _acts(node: fx.Node, found: Region) -> bool:
    """Whether a call of a region reads constant numbers too."""
    outside = (i for i in node.all_input_nodes if i not in found.layouts)
    return any(isinstance(i.meta.get("val"), Tensor) for i in outside)


def _met(reach: Mapping[fx.Node, frozenset[fx.Node]]) -> Iterator[tuple[set[fx.Node], frozenset[fx.Node]]]:
    """Pieces that meet in one call or in calls with a piece in common, and all calls before those."""
    meetings: list[fx.Node] = []
    groups: list[set[fx.Node]] = []
    for node, mine in reach.items():
        if len({reach[i] for i in node.all_input_nodes if reach.get(i)}) > 1:
            meetings.append(node)
            touched = [g for g in groups if g & mine]
            groups = [g for g in groups if g not in touched] + [set(mine).union(*touched)]
    for group in groups:
        yield group, _before([node for node in meetings if reach[node] & group], reach)


def _before(nodes: Sequence[fx.Node], inside: Iterable[fx.Node]) -> frozenset[fx.Node]:
    """These calls and all that they are computed from, as far as it lies ``inside``."""
    allowed = set(inside)
    stack, found = list(nodes), set[fx.Node]()
    while stack:
        node = stack.pop()
        if node in allowed and node not in found:
            found.add(node)
            stack.extend(node.all_input_nodes)
    return frozenset(found)


def _smaller(draft: Draft, joins: Sequence[fx.Node]) -> set[fx.Node]:
    """The joined tensors from which some stretch stores more numbers than a single matrix would.

    Numbers that are only added do not count: two biases that become one are not worth a joined tensor.
    """
    added = {str(n.target) for n in draft.graph.find_nodes(op="get_attr", sort=False) if _only_added(n)}
    groups: dict[tuple[int, frozenset[str]], list[tuple[Chain, int, int]]] = {}
    for chain in sites.chains(draft):
        for stop in range(1, len(chain.cuts) if chain.cuts[0] in joins else 0):
            groups.setdefault(_key(chain, stop), []).append((chain, 0, stop))
    kept: set[fx.Node] = set()
    for (size, _), group in groups.items():
        if sites.numbers(draft, sites.freed(draft, group) - added) > size:
            kept.update(chain.cuts[0] for chain, _, _ in group)
    return kept


def _key(chain: Chain, stop: int) -> tuple[int, frozenset[str]]:
    """How many numbers a stretch has as a matrix, and the names of those it is computed from."""
    size = chain.region.features(chain.cuts[0]) * chain.region.features(chain.cuts[stop])
    return size, frozenset(str(node.target) for node in sites.stored_nodes(chain, 0, stop))


def _only_added(node: fx.Node) -> bool:
    """Whether a stored tensor is a bias and nothing else."""
    return all(
        facts.name(user) in _ADDED or (facts.name(user) == "aten::linear" and node not in user.args[:2])
        for user in node.users
    )
