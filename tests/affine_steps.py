# ruff: noqa: ARG005 - every operation of a kind takes the same arguments
"""Small random modules for tests of affine regions, and a check of everything that a region claims.

A module is a list of steps over a growing list of tensors; a step is a number that picks an operation and
three more that choose its operands. Operations are affine or not, and mix features, batch or both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = tuple[int, int, int, int]
Run = Callable[[list[Tensor]], Tensor]


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
