"""Merge chains and name operators: for every chain the best set of stretches that do not overlap."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypedDict

import torch
from torch import Tensor, fx, nn

from paramaudit.graph import probe, sites, steps
from paramaudit.graph.clauses import of_mode
from paramaudit.graph.sites import Chain
from paramaudit.graph.surgery import Draft
from paramaudit.numerics.layers import floats
from paramaudit.operators import looking_at
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.offered import affine_evidence, arguments, indices, note_near_miss, proposed
from paramaudit.plan.worst import of_stretch
from paramaudit.prove.affine import judge
from paramaudit.prove.rounding import Run, witness
from paramaudit.records import Evidence, Json, Matrix, Measured, Operator, Tier, Traces, WorstCase

MERGE = "linear-chain"


@dataclass(frozen=True)
class Option:
    """One way to compute a stretch: the matrix itself, or an operator's layer."""

    start: int
    stop: int
    view: Matrix
    evidence: Evidence
    numbers: int
    freed: int
    operator: str = MERGE
    layer: nn.Module | None = None

    @property
    def saving(self) -> int:
        """Numbers that are no longer stored."""
        return self.freed - self.numbers


def apply_chains(draft: Draft, choice: Choice, book: Book, tried: set[object]) -> bool:
    """Apply the best options of every chain; True when anything changed.

    ``tried`` remembers chains in which nothing was found, so that a later round does not search again.
    """
    changed = False
    touched: set[fx.Node] = set()
    for computed, group in sites.twins(list(sites.chains(draft))).items():
        key = (computed, len(group))
        if key in tried or touched & {n for chain in group for n in chain.region.layouts}:
            continue
        nodes = {n for chain in group for n in sites.between(chain.region, chain.cuts[0], chain.cuts[-1])}
        chosen = _best(group[0], _options(draft, group, choice, book))
        if not chosen:
            tried.add(key)
            continue
        for option in reversed(chosen):  # a stretch must not lose the node that it starts from
            _apply(draft, group, option, book)
        touched |= nodes
        touched |= {u for n in nodes for u in n.users}
        draft.clean()
        draft.settle()
        changed = True
    return changed


@dataclass(frozen=True)
class Stretch:
    """A part of a chain as a matrix; ``observed`` is the rounding it was seen to make, looked for once."""

    at: tuple[int, int]
    view: Matrix
    freed: int
    run: Run
    observed: Callable[[], tuple[Measured, Tensor]]


def _options(draft: Draft, group: Sequence[Chain], choice: Choice, book: Book) -> list[Option]:
    chain = group[0]
    found: list[Option] = []
    for start, stop in chain.segments():
        names = sites.freed(draft, [(c, start, stop) for c in group])
        freed = sites.numbers(draft, names)
        if not freed:
            continue
        stretch = _stretch(draft, chain, (start, stop), freed, choice.seed)
        path = sites.path_of(chain, start, stop)
        for operator in looking_at(Matrix):
            option = _named(stretch, operator, book) if choice.wants(operator.name, path) else None
            if option is not None and choice.applies(option.evidence.tier):
                found.append(option)
            elif option is not None:
                _note_refused(draft, chain, option, path, book)
        merged = _merged(stretch) if choice.wants(MERGE, path) else None
        if merged is not None:
            found.append(merged)  # last, so that a name of the same size is preferred
    return found


def _stretch(draft: Draft, chain: Chain, at: tuple[int, int], freed: int, seed: int) -> Stretch:
    source, target = chain.cuts[at[0]], chain.cuts[at[1]]
    view = probe.matrix(draft.module, chain.region, source, target)
    view = dataclasses.replace(view, state=steps.state(source, target))
    run = probe.runner(draft.module, chain.region, source, target, view.dtype)

    @cache
    def observed() -> tuple[Measured, Tensor]:
        return witness(run, view, torch.Generator().manual_seed(seed))

    return Stretch(at, view, freed, run, observed)


def _judged(stretch: Stretch, candidate: Matrix) -> Evidence:
    generator = torch.Generator().manual_seed(0)
    return judge(stretch.view, candidate, stretch.run, generator, stretch.observed)


def _merged(stretch: Stretch) -> Option | None:
    """The stretch as one matrix, where that is smaller."""
    view, numbers = stretch.view, _dense_count(stretch.view)
    if numbers >= stretch.freed:
        return None
    bias = view.bias.to(view.dtype).to(torch.float64) if view.bias is not None else None
    evidence = _judged(stretch, Matrix(view.weight.to(view.dtype).to(torch.float64), bias, view.dtype))
    if not evidence.tier.safe:
        return None
    return Option(*stretch.at, view, evidence, numbers, stretch.freed)


def _named(stretch: Stretch, operator: Operator, book: Book) -> Option | None:
    """The stretch as an operator, with the prover's evidence; None when nothing cheaper is proposed."""
    view = stretch.view
    layer = proposed(operator, view, book)
    if layer is None:
        return None
    numbers = floats(layer)
    if numbers >= stretch.freed:
        return None
    evidence = affine_evidence(layer, view, partial(_judged, stretch))
    return Option(*stretch.at, view, evidence, numbers, stretch.freed, operator.name, layer)


def _dense_count(view: Matrix) -> int:
    return view.weight.numel() + (view.bias.numel() if view.bias is not None else 0)


def _best(chain: Chain, options: Sequence[Option]) -> list[Option]:
    """The options with the largest total saving that do not overlap."""
    best: list[tuple[int, list[Option]]] = [(0, [])]
    for stop in range(1, len(chain.cuts)):
        total, chosen = best[stop - 1]
        for option in options:
            if option.stop == stop and best[option.start][0] + option.saving > total:
                total, chosen = best[option.start][0] + option.saving, [*best[option.start][1], option]
        best.append((total, chosen))
    return best[-1][1]


def _apply(draft: Draft, group: Sequence[Chain], option: Option, book: Book) -> None:
    chain = group[0]
    start, stop = option.start, option.stop
    path = sites.path_of(chain, start, stop)
    stored = sites.stored_nodes(chain, start, stop)
    tensors = draft.keys(stored)
    names = [str(n.target) for n in stored if str(n.target) not in draft.program.buffers]
    before = sites.numbers(draft, names)
    last = _weight_name(stored, path)
    made: list[fx.Node] = []
    notes = _notes(draft, group, option)
    for twin in group:
        source, target = twin.cuts[start], twin.cuts[stop]
        with draft.graph.inserting_before(target):
            new = _emit(draft, option, source, target, last, tensors, made)
            draft.replace(target, draft.reshape_like(new, target, source))
    applied = option.evidence.tier.safe
    kept = before - option.freed
    counts = (before, kept + option.numbers)
    if option.layer is None:
        _record_merge(book, path, tensors, option, counts, applied, notes)
        return
    key = book.add(
        option.operator,
        path,
        tensors,
        option.evidence,
        counts,
        arguments=arguments(option.layer),
        indices=indices(option.layer),
        applied=applied,
        absorbs=True,
        **notes,
    )
    dense_count = _dense_count(option.view)
    if stop - start > 1 and dense_count < option.freed:
        evidence = Evidence(Tier.EXACT, "affine after affine with nothing between is one affine map")
        shape: dict[str, Json] = {"shape": list(option.view.weight.shape)}
        counts = (before, kept + dense_count)
        requires = notes["requires"]
        book.add(
            MERGE,
            path,
            tensors,
            evidence,
            counts,
            arguments=shape,
            applied=applied,
            part_of=key,
            requires=requires,
        )


class _Notes(TypedDict):
    """What a finding says beside its evidence."""

    requires: tuple[str, ...]
    traces: Traces
    worst_case: WorstCase


def _notes(draft: Draft, group: Sequence[Chain], option: Option) -> _Notes:
    """Where the stretches of a group were swapped, and what that needs."""
    ends = [(chain.cuts[option.start], chain.cuts[option.stop], chain.region) for chain in group]
    inside = [node for source, target, found in ends for node in sites.between(found, source, target)]
    places = tuple((draft.name_of(source), draft.name_of(target)) for source, target, _ in ends)
    first = sites.between(ends[0][2], *ends[0][:2])
    worst = of_stretch(draft, first, option.view, option.operator, option.layer)
    return {"requires": of_mode(inside), "traces": Traces(places=places), "worst_case": worst}


def _record_merge(
    book: Book,
    path: str,
    tensors: tuple[str, ...],
    option: Option,
    counts: tuple[int, int],
    applied: bool,
    notes: _Notes,
) -> None:
    reason = f"affine after affine with nothing between is one affine map; {option.evidence.reason}"
    evidence = dataclasses.replace(option.evidence, reason=reason)
    shape: dict[str, Json] = {"shape": list(option.view.weight.shape)}
    book.add(MERGE, path, tensors, evidence, counts, arguments=shape, applied=applied, absorbs=True, **notes)


def _emit(
    draft: Draft,
    option: Option,
    source: fx.Node,
    target: fx.Node,
    name: str,
    tensors: tuple[str, ...],
    made: list[fx.Node],
) -> fx.Node:
    """The stretch computed anew; twins share the numbers that the first of them stored."""
    if option.layer is not None:
        if made:
            return draft.layer_again(made[0], source, target)
        layer = option.layer.to(option.view.dtype)
        place = f"{name.rpartition('.')[0] or name}_{_word(option.operator)}"
        made.append(draft.layer(place, layer, source, target, tensors))
        return made[0]
    if not made:
        made.append(draft.number(name, option.view.weight, option.view.dtype, tensors, target))
        if option.view.bias is not None:
            bias = f"{name.rpartition('.')[0]}.bias".lstrip(".")
            made.append(draft.number(bias, option.view.bias, option.view.dtype, tensors, target))
        operands = made
    else:
        operands = [draft.read_again(n, target) for n in made]
    bias_node = operands[1] if len(operands) > 1 else None
    return draft.call(torch.ops.aten.linear.default, source, operands[0], bias_node, path_of=target)


def _word(operator: str) -> str:
    return operator.replace("-", "_")


def _weight_name(stored: Sequence[fx.Node], path: str) -> str:
    """New numbers belong to the last module that they were merged from: the one that is called last."""
    weights = [n for n in stored if str(n.target).endswith("weight")]
    if not weights:
        return f"{path}.weight" if path else "weight"
    calls = {sorted(n.users)[-1]: str(n.target) for n in weights}
    return calls[sorted(calls)[-1]]


def _note_refused(draft: Draft, chain: Chain, option: Option, path: str, book: Book) -> None:
    stored = sites.stored_nodes(chain, option.start, option.stop)
    before = sites.numbers(draft, [str(n.target) for n in stored])
    keys = draft.keys(stored)
    note_near_miss(book, option.operator, path, keys, option.evidence, before, option.layer)
