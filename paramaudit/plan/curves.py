"""Name functions of one variable: networks of straight pieces whose exact curve is a known shape."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.fx.node import map_arg

from paramaudit.graph import curves, probe, sites
from paramaudit.graph.curves import Part
from paramaudit.graph.facts import VIEWS, constants, is_identity, name
from paramaudit.graph.program import output_leaves, placeholders
from paramaudit.graph.shapes import shape
from paramaudit.graph.sites import Chain
from paramaudit.graph.surgery import Draft
from paramaudit.numerics.layers import floats
from paramaudit.numerics.piecewise import Domain
from paramaudit.operators import looking_at
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.offered import arguments, note_near_miss, proposed
from paramaudit.plan.written import written_out
from paramaudit.prove.curve import judge_curves
from paramaudit.records import Curve, Evidence, Operator, Tier, Traces

_MOST_RUNS = 100
_FEWEST = 3
"""A part that stores fewer numbers than this cannot become smaller."""


@dataclass(frozen=True)
class Option:
    """One operator's layer for a group of parts that compute the same function."""

    group: tuple[Part, ...]
    operator: str
    layer: nn.Module
    evidence: Evidence
    freed: int

    @property
    def numbers(self) -> int:
        """Numbers that the layer stores."""
        return floats(self.layer)


def apply_curves(draft: Draft, choice: Choice, book: Book, tried: set[object]) -> bool:
    """Replace every part that an operator describes with fewer numbers; True when anything changed.

    ``tried`` remembers parts in which nothing was found, so that a later round does not search again.
    """
    changed = False
    for _ in range(_MOST_RUNS):
        options = sorted(_found(draft, choice, book, tried), key=lambda option: option.numbers - option.freed)
        stretches = [{n for part in option.group for n in part.nodes} for option in options]
        touched: set[fx.Node] = set()
        for option, nodes in zip(options, stretches, strict=True):
            if touched & (nodes | {part.source for part in option.group}):
                continue
            _apply(draft, option, book)
            touched |= nodes
        if not options:
            break
        draft.clean()
        draft.settle()
        changed = True
    return changed


def _found(draft: Draft, choice: Choice, book: Book, tried: set[object]) -> list[Option]:
    """The best option of every group that has one; stretches of one network may overlap."""
    found: list[Option] = []
    for key, group in _groups(draft).items():
        mark = ("curve", key, len(group))
        if mark in tried:
            continue
        options = _options(draft, group, choice, book)
        if options:
            found.append(max(options, key=lambda option: option.freed - option.numbers))
        else:
            tried.add(mark)
    return found


def _groups(draft: Draft) -> dict[object, list[Part]]:
    """Parts by what they compute: calls of one shared module stand in one group."""
    groups: dict[object, list[Part]] = {}
    for part in curves.parts(draft.module):
        groups.setdefault(_signature(part), []).append(part)
    return groups


def _signature(part: Part) -> object:
    """The calls with their constants, equal for two uses of the same numbers on whatever batches."""
    number = {part.source: "%0"}

    def shown(node: fx.Node) -> str:
        return number.get(node, f"@{node.target if node.op == 'get_attr' else node.name}")

    steps: list[str] = [str(part.source.meta["val"].dtype)]
    for node in part.nodes:
        source = node.args[0] if node.args else None
        if isinstance(source, fx.Node) and source in number and (name(node) in VIEWS or is_identity(node)):
            number[node] = number[source]
            continue
        steps.append(f"{node.target} {map_arg((node.args, node.kwargs), shown)}")
        number[node] = f"%{len(steps)}"
    return tuple(steps)


def _chain(part: Part) -> Chain:
    """The part as the stretch between two cuts, for what is told of any stretch."""
    return Chain(part.region, (part.source, part.end))


def _options(draft: Draft, group: Sequence[Part], choice: Choice, book: Book) -> list[Option]:
    part = group[0]
    names = sites.freed(draft, [(_chain(p), 0, 1) for p in group])
    freed, path = sites.numbers(draft, names), sites.path_of(_chain(part), 0, 1)
    wanted = [op for op in looking_at(Curve) if choice.wants(op.name, path)]
    if freed < _FEWEST or not wanted:
        return []
    dtype = part.source.meta["val"].dtype
    try:
        domain = _hull([curves.domain_of(draft.module, p) for p in group])
        view = curves.propagated(draft.module, part, domain, dtype)
    except ValueError:  # too many knots to keep, or numbers that are no numbers: nothing can be said of it
        return []
    found: list[Option] = []
    for operator in wanted:
        option = _named(draft, group, view, operator, freed, choice, book)
        if option is None or option.numbers >= _most(group, freed):
            continue
        if choice.applies(option.evidence.tier):
            found.append(option)
        else:
            _note_refused(draft, option, path, book)
    return found


def _hull(domains: Sequence[Domain]) -> Domain:
    """The least interval that holds all; the whole real line where one is that."""
    low, high = float("inf"), float("-inf")
    for domain in domains:
        if domain is None:
            return None
        low, high = min(low, domain[0]), max(high, domain[1])
    return low, high


def _most(group: Sequence[Part], freed: int) -> int:
    """As many numbers as are no saving: those that go, or the values themselves where all are constant."""
    if any(p.source not in constants(p.source.graph) for p in group):
        return freed
    values = 0
    for part in group:
        count = 1
        for length in shape(part.end) or ():
            count *= int(length)
        values += count
    return min(freed, values)


def _named(
    draft: Draft,
    group: Sequence[Part],
    view: Curve,
    operator: Operator,
    freed: int,
    choice: Choice,
    book: Book,
) -> Option | None:
    """The part as an operator, with the prover's evidence; None when nothing is proposed."""
    layer = proposed(operator, view, book)
    if layer is None or floats(layer) >= freed:
        return None
    candidate = curve_of(layer, view)
    if candidate is None:
        reason = "the proposed layer could not be proven to be a curve"
        return Option(tuple(group), operator.name, layer, Evidence(Tier.REFUTED, reason), freed)
    part = group[0]
    widths = (1, view.values.shape[1])
    run = probe.rows_runner(draft.module, part.source, part.end, widths, view.dtype)
    evidence = judge_curves(view, candidate, run, torch.Generator().manual_seed(choice.seed))
    return Option(tuple(group), operator.name, layer, evidence, freed)


def curve_of(layer: nn.Module, view: Curve) -> Curve | None:
    """What a layer computes, by its own graph, with its numbers rounded as they will be stored.

    Args:
        layer: maps ``(..., 1)`` to ``(..., c)``; left as it is.
        view: the curve that it stands for, whose dtype and domain are taken.

    Returns:
        The exact curve; None when the graph is not piecewise linear by its operators.
    """
    module = _captured(copy.deepcopy(layer).to(view.dtype).to(torch.float64).eval())
    (source,), (end,) = placeholders(module.graph), output_leaves(module.graph)
    for part in curves.parts(module):
        if part.source is source and part.end is end:
            try:
                return curves.propagated(module, part, view.domain, view.dtype)
            except ValueError:
                return None
    return None


def _captured(layer: nn.Module) -> fx.GraphModule:
    example = torch.zeros(3, 1, dtype=next(layer.parameters()).dtype)
    with torch.no_grad():
        exported = torch.export.export(layer, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    return exported.module(check_guards=False)


def _apply(draft: Draft, option: Option, book: Book) -> None:
    chain = _chain(option.group[0])
    path = sites.path_of(chain, 0, 1)
    stored = sites.stored_nodes(chain, 0, 1)
    tensors = draft.keys(stored)
    names = [str(n.target) for n in stored if str(n.target) not in draft.program.buffers]
    before = sites.numbers(draft, names)
    word = option.operator.replace("-", "_")
    place = f"{path}.{word}" if path else word
    layer = option.layer.to(option.group[0].source.meta["val"].dtype)
    places = tuple((draft.name_of(p.source), draft.name_of(p.end)) for p in option.group)
    made: list[fx.Node] = []
    numbers: dict[str, fx.Node] = {}
    constant = constants(draft.graph)
    written = all(part.source in constant for part in option.group)  # or the numbers would be stored twice
    for part in option.group:
        with draft.graph.inserting_before(part.end):
            if written:
                new = _written_out(draft, part, layer, place, tensors, numbers)
            elif made:
                new = draft.layer_again(made[0], part.source, part.end)
            else:
                new = draft.layer(place, layer, part.source, part.end, tensors)
                made.append(new)
            draft.replace(part.end, draft.reshape_like(new, part.end, part.source))
    counts = (before, before - option.freed + option.numbers)
    book.add(
        option.operator,
        path,
        tensors,
        option.evidence,
        counts,
        arguments=arguments(option.layer),
        applied=option.evidence.tier.safe,
        absorbs=True,
        traces=Traces(places=places, rounded=True),
    )


def _written_out(
    draft: Draft,
    part: Part,
    layer: nn.Module,
    place: str,
    tensors: tuple[str, ...],
    numbers: dict[str, fx.Node],
) -> fx.Node:
    """The layer's own calls on a constant source, so that later folds see that its values are constant."""
    module = _captured(layer)
    (source,) = placeholders(module.graph)
    return written_out(draft, module, {source: part.source}, place, tensors, part.end, numbers)


def _note_refused(draft: Draft, option: Option, path: str, book: Book) -> None:
    stored = sites.stored_nodes(_chain(option.group[0]), 0, 1)
    before = sites.numbers(draft, [str(n.target) for n in stored])
    note_near_miss(book, option.operator, path, draft.keys(stored), option.evidence, before, option.layer)
