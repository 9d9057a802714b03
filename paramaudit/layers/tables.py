"""Tables by formula, as parameters or buffers would hold them: positions, frequencies, windows, ramps.

What it computes: A tensor, from no input: call the layer for it, and add it or multiply by it.
Replaces:         A parameter or a buffer of as many numbers: none, or the few that a formula has.
Faster when:      Never: a stored table is read, this one is computed with every call.
Mind:             Numbers are computed in float64 on the CPU, then moved to where the layer was moved, in its
                  dtype; the few numbers of a formula stay in float64 and can be trained.
Source:           Vaswani et al., Attention Is All You Need (2017), 3.5. Su et al., RoFormer (2021), 3.2.2.
                  Harris, Proc. IEEE 66 (1978), windows. Patterson et al., An efficient auditory filterbank
                  based on the gammatone function (1987), gamma densities.
"""

from __future__ import annotations

import torch

from paramaudit.numerics.sinusoid_fit import Guess
from paramaudit.numerics.sinusoids import PAIRED, RECIPES, Law
from paramaudit.numerics.tapers import PLAIN, SHAPED
from paramaudit.operators.gamma_density import GammaDensity
from paramaudit.operators.ramp import Ramp
from paramaudit.operators.sinusoid import Frequencies, Sinusoid
from paramaudit.operators.window import Window


class SinusoidTable(Sinusoid):
    """Sines and cosines of positions, ``()`` to ``(rows, columns)``.

    Frequency k of ``columns / 2`` is ``base ** (-2 k / columns)``, in radians a position.

    Args:
        rows: how many positions.
        columns: even.
        base: how far frequencies fall.
        layout: "interleaved" (sine, cosine, sine, ...), "halves" (all sines, then all cosines), either with
            ", cosine first" behind it.
        first: the first row's position.

    Raises:
        ValueError: for sizes or a layout that there is not.

    Example:
        >>> SinusoidTable(128, 64)().shape
        torch.Size([128, 64])
    """

    def __init__(
        self, rows: int, columns: int, base: float = 10000.0, layout: str = "interleaved", first: float = 0.0
    ) -> None:
        if rows < 1 or columns < 2 or columns % 2 or base <= 0 or layout not in PAIRED:
            raise ValueError(f"there is no table ({rows}, {columns}) of base {base} in the layout {layout!r}")
        law = Law(columns // 2, float(base), columns / 2)
        super().__init__((rows, columns), Guess(layout, law, float(first), True), RECIPES[0])


class RotaryFrequencies(Frequencies):
    """The frequencies of rotary positions, ``()`` to ``(columns / 2,)``: ``base ** (-2 k / columns)``.

    Args:
        columns: of what is rotated; even.
        base: how far they fall.

    Raises:
        ValueError: for an odd number of columns, or a base that is not positive.

    Example:
        >>> [round(value, 4) for value in RotaryFrequencies(4)().tolist()]
        [1.0, 0.01]
    """

    def __init__(self, columns: int, base: float = 10000.0) -> None:
        if columns < 2 or columns % 2 or base <= 0:
            raise ValueError(f"there are no rotary frequencies of {columns} columns and base {base}")
        super().__init__(Law(columns // 2, float(base), columns / 2), RECIPES[0].rates)


class WindowTable(Window):
    """A window function, ``()`` to ``(n,)``.

    Args:
        n: how many numbers, at least 2.
        window: ``hann``, ``hamming``, ``blackman``, ``bartlett``, ``tukey`` and so on; see
            ``paramaudit.numerics.tapers``, whose names are those of ``scipy.signal.windows``.
        periodic: whether it goes on with its first number, as for spectra; symmetric otherwise.
        value: the parameter of ``tukey`` (alpha), ``kaiser`` (beta), ``gaussian`` (std) and ``exponential``
            (tau), which is trained.

    Raises:
        ValueError: for a window that there is not, or a parameter that it does not take.

    Example:
        >>> [round(number, 3) for number in WindowTable(4, "hann")().tolist()]
        [0.0, 0.5, 1.0, 0.5]
    """

    def __init__(
        self, n: int, window: str = "hann", periodic: bool = True, value: float | None = None
    ) -> None:
        if n < 2 or window not in (*PLAIN, *SHAPED):
            raise ValueError(f"there is no window {window!r} of {n} numbers; known are {(*PLAIN, *SHAPED)}")
        if (value is None) == (window in SHAPED):
            raise ValueError(f"a window {window!r} takes {'a' if value is None else 'no'} parameter")
        if value is not None and not SHAPED[window][2] <= value <= SHAPED[window][3]:
            low, high = SHAPED[window][2:]
            raise ValueError(
                f"the parameter of {window!r} must lie within {low:g} to {high:g}, not {value:g}"
            )
        super().__init__(window, torch.Size([n]), periodic, value)


class RampTable(Ramp):
    """Equal steps or equal ratios, ``()`` to ``(n,)``.

    Args:
        n: how many numbers, at least 2.
        start: the first one, which is trained.
        stop: the last one, likewise.
        geometric: whether ratios are equal (``numpy.geomspace``), not steps (``numpy.linspace``).

    Raises:
        ValueError: for fewer numbers, or ratios between ends that are 0 or differ in sign.

    Example:
        >>> RampTable(5, 0.0, 1.0)().tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """

    def __init__(self, n: int, start: float, stop: float, geometric: bool = False) -> None:
        if n < 2 or (geometric and not start * stop > 0):
            raise ValueError(f"there is no ramp of {n} numbers from {start} to {stop}")
        ends = torch.tensor([start, stop], dtype=torch.float64)
        super().__init__("geometric" if geometric else "linear", torch.Size([n]), ends)


class GammaTable(GammaDensity):
    """``gain (t / scale) ** (shape - 1) exp(-t / scale)`` for t = first, first + 1, ..., ``()`` to ``(n,)``.

    Args:
        n: how many numbers.
        shape: of the density, positive; trained as all three are.
        scale: in samples, positive.
        gain: what it is multiplied by; ``1 / (scale gamma(shape))`` makes a density.
        first: the time of the first number, 0 or 1.

    Raises:
        ValueError: for numbers out of that range.

    Example:
        >>> [round(number, 4) for number in GammaTable(3, shape=2.0, scale=1.0)().tolist()]
        [0.0, 0.3679, 0.2707]
    """

    def __init__(self, n: int, shape: float, scale: float, gain: float = 1.0, first: int = 0) -> None:
        if n < 1 or not (shape > 0 and scale > 0) or first not in (0, 1):
            raise ValueError(f"there is no gamma density of shape {shape}, scale {scale} from {first}")
        numbers = torch.tensor([shape, scale, gain], dtype=torch.float64)
        super().__init__(torch.Size([n]), first, numbers)
