"""Ways to break a proposed layer: in what it stores, in what it was built with, and around it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pywt
import torch
from torch import Tensor, nn

from paramaudit.numerics.windows import WINDOWS

After = Callable[[Tensor, Tensor], Tensor]
Broken = tuple[str, nn.Module]


class Around(nn.Module):
    """A layer between a change of its input and a change of its output, which also sees the input."""

    def __init__(
        self,
        inner: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        after: After = lambda _, y: y,
    ) -> None:
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``."""
        return self.after(x, self.inner(self.before(x)))


class Unbiased(nn.Module):
    """A layer less its value at zero."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``."""
        value: Tensor = self.inner(x) - self.inner(torch.zeros_like(x))
        return value


def stored(layer: nn.Module, generator: torch.Generator) -> Iterator[Broken]:
    """One number of each tensor that the layer holds by 1 %, its sign, gone; one index; all by 0.1 %."""
    for name, tensor in layer.state_dict().items():
        place = int(torch.randint(tensor.numel(), (1,), generator=generator))
        if tensor.is_floating_point():
            place = int(tensor.abs().flatten().argsort(descending=True)[place // 2])
            for word, factor in (("1 % more", 1.01), ("the other sign", -1.0), ("gone", 0.0)):
                yield f"{name}[{place}] {word}", _with(layer, name, place, lambda t, f=factor: t * f)
            yield f"{name} 0.1 % more", _with(layer, name, slice(None), lambda t: t * 1.001)
            yield f"{name} one on", _with(layer, name, slice(None), lambda t: t.roll(1))
        else:
            other = (place + 1) % tensor.numel()
            value = int(tensor.flatten()[other])
            yield f"{name}[{place}] one more", _with(layer, name, place, lambda t: t + 1)
            yield f"{name}[{place}] negative", _with(layer, name, place, lambda t: -t)
            yield f"{name}[{place}] as its neighbour", _with(layer, name, place, lambda t, v=value: t * 0 + v)
            yield f"{name} one on", _with(layer, name, slice(None), lambda t: t.roll(1))


def _with(layer: nn.Module, name: str, place: Any, change: Callable[[Tensor], Tensor]) -> nn.Module:
    broken = copy.deepcopy(layer)
    flat = broken.state_dict()[name].flatten()
    flat[place] = change(flat[place])
    with torch.no_grad():
        broken.state_dict()[name].copy_(flat.reshape(layer.state_dict()[name].shape))
    return broken


def built(layer: nn.Module) -> Iterator[Broken]:
    """Every setting of the layer by one, turned round, or another name: window, wavelet, sizes, spans."""
    for owner_name, owner in layer.named_modules():
        for name, value in vars(owner).items():
            if name.startswith("_") or name == "training":
                continue
            for word, other in _others(value):
                broken = copy.deepcopy(layer)
                setattr(broken.get_submodule(owner_name), name, other)
                yield f"{owner_name or 'layer'}.{name} {word}", broken


def _others(value: Any) -> Iterator[tuple[str, Any]]:
    """Values close to a setting."""
    if isinstance(value, bool):
        yield f"is {not value}", not value
    elif isinstance(value, int):
        yield "one more", value + 1
        yield "one less", value - 1
        yield "negative", -value
    elif isinstance(value, float):
        yield "1 % more", value * 1.01
    elif isinstance(value, str):
        yield from ((f"is {other}", other) for other in _other_words(value))
    elif isinstance(value, tuple):
        for i, part in enumerate(value[:4]):
            for word, other in _others(part):
                made = (*value[:i], other, *value[i + 1 :])
                yield f"[{i}] {word}", type(value)(*made) if hasattr(value, "_fields") else made
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            for word, other in _others(getattr(value, field.name)):
                yield f"{field.name} {word}", dataclasses.replace(value, **{field.name: other})


def _other_words(word: str) -> list[str]:
    """Other words that may stand where this one does."""
    if word in pywt.wavelist(kind="discrete"):
        taps = pywt.Wavelet(word).dec_len
        return [w for w in pywt.wavelist(kind="discrete") if w != word and pywt.Wavelet(w).dec_len == taps][
            :4
        ]
    if word in WINDOWS:
        return [w for w in WINDOWS if w != word][:6]
    words = ("1", "-1", "2", "1/n", "2/n", "1/sqrt(n)", "sqrt(2/n)", "1/sqrt(2)", "1/(2n)", "1/sqrt(2n)")
    orders = ("real-imaginary", "imaginary-real", "interleaved")
    return [w for group in (words, orders) if word in group for w in group if w != word][:4]


def around(layer: nn.Module, matrix: Tensor, generator: torch.Generator) -> Iterator[Broken]:
    """Inputs and outputs moved, swapped, reversed, dropped, scaled; entries changed; rows of a batch mixed.

    Args:
        layer: maps ``(..., in)`` to ``(..., out)``.
        matrix: what it computes, ``(out, in)``, float64.
        generator: draws which entries are changed.
    """
    out, columns = matrix.shape
    row = int(torch.randint(out, (1,), generator=generator))
    row = int(matrix.norm(dim=1).argsort(descending=True)[row // 2])
    big = matrix[row].abs().argsort(descending=True)
    column = int(big[int(torch.randint(max(1, columns // 4), (1,), generator=generator))])
    entry, norm = float(matrix[row, column]), float(torch.linalg.matrix_norm(matrix, 2))
    if entry == 0.0:
        column = int(big[0])
        entry = float(matrix[row, column])
    swap = list(range(columns))
    swap[0], swap[columns // 2] = swap[columns // 2], swap[0]
    rows = list(range(out))
    rows[0], rows[out // 2] = rows[out // 2], rows[0]
    yield "inputs one late", Around(layer, lambda x: x.roll(1, -1))
    yield "inputs reversed", Around(layer, lambda x: x.flip(-1))
    yield "two inputs swapped", Around(layer, lambda x: x[..., swap])
    yield "an input dropped", Around(layer, lambda x: x * unit(columns, column, x, 0.0, 1.0))
    yield "outputs one late", Around(layer, after=lambda _, y: y.roll(1, -1))
    yield "outputs reversed", Around(layer, after=lambda _, y: y.flip(-1))
    yield "two outputs swapped", Around(layer, after=lambda _, y: y[..., rows])
    for word, factor in (("with the other sign", -1.0), ("dropped", 0.0), ("1 % more", 1.01)):
        yield f"an output {word}", Around(layer, after=lambda _, y, f=factor: y * unit(out, row, y, f, 1.0))
    for word, total in (("0.1 % more", 1.001), ("1 % more", 1.01), ("with the other sign", -1.0)):
        yield f"all {word}", Around(layer, after=lambda _, y, f=total: y * f)
    yield (
        "second half conjugated",
        Around(layer, after=lambda _, y: torch.cat([y[..., : out // 2], -y[..., out // 2 :]], -1)),
    )
    yield "odd outputs with the other sign", Around(layer, after=lambda _, y: y * _alternating(out, y))
    yield "some of the neighbour", Around(layer, after=lambda _, y: y + 0.01 * y.roll(1, -1))
    for word, share in (("1 % more", 0.01), ("with the other sign", -2.0), ("dropped", -1.0)):
        amount = share * entry
        yield f"an entry {word}", Around(layer, after=_added(out, row, column, amount))
    yield "a bias in one output", Around(layer, after=lambda _, y: y + unit(out, row, y, 0.01 * norm, 0.0))
    yield "without its bias", Unbiased(layer)
    if out == columns:
        flipped = nn.Linear(columns, out, bias=False, dtype=torch.float64)
        flipped.weight = nn.Parameter(matrix.T.contiguous())
        yield "transposed", flipped
    yield "the batch one on", Around(layer, lambda x: x.roll(1, 0))
    yield "the batch mixed", Around(layer, lambda x: x + 0.01 * x.mean(0, keepdim=True))
    yield "bent at zero", Around(layer, after=lambda _, y: y + 0.01 * torch.relu(y))
    yield "bent far out", Around(layer, lambda x: x.clamp(-1e5, 1e5))


def nudges(layer: nn.Module, matrix: Tensor, witness: float, generator: torch.Generator) -> Iterator[Broken]:
    """One entry off by twice and by ten times the rounding that the original was seen to make."""
    out, columns = matrix.shape
    for times in (2, 10):
        row, column = (int(torch.randint(n, (1,), generator=generator)) for n in (out, columns))
        yield (
            f"an entry {times} times the rounding",
            Around(layer, after=_added(out, row, column, times * witness)),
        )


def _added(out: int, row: int, column: int, amount: float) -> After:
    return lambda x, y: y + x[..., column : column + 1] * unit(out, row, y, amount, 0.0)


def unit(size: int, place: int, like: Tensor, there: float, elsewhere: float) -> Tensor:
    """A vector ``(size,)`` with one number at a place and another elsewhere."""
    index = torch.arange(size, device=like.device)
    return torch.where(index == place, there, elsewhere).to(like.dtype)


def _alternating(size: int, like: Tensor) -> Tensor:
    return (1 - 2 * (torch.arange(size, device=like.device) % 2)).to(like.dtype)
