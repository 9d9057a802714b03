"""Mutants of graph rewrites: what a rewrite emits, with one number or call changed before it is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from affine_programs import program
from torch import Tensor, fx

from mutants.affine import REFUSED, seeded
from mutants.models import MODELS, Model
from mutants.verdicts import Verdict, settled
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import Program, attribute
from paramaudit.graph.run import run
from paramaudit.graph.surgery import Draft
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.matches import apply_rewrite
from paramaudit.rewrites import REWRITES

Break = Callable[[Draft, list[fx.Node], Sequence[fx.Node]], Sequence[fx.Node]]
"""Changes what a match emits, given all new nodes and those returned; returns what stands for the latter."""
_aten = torch.ops.aten
_OTHER_CALLS = {
    _aten.sigmoid.default: _aten.tanh.default,
    _aten.tanh.default: _aten.sigmoid.default,
    _aten.neg.default: _aten.abs.default,
    _aten.alias.default: _aten.neg.default,
    _aten.add.Tensor: _aten.sub.Tensor,
    _aten.mul.Tensor: _aten.add.Tensor,
    _aten.ones.default: _aten.zeros.default,
    _aten.ones_like.default: _aten.zeros_like.default,
    _aten.zeros.default: _aten.ones.default,
}
_NOTHING = 1e-12
"""Relative to the largest output: two ways to compute the same in float64 differ by less."""


@dataclass(frozen=True, eq=False)
class Case:
    """A program and the rewrite that is found in it."""

    model: Model
    original: Program
    rewrite: Rewrite

    @property
    def name(self) -> str:
        """The rewrite and the model."""
        return f"{self.rewrite.name}: {self.model.name}"


def cases() -> Iterator[Case]:
    """Every model with its rewrite."""
    return map(case_of, MODELS)


def case_of(model: Model) -> Case:
    """A model's program and its rewrite."""
    last = (-1,) if model.inputs[0].dim() < 4 else (-1, -2)
    original = program(model.build(), *model.inputs, static=last)
    return Case(model, original, next(r for r in REWRITES if r.name == model.rewrite))


def mutants(case: Case, seed: int = 0) -> Iterator[tuple[str, Break]]:
    """Every way to break what the first match of a rewrite emits."""
    draft = Draft(case.original)
    news, created = _emit(draft, _first(draft, case.rewrite))
    generator = seeded(seed)
    for i, node in enumerate(created):
        if node.op == "get_attr":
            size = attribute(draft.module, str(node.target)).numel()
            yield from _numbers(i, size, generator)
        else:
            yield from _calls(i, node)
    for i in range(len(news)):
        yield from _results(i)


def _first(draft: Draft, rewrite: Rewrite) -> Match:
    return next(found for found in rewrite.find(draft) if isinstance(found, Match))


def _emit(draft: Draft, match: Match) -> tuple[Sequence[fx.Node], list[fx.Node]]:
    """What a match returns, and every node that it adds, in the order of the graph."""
    before = set(draft.graph.nodes)
    with draft.graph.inserting_before(match.olds[0]):
        news = match.build(draft)
    return news, [n for n in draft.graph.nodes if n not in before]


def _numbers(i: int, size: int, generator: torch.Generator) -> Iterator[tuple[str, Break]]:
    places = {int(torch.randint(size, (1,), generator=generator)) for _ in range(3)}
    for place in sorted(places):
        for word, factor in (("1 % more", 1.01), ("with the other sign", -1.0), ("gone", 0.0)):
            yield f"tensor {i}[{place}] {word}", _stored(i, place, lambda t, f=factor: t * f)
    yield f"tensor {i} 0.1 % more", _stored(i, slice(None), lambda t: t * 1.001)
    yield f"tensor {i} one on", _stored(i, slice(None), lambda t: t.roll(1))
    yield f"tensor {i} reversed", _stored(i, slice(None), lambda t: t.flip(0))


def _stored(i: int, place: Any, change: Callable[[Tensor], Tensor]) -> Break:
    def broken(draft: Draft, created: list[fx.Node], news: Sequence[fx.Node]) -> Sequence[fx.Node]:
        value = attribute(draft.module, str(created[i].target))
        flat = value.detach().flatten().clone()
        flat[place] = change(flat[place])
        with torch.no_grad():
            value.copy_(flat.reshape(value.shape))
        return news

    return broken


def _calls(i: int, node: fx.Node) -> Iterator[tuple[str, Break]]:
    name = str(node.target)
    if node.target in _OTHER_CALLS:
        other = _OTHER_CALLS[node.target]
        yield f"{name} {i} is {other}", _called(i, lambda n: setattr(n, "target", other))
    if node.target is _aten.scaled_dot_product_attention.default:
        yield (
            f"{name} {i} the other way round",
            _called(i, lambda n: setattr(n, "args", (*n.args[:2], n.args[1], *n.args[3:]))),
        )
    if node.target is _aten.linear.default and len(node.args) > 2 and node.args[2] is not None:
        yield f"{name} {i} without its bias", _called(i, lambda n: setattr(n, "args", n.args[:2]))
    for at, value in enumerate(node.args):
        if isinstance(value, float):
            yield f"{name} {i} argument {at} 1 % more", _argued(i, at, value * 1.01)
        if isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int for v in value):
            for step in (1, -1):
                yield f"{name} {i} moved by {step}", _argued(i, at, [value[0] + step, value[1] - step])
    if (
        node.target is _aten.linear.default
        and isinstance(node.args[1], fx.Node)
        and node.args[1].op == "get_attr"
    ):
        shape = node.args[1].meta["val"].shape
        others = [n for n in node.graph.nodes if n.op == "get_attr" and n is not node.args[1]]
        for other in [n.name for n in others if n < node and n.meta["val"].shape == shape][:2]:
            yield f"{name} {i} reads {other}", _called(i, lambda n, o=other: _read(n, 1, o))
    if node.target is _aten.slice.Tensor and len(node.args) == 4:
        for step in (1, -1):
            moved = tuple(int(str(v)) + step for v in node.args[2:])
            yield (
                f"{name} {i} moved by {step}",
                _called(i, lambda n, m=moved: setattr(n, "args", (*n.args[:2], *m))),
            )


def _read(node: fx.Node, at: int, name: str) -> None:
    other = next(n for n in node.graph.nodes if n.name == name)
    node.args = (*node.args[:at], other, *node.args[at + 1 :])


def _called(i: int, change: Callable[[fx.Node], None]) -> Break:
    def broken(_: Draft, created: list[fx.Node], news: Sequence[fx.Node]) -> Sequence[fx.Node]:
        change(created[i])
        return news

    return broken


def _results(i: int) -> Iterator[tuple[str, Break]]:
    """A returned value scaled, moved along its last dimension or along the batch, or a little bent."""

    def after(target: Callable[..., Any], *args: Any) -> Break:
        def broken(draft: Draft, _: list[fx.Node], news: Sequence[fx.Node]) -> Sequence[fx.Node]:
            with draft.graph.inserting_after(news[i]):
                new = draft.call(target, news[i], *args, path_of=news[i])
            return [*news[:i], new, *news[i + 1 :]]

        return broken

    yield f"result {i} 0.1 % more", after(_aten.mul.Tensor, 1.001)
    yield f"result {i} with the other sign", after(_aten.neg.default)
    yield f"result {i} one on", after(_aten.roll.default, [1], [-1])
    yield f"result {i} the batch one on", after(_aten.roll.default, [1], [0])
    yield f"result {i} bent at one", after(_aten.clamp_max.default, 1.0)


def _argued(i: int, at: int, value: object) -> Break:
    def change(node: fx.Node) -> None:
        node.args = (*node.args[:at], value, *node.args[at + 1 :])

    return _called(i, change)


def judged(case: Case, broken: tuple[str, Break]) -> Verdict | None:
    """The verdict on one mutant: what the plan makes of it, and how far it is off where it is swapped in."""
    change, break_ = broken
    try:
        apart = off(case.original, _forced(case, break_))
    except REFUSED:
        return None
    if apart <= _NOTHING:
        return None
    safe = applied(case, break_)
    return settled(case.rewrite.name, case.model.name, change, safe=safe, apart=apart, witness=0.0)


def applied(case: Case, break_: Break | None = None) -> bool:
    """Whether the plan swaps the first match in, broken or as it is."""
    draft, book = Draft(case.original), Book()
    first = True

    def find(new: Draft) -> Iterator[Match]:
        nonlocal first
        if first:
            first = False
            match = _first(new, case.rewrite)

            def build(again: Draft) -> Sequence[fx.Node]:
                news, created = _emit(again, match)
                return news if break_ is None else break_(again, created, news)

            yield replace(match, build=build)

    apply_rewrite(draft, Rewrite(case.rewrite.name, find, case.rewrite.stage), Choice(), book)
    return any(f.applied_by_default for f in book.findings)


def _forced(case: Case, break_: Break) -> Program:
    """The program with a broken match swapped in, whatever the prover says of it."""
    draft = Draft(case.original)
    match = _first(draft, case.rewrite)
    news, created = _emit(draft, match)
    news = break_(draft, created, news)
    for old, new in zip(match.olds, news, strict=True):
        draft.replace(old, new)
    draft.clean()
    draft.settle()
    return draft.finish()


def off(original: Program, other: Program, count: int = 6) -> float:
    """The largest difference of any output, relative to its largest value, on inputs of several sizes."""
    worst = 0.0
    generator = seeded(3)
    for trial in range(count):
        scale = (0.1, 1.0, 5.0)[trial % 3]
        inputs = [
            scale * torch.randn(x.shape, dtype=torch.float64, generator=generator) for x in original.args
        ]
        mine, theirs = (run(p, inputs, {}, torch.float64) for p in (original, other))
        for a, b in zip(mine.values(), theirs.values(), strict=True):
            size = float(a.abs().max())
            worst = max(worst, float((a - b).abs().max()) / max(size, 1e-30))
    return worst
