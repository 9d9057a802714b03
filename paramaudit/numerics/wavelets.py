"""What PyWavelets knows about wavelets; the one file that imports it."""

from __future__ import annotations

import pywt


def filter_length(name: str) -> int | None:
    """The number of taps of a wavelet's decomposition filters, None for a name PyWavelets does not know."""
    if name not in pywt.wavelist(kind="discrete"):
        return None
    return int(pywt.Wavelet(name).dec_len)
