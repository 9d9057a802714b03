"""Which node of one program stands for which node of another, by place and never by the numbers.

Downwards from the outputs, arguments of the same call stand for each other by their place. Where the two
have other calls that ends; upwards from the inputs, the only call of a kind on aligned values stands for
the only one of the other program, or for the one whose stored tensors have the same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, fx

from paramaudit.graph.program import Program, aligned, attribute, output_leaves, placeholders
from paramaudit.pairing.same import commutes, past_identities
from paramaudit.pairing.walker import Walker

Aligned = Mapping[fx.Node, fx.Node]


def align(first: Program, second: Program) -> Aligned:
    """Nodes of the first program with the node of the second that stands for each.

    A stored tensor is aligned only where both are read by the same call, on aligned arguments.
    """
    walker = Walker(first, second)
    found = dict(zip(placeholders(first.graph), placeholders(second.graph), strict=True))
    _downwards(walker, found, first, second)
    _upwards(walker, found, first)
    return found


def stored_pairs(first: Program, second: Program, found: Aligned) -> Iterator[tuple[fx.Node, Tensor, Tensor]]:
    """Aligned stored tensors: the node that reads it in the first program, then both values."""
    for a, b in found.items():
        if a.op == b.op == "get_attr":
            x, y = attribute(first.module, str(a.target)), attribute(second.module, str(b.target))
            if isinstance(x, Tensor) and isinstance(y, Tensor):
                yield a, x.detach(), y.detach()


def _downwards(walker: Walker, found: dict[fx.Node, fx.Node], first: Program, second: Program) -> None:
    theirs = aligned(first, second, output_leaves(second.graph))
    leaves = zip(output_leaves(first.graph), theirs, strict=True)
    stack = [(a, b) for a, b in leaves if isinstance(a, fx.Node) and isinstance(b, fx.Node)]
    for a, b in stack:  # outputs stand for each other by their place, whatever computes them
        found.setdefault(past_identities(a), past_identities(b))
    seen: set[fx.Node] = set()
    while stack:
        a, b = (past_identities(node) for node in stack.pop())
        if a in seen or walker.sides[0].sizes(a) != walker.sides[1].sizes(b) or walker.differ(a, b):
            continue
        seen.add(a)
        if "get_attr" not in (a.op, b.op):
            found[a] = b
        arguments = _arranged(walker, a, b)
        if _alike(walker, arguments):
            found.update((x, y) for x, y in arguments if x.op == y.op == "get_attr")
        stack.extend(reversed(arguments))


def _arranged(walker: Walker, a: fx.Node, b: fx.Node) -> list[tuple[fx.Node, fx.Node]]:
    """The arguments side by side; those of a sum or product exchanged where they fit better so."""
    pairs = walker.arguments(a, b)
    if len(pairs) != 2 or not commutes(a):
        return pairs
    (x, y), (u, v) = pairs
    return max(([(x, y), (u, v)], [(x, v), (u, y)]), key=lambda way: sum(_fit(walker, *p) for p in way))


def _fit(walker: Walker, a: fx.Node, b: fx.Node) -> int:
    """How well two arguments go together: the same call, and stored tensors of the same names."""
    if walker.differ(a, b):
        return 2 * (a.op == b.op == "placeholder" and (a, b) in walker.known)
    return 2 + (_names(a) == _names(b))


def _alike(walker: Walker, arguments: list[tuple[fx.Node, fx.Node]]) -> bool:
    """Whether every argument is of the same kind and size on both sides, so that the calls are the same."""
    return all(
        walker.sides[0].sizes(x) == walker.sides[1].sizes(y)
        and (x.op == y.op == "placeholder" or not walker.differ(x, y))
        for x, y in arguments
    )


def _upwards(walker: Walker, found: dict[fx.Node, fx.Node], first: Program) -> None:
    taken = set(found.values())
    for a in first.graph.nodes:
        if a in found or a.op != "call_function" or a in walker.sides[0].constants:
            continue
        b = _partner(walker, found, taken, a)
        if b is None:
            continue
        found[a] = b
        taken.add(b)
        found.update((x, y) for x, y in walker.arguments(a, b) if x.op == y.op == "get_attr")


def _partner(walker: Walker, found: Aligned, taken: set[fx.Node], a: fx.Node) -> fx.Node | None:
    """The only call of the second program that does what ``a`` does, of what stands for its arguments."""
    known = [i for i in map(past_identities, a.all_input_nodes) if i in found and i.op != "get_attr"]
    if not known:
        return None
    fitting = [b for b in _readers(found[known[0]]) if b not in taken and _fits(walker, found, a, b)]
    named = [b for b in fitting if _names(a) == _names(b)]
    if len(named or fitting) != 1:
        return None
    b = (named or fitting)[0]
    rivals = [n for n in _readers(known[0]) if n not in found and n is not a]
    return b if named or not any(_fits(walker, found, n, b) for n in rivals) else None


def _readers(node: fx.Node) -> list[fx.Node]:
    """The calls that read a value, past the calls that only hand it on."""
    readers: list[fx.Node] = []
    for user in node.users:
        readers += _readers(user) if past_identities(user) is not user else [user]
    return readers


def _fits(walker: Walker, found: Aligned, a: fx.Node, b: fx.Node) -> bool:
    if walker.differ(a, b):
        return False
    return all(
        found.get(x) is y
        or (x.op == y.op == "get_attr" and walker.sides[0].sizes(x) == walker.sides[1].sizes(y))
        for x, y in walker.arguments(a, b)
    )


def _names(node: fx.Node) -> list[str]:
    return [str(i.target) for i in map(past_identities, node.all_input_nodes) if i.op == "get_attr"]
