"""Operators recognised in stored numbers: each weight as a linear map, a convolution or a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paramaudit.bare.offers import Offer, saving
from paramaudit.bare.stored import Stored
from paramaudit.numerics.frames import Framed, frame_matrix
from paramaudit.numerics.layers import floats
from paramaudit.numerics.tables import Computed
from paramaudit.operators import looking_at
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.computed_kernels import kernel_evidence
from paramaudit.plan.kernels import on_frames
from paramaudit.plan.offered import affine_evidence, arguments, indices, proposed
from paramaudit.prove.affine import judge
from paramaudit.prove.rounding import Run, witness
from paramaudit.prove.table import judge_table
from paramaudit.records import Evidence, Json, Kernel, Matrix, Measured, Table, Tier

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Dtypes in which linear maps are computed."""

_UNKNOWN = ("hop", "padding")
"""Arguments of a convolution that its numbers do not tell."""


@dataclass(frozen=True)
class Guess:
    """One operator's layer for a weight, and how it is judged."""

    operator: str
    layer: nn.Module
    judged: Callable[[], Evidence]
    more: tuple[str, ...] = ()

    @property
    def numbers(self) -> int:
        """Numbers that the layer stores."""
        return floats(self.layer)


def find(stored: Stored, choice: Choice, book: Book) -> Iterator[Offer]:
    """What operators say of one tensor: the smallest safe one, and near misses that are smaller still.

    Args:
        stored: the tensor.
        choice: which operators are wanted, and the seed of the witness.
        book: keeps how long each operator looked.
    """
    if stored.tensor.dtype not in DTYPES:
        return
    for views in _views(stored.tensor):
        guesses = [guess for view in views for guess in _guesses(view, stored, choice, book)]
        cheaper = [guess for guess in guesses if guess.numbers < stored.tensor.numel()]
        for guess in sorted(cheaper, key=lambda guess: (guess.numbers, indices(guess.layer))):  # stable
            evidence = guess.judged()
            if evidence.tier is not Tier.REFUTED:
                yield _offer(stored, guess, evidence)
            if evidence.tier.safe:
                return


def _offer(stored: Stored, guess: Guess, evidence: Evidence) -> Offer:
    said: dict[str, Json] = {k: v for k, v in arguments(guess.layer).items() if k not in _UNKNOWN}
    said |= dict.fromkeys(guess.more, True)
    left = guess.numbers if evidence.tier.safe else stored.tensor.numel()
    count = indices(guess.layer) if evidence.tier.safe else 0
    return saving(guess.operator, stored, evidence, left, indices=count, arguments=said)


def _views(tensor: Tensor) -> Iterator[list[Kernel | Matrix | Table]]:
    """What a weight may be, the likeliest first; in float64 except for tables, which are not copied."""
    rows = tensor.reshape(tensor.shape[-2:]) if set(tensor.shape[:-2]) == {1} else tensor  # one batch of rows
    table = [Table(rows, tensor.dtype)] if rows.dim() <= 2 else []
    while tensor.dim() > 2 and tensor.shape[-1] == 1:
        tensor = tensor.squeeze(-1)
    matrix: Matrix | None = None
    if 3 <= tensor.dim() <= 5:
        if tensor.dim() == 3 or not bool(tensor[:1, 1:].any()):  # of images, only what reads one channel
            kernel = Kernel(tensor.to(torch.float64), None, dtype=tensor.dtype)
            yield [kernel]
            matrix = frame_matrix(kernel)
    elif tensor.dim() == 2:
        matrix = Matrix(tensor.to(torch.float64), None, tensor.dtype)
    yield [*([matrix] if matrix is not None and min(matrix.weight.shape) > 1 else []), *table]


def _guesses(view: Kernel | Matrix | Table, stored: Stored, choice: Choice, book: Book) -> Iterator[Guess]:
    if isinstance(view, Matrix):
        found = list(_of_matrix(view, stored.path, choice, book))
        yield from found
        if not found and view.weight.shape[0] != 1:
            yield from _of_matrix(_turned(view), stored.path, choice, book, ("transposed",))
        return
    for operator in looking_at(type(view)):
        layer = proposed(operator, view, book) if choice.wants(operator.name, stored.path) else None
        if layer is None:
            continue
        if isinstance(view, Table):
            yield Guess(operator.name, layer, _table_judge(view, layer))
        elif isinstance(layer, Computed):
            yield Guess(operator.name, layer, _kernel_judge(view, layer, choice))
        elif (matrix := frame_matrix(view)) is not None and isinstance(layer, Framed):
            inner = Framed(layer.inner, view.weight.shape[2])
            yield Guess(operator.name, inner, _matrix_judge(inner.inner, matrix, on_frames(matrix), choice))
        else:
            yield from _of_kernel(operator.name, layer, view, choice)


def _of_matrix(
    view: Matrix, path: str, choice: Choice, book: Book, more: tuple[str, ...] = ()
) -> Iterator[Guess]:
    judged = _shared(view, _linear(view), choice)
    for operator in looking_at(Matrix):
        if more and operator.transposes and view.weight.shape[0] == view.weight.shape[1]:
            continue  # it has said so of the matrix itself
        layer = proposed(operator, view, book) if choice.wants(operator.name, path) else None
        if layer is not None:
            yield Guess(operator.name, layer, _bound(judged, layer), more)


def _turned(view: Matrix) -> Matrix:
    """The transpose: a bare tensor does not say on which side it is multiplied."""
    return replace(view, weight=view.weight.T.contiguous())


def _linear(view: Matrix) -> Run:
    return lambda inputs: F.linear(inputs, view.once(_as_stored))


def _as_stored(view: Matrix) -> Tensor:
    return view.weight.to(view.dtype)


def _matrix_judge(layer: nn.Module, view: Matrix, run: Run, choice: Choice) -> Callable[[], Evidence]:
    return _bound(_shared(view, run, choice), layer)


def _bound(judged: Callable[[nn.Module], Evidence], layer: nn.Module) -> Callable[[], Evidence]:
    return lambda: judged(layer)


def _shared(view: Matrix, run: Run, choice: Choice) -> Callable[[nn.Module], Evidence]:
    """The prover of layers for one matrix, whose own rounding is looked for once."""

    @cache
    def observed() -> tuple[Measured, Tensor]:
        return witness(run, view, torch.Generator().manual_seed(choice.seed))

    def against(candidate: Matrix) -> Evidence:
        generator = torch.Generator().manual_seed(choice.seed)
        return judge(view, candidate, run, generator, observed)

    return lambda layer: affine_evidence(layer, view, against)


def _of_kernel(operator: str, layer: nn.Module, view: Kernel, choice: Choice) -> Iterator[Guess]:
    """A layer for several channels, judged on the samples that one output reads, channel after channel."""
    out, channels, taps = view.weight.shape
    if view.groups != 1 or view.stride != 1 or view.padding or view.dilation != 1:
        return
    matrix = Matrix(view.weight.reshape(out, channels * taps), None, view.dtype)
    window = _Window(layer, channels, taps)
    yield Guess(operator, window, _matrix_judge(window, matrix, _linear(matrix), choice))


class _Window(nn.Module):
    """A layer of signals on windows of its own length, ``(n, channels * taps)`` to ``(n, out)``."""

    def __init__(self, inner: nn.Module, channels: int, taps: int) -> None:
        super().__init__()
        self.inner, self.channels, self.taps = inner, channels, taps

    def arguments(self) -> dict[str, Json]:
        """What the layer itself says."""
        return dict(arguments(self.inner))

    def forward(self, inputs: Tensor) -> Tensor:
        """One output of every channel."""
        outputs: Tensor = self.inner(inputs.reshape(-1, self.channels, self.taps))
        return outputs.flatten(-2)


def _kernel_judge(view: Kernel, layer: Computed, choice: Choice) -> Callable[[], Evidence]:
    depthwise = view.weight.shape[1] == 1  # or one channel: every filter by itself holds for both
    view = replace(view, groups=len(view.weight)) if depthwise else view

    def judged() -> Evidence:
        with torch.no_grad():
            return kernel_evidence(view, layer.to(view.dtype)(), floats(layer), choice.seed)

    return judged


def _table_judge(view: Table, layer: nn.Module) -> Callable[[], Evidence]:
    def judged() -> Evidence:
        with torch.no_grad():
            return judge_table(view, layer.to(view.dtype)())

    return judged
