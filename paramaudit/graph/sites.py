"""Chains: stretches of an affine region, cut at nodes that everything later passes through."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import fx
from torch.fx.node import map_arg

from paramaudit.graph import facts
from paramaudit.graph.affine import Region, region
from paramaudit.graph.program import attribute, common_path, module_path
from paramaudit.graph.shapes import shape, size
from paramaudit.graph.surgery import Draft

_MOST_CUTS = 12


@dataclass(frozen=True)
class Chain:
    """``cuts[0]`` is the anchor, ``cuts[-1]`` the end; stored numbers act between consecutive cuts.

    They may not between the first two: the second is then the last node before they do.
    """

    region: Region
    cuts: tuple[fx.Node, ...]

    def segments(self) -> Iterator[tuple[int, int]]:
        """Pairs of cut indices, longest stretches first."""
        count = len(self.cuts)
        for length in range(count - 1, 0, -1):
            for start in range(count - length):
                yield start, start + length


def chains(draft: Draft) -> Iterator[Chain]:
    """Every chain of the draft that holds stored numbers, in graph order."""
    constant, unsafe = facts.constants(draft.graph), facts.stale(draft.graph)
    inner: set[fx.Node] = set()
    ended: set[tuple[fx.Node, fx.Node]] = set()
    for node in draft.graph.nodes:
        if (
            node.op not in ("placeholder", "call_function", "call_module")
            or node in constant
            or node in inner
        ):
            continue
        found = region(node, constant, unsafe=unsafe)
        if found is None or len(found.layouts) < 2:
            continue
        # an unclean node may be the better anchor of what comes after it
        inner.update(n for n in found.layouts if n is not node and found.clean(n))
        dominators = _dominators(found)
        # branches of a sum before the sum: two names beside each other may be less than one for both
        for end in dict.fromkeys([*_branches(found), *_ends(found, dominators)]):
            cuts = _cuts(found, dominators, end, constant)
            if len(cuts) > 1 and (node, end) not in ended:
                ended.add((node, end))
                yield Chain(found, cuts)


def _dominators(found: Region) -> dict[fx.Node, fx.Node]:
    """The immediate dominator of each node of a region, seen from its anchor."""
    parent: dict[fx.Node, fx.Node] = {}
    depth = {found.anchor: 0}
    for node in found.layouts:
        if node is found.anchor:
            continue
        sources = [i for i in node.all_input_nodes if i in found.layouts]
        shared = sources[0] if sources else found.anchor  # zeros come from nowhere
        for other in sources[1:]:
            a, b = shared, other
            while a is not b:
                if depth[a] >= depth[b]:
                    a = parent[a]
                else:
                    b = parent[b]
            shared = a
        parent[node] = shared
        depth[node] = depth[shared] + 1
    return parent


def _branches(found: Region) -> list[fx.Node]:
    """Clean nodes that are added to, or subtracted from, another node of the region."""
    sums = [n for n in found.layouts if facts.name(n) in ("aten::add", "aten::sub")]
    several = [s for s in sums if len(set(s.all_input_nodes) & found.layouts.keys()) > 1]
    parts = [n for s in several for n in s.all_input_nodes if n in found.layouts]
    return [n for n in parts if n is not found.anchor and found.clean(n)]


def _ends(found: Region, dominators: dict[fx.Node, fx.Node]) -> list[fx.Node]:
    """The last clean nodes before the region is left."""
    ends: dict[fx.Node, None] = {}
    for node in found.layouts:
        if all(user in found.layouts for user in node.users) or node is found.anchor:
            continue
        last = node
        while not found.clean(last):
            last = dominators[last]
        if last is not found.anchor:
            ends[last] = None
    return list(ends)


def _cuts(
    found: Region, dominators: dict[fx.Node, fx.Node], end: fx.Node, constant: set[fx.Node]
) -> tuple[fx.Node, ...]:
    """Clean dominators from the anchor to ``end``; between two of them stored numbers act."""
    path = [end]
    while path[-1] is not found.anchor:
        path.append(dominators[path[-1]])
    path = [node for node in reversed(path) if found.clean(node)]
    cuts = [path[0]]
    for before, node in itertools.pairwise(path):
        acts = _stored_between(found, cuts[-1], node, constant)
        if acts and len(cuts) == 1 and before is not path[0]:
            cuts.append(before)  # a slice, or a plain factor, may be left to the graph
        if acts:
            cuts.append(node)
    if cuts[-1] is not end and len(cuts) > 1:
        cuts[-1] = end
    return tuple(cuts[:1] + cuts[-_MOST_CUTS:]) if len(cuts) > _MOST_CUTS else tuple(cuts)


def _stored_between(found: Region, source: fx.Node, target: fx.Node, constant: set[fx.Node]) -> bool:
    return any(i in constant for node in between(found, source, target) for i in node.all_input_nodes)


def between(found: Region, source: fx.Node, target: fx.Node) -> list[fx.Node]:
    """Nodes on a path from ``source`` (excluded) to ``target`` (included), in graph order."""
    ahead = {source}
    for node in found.layouts:
        if node is not source and any(i in ahead for i in node.all_input_nodes):
            ahead.add(node)
    back: set[fx.Node] = set()
    stack = [target]
    while stack:
        node = stack.pop()
        if node in back or node is source or node not in ahead:
            continue
        back.add(node)
        stack.extend(node.all_input_nodes)
    return sorted(back)


def twins(all_chains: Sequence[Chain]) -> dict[object, list[Chain]]:
    """Chains grouped by what they compute: calls of one shared module stand in one group."""
    groups: dict[object, list[Chain]] = {}
    for chain in all_chains:
        groups.setdefault(signature(chain), []).append(chain)
    return groups


def signature(chain: Chain) -> object:
    """The calls from anchor to end with their constants; equal for two uses of the same weights."""
    number = {chain.cuts[0]: "%anchor"}

    def shown(node: fx.Node) -> str:
        length = node.meta.get("val")
        if isinstance(length, torch.SymInt):
            return str(size(length))
        return number.get(node, f"@{node.target if node.op == 'get_attr' else node.name}")

    steps: list[object] = [chain.region.features(chain.cuts[0]), len(shape(chain.cuts[0]) or ())]
    for node in between(chain.region, chain.cuts[0], chain.cuts[-1]):
        arguments = map_arg((node.args, node.kwargs), shown)
        steps.append((str(node.target), str(arguments), len(shape(node) or ())))
        number[node] = f"%{len(number)}"
    cuts = [number[c] for c in chain.cuts]
    return (str(steps), tuple(cuts))


def freed(draft: Draft, removed: Iterable[tuple[Chain, int, int]]) -> set[str]:
    """Names of stored tensors that nobody reads once these stretches are computed anew."""
    gone: set[fx.Node] = set()
    sources: set[fx.Node] = set()
    for chain, start, stop in removed:
        gone |= _dead_between(chain, start, stop)
        sources.add(chain.cuts[start])
    dead = facts.dead_with(gone, kept=sources)
    names = {str(n.target) for n in dead if draft.tensor(n) is not None}
    alive = {
        _storage(draft, str(n.target))
        for n in draft.graph.find_nodes(op="get_attr", sort=False)
        if n not in dead and n.users and draft.tensor(n) is not None
    }
    return {n for n in names if _storage(draft, n) not in alive and n not in draft.program.buffers}


def _storage(draft: Draft, name: str) -> int:
    tensor = attribute(draft.module, name)
    return int(tensor.untyped_storage().data_ptr()) or id(tensor)


def numbers(draft: Draft, names: Iterable[str]) -> int:
    """Floating-point numbers stored under ``names``, each storage once."""
    sizes: dict[int, int] = {}
    for name in names:
        tensor = attribute(draft.module, name)
        if tensor.is_floating_point():
            storage = _storage(draft, name)
            sizes[storage] = max(sizes.get(storage, 0), tensor.numel())
    return sum(sizes.values())


def _dead_between(chain: Chain, start: int, stop: int) -> set[fx.Node]:
    """Nodes of a stretch that nobody needs once its end is computed from its start."""
    nodes = between(chain.region, chain.cuts[start], chain.cuts[stop])
    gone = {chain.cuts[stop]}
    for node in reversed(nodes):
        if all(user in gone for user in node.users):
            gone.add(node)
    return gone


def stored_nodes(chain: Chain, start: int, stop: int) -> tuple[fx.Node, ...]:
    """``get_attr`` nodes that a stretch reads, directly or through computed constants."""
    found: set[fx.Node] = set()
    inside = set(chain.region.layouts)
    stack = [
        i
        for node in between(chain.region, chain.cuts[start], chain.cuts[stop])
        for i in node.all_input_nodes
        if i not in inside
    ]
    while stack:
        node = stack.pop()
        if node.op == "get_attr":
            found.add(node)
        elif node not in found and node.op == "call_function":
            stack.extend(i for i in node.all_input_nodes if i not in inside)
    return tuple(sorted(found))


def path_of(chain: Chain, start: int, stop: int) -> str:
    """The module path of a stretch: the innermost module that holds all of its calls."""
    nodes = between(chain.region, chain.cuts[start], chain.cuts[stop])
    acting = [n for n in nodes if any(i not in chain.region.layouts for i in n.all_input_nodes)]
    return common_path(module_path(n) for n in (acting or nodes))
