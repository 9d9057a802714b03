"""FLOPs of single operators against numbers derived by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paramaudit.measure import flops


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


def exported(module: nn.Module, *args: Tensor) -> torch.fx.GraphModule:
    with warnings.catch_warnings():
        # Exporting a recurrent layer makes torch 2.13 warn about the layer's own list of weights.
        warnings.filterwarnings("ignore", message="The tensor attributes self.*_flat_weights")
        return torch.export.export(module, args).module()


def z(*shape: int) -> Tensor:
    return torch.zeros(shape)


# Each number is worked out on paper; a multiply-add is 2.
BY_HAND = [
    # products: 2 x rows x inner x columns; a bias is the inner sum's missing addition
    ("linear", nn.Linear(3, 4), (z(2, 5, 3),), 240),  # 10 rows x 3 x 4 x 2
    ("linear without bias", nn.Linear(3, 4, bias=False), (z(2, 5, 3),), 240),
    ("mm", torch.mm, (z(2, 3), z(3, 5)), 60),  # 2 x 3 x 5 x 2
    ("addmm", torch.addmm, (z(5), z(2, 3), z(3, 5)), 60),
    ("bmm", torch.bmm, (z(7, 2, 3), z(7, 3, 5)), 420),  # 7 x 60
    ("baddbmm", torch.baddbmm, (z(7, 2, 5), z(7, 2, 3), z(7, 3, 5)), 420),
    ("matmul, broadcast", torch.matmul, (z(2, 3), z(7, 3, 5)), 420),  # fvcore would say 60
    ("matmul, vector", torch.matmul, (z(4, 3), z(3)), 24),
    ("dot", torch.dot, (z(6), z(6)), 12),
    ("einsum", lambda x, y: torch.einsum("bij,bkj->bik", x, y), (z(3, 4, 5), z(3, 6, 5)), 720),
    ("outer einsum", lambda x, y: torch.einsum("i,j->ij", x, y), (z(4), z(5)), 20),
    ("complex mm", lambda x: torch.complex(x, x) @ torch.complex(x, x), (z(4, 4),), 512),  # 64 x 8
    ("integer product", lambda x: x.long() * 2 + 1, (z(4),), 0),
    # convolutions: 2 x outputs x inputs per group x kernel
    ("conv1d", nn.Conv1d(4, 6, 3), (z(2, 4, 10),), 2304),  # 2x6x8 outputs x 4x3 x 2
    ("conv2d grouped", nn.Conv2d(4, 6, 3, padding=1, groups=2), (z(1, 4, 5, 5),), 5400),  # 150 x 18 x 2
    ("conv3d", nn.Conv3d(1, 2, 2), (z(1, 1, 3, 3, 3),), 256),  # 16 x 8 x 2
    ("conv_transpose1d", nn.ConvTranspose1d(4, 6, 3, stride=2), (z(2, 4, 10),), 2880),  # 80 x 18 x 2
    ("conv1d unbatched", nn.Conv1d(4, 6, 3), (z(4, 10),), 1152),
    # attention: 4 heads x (scale 3x8, scores 3x5x8x2, softmax 15x5, values 15x6x2)
    ("attention", F.scaled_dot_product_attention, (z(2, 2, 3, 8), z(2, 2, 5, 8), z(2, 2, 5, 6)), 2076),
    # one row: 8 gates' inputs x 2, 4 x 2 hidden... see the LSTM's own test for the sum of its cells
    ("rnn", nn.RNN(3, 2), (z(5, 1, 3),), 120),  # 5 x (2 x (6 + 4) + 2 x 2)
    ("gru", nn.GRU(3, 2), (z(5, 1, 3),), 400),  # 5 x (2 x (18 + 12) + 10 x 2)
    ("lstm", nn.LSTM(3, 2), (z(5, 1, 3),), 530),  # 5 x (2 x (24 + 16) + 13 x 2)
    ("lstm, 2 layers both ways", nn.LSTM(3, 2, 2, bidirectional=True), (z(5, 1, 3),), 2280),
    # transforms: 5 N log2 N complex, 2.5 N log2 N real
    ("fft", lambda x: torch.fft.fft(torch.complex(x, x)), (z(3, 64),), 5760),  # 3 x 5 x 64 x 6
    ("fft of reals", torch.fft.fft, (z(3, 64),), 2880),
    ("rfft", torch.fft.rfft, (z(3, 64),), 2880),
    ("irfft", lambda x: torch.fft.irfft(torch.complex(x, x)), (z(3, 33),), 2880),
    ("fft2", lambda x: torch.fft.fft2(torch.complex(x, x)), (z(8, 4),), 800),  # 5 x 32 x (3 + 2)
    ("rfft padded", lambda x: torch.fft.rfft(x, n=64), (z(3, 50),), 2880),
    # 16 + 2x4 padded gives 9 frames x (8 window products + 2.5 x 8 x 3), and the window 8 x 4
    ("stft", lambda x: torch.stft(x, 8, 2, window=torch.hann_window(8), return_complex=True), (z(16),), 644),
    # elementwise: 1 an element
    ("add", lambda x: x + 1, (z(2, 3),), 6),
    ("add scaled", lambda x: torch.add(x, x, alpha=2), (z(2, 3),), 12),
    ("broadcast mul", lambda x, y: x * y, (z(2, 1), z(3)), 6),
    ("in place", lambda x: x.clone().add_(1).relu_(), (z(6),), 12),
    ("gelu", F.gelu, (z(2, 3),), 6),
    ("sin cos exp", lambda x: x.sin() + x.cos().exp(), (z(6),), 24),
    ("where", lambda x: torch.where(x > 0, x, -x), (z(6),), 12),  # compare, negate; choosing is free
    ("complex mul", lambda x: torch.complex(x, x) * torch.complex(x, x), (z(6),), 36),
    ("complex abs", lambda x: torch.complex(x, x).abs(), (z(6),), 24),
    ("hardtanh", F.hardtanh, (z(6),), 6),
    # gathering
    ("softmax", lambda x: x.softmax(-1), (z(2, 3),), 30),
    ("log_softmax", lambda x: x.log_softmax(-1), (z(2, 3),), 30),
    ("sum", lambda x: x.sum(0), (z(4, 5),), 20),
    ("mean", lambda x: x.mean(0), (z(4, 5),), 25),
    ("var", lambda x: x.var(0), (z(4, 5),), 90),  # 80 + 2 x 5
    ("amax", lambda x: x.amax(0), (z(4, 5),), 20),
    ("argmax", lambda x: x.argmax(0), (z(4, 5),), 20),
    ("max of two", lambda x: torch.max(x, x), (z(4, 5),), 20),
    ("cumsum", lambda x: x.cumsum(0), (z(4, 5),), 20),
    ("layer_norm", nn.LayerNorm(5), (z(4, 5),), 140),
    ("layer_norm plain", nn.LayerNorm(5, elementwise_affine=False), (z(4, 5),), 100),
    ("group_norm", nn.GroupNorm(2, 4), (z(3, 4, 5),), 420),
    ("instance_norm", nn.InstanceNorm1d(4), (z(3, 4, 5),), 300),
    ("batch_norm", nn.BatchNorm1d(4).eval(), (z(3, 4, 5),), 240),
    ("rms_norm", nn.RMSNorm(5), (z(4, 5),), 80),
    ("max_pool", nn.MaxPool2d(2), (z(1, 1, 4, 4),), 16),
    ("avg_pool", nn.AvgPool2d(2), (z(1, 1, 4, 4),), 20),
    ("global pool", nn.AdaptiveAvgPool2d(1), (z(1, 2, 4, 4),), 34),
    ("bilinear", nn.Upsample(scale_factor=2, mode="bilinear"), (z(1, 1, 4, 4),), 512),
    ("sort", lambda x: x.sort().values, (z(3, 8),), 72),  # 24 x 3 comparisons
    ("bucketize", torch.bucketize, (z(5), z(7)), 15),  # 3 comparisons each
    ("scatter_add", lambda x: x.scatter_add(0, torch.zeros(2, 3, dtype=torch.long), x), (z(2, 3),), 6),
    ("scatter", lambda x: x.scatter(0, torch.zeros(1, 3, dtype=torch.long), x), (z(2, 3),), 0),
    ("cdist", torch.cdist, (z(4, 3), z(5, 3)), 200),  # 20 x (3 x 3 + 1)
    ("inverse", torch.linalg.inv, (z(2, 4, 4),), 256),  # 2 x 2 x 64
    # free on purpose
    ("embedding", nn.Embedding(9, 4), (torch.zeros(5, dtype=torch.long),), 0),
    ("gather", lambda x: x.gather(0, torch.zeros(1, 3, dtype=torch.long)), (z(2, 3),), 0),
    ("index", lambda x: x[torch.tensor([1, 0])], (z(2, 3),), 0),
    ("flip", lambda x: x.flip(0).roll(1), (z(2, 3),), 0),
    (
        "shape",
        lambda x: torch.cat([x.T.reshape(2, 3), x[:, :3]]).unsqueeze(0).expand(4, -1, -1),
        (z(2, 3),),
        0,
    ),
    ("pad", lambda x: F.pad(x, (1, 2)), (z(2, 3),), 0),
    ("dropout, eval", nn.Dropout(0.5).eval(), (z(2, 3),), 0),
    (
        "complex views",
        lambda x: torch.view_as_real(torch.view_as_complex(x).conj().resolve_conj()),
        (z(3, 2),),
        0,
    ),
    ("one_hot", lambda x: F.one_hot(x, 4), (torch.zeros(5, dtype=torch.long),), 0),
    ("arange", lambda x: x.new_zeros(3) + 0 * torch.arange(3), (z(1),), 3),  # integer arithmetic is free
]


@pytest.mark.parametrize(("layer", "args", "expected"), [c[1:] for c in BY_HAND], ids=[c[0] for c in BY_HAND])
def test_hand_count(layer: Any, args: tuple[Tensor, ...], expected: int) -> None:
    module = layer if isinstance(layer, nn.Module) else Function(layer)
    counted = flops(exported(module, *args), args)
    assert counted.uncounted == ()
    assert counted.total == expected


def test_a_larger_batch_than_the_exported_one() -> None:
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(nn.Linear(3, 4), (z(2, 3),), dynamic_shapes=dynamic)
    assert flops(program.module(), (z(50, 3),)).total == 50 * 24
