"""Name stored tables, positions and windows above all, whose numbers a formula gives to the last bit."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from paramaudit.graph import facts
from paramaudit.graph.program import module_path
from paramaudit.graph.run import evaluate
from paramaudit.graph.surgery import Draft
from paramaudit.numerics.layers import floats
from paramaudit.numerics.tables import FEWEST, FLOATS
from paramaudit.operators import looking_at
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.offered import arguments, note_near_miss, proposed
from paramaudit.plan.written import written_out
from paramaudit.prove.table import judge_table
from paramaudit.records import Evidence, Operator, Table, Tier, Traces

_aten = torch.ops.aten
_WEIGHTS = ("linear", "conv", "addmm", "lstm", "gru", "rnn_", "_norm", "bilinear", "prelu")
"""Calls whose numbers are weights: other views look at them."""


@dataclass(frozen=True)
class Site:
    """A stored table that one node reads, and the module in which it is first used."""

    node: fx.Node
    view: Table
    shape: tuple[int, ...]
    device: torch.device
    freed: int
    path: str


@dataclass(frozen=True)
class Option:
    """One operator's layer for a table, in the table's dtype and on its device."""

    operator: str
    layer: nn.Module
    evidence: Evidence

    @property
    def numbers(self) -> int:
        """Numbers that the layer stores."""
        return floats(self.layer)


def apply_tables(draft: Draft, choice: Choice, book: Book) -> bool:
    """Compute every stored table that an operator gives with fewer numbers; True when anything changed.

    Buffers are left: they are no parameters, and computing them at each call costs more than reading them.
    """
    changed = False
    for site in list(_sites(draft)):
        options = _options(draft, site, choice, book)
        if options and _apply(draft, site, min(options, key=lambda option: option.numbers), choice, book):
            changed = True
    if changed:
        draft.clean()
    return changed


def _sites(draft: Draft) -> Iterator[Site]:
    """Stored tables of one or two dimensions, others of size 1 aside, that one node reads and none writes."""
    nodes = [n for n in draft.graph.find_nodes(op="get_attr") if n.users and draft.tensor(n) is not None]
    memory = {n: t.untyped_storage().data_ptr() for n in nodes if (t := draft.tensor(n)) is not None}
    readers = Counter(memory.values())
    stale = facts.stale(draft.graph)
    for node in nodes:
        tensor = draft.tensor(node)
        if tensor is None or tensor.dtype not in FLOATS or tensor.numel() < FEWEST:
            continue
        if node in stale or readers[memory[node]] > 1 or _is_weight(node):
            continue
        if str(node.target) in draft.program.buffers:
            continue
        shape = tuple(tensor.shape)
        values = tensor.reshape([n for n in shape if n > 1]).cpu()
        if values.dim() in (1, 2):
            view, path = Table(values, tensor.dtype), module_path(min(node.users))
            yield Site(node, view, shape, tensor.device, tensor.numel(), path)


def _is_weight(node: fx.Node) -> bool:
    names = [facts.name(user).removeprefix("aten::") for user in node.users]
    return any(word in name for name in names for word in _WEIGHTS)


def _options(draft: Draft, site: Site, choice: Choice, book: Book) -> list[Option]:
    found: list[Option] = []
    for operator in looking_at(Table):
        if not choice.wants(operator.name, site.path):
            continue
        option = _named(site, operator, book)
        if option is None or option.numbers >= site.freed:
            continue
        if choice.applies(option.evidence.tier):
            found.append(option)
        else:
            _note(draft, site, option, book)
    return found


def _named(site: Site, operator: Operator, book: Book) -> Option | None:
    offer = proposed(operator, site.view, book)
    if offer is None:
        return None
    layer = copy.deepcopy(offer).to(site.view.dtype).to(site.device)
    return Option(operator.name, layer, judge_table(site.view, _value(layer)))


def _value(layer: nn.Module) -> Tensor:
    with torch.no_grad():
        value: Tensor = layer()
    return value


def _apply(draft: Draft, site: Site, option: Option, choice: Choice, book: Book) -> bool:
    """Write the layer into the program where what was written gives the numbers, too."""
    existing = set(draft.graph.nodes)
    tensors = draft.keys([site.node])
    target = str(site.node.target)
    place = f"{target}_{option.operator.replace('-', '_')}"
    with torch.no_grad():
        module = torch.export.export(option.layer, ()).module(check_guards=False)
    user = min(site.node.users)
    with draft.graph.inserting_before(site.node.next):
        made = written_out(draft, module, {}, place, tensors, user, {})
        new = draft.call(_aten.reshape.default, made, list(site.shape), path_of=user)
    (value,) = evaluate(draft.module, [made], {}, dtype=None)
    evidence = judge_table(site.view, value)
    if not choice.applies(evidence.tier):
        draft.discard([node for node in draft.graph.nodes if node not in existing])
        _note(draft, site, Option(option.operator, option.layer, evidence), book)
        return False
    place_of = draft.name_of(site.node)
    draft.replace(site.node, new)
    rounded = draft.settle()
    book.add(
        option.operator,
        site.path,
        tensors,
        evidence,
        (site.freed, option.numbers),
        arguments=arguments(option.layer),
        applied=evidence.tier.safe,
        absorbs=True,
        requires=tuple(getattr(option.layer, "requires", ())),
        traces=Traces(places=(("", place_of),), rounded=rounded),
    )
    return True


def _note(draft: Draft, site: Site, option: Option, book: Book) -> None:
    """A near miss stays in the list; what is refuted was only a guess."""
    if option.evidence.tier is not Tier.REFUTED:
        keys = draft.keys([site.node])
        note_near_miss(book, option.operator, site.path, keys, option.evidence, site.freed, option.layer)
