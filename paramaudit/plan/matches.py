"""Apply graph rewrites: build, prove, keep or take back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.clauses import of_mode_between, of_outputs
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import shape
from paramaudit.graph.surgery import Draft
from paramaudit.numerics.noise import finite
from paramaudit.plan.book import Book, Choice
from paramaudit.prove.identity import judge_identity
from paramaudit.prove.pairs import judge_pairs, linear_half
from paramaudit.records import Evidence, PairedUnits, Skipped, Tier, Traces

_DRAWS = ((1.0, 0), (30.0, 1))
_LEAST = (2, 11, 40)
"""Sizes tried for a symbol, in turn: a convolution needs more than a few."""


def apply_rewrite(draft: Draft, rewrite: Rewrite, choice: Choice, book: Book) -> bool:
    """Apply one rewrite wherever it is found; True when anything changed.

    The graph is searched again after every change, since a match may have changed its neighbours.
    """
    changed = False
    while True:
        match = None
        changing = facts.stale(draft.graph)
        for found in list(rewrite.find(draft)):
            if isinstance(found, Skipped):
                book.skip(found)
            elif changing & {*found.tensors, *(i for old in found.olds for i in old.all_input_nodes)}:
                book.skip(Skipped(found.path, f"{rewrite.name}, but the model itself changes these numbers"))
            elif _key(rewrite, found) not in book.refused and choice.wants(
                _operator(rewrite, found), found.path
            ):
                match = found
                break
        if match is None:
            return changed
        if _apply(draft, rewrite, match, choice, book):
            changed = True
        else:
            book.refused.add(_key(rewrite, match))


def _key(rewrite: Rewrite, match: Match) -> tuple[str, ...]:
    return (rewrite.name, *(node.name for node in match.olds))


def _operator(rewrite: Rewrite, match: Match) -> str:
    return str(match.arguments.get("rewrite", rewrite.name))


def _apply(draft: Draft, rewrite: Rewrite, match: Match, choice: Choice, book: Book) -> bool:
    existing = set(draft.graph.nodes)
    before = draft.count()
    tensors = draft.keys(match.tensors)
    size = sum(t.numel() for n in match.tensors if (t := draft.tensor(n)) is not None)
    news: tuple[fx.Node, ...] = ()
    try:
        with draft.graph.inserting_before(match.olds[0]):
            news = tuple(match.build(draft))
        evidence = _judge(draft, match, news, choice.seed)
    except (LookupError, RuntimeError, ValueError) as error:
        reason = f"{match.identity}, but it cannot be written so: {_first_line(error)}"
        evidence = Evidence(Tier.REFUTED, reason)
    operator = _operator(rewrite, match)
    arguments = {k: v for k, v in match.arguments.items() if k != "rewrite"}
    if not choice.applies(evidence.tier):
        draft.discard([node for node in draft.graph.nodes if node not in existing])
        draft.settle()
        book.add(operator, match.path, tensors, evidence, (size, size), arguments=arguments, applied=False)
        return False
    requires = (*match.requires, *of_mode_between(match.inputs, match.olds))
    for old, new in zip(match.olds, news, strict=True):
        draft.replace(old, new)
    places = tuple(("", draft.name_of(old)) for old in match.olds)
    if match.claim is not None and len(match.inputs) == len(match.olds) == 1:
        places = ((draft.name_of(match.inputs[0]), draft.name_of(match.olds[0])),)
    draft.clean()
    rounded = draft.settle() and match.claim is None
    after = max(0, size - (before - draft.count()))
    applied = evidence.tier.safe
    absorbs = match.claim is not None
    counts = (size, after)
    book.add(
        operator,
        match.path,
        tensors,
        evidence,
        counts,
        arguments=arguments,
        applied=applied,
        absorbs=absorbs,
        requires=requires,
        traces=Traces(places=places, rounded=rounded),
    )
    return True


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _judge(draft: Draft, match: Match, news: tuple[fx.Node, ...], seed: int) -> Evidence:
    originals: list[Tensor] = []
    candidates: list[Tensor] = []
    for scale, draw in _DRAWS:
        values: list[list[Tensor]] = []
        for least in sorted({match.least, *_LEAST} - set(range(match.least))):
            known, sizes = _inputs(match, scale, seed + draw, least)
            try:
                values = [
                    [_claimed(match.claim, known[match.inputs[0]])]
                    if match.claim is not None and nodes is match.olds
                    else evaluate(draft.module, nodes, known, dtype=torch.float64, sizes=sizes)
                    for nodes in (match.olds, news)
                ]
                break
            except (ValueError, RuntimeError) as error:
                problem = _first_line(error)
        if not values:
            return Evidence(Tier.REFUTED, f"{match.identity}, but this cannot be checked: {problem}")
        originals.extend(values[0])
        candidates.extend(values[1])
    written = judge_identity(match.identity, originals, candidates)
    # a claim is about the numbers of a block; what was written for it must be what was claimed
    return judge_pairs(match.claim) if match.claim is not None and written.tier.safe else written


def _claimed(claim: PairedUnits, inputs: Tensor) -> Tensor:
    """The linear map that a block of paired units is claimed to be, ``(..., in)`` to ``(..., out)``."""
    linear = linear_half(claim)
    return F.linear(inputs, linear.weight, linear.bias)


def _inputs(match: Match, scale: float, seed: int, least: int) -> tuple[dict[fx.Node, Any], dict[Any, int]]:
    """Random values in float64 for what the match reads, with a size from ``least`` on for each symbol."""
    generator = torch.Generator().manual_seed(seed)
    symbols: dict[Any, int] = {}
    for node in match.inputs:
        for length in shape(node) or ():
            if not isinstance(length, int):
                for symbol in sorted(length.free_symbols, key=str):
                    symbols.setdefault(symbol, least + len(symbols) % 3)
    known: dict[fx.Node, Any] = {}
    for node in match.inputs:
        sizes = [s if isinstance(s, int) else int(s.subs(symbols)) for s in shape(node) or ()]
        value = node.meta["val"]
        if value.is_floating_point():
            known[node] = scale * torch.randn(sizes, dtype=torch.float64, generator=generator)
        else:
            known[node] = torch.zeros(sizes, dtype=value.dtype)
    return known, symbols


def report_not_finite(draft: Draft, book: Book) -> None:
    """A refusal for every parameter with numbers that are no numbers: nothing they reach can be compared."""
    for name, tensor in draft.program.parameters.items():
        if tensor.is_floating_point() and not finite(tensor.detach()):
            bad = int((~tensor.detach().isfinite()).sum())
            reason = f"{bad} of the {tensor.numel()} numbers of {name} are NaN or infinite"
            book.skip(Skipped(name.rpartition(".")[0], f"{reason}; what they reach is not compared"))


def report_unread(draft: Draft, choice: Choice, book: Book) -> None:
    """A finding for every module with parameters that no output depends on."""
    read = {str(node.target) for node in facts.live(draft.graph) if node.op == "get_attr"}
    storages = {
        t.untyped_storage().data_ptr() for n, t in draft.program.parameters.items() if n in read and t.numel()
    }
    groups: dict[str, list[str]] = {}
    for name, tensor in draft.program.parameters.items():
        if name not in read and not (tensor.numel() and tensor.untyped_storage().data_ptr() in storages):
            groups.setdefault(_top_unread(name, read), []).append(name)
    for path, names in groups.items():
        if not choice.wants("unused", path):
            continue
        numbers = sum(draft.program.parameters[n].numel() for n in names)
        evidence = Evidence(Tier.EXACT, "no output depends on it")
        requires = of_outputs(draft.program)
        keys = tuple(sorted(names))
        book.add("unused", path, keys, evidence, (numbers, 0), applied=True, requires=requires)


def _top_unread(name: str, read: set[str]) -> str:
    """The outermost module of a parameter that holds nothing that is read."""
    parts = name.split(".")[:-1]
    for depth in range(1, len(parts) + 1):
        prefix = ".".join(parts[:depth])
        if not any(other.startswith(f"{prefix}.") for other in read):
            return prefix
    return ".".join(parts)
