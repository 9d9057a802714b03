"""Models with convolutions that are stencils: named, swapped, and the same on other sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from affine_programs import program
from pipeline import load, scan
from torch import Tensor, nn

from paramaudit import load as loading
from paramaudit.audit import Options, apply_scan, scan_loaded, verify_loaded
from paramaudit.graph.surgery import Draft
from paramaudit.numerics.sliding import on_windows, window_matrices
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.kernels import apply_kernels
from paramaudit.records import Finding, Kernel, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")


def blur(width: float, taps: int) -> np.ndarray:
    impulse = np.zeros((taps, taps))
    impulse[taps // 2, taps // 2] = 1
    return scipy.ndimage.gaussian_filter(impulse, width, mode="constant", radius=taps // 2)


def bilinear(stride: int) -> np.ndarray:
    line = 1 - np.abs(np.arange(2 * stride) - (stride - 0.5)) / stride
    return np.outer(line, line)


def given(layer: nn.Module, weight: np.ndarray) -> nn.Module:
    """A convolution with these weights, the same for every row or for every channel itself."""
    with torch.no_grad():
        filters = torch.from_numpy(weight).float()
        if layer.weight.shape[1] == 1:
            layer.weight.copy_(filters.reshape(-1, 1, *layer.weight.shape[2:]).expand_as(layer.weight))
        else:
            layer.weight.zero_()
            for channel in range(len(layer.weight)):
                layer.weight[channel, channel] = filters
    return layer


class Edges(nn.Module):
    """A blur, the two gradients of Sobel, something learned, and upsampling to where it began."""

    def __init__(self) -> None:
        super().__init__()
        sobel = np.outer([1.0, 2, 1], [-1.0, 0, 1])
        self.blur = given(
            nn.Conv2d(3, 3, 7, 2, 3, groups=3, padding_mode="reflect", bias=False), blur(1.2, 7)
        )
        self.edges = given(nn.Conv2d(3, 6, 3, padding=1, groups=3), np.stack([sobel, sobel.T] * 3))
        self.learned = nn.Conv2d(6, 4, 3, padding=1)
        self.up = given(nn.ConvTranspose2d(4, 4, 4, 2, 1, bias=False), bilinear(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.up(torch.relu(self.learned(self.edges(self.blur(x)).abs())))


def applied(book: Book) -> list[Finding]:
    return [f for f in book.findings if f.applied_by_default]


def test_from_scan_to_file(tmp_path: Path):
    torch.manual_seed(0)
    module, image = Edges().eval(), torch.randn(2, 3, 24, 32)
    result = scan(module, image)
    named = {f.path: f for f in result.audit.findings if f.applied_by_default}
    assert set(named) == {"blur", "edges", "up"}
    assert {f.operator for f in named.values()} == {"stencil"}
    assert {f.tier for f in named.values()} == {Tier.EXACT}
    assert named["up"].arguments["upsampling"] == "bilinear, 2 x 2"
    assert named["edges"].arguments["stencils"] == ["sobel x", "sobel y"]
    assert named["up"].parameters_before == 4 * 4 * 16
    stays = sum(p.numel() for p in module.learned.parameters()) + 6  # and the bias of the edges
    assert result.audit.totals.parameters_after == stays
    saved = tmp_path / "after.pt2"
    certificate = apply_scan(result, saved, Options(), _quiet)
    assert certificate.equivalent, certificate.reason
    back = torch.export.load(saved).module()
    for size in ((2, 3, 24, 32), (3, 3, 40, 20), (2, 3, 10, 58)):
        image = torch.randn(size)
        torch.testing.assert_close(back(image), module(image), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_verify_pairs_the_written_file_with_the_model(tmp_path: Path):
    torch.manual_seed(0)
    module, image, saved = Edges().eval(), torch.randn(2, 3, 24, 32), tmp_path / "after.pt2"
    apply_scan(scan(module, image), saved, Options(), _quiet)
    again = verify_loaded(load(module, image), loading.load(str(saved)), Options(), _quiet)
    assert again.equivalent, again.reason


def _quiet(_stage: str) -> None:
    return None


@pytest.mark.parametrize(
    ("layer", "weight"),
    [
        (lambda: nn.Conv2d(4, 4, 5, padding="same", groups=4), blur(1.0, 5)),
        (lambda: nn.Conv2d(4, 4, 5, padding=4, dilation=2, groups=4), blur(1.0, 5)),
        (
            lambda: nn.Conv2d(4, 8, 3, (1, 2), groups=4, padding_mode="circular", padding=1),
            np.ones((3, 3)) / 9,
        ),
        (lambda: nn.Conv2d(4, 4, 5, padding=2, padding_mode="replicate"), blur(0.8, 5)),
        (lambda: nn.Conv2d(4, 8, (1, 3), groups=4), np.array([[-0.5, 0, 0.5]])),
        (lambda: nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=4), bilinear(2)),
        (lambda: nn.ConvTranspose2d(4, 4, 6, 3, 1, output_padding=1), bilinear(3)),
        (lambda: nn.ConvTranspose2d(4, 4, 2, 3, groups=4), np.ones((2, 2))),
    ],
    ids=["same", "dilated", "circular", "replicate", "flat", "depthwise", "output padding", "gaps"],
)
def test_settings_stay_those_of_the_convolution(layer, weight):
    torch.manual_seed(1)
    module, image = given(layer(), weight).eval(), torch.randn(2, 4, 17, 22)
    draft, book = Draft(program(nn.Sequential(module), image, static=(1,))), Book()
    assert apply_kernels(draft, Choice(), book, set())
    (finding,) = applied(book)
    assert (finding.operator, finding.tensors) == ("stencil", ("0.weight",))
    assert (finding.parameters_before, finding.parameters_after) == (module.weight.numel(), 0)
    after = draft.finish()
    assert set(after.parameters) == {"0.bias"}
    for size in ((2, 4, 17, 22), (3, 4, 30, 15)):
        image = torch.randn(size)
        torch.testing.assert_close(after.module(image), module(image), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (lambda: nn.Conv1d(6, 6, 5, stride=2, padding=2, groups=6, bias=False), (2, 6, 40)),
        (lambda: nn.ConvTranspose1d(6, 6, 5, 3, groups=6, bias=False), (2, 6, 40)),
        (lambda: nn.Conv3d(2, 2, (1, 1, 5), groups=2, bias=False), (2, 2, 4, 5, 9)),
    ],
    ids=["along time", "along time, transposed", "volumes"],
)
def test_other_dimensions(layer, size):
    module = given(layer(), np.array([1.0, 4, 6, 4, 1]) / 16).eval()
    signal = torch.randn(size)
    draft, book = Draft(program(nn.Sequential(module), signal, static=(1,))), Book()
    assert apply_kernels(draft, Choice(), book, set())
    assert applied(book)[0].arguments["stencils"][0].endswith("binomial")
    assert draft.count() == 0
    torch.testing.assert_close(draft.finish().module(signal), module(signal), rtol=0, atol=0)


def test_gains_a_channel_are_kept_and_each_channel_is_judged_by_itself():
    """A channel a million times fainter than the others must not hide behind their rounding."""
    gains = np.array([1e3, 1.7e3, 1e-3, 2.1e-3])
    module = nn.Conv2d(4, 4, 5, groups=4, bias=False)
    given(module, np.stack([g * blur(1.0, 5) for g in gains]))
    image = torch.randn(2, 4, 12, 12)
    draft, book = Draft(program(nn.Sequential(module), image, static=(1,))), Book()
    apply_kernels(draft, Choice(), book, set())
    assert [f.parameters_after for f in applied(book)] == [4]
    torch.testing.assert_close(draft.finish().module(image), module(image), rtol=1e-6, atol=0)
    with torch.no_grad():
        module.weight[2, 0, 1, 2] *= 1.01  # far below the rounding of the loud channels
    draft, book = Draft(program(nn.Sequential(module), image, static=(1,))), Book()
    apply_kernels(draft, Choice(), book, set())
    assert not applied(book)


class Shared(nn.Module):
    """What is stored is read elsewhere, too."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first = given(nn.Conv2d(2, 2, 3, groups=2, bias=False), np.ones((3, 3)) / 9)
        self.second = nn.Conv2d(2, 2, 3, groups=2, bias=False)
        self.kind = kind
        if kind == "tied":
            self.second.weight = self.first.weight
        if kind == "buffer":
            weight = self.first.weight.detach()
            del self.first.weight
            self.first.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return y + self.first.weight.square().sum() if self.kind == "read elsewhere" else y


@pytest.mark.parametrize("kind", ["tied", "buffer", "read elsewhere"])
def test_other_uses_are_left_alone(kind: str):
    torch.manual_seed(2)
    draft, book = Draft(program(Shared(kind), torch.randn(2, 2, 12, 12), static=(1,))), Book()
    assert not apply_kernels(draft, Choice(), book, set())
    assert not book.findings


def test_a_transposed_and_dilated_convolution_is_left_alone():
    module = given(nn.ConvTranspose2d(2, 2, 4, 2, dilation=2, groups=2), bilinear(2))
    draft, book = Draft(program(nn.Sequential(module), torch.randn(2, 2, 9, 9), static=(1,))), Book()
    assert not apply_kernels(draft, Choice(), book, set())


def test_a_random_network_gets_no_name():
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 5, groups=16), nn.ConvTranspose2d(16, 4, 4, 2)
    )
    result = scan(module.eval(), torch.randn(2, 3, 20, 20))
    assert not [f for f in result.audit.findings if f.operator == "stencil"]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("taps", "steps"), [((4,), (3,)), ((4, 3), (2, 5)), ((2, 3, 4), (1, 2, 3))])
def test_the_matrix_of_a_window_is_what_the_convolution_does(transposed, groups, taps, steps):
    weight = torch.randn(4, 3, *taps, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = Kernel(weight, None, steps, groups=groups, dtype=torch.float64, transposed=transposed)
    matrices = window_matrices(kernel, weight)
    assert len(matrices) == groups
    for group, matrix in enumerate(matrices):
        inputs = torch.randn(5, matrix.shape[1], dtype=torch.float64)
        torch.testing.assert_close(on_windows(kernel, group)(inputs), inputs @ matrix.T)


def test_every_output_of_a_transposed_convolution_is_that_of_a_window():
    """The matrix of a window tells the whole map: outputs of an image, window by window."""
    weight = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kernel = Kernel(weight, None, 3, dtype=torch.float64, transposed=True)
    matrix = window_matrices(kernel, weight)[0]
    signal = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    wanted = torch.nn.functional.conv_transpose1d(signal[None], weight, stride=3)[0]
    windows = torch.nn.functional.pad(signal, (1, 1)).unfold(1, 2, 1)  # (2, 8, 2)
    made = (windows.movedim(1, 0).flatten(1) @ matrix.T).reshape(8, 3, 3).movedim(0, 1).flatten(1)
    torch.testing.assert_close(made[:, : wanted.shape[1]], wanted)


def test_a_bare_checkpoint_tells_its_stencils(tmp_path: Path):
    torch.manual_seed(0)
    path = tmp_path / "edges.pt"
    torch.save(Edges().state_dict(), path)
    result = scan_loaded(loading.load(str(path)), Options(), _quiet)
    named = {f.tensors: f for f in result.audit.findings if f.operator == "stencil"}
    assert set(named) == {("blur.weight",), ("edges.weight",), ("up.weight",)}
    assert {(f.tier, f.parameters_after) for f in named.values()} == {(Tier.EXACT, 0)}
