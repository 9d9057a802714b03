"""The operators that count 0 FLOPs, on purpose and by name.

They move, pick, relabel or create numbers, or look at sizes. Anything that is in no table is reported as
uncounted; nothing becomes 0 by being unknown.
"""

from __future__ import annotations

_SHAPES = """
view _unsafe_view _reshape_alias reshape view_as reshape_as flatten unflatten expand expand_as permute
transpose t numpy_T mT squeeze unsqueeze slice select split split_with_sizes chunk unbind narrow as_strided
unfold alias detach diagonal movedim swapaxes swapdims unsafe_chunk unsafe_split unsafe_split_with_sizes
view_as_real view_as_complex real imag _conj conj conj_physical _neg_view resolve_conj resolve_neg
"""
_COPIES = """
clone contiguous copy _to_copy to type_as lift lift_fresh lift_fresh_copy cat concat stack hstack vstack
flip roll rot90 repeat repeat_interleave tile pad constant_pad_nd reflection_pad1d reflection_pad2d
reflection_pad3d replication_pad1d replication_pad2d replication_pad3d _pad_circular im2col complex
pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle upsample_nearest1d upsample_nearest2d
upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
tril triu diag_embed block_diag
"""
_CHOICES = """
gather index _unsafe_index index_select take take_along_dim masked_select masked_fill where embedding
slice_scatter select_scatter diagonal_scatter masked_scatter index_copy index_fill fill zero
_unsafe_masked_index one_hot
"""
_CREATION = """
zeros ones full empty empty_strided empty_permuted zeros_like ones_like full_like empty_like new_zeros
new_ones new_full new_empty new_empty_strided arange linspace eye scalar_tensor tril_indices triu_indices
"""
_QUESTIONS = """
sym_size sym_stride sym_numel sym_storage_offset sym_constrain_range sym_constrain_range_for_size size
_assert_async _assert_scalar _assert_tensor_metadata _functional_assert_scalar _functional_assert_async
_linalg_check_errors any all is_same_size
"""

FREE = frozenset(f"aten.{name}" for name in (_SHAPES + _COPIES + _CHOICES + _CREATION + _QUESTIONS).split())
