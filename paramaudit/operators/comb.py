"""A linear map that is a comb filter: echoes at a fixed delay.

What it finds:    ``y[t] = dry x[t] + wet x[t - d] + g y[t - d]`` from rest, with any delay d of two samples
                  or more: feedback combs (wet 0), all-passes (dry ``-g wet``), feed-forward (g 0, dry 1),
                  and what lies between; also later by some samples, and several of them over the same
                  input, one block after another or row by row in turn (the combs of a reverberator).
                  A gain that is 0 or 1 is not stored, and dry is not where it follows from wet and g.
                  The feedback gain is stored as its decay ``-log |g|``, which rounds a long
                  tail no more than a short one.
Why it matters:   m n numbers are one to three, and a product costs O((m + n) log(m + n)).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Delay and kind are read off the impulse response, which is the mean of each
                  diagonal; the gains are its least-squares fit. The kind with the fewest gains is taken
                  that meets every sample within 6 standard deviations.
Swap safety:      Exact at any input of n numbers. The gains are trainable, the delay and the sign of the
                  feedback are not. Half precision is computed in float32, the echoes in float64.
Source:           Schroeder, Natural sounding artificial reverberation, J. Audio Eng. Soc. 10 (1962). Smith,
                  Physical Audio Signal Processing (2010), Comb Filters and Allpass Filters.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.blocks import Stack, deviations, stacked
from paramaudit.numerics.convolution import convolved
from paramaudit.numerics.layers import owned, parameter, plus
from paramaudit.numerics.noise import SIGMAS, kept_bias, stored
from paramaudit.numerics.refine import Fit, refine
from paramaudit.numerics.response import impulse_matrix
from paramaudit.records import Example, Json, Matrix, Operator

STORED = "stored"


@dataclass(frozen=True)
class Kind:
    """What one comb's gains are: a number as text, "stored", or "-g wet" for the dry one of an all-pass.

    A stored feedback gain is the decay ``-log |g|`` times a sign.
    """

    delay: int
    after: int
    dry: str
    wet: str
    feedback: str
    sign: int = 1

    @property
    def numbers(self) -> int:
        """How many are stored."""
        return (self.dry, self.wet, self.feedback).count(STORED)

    def gains(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Dry, wet and feedback gain from the stored numbers, in that order."""
        rest = iter(values)
        one = torch.ones((), dtype=values.dtype, device=values.device)
        dry = next(rest) if self.dry == STORED else one
        wet = next(rest) if self.wet == STORED else one * float(self.wet)
        feedback = one * self.sign
        if self.feedback == STORED:
            feedback = feedback * torch.exp(-next(rest))
        else:
            feedback = one * float(self.feedback)
        return (-feedback * wet if self.dry == "-g wet" else dry), wet, feedback

    def echoes(self, values: Tensor, count: int) -> Tensor:
        """The samples ``(count,)`` of the response that are ``delay`` apart; there are at least two."""
        dry, wet, feedback = self.gains(values)
        order = torch.arange(count - 1, dtype=values.dtype, device=values.device)
        if self.feedback == STORED:
            powers = torch.exp(-values[-1] * order) * float(self.sign) ** order
        else:
            powers = float(self.feedback) ** order
        return torch.cat([dry[None], (wet + feedback * dry) * powers])

    def response(self, values: Tensor, size: int) -> Tensor:
        """The impulse response ``(size,)``."""
        count = max(2, -(-(size - self.after) // self.delay))
        spaced = F.pad(self.echoes(values, count).unsqueeze(1), (0, self.delay - 1)).flatten()
        return F.pad(spaced, (self.after, 0))[:size]


class Comb(nn.Module):
    """k comb filters of the last dimension, ``(..., n)`` to ``(..., k m)``.

    Args:
        rows: m, the outputs of one filter.
        columns: n.
        first: the lag ``row - column`` at which responses begin.
        kinds: one for each filter.
        values: the stored gains of all filters, ``(p,)``.
        interleaved: whether outputs take turns between the filters.
        bias: ``(k m,)`` or None.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        first: int,
        kinds: tuple[Kind, ...],
        values: Tensor,
        interleaved: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.first = rows, columns, first
        self.kinds, self.interleaved = kinds, interleaved
        self.values = owned(values)
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """Shape of a block, order of blocks, and delay and gains of every filter."""
        combs: list[Json] = []
        for kind, own in zip(self.kinds, self._own(self.values.detach().double()), strict=True):
            dry, wet, feedback = (float(gain) for gain in kind.gains(own))
            after = self.first + kind.after
            gains: dict[str, Json] = {"dry": dry, "wet": wet, "feedback": feedback}
            combs.append({"delay": kind.delay, "starts_at": after} | gains)
        return {
            "rows": self.rows,
            "columns": self.columns,
            "interleaved": self.interleaved,
            "combs": combs,
            "bias": self.bias is not None,
        }

    def _own(self, values: Tensor) -> tuple[Tensor, ...]:
        return torch.split(values, [kind.numbers for kind in self.kinds])

    def forward(self, inputs: Tensor) -> Tensor:
        """Write the echoes down and convolve with them."""
        # in float64 where there is one: powers of a rounded decay would drift
        values = self.values.float() if inputs.device.type == "mps" else self.values.double()
        size = self.rows - self.first
        responses = [
            kind.response(own, size) for kind, own in zip(self.kinds, self._own(values), strict=True)
        ]
        outputs = convolved(inputs, torch.stack(responses), self.rows, self.first, self.interleaved)
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> Comb | None:
    """The comb of every block of a stack."""
    stack = view.once(stacked)
    if stack is None or stack.lags < 3:
        return None
    for units in deviations(stack, view):
        found = _combs(stack, units)
        if found:
            kinds, values = zip(*found, strict=True)
            shape = stack.rows, stack.columns, stack.first
            return Comb(*shape, kinds, torch.cat(values), stack.interleaved, kept_bias(view))
    return None


def _combs(stack: Stack, units: Tensor) -> list[tuple[Kind, Tensor]]:
    """Kind and gains of every block; none when one block is no comb."""
    combs: list[tuple[Kind, Tensor]] = []
    for response, unit in zip(stack.values, units, strict=True):
        found = _comb(response, unit, stack)
        if found is None:
            return []
        combs.append(found)
    return combs


def _comb(response: Tensor, unit: Tensor, stack: Stack) -> tuple[Kind, Tensor] | None:
    """The kind with the fewest gains that fits, and its gains; None when none does."""
    alive = (response.abs() > SIGMAS * unit).nonzero()[:, 0]
    if len(alive) < 2:
        return None
    after, delay = int(alive[0]), int(alive[1] - alive[0])
    if delay < 2 or bool(((alive - after) % delay != 0).any()):
        return None
    if delay >= stack.columns:  # nothing is heard twice: it wraps around
        return None
    short = stack.lags - len(response)
    # beyond the band the response is zero as far as is known
    taps = F.pad(response, (0, short))[after::delay]
    units = F.pad(unit, (0, short), value=float(unit[-1]))[after::delay]
    for kind, start in _kinds(delay, after, taps):
        if kind.numbers >= len(alive):
            return None  # as many gains as echoes explain nothing
        fit = _fitted(kind, start, taps, units)
        if fit.worst <= SIGMAS:
            return kind, fit.values
    return None


def _fitted(kind: Kind, start: Tensor, taps: Tensor, units: Tensor) -> Fit:
    def formula(values: Tensor) -> Tensor:
        return kind.echoes(values, len(taps))

    return refine(formula, start, taps, units)


def _kinds(delay: int, after: int, taps: Tensor) -> list[tuple[Kind, Tensor]]:
    """Kinds that the first echoes do not rule out, fewest gains first, with a start for the fit."""
    dry = float(taps[0])
    later = taps[1:]
    power = float(later[:-1].square().sum())
    feedback = float((later[1:] * later[:-1]).sum()) / power if power > 0 else 0.0
    wet = float(later[0]) - feedback * dry
    sign = -1 if feedback < 0 else 1
    decay = -np.log(abs(feedback)) if feedback else np.inf
    choices = {
        "dry": _choices(dry, {"1": 1.0, "-g wet": -feedback * wet}),
        "wet": _choices(wet, {"0": 0.0, "1": 1.0}),
        "feedback": _choices(feedback, {"0": 0.0, "1": 1.0, "-1": -1.0}),
    }
    found: list[tuple[Kind, Tensor]] = []
    for names in itertools.product(*choices.values()):
        kind = Kind(delay, after, names[0], names[1], names[2], sign)
        start = [v for v, name in zip((dry, wet, decay), names, strict=True) if name == STORED]
        plain_delays = kind.feedback == "0" and (kind.dry != "1" or kind.wet == "0")
        unseen = kind.feedback == STORED and (len(taps) < 3 or not feedback)
        if not (plain_delays or unseen or names[:2] == ("-g wet", "0")):
            found.append((kind, torch.tensor(start, dtype=torch.float64)))
    return sorted(found, key=lambda entry: entry[0].numbers)


def _choices(value: float, known: dict[str, float]) -> list[str]:
    """Names of known numbers that the value is near, then "stored"."""
    return [name for name, number in known.items() if abs(value - number) <= 0.02] + [STORED]


def _comb_matrix(size: int, delay: int, dry: float, wet: float, feedback: float) -> NDArray[np.float64]:
    b, a = np.zeros(delay + 1), np.zeros(delay + 1)
    b[[0, -1]] = dry, wet
    a[[0, -1]] = 1.0, -feedback
    return impulse_matrix(size, b, a)


def _all_pass(size: int, delay: int, gain: float) -> NDArray[np.float64]:
    return _comb_matrix(size, delay, -gain, 1.0, gain)


def _reverberator(size: int, interleaved: bool) -> Matrix:
    """Four feedback combs over the same input, with a bias."""
    blocks = [_comb_matrix(size, d, 1.0, 0.0, 0.9 - 0.02 * d) for d in (7, 9, 11, 13)]
    stack = np.stack(blocks, axis=1 if interleaved else 0).reshape(-1, size)
    return stored(stack, np.random.default_rng(0).standard_normal(len(stack)))


def _later(size: int) -> Matrix:
    """The delay is one sample longer from the middle on; the size has no divisor near."""
    first, second = (_comb_matrix(size, d, 1.0, 0.0, 0.6) for d in (9, 10))
    return stored(np.concatenate([first[: size // 2], second[size // 2 :]]))


def _drifting(size: int) -> Matrix:
    """Every echo a little weaker than the one before foretells."""
    echoes = np.zeros(size)
    times = np.arange(0, size, 11)
    echoes[times] = 0.7 ** np.arange(len(times)) * (1 - 0.003 * np.arange(len(times)) ** 2)
    return stored(impulse_matrix(size, echoes))


def _two_delays(size: int) -> Matrix:
    return stored(_comb_matrix(size, 7, 1.0, 0.0, 0.6) + _comb_matrix(size, 9, 1.0, 0.0, 0.5))


OPERATOR = Operator(
    "comb",
    propose,
    finds=(
        Example("feedback comb", lambda: stored(_comb_matrix(96, 13, 1.0, 0.0, 0.55))),
        Example("negative feedback, any gain", lambda: stored(_comb_matrix(64, 5, 0.3, 0.0, -0.8))),
        Example("all-pass", lambda: stored(_all_pass(100, 17, 0.7))),
        Example("all-pass, scaled", lambda: stored(-0.4 * _all_pass(80, 6, -0.6))),
        Example("feed-forward comb", lambda: stored(_comb_matrix(70, 19, 1.0, 0.45, 0.0))),
        Example("dry, wet and feedback", lambda: stored(_comb_matrix(90, 8, 0.8, 0.3, 0.65))),
        Example("long tail", lambda: stored(_comb_matrix(256, 3, 1.0, 0.0, 0.995))),
        Example("undamped", lambda: stored(_comb_matrix(60, 7, 0.5, 0.0, -1.0))),
        Example("four combs, with a bias", lambda: _reverberator(64, interleaved=False)),
        Example("four combs, in turns", lambda: _reverberator(64, interleaved=True)),
    ),
    ignores=(
        Example("delay one longer from the middle on", lambda: _later(89)),
        Example("drifting feedback", lambda: _drifting(128)),
        Example("two delays at once", lambda: _two_delays(96)),
    ),
)
