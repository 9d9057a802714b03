"""Convolutions in the plan: which are looked at, what is swapped in, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from affine_programs import program
from pipeline import load, scan
from torch import Tensor, nn

from paramaudit import load as loading
from paramaudit.audit import Options, apply_scan, verify_loaded
from paramaudit.graph.capture import capture
from paramaudit.graph.program import Program
from paramaudit.graph.surgery import Draft
from paramaudit.numerics.frames import Framed
from paramaudit.operators import looking_at
from paramaudit.operators.stft import OPERATOR
from paramaudit.plan import kernels
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.kernels import apply_kernels
from paramaudit.records import Finding, Kernel, Loaded, Matrix, Operator, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")


def bank(size: int, taps: np.ndarray) -> np.ndarray:
    """Real rows of all bins, then imaginary ones, by numpy's transform of the unit vectors."""
    waves = np.fft.rfft(np.eye(size), axis=0) * taps
    return np.concatenate([waves.real, waves.imag])


def hann(size: int) -> np.ndarray:
    return bank(size, scipy.signal.get_window("hann", size))


class Vad(nn.Module):
    """A front end as voice detectors have it: one convolution, magnitudes, a classifier."""

    def __init__(self, rows: np.ndarray, stride: int, padding: int = 0, channels: int = 1) -> None:
        super().__init__()
        size = rows.shape[1]
        self.front = nn.Conv1d(
            channels, channels * len(rows), size, stride, padding, groups=channels, bias=False
        )
        weight = torch.from_numpy(np.tile(rows, (channels, 1)))[:, None].float()
        self.front.weight = nn.Parameter(weight, requires_grad=False)
        self.half = channels * len(rows) // 2
        self.head = nn.Linear(self.half, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.front(x)
        power = y[:, : self.half].square() + y[:, self.half :].square()
        return self.head((power + 1e-3).sqrt().transpose(1, 2))


def planned(
    module: nn.Module, signal: Tensor, static: Sequence[int] = (-2,), **choice: tuple[str, ...]
) -> tuple[Program, Program, Book]:
    """The program before and after convolutions were named."""
    before = program(module, signal, static=static)
    draft, book = Draft(before), Book()
    apply_kernels(draft, Choice(**choice), book, set())
    return before, draft.finish(), book


def applied(book: Book) -> list[Finding]:
    return [f for f in book.findings if f.applied_by_default]


def assert_alike(before: Program, after: Program, *inputs: Tensor, within: float = 1e-5) -> None:
    for mine, theirs in zip(before.call(*inputs).values(), after.call(*inputs).values(), strict=True):
        assert mine.shape == theirs.shape
        assert mine.dtype == theirs.dtype
        assert float((mine - theirs).abs().max()) <= within * float(mine.abs().max())


def test_from_scan_to_file(tmp_path: Path):
    torch.manual_seed(0)
    module, signal = Vad(hann(64), 16, 8), torch.randn(2, 1, 400)
    result = scan(module, signal)
    (finding,) = result.audit.findings
    assert (finding.operator, finding.path, finding.tensors) == ("stft", "front", ("front.weight",))
    assert (finding.parameters_before, finding.parameters_after) == (66 * 64, 0)
    assert finding.applied_by_default
    assert finding.arguments["window"] == "hann"
    assert result.audit.totals.parameters_after == 33 * 3 + 3
    saved = tmp_path / "after.pt2"
    certificate = apply_scan(result, saved, Options(), lambda _stage: None)
    assert certificate.equivalent, certificate.reason
    back = torch.export.load(saved).module()
    for sizes in ((2, 1, 400), (5, 1, 1003), (3, 1, 97)):
        signal = torch.randn(sizes)
        torch.testing.assert_close(back(signal), module(signal), rtol=1e-4, atol=1e-4)
    again = verify_loaded(load(module, signal), loading.load(str(saved)), Options(), lambda _stage: None)
    assert again.equivalent, again.reason


@pytest.mark.parametrize(("stride", "padding", "channels"), [(64, 0, 1), (1, 3, 1), (40, 64, 2)])
def test_strides_padding_and_channels(stride: int, padding: int, channels: int):
    torch.manual_seed(1)
    module = Vad(hann(32), stride, padding, channels)
    before, after, book = planned(module, torch.randn(2, channels, 300))
    (finding,) = applied(book)
    assert (finding.arguments["hop"], finding.arguments["padding"]) == (stride, padding)
    assert (finding.parameters_before, finding.parameters_after) == (channels * 34 * 32, 0)
    for time in (300, 171):
        assert_alike(before, after, torch.randn(4, channels, time))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(dtype: torch.dtype):
    module = nn.Sequential(Vad(hann(64), 16).front).to(dtype)
    module[0].weight.data = torch.from_numpy(hann(64))[:, None].to(dtype)
    before, after, book = planned(module, torch.randn(2, 1, 200).to(dtype))
    assert applied(book)
    assert_alike(before, after, torch.randn(3, 1, 150).to(dtype), within=4 * torch.finfo(dtype).eps)


def test_in_float64_the_transform_rounds_as_the_convolution_does():
    """Neither is exact there, so it may be offered and not applied; it is never a counterexample."""
    before, after, book = planned(Vad(hann(64), 16).double(), torch.randn(2, 1, 200, dtype=torch.float64))
    (finding,) = book.findings
    assert finding.tier in (Tier.EXACT, Tier.ROUNDING, Tier.BOUNDED)
    assert_alike(before, after, torch.randn(3, 1, 150, dtype=torch.float64), within=1e-13)


def test_one_after_the_other():
    first, rows = Vad(hann(32), 8).front, hann(10)
    second = nn.Conv1d(34, 34 * len(rows), 10, 2, groups=34, bias=False)
    second.weight.data = torch.from_numpy(np.tile(rows, (34, 1)))[:, None].float()
    before, after, book = planned(nn.Sequential(first, second), torch.randn(2, 1, 300))
    assert [f.path for f in applied(book)] == ["0", "1"]
    assert not after.parameters
    assert_alike(before, after, torch.randn(3, 1, 400))


class TwoParts(nn.Module):
    """Real and imaginary parts by two convolutions of a signal that is mirrored at its ends."""

    def __init__(self, size: int, hop: int, taps: np.ndarray) -> None:
        super().__init__()
        self.size, rows = size, bank(size, taps)
        self.conv_real = nn.Conv1d(1, size // 2 + 1, size, hop, bias=False)
        self.conv_imag = nn.Conv1d(1, size // 2 + 1, size, hop, bias=False)
        self.conv_real.weight.data = torch.from_numpy(rows[: size // 2 + 1])[:, None].float()
        self.conv_imag.weight.data = torch.from_numpy(rows[size // 2 + 1 :])[:, None].float()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pad(x[:, None], (self.size // 2, self.size // 2), mode="reflect")
        return self.conv_real(x).transpose(1, 2)[:, None], self.conv_imag(x).transpose(1, 2)[:, None]


@pytest.mark.parametrize("short", [0, 8], ids=["whole window", "short window"])
def test_two_convolutions_are_two_finds(short: int):
    window = np.pad(scipy.signal.get_window("hann", 48 - 2 * short), short)
    before, after, book = planned(TwoParts(48, 12, window), torch.randn(2, 200), static=())
    assert [f.path for f in applied(book)] == ["conv_real", "conv_imag"]
    assert sum(f.parameters_after for f in book.findings) == 0
    assert_alike(before, after, torch.randn(3, 333))


class Functional(nn.Module):
    """The kernel as the module's own number, and what else is done with it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        rows = torch.from_numpy(hann(31))[:, None].float()
        self.kind = kind
        if kind == "buffer":
            self.register_buffer("basis", rows)
        else:
            self.basis = nn.Parameter(rows)
        if kind == "tied":
            self.other = self.basis

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.kind == "transposed":
            return (F.conv_transpose1d(x.unflatten(-1, (32, -1)).squeeze(1), self.basis, stride=8),)
        y = F.conv1d(x, self.basis, stride=8, padding="valid" if self.kind == "word" else 0)
        match self.kind:
            case "called twice":
                return y, F.conv1d(x.flip(-1), self.basis, stride=8)
            case "read elsewhere":
                return y, self.basis.square().sum()
            case "tied":
                return y, self.other.abs().sum()
            case "dilated":
                return (F.conv1d(x, self.basis, stride=8, dilation=2),)
            case "same":
                return (F.conv1d(x, self.basis, padding="same"),)
        return (y,)


@pytest.mark.parametrize("kind", ["plain", "word", "same"])
def test_a_kernel_of_the_module_itself(kind: str):
    before, after, book = planned(Functional(kind), torch.randn(2, 1, 200))
    (finding,) = applied(book)
    assert finding.tensors == ("basis",)
    assert_alike(before, after, torch.randn(5, 1, 321))


@pytest.mark.parametrize(
    "kind", ["called twice", "read elsewhere", "tied", "buffer", "dilated", "transposed"]
)
def test_other_uses_are_left_alone(kind: str):
    before = program(Functional(kind), torch.randn(2, 1, 32 * 6), static=[0, 1, 2])
    draft, book = Draft(before), Book()
    assert not apply_kernels(draft, Choice(), book, set())
    assert not book.findings


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_file_of_basic_calls():
    signal = torch.randn(2, 1, 200)
    exported = torch.export.export(Vad(hann(32), 8, 4).eval(), (signal,)).run_decompositions()
    assert any(node.target == torch.ops.aten.convolution.default for node in exported.graph.nodes)
    before = capture(Loaded("", "pt2", exported=exported, args=(signal,)))
    draft, book = Draft(before), Book()
    assert apply_kernels(draft, Choice(), book, set())
    assert_alike(before, draft.finish(), signal)


def test_one_signal_without_a_batch():
    before, after, book = planned(nn.Sequential(Vad(hann(32), 8).front), torch.randn(1, 200))
    assert applied(book)
    assert_alike(before, after, torch.randn(1, 99))


def test_what_is_not_wanted_or_was_tried_is_not_done():
    module, signal = Vad(hann(32), 8), torch.randn(2, 1, 200)
    assert not planned(module, signal, ignore=("stft",))[2].findings
    assert applied(planned(module, signal, select=("front:stft",))[2])
    draft, book, tried = (
        Draft(program(Vad(np.random.default_rng(0).standard_normal((8, 9)), 2), signal)),
        Book(),
        set[object](),
    )
    assert not apply_kernels(draft, Choice(), book, tried)
    assert len(tried) == 1


def test_a_noisy_bank_is_told_and_kept():
    rng = np.random.default_rng(0)
    rows = hann(64) * (1 + 1e-4 * rng.standard_normal((66, 64)))
    before, after, book = planned(Vad(rows, 16), torch.randn(2, 1, 300))
    (finding,) = book.findings
    assert (finding.tier, finding.applied_by_default) == (Tier.BOUNDED, False)
    assert_alike(before, after, torch.randn(2, 1, 300), within=0)


class Bent(nn.Module):
    """The transform of a frame, and something that no matrix does."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, frames: Tensor) -> Tensor:
        return self.inner(frames) * (1 + F.relu(frames.abs().amax(-1, keepdim=True) - 1e6))


def liar(make: Callable[[Framed], nn.Module]) -> Operator:
    """An operator that changes what the honest one proposes."""

    def propose(view: Kernel) -> nn.Module:
        layer = OPERATOR.propose(view)
        assert isinstance(layer, Framed)
        return make(layer)

    return Operator("stft", propose, OPERATOR.finds, OPERATOR.ignores, Kernel)


@pytest.mark.parametrize(
    ("make", "swaps"),
    [
        (lambda layer: Framed(layer.inner, layer.size, layer.stride + 1, layer.padding + 2), True),
        (lambda layer: Framed(Bent(layer.inner), layer.size, layer.stride), False),
        (lambda layer: layer.inner, False),
    ],
    ids=["other frames", "not affine", "not over frames"],
)
def test_only_what_is_proven_of_a_proposal_is_used(make, swaps, monkeypatch):
    monkeypatch.setattr(kernels, "looking_at", lambda _view: (liar(make),))
    before, after, book = planned(Vad(hann(32), 8), torch.randn(2, 1, 200))
    assert bool(applied(book)) == swaps
    assert_alike(before, after, torch.randn(3, 1, 150))


def test_kernels_have_their_own_operators():
    assert OPERATOR in looking_at(Kernel)
    assert OPERATOR not in looking_at(Matrix)
