"""Programs for tests of affine regions, and a check of everything that a region claims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from paramaudit.graph import facts, probe
from paramaudit.graph.affine import Region, region
from paramaudit.graph.capture import capture
from paramaudit.graph.program import Program, attribute, output_leaves, placeholders
from paramaudit.graph.run import call, cast
from paramaudit.graph.shapes import shape
from paramaudit.records import Loaded


def program(module: nn.Module, *inputs: Tensor, static: Sequence[int] = (), mode: str = "eval") -> Program:
    """Capture a module, every dimension dynamic but those in ``static``, counted as in a shape."""
    kinds = torch.export.Dim
    shapes = tuple(
        {d: kinds.STATIC if d in static or d - x.dim() in static else kinds.AUTO for d in range(x.dim())}
        for x in inputs
    )
    module.train(mode == "train")
    exported = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    return capture(Loaded("", "pt2", exported=exported, args=inputs))


class UnfitError(Exception):
    """The program does not run on inputs of these sizes."""


# --- the check ----------------------------------------------------------------------------------

_MIX = 0.3


def check_region(found: Region, module: fx.GraphModule, sizes: Sequence[int], seed: int = 0) -> int:
    """Everything that ``found`` claims, numerically in float64; the number of nodes looked at.

    The anchor's rows are drawn from a small pool, in several batches of two sizes, beside other inputs that
    change every time. A node in the region must do the same to equal rows, wherever they stand; it must keep
    mixtures; and the probed matrix must predict it if it is clean.
    """
    generator = torch.Generator().manual_seed(seed)
    dims = shape(found.anchor) or ()
    width = int(dims[-1])
    pool = torch.randn(5, width, dtype=torch.float64, generator=generator)
    pool[2] = _MIX * pool[0] + (1 - _MIX) * pool[1]
    pool[3], pool[4] = 0, 20 * pool[4]
    seen: dict[fx.Node, dict[int, Tensor]] = {node: {} for node in found.layouts}
    matrices = {node: probe.matrix(module, found, found.anchor, node) for node in seen if found.clean(node)}
    drawn = 0
    for attempt in range(40):
        numbers = _symbols(module, sizes, shift=attempt % 2)
        leading = [_number(s, numbers) for s in dims[:-1]]
        count = math.prod(leading)
        rows = (drawn + torch.arange(count)) % 5
        drawn += count
        known = {
            node: torch.randn(
                [_number(s, numbers) for s in shape(node) or ()], dtype=torch.float64, generator=generator
            )
            for node in placeholders(module.graph)
        }
        known[found.anchor] = pool[rows].reshape(*leading, width)
        for values in _everything(module, known):
            for node, dims_ in found.layouts.items():
                if isinstance(values[node], Tensor):
                    _compare_rows(node, _arranged(values[node], dims_, found, numbers), rows, seen[node])
            for node, matrix in matrices.items():
                bias = 0 if matrix.bias is None else matrix.bias
                expected = pool[rows] @ matrix.weight.T + bias
                assert _close(values[node].reshape(count, -1), expected), f"the matrix of {node} is wrong"
        if drawn >= 8 and attempt >= 2:
            break
    for node, results in seen.items():
        if len(results) == 5:
            mixed = _MIX * results[0] + (1 - _MIX) * results[1]
            assert _close(results[2], mixed, results[0], results[1]), f"{node} is not affine"
    return len(matrices)


def check_program(captured: Program, sizes: Sequence[int] = (2, 3, 2, 4)) -> int:
    """Check the region of every node that can be an anchor; the number of clean nodes besides anchors."""
    constant = facts.constants(captured.graph)
    count = 0
    for node in captured.graph.nodes:
        found = region(node, constant) if node not in constant else None
        if found is not None and len(found.layouts) > 1:
            count += check_region(found, captured.module, sizes) - 1
    return count


def _compare_rows(node: fx.Node, values: Tensor, rows: Tensor, known: dict[int, Tensor]) -> None:
    for row, value in zip(rows.tolist(), values, strict=True):
        before = known.setdefault(row, value.clone())
        assert before.shape == value.shape, f"{node} has another number of features in another batch"
        assert _close(value, before), f"{node} does not do the same to equal rows"


def _arranged(value: Tensor, dims: object, found: Region, numbers: dict[object, int]) -> Tensor:
    """A node's value as ``(batch rows in the anchor's order, features)``, by its layout."""
    atoms = [atom for dim in dims for atom in dim]  # type: ignore[attr-defined]
    batch = [atom for dim in found.layouts[found.anchor] for atom in dim if not atom.feature]
    assert sorted(a.id for a in atoms if not a.feature) == sorted(a.id for a in batch)
    order = [*map(atoms.index, batch), *(i for i, a in enumerate(atoms) if a.feature)]
    split = value.reshape([_number(a.size, numbers) for a in atoms]).permute(order)
    rows = math.prod(_number(a.size, numbers) for a in batch)
    return split.reshape(rows, -1)


def _close(a: Tensor, b: Tensor, *scale: Tensor) -> bool:
    size = max([1.0, *(float(t.abs().max()) for t in (a, b, *scale) if t.numel())])
    return bool((a - b).abs().max() <= 1e-9 * size) if a.numel() else True


def _symbols(module: fx.GraphModule, sizes: Sequence[int], shift: int) -> dict[object, int]:
    symbols: dict[object, int] = {}
    for node in placeholders(module.graph):
        for length in shape(node) or ():
            for symbol in sorted(getattr(length, "free_symbols", ()), key=str):
                symbols.setdefault(symbol, sizes[len(symbols) % len(sizes)] + 3 * shift)
    return symbols


def _number(length: object, symbols: dict[object, int]) -> int:
    return length if isinstance(length, int) else int(length.subs(symbols))  # type: ignore[attr-defined]


def _everything(module: fx.GraphModule, known: dict[fx.Node, Tensor]) -> list[dict[fx.Node, object]]:
    """Every node's value when it was made, and when all calls, those in place too, have run."""
    stored: dict[str, object] = {}
    made: dict[fx.Node, object] = {}
    last: dict[fx.Node, object] = {}
    for node in module.graph.nodes:
        if node.op == "output":
            continue
        if node in known:
            last[node] = known[node].clone()
        elif node.op == "get_attr":
            name = str(node.target)
            value = attribute(module, name)
            if isinstance(value, Tensor):
                value = cast(value.detach().clone(), torch.float64)
            last[node] = stored.setdefault(name, value)
        else:
            try:
                with torch.no_grad():
                    last[node] = call(node, module, last.__getitem__, torch.float64)
            except (RuntimeError, IndexError) as error:
                raise UnfitError(f"{node}: {error}") from error
        made[node] = last[node].clone() if isinstance(last[node], Tensor) else last[node]
    return [made, last]


# --- calls side by side -------------------------------------------------------------------------

Case = tuple[object, ...]


class Calls(nn.Module):
    """Functions of ``x`` and of stored tensors of their own, side by side."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.functions = [case[0] for case in cases]
        self.names: list[list[str]] = []
        for i, (_, _, *constants) in enumerate(cases):
            self.names.append([f"c{i}_{j}" for j in range(len(constants))])
            for name, sizes in zip(self.names[-1], constants, strict=True):
                self.register_buffer(name, torch.randn(sizes, generator=generator))

    def forward(self, x: Tensor) -> tuple[object, ...]:
        stored = [[getattr(self, n) for n in names] for names in self.names]
        return tuple(f(x, *c) for f, c in zip(self.functions, stored, strict=True))


def captured(*cases: Case, static: Sequence[int] = (-1,)) -> Program:
    """The program of functions of one input, whose last dimension is static by default."""
    x = torch.randn(cases[0][1], generator=torch.Generator().manual_seed(5))
    return program(Calls(cases), x, static=static)


def clean_outputs(made: Program) -> list[bool]:
    """Which outputs are clean nodes of the input's region."""
    found = region(placeholders(made.graph)[0], facts.constants(made.graph))
    assert found is not None
    return [isinstance(leaf, fx.Node) and found.clean(leaf) for leaf in output_leaves(made.graph)]


def grouped(cases: Mapping[str, Case]) -> list[list[str]]:
    """Names of cases whose inputs have the same size."""
    groups: dict[object, list[str]] = {}
    for name, case in cases.items():
        groups.setdefault(case[1], []).append(name)
    return list(groups.values())
