"""Differentiable layers that compute a known algorithm, to put into a model and train in place of dense ones.

::

    from paramaudit.layers import Spectrum, WaveletBank

Each works on any device and in every float dtype, exports with any batch, and keeps its state-dict keys.
Its file says what it replaces. Layers of this folder choose sensible first numbers, or take those of a
textbook; those of :mod:`paramaudit.operators` are built from the numbers they hold, and some want inputs of
their own dtype. Tables have no input.
``docs/layers.md`` has all of them with an example each.
"""

from paramaudit.layers.biquad_bank import BiquadBank
from paramaudit.layers.comb import AllPass, FeedbackComb
from paramaudit.layers.delay_line import DelayLine
from paramaudit.layers.echo_banks import CombBank, DelayBank
from paramaudit.layers.envelope import Envelope
from paramaudit.layers.fir_bank import FirBank
from paramaudit.layers.fourier import FourierTransform, RealFourier, ShortTimeFourier
from paramaudit.layers.hard_knee import HardKnee
from paramaudit.layers.inverse_wavelet_bank import InverseWaveletBank
from paramaudit.layers.kalman import KalmanFilter, SteadyKalmanFilter
from paramaudit.layers.mel_bank import MelBank
from paramaudit.layers.polynomial_bank import PolynomialBank
from paramaudit.layers.recursive_bank import RecursiveBank
from paramaudit.layers.resonator_bank import ResonatorBank
from paramaudit.layers.spectrum import Spectrum
from paramaudit.layers.stencil_filter import StencilFilter
from paramaudit.layers.style_map import StyleMap
from paramaudit.layers.tables import GammaTable, RampTable, RotaryFrequencies, SinusoidTable, WindowTable
from paramaudit.layers.transforms import CosineTransform, HartleyTransform, SineTransform
from paramaudit.layers.wavelet_bank import WaveletBank
from paramaudit.operators.block_diagonal import BlockDiagonal
from paramaudit.operators.butterfly import Butterfly
from paramaudit.operators.circulant import Circulant
from paramaudit.operators.diagonal import Diagonal
from paramaudit.operators.hadamard import Sylvester
from paramaudit.operators.hankel import Hankel
from paramaudit.operators.hilbert import Hilbert
from paramaudit.operators.kronecker import Kronecker
from paramaudit.operators.low_displacement import LowDisplacement
from paramaudit.operators.low_rank import LowRank
from paramaudit.operators.monarch import Monarch
from paramaudit.operators.monomial import Monomial
from paramaudit.operators.permutation import Permutation
from paramaudit.operators.piecewise import Piecewise
from paramaudit.operators.state_space import StateSpaceStep
from paramaudit.operators.symmetric import Symmetric
from paramaudit.operators.toeplitz import Toeplitz

__all__ = [
    "AllPass",
    "BiquadBank",
    "BlockDiagonal",
    "Butterfly",
    "Circulant",
    "CombBank",
    "CosineTransform",
    "DelayBank",
    "DelayLine",
    "Diagonal",
    "Envelope",
    "FeedbackComb",
    "FirBank",
    "FourierTransform",
    "GammaTable",
    "Hankel",
    "HardKnee",
    "HartleyTransform",
    "Hilbert",
    "InverseWaveletBank",
    "KalmanFilter",
    "Kronecker",
    "LowDisplacement",
    "LowRank",
    "MelBank",
    "Monarch",
    "Monomial",
    "Permutation",
    "Piecewise",
    "PolynomialBank",
    "RampTable",
    "RealFourier",
    "RecursiveBank",
    "ResonatorBank",
    "RotaryFrequencies",
    "ShortTimeFourier",
    "SineTransform",
    "SinusoidTable",
    "Spectrum",
    "StateSpaceStep",
    "SteadyKalmanFilter",
    "StencilFilter",
    "StyleMap",
    "Sylvester",
    "Symmetric",
    "Toeplitz",
    "WaveletBank",
    "WindowTable",
]
