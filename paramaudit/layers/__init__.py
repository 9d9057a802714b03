"""Differentiable layers that compute a known algorithm, to put into a model and train in place of dense ones.

::

    from paramaudit.layers import Spectrum, WaveletBank

Each works on any device and in every float dtype, exports with any batch, and keeps its state-dict keys.
Its file says what it replaces, and from which size on it is the faster one.
"""

from paramaudit.layers.biquad_bank import BiquadBank
from paramaudit.layers.comb import AllPass, FeedbackComb
from paramaudit.layers.delay_line import DelayLine
from paramaudit.layers.envelope import Envelope
from paramaudit.layers.kalman import KalmanFilter, SteadyKalmanFilter
from paramaudit.layers.resonator_bank import ResonatorBank
from paramaudit.layers.spectrum import Spectrum
from paramaudit.layers.style_map import StyleMap
from paramaudit.layers.wavelet_bank import WaveletBank

__all__ = [
    "AllPass",
    "BiquadBank",
    "DelayLine",
    "Envelope",
    "FeedbackComb",
    "KalmanFilter",
    "ResonatorBank",
    "Spectrum",
    "SteadyKalmanFilter",
    "StyleMap",
    "WaveletBank",
]
