# ruff: noqa: ARG005 - every operation of a kind takes the same arguments
"""Small random modules for tests of affine regions, and a check of everything that a region claims.

A module is a list of steps over a growing list of tensors; a step is a number that picks an operation and
three more that choose its operands. Operations are affine or not, and mix features, batch or both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from paramaudit.graph import facts, probe
from paramaudit.graph.affine import Region, region
from paramaudit.graph.capture import capture
from paramaudit.graph.program import Program, attribute, placeholders
from paramaudit.graph.run import call, cast
from paramaudit.graph.shapes import shape
from paramaudit.records import Loaded

Step = tuple[int, int, int, int]
Run = Callable[[list[Tensor]], Tensor]


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


# --- random modules -----------------------------------------------------------------------------


class Steps(nn.Module):
    """The steps that make sense on the example, in order; returns the last tensors."""

    def __init__(self, steps: Sequence[Step], inputs: Sequence[Tensor], seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)
        self.runs: list[Run] = []
        env = [*inputs, self._add((0, 1, 0, 0), list(inputs))]
        for step in steps:
            try:
                made = self._add(step, env)
            except (RuntimeError, IndexError, ValueError):
                continue
            if made.dim() > 5 or made.numel() > 2000 or not made.numel():
                self.runs.pop()
            else:
                env.append(made)

    def _add(self, step: Step, env: list[Tensor]) -> Tensor:
        kind, *numbers = step
        run = OPERATIONS[kind % len(OPERATIONS)](self, env, *numbers)
        made = run([t.clone() for t in env])
        self.runs.append(run)
        return made

    def const(self, *sizes: int) -> Callable[[], Tensor]:
        """A stored tensor of this shape, as a parameter or a buffer."""
        value = torch.randn(sizes, generator=self.generator)
        name = f"c{len(list(self.buffers())) + len(list(self.parameters()))}"
        if sum(sizes) % 2:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)
        return lambda: getattr(self, name)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        env = list(inputs)
        for run in self.runs:
            env.append(run(env))
        return tuple(env[len(inputs) :][-3:])


class OneInput(nn.Module):
    """``inner`` of one input."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.inner(x)


class TwoInputs(nn.Module):
    """``inner`` of two inputs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return self.inner(x, y)


Operation = Callable[[Steps, list[Tensor], int, int, int], Run]
OPERATIONS: list[Operation] = []


def operation(make: Operation) -> Operation:
    OPERATIONS.append(make)
    return make


def unary(*runs: Callable[[Tensor, int, int], Tensor]) -> None:
    """Operations of one tensor and a dimension or two of it."""
    for run in runs:

        def make(_m: Steps, env: list[Tensor], a: int, b: int, c: int, run: object = run) -> Run:
            i = -1 - a % min(len(env), 3)
            j, k = (n % max(env[i].dim(), 1) - (n % 2) * env[i].dim() for n in (b, c))
            return lambda e: run(e[i], j, k)  # type: ignore[operator]

        OPERATIONS.append(make)


def with_constant(sizes: Callable[[Tensor, int], tuple[int, ...]], run: Callable[..., Tensor]) -> None:
    """Operations of one tensor and a stored one whose shape ``sizes`` gives."""

    def make(m: Steps, env: list[Tensor], a: int, b: int, _c: int) -> Run:
        i = -1 - a % min(len(env), 3)
        stored = m.const(*sizes(env[i], b))
        return lambda e: run(e[i], stored())

    OPERATIONS.append(make)


def binary(*runs: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Operations of two tensors and a dimension."""
    for run in runs:

        def make(_m: Steps, env: list[Tensor], a: int, b: int, c: int, run: object = run) -> Run:
            i, j = -1 - a % len(env), -1 - b % len(env)
            k = c % max(env[i].dim(), 1)
            return lambda e: run(e[i], e[j], k)  # type: ignore[operator]

        OPERATIONS.append(make)


def _trailing(count: int) -> Callable[[Tensor, int], tuple[int, ...]]:
    return lambda x, b: tuple(1 if (b >> n) % 2 else s for n, s in enumerate(x.shape[-count:]))


def _set(x: Tensor, value: Tensor) -> Tensor:
    y = x.clone()
    y[..., 0] = value
    return y


def _add_in_place(x: Tensor) -> Tensor:
    y = x * 2
    z = y.view(-1)
    y.add_(1)
    return z.view_as(y) * 3


with_constant(lambda x, b: (2 + b, x.shape[-1]), F.linear)
with_constant(lambda x, b: (2 + b % 3, x.shape[-1]), F.linear)
with_constant(lambda x, b: (x.shape[-1], 1 + b), torch.matmul)
with_constant(lambda x, b: (1 + b, x.shape[max(-2, -x.dim())]), lambda x, w: w @ x)
with_constant(lambda x, b: (x.shape[-1],), torch.matmul)
with_constant(lambda x, b: (x.shape[0], x.shape[-1], 3), torch.matmul)
with_constant(lambda x, b: (3, x.shape[-1]), lambda x, w: F.linear(x, w, w.sum(1)))
with_constant(lambda x, b: (x.shape[-1],), F.linear)
with_constant(lambda x, b: (x.shape[0], 3), lambda x, b: F.linear(x, x.new_ones(3, x.shape[-1]), b))
with_constant(lambda x, b: (x.shape[-1], 2, 3), lambda x, w: torch.einsum("bti,ijk->btjk", x, w))
with_constant(lambda x, b: (x.shape[1], 3), lambda x, w: torch.einsum("bti,tk->bki", x, w))
with_constant(lambda x, b: (x.shape[-1],), lambda x, w: torch.einsum("bti,i->tbi", x, w))
with_constant(lambda x, b: (x.shape[1], x.shape[2]), lambda x, w: torch.einsum("bti,ti->bt", x, w))
with_constant(lambda x, b: (x.shape[-1], 3), lambda x, w: torch.addmm(w.sum(0), x, w, alpha=2, beta=3))
with_constant(lambda x, b: (x.shape[0], 2, 2), lambda x, w: torch.baddbmm(w, x[..., :2], w))
with_constant(_trailing(1), torch.mul)
with_constant(_trailing(2), torch.mul)
with_constant(_trailing(3), torch.add)
with_constant(_trailing(2), lambda x, c: torch.sub(c, x, alpha=2))
with_constant(_trailing(1), lambda x, c: x / (2 + c.abs()))
with_constant(_trailing(1), lambda x, c: c / x)
with_constant(_trailing(1), lambda x, c: torch.rsub(x, c, alpha=3))
with_constant(lambda x, b: (4, x.shape[-1]), lambda x, c: x.unsqueeze(-2) * c)
with_constant(lambda x, b: (3, x.shape[1], 2), lambda x, k: F.conv1d(x, k, padding=1))
with_constant(lambda x, b: (3, x.shape[0], 2), lambda x, k: F.conv1d(x, k))
with_constant(lambda x, b: (x.shape[1],), lambda x, c: F.batch_norm(x, c, c.exp(), c, c))
with_constant(lambda x, b: (x.shape[-1],), lambda x, c: F.layer_norm(x, c.shape, c))
with_constant(lambda x, b: (x.shape[-1],), lambda x, c: x[..., c.argsort()])
with_constant(lambda x, b: (x.shape[0],), lambda x, c: x[c.argsort()])
with_constant(lambda x, b: (2, x.shape[-1]), lambda x, c: x[..., c.argsort()])
with_constant(lambda x, b: (x.shape[-1],), lambda x, c: x.index_select(-1, c.argsort()))
with_constant(lambda x, b: (x.shape[-1],), lambda x, c: _set(x, c.sum()))
with_constant(lambda x, b: (x.shape[-1],), lambda x, c: torch.where(c > 0, x, -x))
unary(
    lambda x, i, j: x.transpose(i, j),
    lambda x, i, j: x.swapaxes(axis0=i, axis1=j),
    lambda x, i, j: x.permute(*range(1, x.dim()), 0),
    lambda x, i, j: x.flatten(min(i % x.dim(), j % x.dim()), max(i % x.dim(), j % x.dim())),
    lambda x, i, j: x.flatten(0, 1),
    lambda x, i, j: x.reshape(-1, x.shape[-1]),
    lambda x, i, j: x.reshape(x.shape[0], -1),
    lambda x, i, j: x.reshape(-1),
    lambda x, i, j: x.reshape(x.shape[-1], -1),
    lambda x, i, j: x.reshape(x.shape[1], x.shape[0], *x.shape[2:]),
    lambda x, i, j: x.reshape(x.shape[0], x.shape[2], x.shape[1], *x.shape[3:]),
    lambda x, i, j: x.reshape(*x.shape[:-1], 2, -1),
    lambda x, i, j: x.reshape(-1, 2, x.shape[-1]),
    lambda x, i, j: x.unflatten(i, (2, -1)),
    lambda x, i, j: x.unflatten(i, (-1, 2)),
    lambda x, i, j: x.unsqueeze(i),
    lambda x, i, j: x.squeeze(),
    lambda x, i, j: x.narrow(i, 0, 2),
    lambda x, i, j: x.narrow(i, 1, x.shape[i] - 1),
    lambda x, i, j: x[1:] if x.dim() else x,
    lambda x, i, j: x[..., :2],
    lambda x, i, j: x[..., 1::2],
    lambda x, i, j: x[:, : x.shape[1]],
    lambda x, i, j: x.select(i, -1),
    lambda x, i, j: x.flip(i),
    lambda x, i, j: x.flip([i, j]),
    lambda x, i, j: x.roll(1, i),
    lambda x, i, j: x.roll(1),
    lambda x, i, j: F.pad(x, (1, 2)),
    lambda x, i, j: F.pad(x, (0, 0, 1, -1), value=2.0),
    lambda x, i, j: F.pad(x, (1, 1), mode="reflect"),
    lambda x, i, j: F.pad(x, (1, 1), mode="circular"),
    lambda x, i, j: x.sum(i),
    lambda x, i, j: x.sum(),
    lambda x, i, j: x.sum(-1, keepdim=True),
    lambda x, i, j: x.sum(i, dtype=torch.int64) * 0.5,
    lambda x, i, j: x.mean([i, j], keepdim=True),
    lambda x, i, j: x - x.mean(-1, keepdim=True),
    lambda x, i, j: x.cumsum(i),
    lambda x, i, j: x.cumsum(-1, dtype=torch.float64).float(),
    lambda x, i, j: torch.view_as_real(torch.fft.rfft(x, dim=i)),
    lambda x, i, j: torch.fft.fft(x, n=4, norm="ortho").imag,
    lambda x, i, j: torch.fft.irfft(torch.fft.rfft(x) * (1 + 2j), n=x.shape[-1]),
    lambda x, i, j: torch.fft.fft2(x).real,
    lambda x, i, j: torch.fft.fft(x).abs(),
    lambda x, i, j: torch.cat([x, x * 2], i),
    lambda x, i, j: torch.cat([x, x.flip(-1)], -1),
    lambda x, i, j: torch.stack([x, -x], i),
    lambda x, i, j: torch.stack(x.unbind(i), j),
    lambda x, i, j: torch.cat(x.chunk(2, i)[::-1], i),
    lambda x, i, j: torch.cat([*x.split(2, -1), x], -1),
    lambda x, i, j: x.split([1, x.shape[i] - 1], i)[1],
    lambda x, i, j: x.tensor_split(2, i)[0],
    lambda x, i, j: x.unsqueeze(-2).expand(*x.shape[:-1], 3, x.shape[-1]),
    lambda x, i, j: x.expand(2, *x.shape),
    lambda x, i, j: x.repeat(*[1] * (x.dim() - 1), 2),
    lambda x, i, j: x * torch.arange(x.shape[i]).sum(),
    lambda x, i, j: x * torch.arange(x.shape[-1]),
    lambda x, i, j: x + torch.arange(x.shape[0]).view(-1, *[1] * (x.dim() - 1)),
    lambda x, i, j: x * x.shape[0],
    lambda x, i, j: x / x.shape[i],
    lambda x, i, j: F.dropout(x, 0.3, training=False).clone().detach(),
    lambda x, i, j: x.to(torch.float64).to(torch.float32),
    lambda x, i, j: x.to(torch.int32).to(torch.float32),
    lambda x, i, j: (x * torch.ones((), dtype=torch.float64)).double().float(),
    lambda x, i, j: torch.div(x, 0.25, rounding_mode="floor"),
    lambda x, i, j: x.relu(),
    lambda x, i, j: x.softmax(i),
    lambda x, i, j: x * x,
    lambda x, i, j: x @ x.transpose(-1, -2),
    lambda x, i, j: F.linear(x, x.reshape(-1, x.shape[-1])[:3]),
    lambda x, i, j: x.tril(),
    lambda x, i, j: x.clone().add_(1).mul_(2),
    lambda x, i, j: _add_in_place(x),
    lambda x, i, j: _set(x, x[..., 1] * 2),
)
binary(
    lambda x, y, i: x + y,
    lambda x, y, i: torch.add(x, y, alpha=3),
    lambda x, y, i: x - y,
    lambda x, y, i: torch.cat([x, y], i),
    lambda x, y, i: torch.cat([x, y], -1),
    lambda x, y, i: torch.stack([x, y], i),
    lambda x, y, i: x * y,
    lambda x, y, i: x + y.transpose(0, 1),
    lambda x, y, i: x + y.reshape(x.shape),
    lambda x, y, i: torch.where(x > 0, x, y),
    lambda x, y, i: torch.einsum("bti,bsi->bts", x, y),
)


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
