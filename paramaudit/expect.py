"""What a rule expects and the evidence denies: refusals with a reason and, where there is one, an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from paramaudit.graph import facts
from paramaudit.graph.program import Program, module_path, output_leaves
from paramaudit.graph.run import evaluate, run
from paramaudit.graph.shapes import shape
from paramaudit.numerics.wavelets import filter_length
from paramaudit.plan import Book
from paramaudit.records import Evidence, Finding, Json, Tier
from paramaudit.rules import Rule, match

_NOT_A_MAP = frozenset(
    {"unused", "single-key-attention", "single-step-recurrence", "constant", "envelope", "knee"}
)
_LINEAR_ENOUGH = 1e-3
_BENDS = frozenset(
    {"gelu", "relu", "leaky_relu", "silu", "tanh", "sigmoid", "softmax", "layer_norm", "abs", "argmax"}
)


def expectations(program: Program, refactored: Program, book: Book, rules: Sequence[Rule]) -> list[Finding]:
    """A refuted finding for every rule that expects an operator which the model denies.

    Args:
        program: the original.
        refactored: what the plan leaves of it.
        book: what was found.
        rules: the rules in force.
    """
    denied = Book(list(book.findings))
    start = len(denied.findings)
    for path, kind in program.types.items():
        rule = match(rules, path, kind)
        if rule is None or rule.cls != "ml-replaceable" or rule.operator is None:
            continue
        names = [n for n in program.parameters if n.startswith(f"{path}.")]
        size = sum(program.parameters[n].numel() for n in names)
        if not size:
            continue
        proven = [f for f in book.findings if _speaks_of(f, path, names) and _satisfies(rule, f.operator)]
        if proven:
            evidence = _numbers_evidence(rule, refactored, path, proven)
        else:
            evidence = _denied(program, book, rule, path, names)
        if evidence is not None:
            arguments: dict[str, Json] = {"rule": rule.id, **rule.arguments}
            if rule.numbers is not None:
                arguments["numbers"] = rule.numbers
            tensors = tuple(sorted(names))
            denied.add(
                rule.operator, path, tensors, evidence, (size, size), arguments=arguments, applied=False
            )
    return denied.findings[start:]


def _speaks_of(finding: Finding, path: str, names: Sequence[str]) -> bool:
    inside = finding.path == path or finding.path.startswith(f"{path}.")
    return finding.applied_by_default and (inside or bool(set(finding.tensors) & set(names)))


def _satisfies(rule: Rule, operator: str) -> bool:
    return operator == rule.operator or operator in rule.accepts


def _numbers_evidence(
    rule: Rule, refactored: Program, path: str, proven: Sequence[Finding]
) -> Evidence | None:
    """The rule's own count, when the proven equivalent needs more numbers than it says."""
    if rule.numbers is None:
        return None
    left = {n: t.detach() for n, t in refactored.parameters.items() if n.startswith(f"{path}.")}
    after = sum(t.numel() for t in left.values())
    matrices = [t.to(torch.float64) for t in left.values() if t.dim() == 2]
    held = sum(t.numel() for t in matrices)
    if after <= rule.numbers or not matrices or held <= rule.numbers:
        return None
    magnitudes = torch.cat([t.abs().flatten() for t in matrices]).sort(descending=True).values
    lost = float(magnitudes[rule.numbers :].norm() / magnitudes.norm())
    shapes = " and ".join(f"{rows} x {columns}" for rows, columns in (t.shape for t in matrices))
    reason = (
        f"{rule.numbers} numbers do not hold it: the proven equivalent is a {shapes} map of "
        f"{held} numbers, and its {rule.numbers} largest alone miss {lost:.0%} of it"
    )
    return Evidence(Tier.REFUTED, reason + _consistent(rule, proven))


def _consistent(rule: Rule, proven: Sequence[Finding]) -> str:
    """Whether a state space could be the filter that a rule expects, in words."""
    step = next((f for f in proven if f.operator == "state-space"), None)
    if rule.operator != "kalman" or step is None or "stable" not in step.arguments:
        return ""
    if not step.arguments["stable"]:
        return "; it is a state space, but not a stable one, so no Kalman filter at rest"
    return (
        "; it is a stable state space, consistent with a Kalman filter, but from A and B alone it cannot be "
        "told from any other"
    )


def _denied(program: Program, book: Book, rule: Rule, path: str, names: Sequence[str]) -> Evidence | None:
    """Why the expected operator is not there; None when that was not shown."""
    if rule.operator == "unused":
        return _alive(program, names)
    if rule.operator in ("single-key-attention", "single-step-recurrence"):
        reasons = [s.reason for s in book.skipped.values() if s.path == path or s.path.startswith(f"{path}.")]
        return Evidence(Tier.REFUTED, reasons[0]) if reasons else None
    inside = [n for n in program.graph.nodes if _within(n, path)]
    if rule.operator == "wavelet":
        short = _too_short(rule, program, inside)
        if short is not None:
            return short
    return None if rule.operator in _NOT_A_MAP else _not_affine(program, inside, rule.operator or "")


def _within(node: fx.Node, path: str) -> bool:
    mine = module_path(node)
    return node.op == "call_function" and (mine == path or mine.startswith(f"{path}."))


def _alive(program: Program, names: Sequence[str]) -> Evidence | None:
    """Overwrite the numbers with noise and see which outputs move."""
    before = run(program, program.args, program.kwargs, None)
    generator = torch.Generator().manual_seed(0)
    noise = {n: torch.randn(program.parameters[n].shape, generator=generator) for n in names}
    after = _overwritten(program, noise)
    moved = {
        name: float((after[name] - before[name]).abs().max())
        for name in before
        if isinstance(before[name], Tensor) and before[name].is_floating_point() and before[name].numel()
    }
    worst = max(moved, key=lambda name: moved[name])
    if not moved[worst] > 0:
        return None
    discrete = any(_chooses(n) for n in program.graph.nodes if n.op == "call_function")
    why = " (a hard choice passes no gradient, but it is read)" if discrete else ""
    reason = f"it is alive: overwritten with noise, output {worst!r} moves by {moved[worst]:.2g}{why}"
    return Evidence(Tier.REFUTED, reason)


def _chooses(node: fx.Node) -> bool:
    return facts.name(node) in ("aten::argmax", "aten::argmin", "aten::topk", "aten::max", "aten::round")


def _overwritten(program: Program, values: dict[str, Tensor]) -> dict[str, Any]:
    known: dict[fx.Node, Any] = {
        n: values[str(n.target)].to(n.meta["val"].dtype)
        for n in program.graph.nodes
        if n.op == "get_attr" and str(n.target) in values
    }
    leaves = pytree.tree_leaves((tuple(program.args), dict(program.kwargs)))
    inputs = [n for n in program.graph.nodes if n.op == "placeholder"]
    known |= dict(zip(inputs, leaves, strict=True))
    flat = output_leaves(program.graph)
    nodes = [leaf for leaf in flat if isinstance(leaf, fx.Node)]
    found = dict(zip(nodes, evaluate(program.module, nodes, known, dtype=None), strict=True))
    return dict(zip(program.contract.outputs, [found.get(leaf, leaf) for leaf in flat], strict=True))


def _too_short(rule: Rule, program: Program, inside: Sequence[fx.Node]) -> Evidence | None:
    """A kernel with fewer taps than the wavelet's filter cannot hold it."""
    wavelet = rule.arguments.get("wavelet")
    taps = filter_length(str(wavelet)) if wavelet is not None else None
    kernels = [
        int(program.parameters[str(w.target)].shape[-1])
        for n in inside
        if "conv" in facts.name(n)
        and isinstance(w := facts.argument(n, 1, "weight"), fx.Node)
        and str(w.target) in program.parameters
    ]
    if taps is None or not kernels or max(kernels) >= taps:
        return None
    reason = f"{wavelet} has {taps} taps, and a kernel of {max(kernels)} cannot hold them"
    return Evidence(Tier.REFUTED, reason)


def _not_affine(program: Program, inside: Sequence[fx.Node], operator: str) -> Evidence | None:
    """Superposition fails: f(x + y) - f(x) - f(y) + f(0) is not zero, so no linear formula is it."""
    nodes = set(inside)
    constant = facts.constants(program.graph)
    sources = {i for n in inside for i in n.all_input_nodes if i not in nodes and i not in constant}
    sources = {i for i in sources if isinstance(i.meta.get("val"), Tensor)}
    tensors = [n for n in inside if isinstance(n.meta.get("val"), Tensor)]
    ends = [n for n in tensors if any(u not in nodes for u in n.users)]
    if not ends or not sources or not all(s.meta["val"].is_floating_point() for s in sources):
        return None
    ordered = sorted(sources)
    symbols = {
        s: 2
        for n in ordered
        for length in shape(n) or ()
        if not isinstance(length, int)
        for s in length.free_symbols
    }
    generator = torch.Generator().manual_seed(0)

    def draw(scale: float) -> dict[fx.Node, Tensor]:
        return {
            n: scale
            * torch.randn(
                [s if isinstance(s, int) else int(s.subs(symbols)) for s in shape(n) or ()],
                dtype=torch.float64,
                generator=generator,
            )
            for n in ordered
        }

    def value(point: dict[fx.Node, Tensor]) -> Tensor:
        (result,) = evaluate(program.module, [ends[-1]], point, dtype=torch.float64, sizes=symbols)
        return result if isinstance(result, Tensor) else torch.zeros(0)

    x, y = draw(1.0), draw(1.0)
    try:
        both = value({n: x[n] + y[n] for n in ordered})
        parts = value(x) + value(y) - value({n: torch.zeros_like(x[n]) for n in ordered})
    except (RuntimeError, ValueError, KeyError):
        return None  # the module cannot be run on its own, so nothing is shown either way
    if not both.numel():
        return None
    off = float((both - parts).norm() / both.norm().clamp_min(1e-300))
    if not off > _LINEAR_ENOUGH:
        return None
    where = next((facts.name(n).removeprefix("aten::") for n in inside if _bends(n)), "a non-linear call")
    reason = (
        f"it is not {operator}, nor any linear formula: f(x + y) differs from f(x) + f(y) - f(0) by "
        f"{off:.0%} on the kept inputs ({where} stands in between)"
    )
    point = torch.cat([t.flatten() for t in (*x.values(), *y.values())])
    return Evidence(Tier.REFUTED, reason, counterexample=point)


def _bends(node: fx.Node) -> bool:
    call = facts.name(node).removeprefix("aten::")
    return call in (
        "gelu",
        "relu",
        "tanh",
        "sigmoid",
        "silu",
        "softmax",
        "layer_norm",
        "abs",
        "argmax",
        "leaky_relu",
    )
