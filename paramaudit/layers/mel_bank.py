"""A bank of triangular filters that are equally spaced on a scale of hearing.

What it computes: ``n_mels`` weighted sums of the ``n_fft // 2 + 1`` bins of a spectrum, by the formulas of
                  ``librosa.filters.mel`` and ``torchaudio.functional.melscale_fbanks``.
Replaces:         A dense layer that stores the bank: m n numbers are none.
Faster when:      Never: the bank is computed with every call, so it saves storage and not time.
Mind:             Nothing is trained. The bank is computed in float64, where float32 tables are off by up to
                  2e-5 of their largest number. Rows between two bins may be empty.
Source:           O'Shaughnessy, Speech Communication (1987). Slaney, Auditory Toolbox, Technical Report
                  1998-010. Glasberg and Moore, Hearing Research 47 (1990).
"""

from __future__ import annotations

from paramaudit.numerics.auditory import NORMS, SCALES
from paramaudit.operators.filter_bank import Bank, FilterBank


class MelBank(FilterBank):
    """Triangles over the bins from 0 to Nyquist, ``(..., n_fft // 2 + 1)`` to ``(..., n_mels)``.

    Args:
        n_fft: samples of the frames that were transformed; even.
        n_mels: how many triangles.
        sample_rate: in Hz.
        f_min: where the first triangle begins, in Hz.
        f_max: where the last one ends; None for half the sample rate.
        scale: "slaney" (librosa's), "htk" or "erb".
        norm: "slaney" for triangles of the same area, or "none" for a height of one.

    Raises:
        ValueError: for sizes or frequencies that are out of range, or a scale or norm that there is not.

    Example:
        >>> MelBank(512, 40, 16000)(torch.rand(8, 257)).shape
        torch.Size([8, 40])
    """

    def __init__(
        self,
        n_fft: int,
        n_mels: int,
        sample_rate: float,
        f_min: float = 0.0,
        f_max: float | None = None,
        scale: str = "slaney",
        norm: str = "slaney",
    ) -> None:
        high = sample_rate / 2 if f_max is None else f_max
        if n_fft < 2 or n_fft % 2 or n_mels < 1:
            raise ValueError(f"there are no {n_mels} filters over frames of {n_fft} samples")
        if not 0 <= f_min < high <= sample_rate / 2:
            raise ValueError(f"frequencies {f_min} to {high} do not lie within 0 to {sample_rate / 2}")
        if scale not in SCALES or norm not in NORMS:
            known = f"{', '.join(SCALES)}; and {', '.join(NORMS)}"
            raise ValueError(f"there is no scale {scale!r} or no norm {norm!r}; known are {known}")
        bank = Bank(scale, float(sample_rate), float(f_min), float(high))
        super().__init__(n_mels, n_fft // 2 + 1, bank, norm)
