"""Differentiable layers that compute a known algorithm, to put into a model and train in place of dense ones.

::

    from paramaudit.layers import Spectrum, WaveletBank

Each works on any device and in every float dtype, exports with any batch, and keeps its state-dict keys.
Its file says what it replaces. Layers of this folder choose sensible first numbers; those of
:mod:`paramaudit.operators` are built from the numbers they hold, and some want inputs of their own dtype.
``docs/layers.md`` has all of them with an example each.
"""

from paramaudit.layers.biquad_bank import BiquadBank
from paramaudit.layers.comb import AllPass, FeedbackComb
from paramaudit.layers.delay_line import DelayLine
from paramaudit.layers.envelope import Envelope
from paramaudit.layers.kalman import KalmanFilter, SteadyKalmanFilter
from paramaudit.layers.resonator_bank import ResonatorBank
from paramaudit.layers.spectrum import Spectrum
from paramaudit.layers.style_map import StyleMap
from paramaudit.layers.transforms import CosineTransform, HartleyTransform, SineTransform
from paramaudit.layers.wavelet_bank import WaveletBank
from paramaudit.operators.block_diagonal import BlockDiagonal
from paramaudit.operators.butterfly import Butterfly
from paramaudit.operators.circulant import Circulant
from paramaudit.operators.hadamard import Sylvester
from paramaudit.operators.hankel import Hankel
from paramaudit.operators.hilbert import Hilbert
from paramaudit.operators.kronecker import Kronecker
from paramaudit.operators.low_displacement import LowDisplacement
from paramaudit.operators.low_rank import LowRank
from paramaudit.operators.monarch import Monarch
from paramaudit.operators.permutation import Permutation
from paramaudit.operators.state_space import StateSpaceStep
from paramaudit.operators.toeplitz import Toeplitz

__all__ = [
    "AllPass",
    "BiquadBank",
    "BlockDiagonal",
    "Butterfly",
    "Circulant",
    "CosineTransform",
    "DelayLine",
    "Envelope",
    "FeedbackComb",
    "Hankel",
    "HartleyTransform",
    "Hilbert",
    "KalmanFilter",
    "Kronecker",
    "LowDisplacement",
    "LowRank",
    "Monarch",
    "Permutation",
    "ResonatorBank",
    "SineTransform",
    "Spectrum",
    "StateSpaceStep",
    "SteadyKalmanFilter",
    "StyleMap",
    "Sylvester",
    "Toeplitz",
    "WaveletBank",
]
