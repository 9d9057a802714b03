"""What a rule expects and the evidence denies: refusals with a reason and, where there is one, an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from paramaudit.graph import facts
from paramaudit.graph.parts import Part, drawn, part, result, rows_symbol, symbols
from paramaudit.graph.program import Program, output_leaves
from paramaudit.graph.run import evaluate, run
from paramaudit.numerics.exact import affine
from paramaudit.numerics.least_squares import best_affine, unexplained
from paramaudit.numerics.wavelets import filter_length
from paramaudit.plan import Book
from paramaudit.records import Evidence, Finding, Json, Tier
from paramaudit.rules import Rule, match

_NOT_A_MAP = frozenset({"unused", "single-key-attention", "single-step-recurrence", "constant"})
_CURVES = frozenset({"envelope", "knee", "piecewise"})
_PIECEWISE = frozenset({"relu", "leaky_relu", "abs"})
_LINEAR_ENOUGH = 1e-3
_MOST_WORK = 2e10  # multiplications
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
    inside = part(program, path)
    if rule.operator == "wavelet":
        short = _too_short(rule, program, inside.nodes)
        if short is not None:
            return short
    return None if rule.operator in _NOT_A_MAP else _not_affine(program, inside, rule.operator or "")


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


def _not_affine(program: Program, inside: Part, operator: str) -> Evidence | None:
    """Superposition fails: f(x + y) - f(x) - f(y) + f(0) is not zero, so no linear formula is it."""
    if not inside.ends or not inside.sources:
        return None
    if not all(s.meta["val"].is_floating_point() for s in inside.sources):
        return None
    sizes, end = symbols(inside.sources), inside.ends[-1]
    generator = torch.Generator().manual_seed(0)
    x, y = (drawn(inside.sources, sizes, generator) for _ in range(2))
    try:
        both = result(program, end, {n: x[n] + y[n] for n in x}, sizes)
        still = result(program, end, {n: torch.zeros_like(x[n]) for n in x}, sizes)
        parts = result(program, end, x, sizes) + result(program, end, y, sizes) - still
        if not both.numel():
            return None
        off = float((both - parts).norm() / both.norm().clamp_min(1e-300))
        left = _left_by_best_affine(program, inside, generator) if off > _LINEAR_ENOUGH else None
    except (RuntimeError, ValueError, KeyError):
        return None  # the module cannot be run on its own, so nothing is shown either way
    if not off > _LINEAR_ENOUGH:
        return None
    bent = [call for n in inside.nodes if (call := facts.name(n).removeprefix("aten::")) in _BENDS]
    if operator in _CURVES:
        smooth = next((call for call in bent if call not in _PIECEWISE), None)
        if smooth is None:
            return None
        reason = f"cannot be shown to be {operator}, which is piecewise linear: {smooth} stands in between"
    else:
        reason = (
            f"it is not {operator}, nor any linear formula: f(x + y) differs from f(x) + f(y) - f(0) by "
            f"{off:.0%} on the kept inputs ({bent[0] if bent else 'a bent call'} stands in between)"
        )
    if left is not None:
        reason += f"; the best affine map leaves {left:.1%} of its spread on normal inputs"
    point = torch.cat([t.flatten() for t in (*x.values(), *y.values())])
    return Evidence(Tier.REFUTED, reason, counterexample=point)


def _left_by_best_affine(program: Program, inside: Part, generator: torch.Generator) -> float | None:
    """What the best affine map leaves of the part on normal inputs that it was not fitted to.

    None where the part mixes rows, or where so many inputs would take too long.
    """
    symbol, end = rows_symbol([*inside.sources, inside.ends[-1]]), inside.ends[-1]
    if symbol is None:
        return None
    sizes = symbols(inside.sources)
    width = sum(t[0].numel() for t in drawn(inside.sources, sizes, generator).values())
    weights = sum(program.parameters[name].numel() for name in _read(program, inside))
    samples = min(20 * (width + 16), int(_MOST_WORK / max(1, weights + width**2)))
    if samples < 5 * width:
        return None
    sizes[symbol] = samples
    point = drawn(inside.sources, sizes, generator)
    outputs = result(program, end, point, sizes).flatten(1)
    inputs = torch.cat([t.flatten(1) for t in point.values()], 1)
    fitted = samples * 4 // 5
    weight, bias = best_affine(inputs[:fitted], outputs[:fitted])
    return unexplained(outputs[fitted:], affine(inputs[fitted:], weight, bias))


def _read(program: Program, inside: Part) -> set[str]:
    sources = {str(i.target) for n in inside.nodes for i in n.all_input_nodes if i.op == "get_attr"}
    return sources & program.parameters.keys()
