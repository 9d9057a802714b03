"""A convolution is one matrix for each group of channels, applied to every window of its input.

A transposed convolution is one, too: an input of ``stride`` times fewer points has, for every window of it,
the outputs that begin at each of the phases. Padding puts zeros into windows, or drops outputs, and neither
changes the matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from paramaudit.records import Kernel

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def window_matrices(kernel: Kernel, weight: Tensor) -> Tensor:
    """The matrices ``(groups, out, in)`` of one window, for a kernel of these settings.

    A window ``(in channels of the group, *points)`` is flattened; ``out`` is the group's channels, and of a
    transposed convolution its channels by the phases.

    Args:
        kernel: the settings.
        weight: the numbers, in the shape of the kernel's own.

    Raises:
        ValueError: the kernel is transposed and dilated.
    """
    groups = torch.unflatten(weight, 0, (kernel.groups, -1))
    if not kernel.transposed:
        return groups.flatten(2)
    steps, points = _steps(kernel), window_shape(kernel)
    for i, (step, count) in enumerate(zip(steps, points, strict=True)):
        axis = 3 + 2 * i
        sizes = list(groups.shape)
        sizes[axis] = step * count - sizes[axis]
        groups = torch.cat([groups, groups.new_zeros(sizes)], axis)
        # the last point of a window meets the first weights
        groups = torch.unflatten(groups, axis, (count, step)).flip(axis)
    spread = range(3, 3 + 2 * len(points))
    order = [0, 2, *spread[1::2], 1, *spread[::2]]
    return groups.permute(order).flatten(2 + len(points)).flatten(1, 1 + len(points))


def window_shape(kernel: Kernel) -> tuple[int, ...]:
    """How many points a window has along each dimension.

    Raises:
        ValueError: the kernel is transposed and dilated.
    """
    taps = tuple(kernel.weight.shape[2:])
    if not kernel.transposed:
        return taps
    if kernel.dilation != 1 and set(_each(kernel.dilation, taps)) != {1}:
        msg = "windows of a transposed convolution with dilation are not known"
        raise ValueError(msg)
    return tuple(-(-n // step) for n, step in zip(taps, _steps(kernel), strict=True))


def on_windows(kernel: Kernel, group: int) -> Callable[[Tensor], Tensor]:
    """The convolution itself, in its dtype and without its bias, on single windows of a group of channels.

    It maps ``(n, in)`` to ``(n, out)`` as the matrix of :func:`window_matrices` does.
    """
    points, rank = window_shape(kernel), kernel.weight.dim() - 2
    rows = len(kernel.weight) // kernel.groups
    weight = kernel.weight[group * rows : (group + 1) * rows].to(kernel.dtype)
    channels = weight.shape[0] if kernel.transposed else weight.shape[1]
    steps = _steps(kernel)
    missing = [s * p - n for s, p, n in zip(steps, points, weight.shape[2:], strict=True)]

    def run(inputs: Tensor) -> Tensor:
        windows = inputs.reshape(len(inputs), channels, *points)
        if not kernel.transposed:
            return _CONVOLUTIONS[rank](windows, weight).flatten(1)
        outputs = _TRANSPOSED[rank](windows, weight, None, steps, 0, missing)
        for axis, (step, count) in enumerate(zip(steps, points, strict=True), start=2):
            outputs = outputs.narrow(axis, (count - 1) * step, step)
        return outputs.flatten(1)

    return run


def _steps(kernel: Kernel) -> tuple[int, ...]:
    return _each(kernel.stride, kernel.weight.shape[2:])


def _each(value: int | tuple[int, ...], taps: tuple[int, ...]) -> tuple[int, ...]:
    return (value,) * len(taps) if isinstance(value, int) else value
