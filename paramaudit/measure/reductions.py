"""FLOPs of everything that gathers many numbers into few: sums, norms, softmax, pooling, sorting.

Counted per input element, plus per output element where a division or a root follows:

* sum, product, maximum, cumulative sum: 1;  mean: 1, and 1 per result;
* variance: 4 (sum, subtract, square, sum), and 2 per result; standard deviation one root more;
* softmax: 5 (maximum, subtract, exponential, sum, divide); log-softmax likewise;
* layer, group and instance norm: 5 (sum, subtract, square, sum, divide), 1 more for a scale, 1 for a
  shift. It is fvcore's 4 or 5 with the square-and-sum and the scale-and-shift counted as the two that
  each is. Per-row extras (a root for thousands of elements) are left out.
"""

from __future__ import annotations

from math import ceil, log2, prod
from typing import Any

from torch import Tensor

from paramaudit.measure import products
from paramaudit.measure.operands import Arguments, Rule, any_complex, first, tensors

SOFTMAX = 5

# FLOPs per input element, per output element
_REDUCTIONS = {
    "aten.sum": (1, 0),
    "aten.nansum": (1, 0),
    "aten.prod": (1, 0),
    "aten.mean": (1, 1),
    "aten.max": (1, 0),
    "aten.min": (1, 0),
    "aten.amax": (1, 0),
    "aten.amin": (1, 0),
    "aten.aminmax": (2, 0),
    "aten.argmax": (1, 0),
    "aten.argmin": (1, 0),
    "aten.cumsum": (1, 0),
    "aten.cumprod": (1, 0),
    "aten.cummax": (1, 0),
    "aten.cummin": (1, 0),
    "aten.logcumsumexp": (4, 0),
    "aten.logsumexp": (4, 2),
    "aten.var": (4, 2),
    "aten.var_mean": (4, 2),
    "aten.std": (4, 3),
    "aten.std_mean": (4, 3),
    "aten.linalg_vector_norm": (2, 1),
    "aten.norm": (2, 1),
    "aten._softmax": (SOFTMAX, 0),
    "aten._log_softmax": (SOFTMAX, 0),
    "aten.softmax": (SOFTMAX, 0),
    "aten.log_softmax": (SOFTMAX, 0),
    "aten._safe_softmax": (SOFTMAX, 0),
    "aten._adaptive_avg_pool2d": (1, 1),
    "aten._adaptive_avg_pool3d": (1, 1),
    "aten.adaptive_max_pool2d": (1, 0),
    "aten.adaptive_max_pool3d": (1, 0),
    "aten.col2im": (1, 0),
    "aten.unfold_backward": (1, 0),
}
_LINEAR_REDUCTIONS = ("aten.sum", "aten.mean", "aten.cumsum")  # on complex numbers: twice the work


def _reduction(name: str, per_input: int, per_output: int) -> Rule:
    def rule(a: Arguments, out: Any) -> int | None:
        if isinstance(a.get("other"), Tensor):  # max(a, b) is elementwise
            return first(out).numel()
        factor = 1
        if any_complex(a):
            if name not in _LINEAR_REDUCTIONS:
                return None
            factor = 2
        return factor * (per_input * tensors(a)[0].numel() + per_output * first(out).numel())

    return rule


def _norm(a: Arguments, _out: Any) -> int:
    affine = sum(a.get(name) is not None for name in ("weight", "bias"))
    return int(a["input"].numel()) * (5 + affine)


def _batch_norm(a: Arguments, out: Any) -> int:
    return _norm(a, out) if a.get("training") else products.batch_norm(a, out)


def _rms_norm(a: Arguments, _out: Any) -> int:
    return int(a["input"].numel()) * (3 if a.get("weight") is None else 4)


def _dropout(a: Arguments, out: Any) -> int:
    return 2 * first(out).numel() if a["train"] else 0  # mask and scale


def _pool(extra: int) -> Rule:
    return lambda a, out: first(out).numel() * (prod(a["kernel_size"]) + extra)


def _per_output(flops: int) -> Rule:
    return lambda _, out: first(out).numel() * flops


def _sort(a: Arguments, _out: Any) -> int:
    """Comparisons of a merge sort along the dimension."""
    values: Tensor = a["self"]
    size = values.shape[a.get("dim", -1)] if values.dim() else 1
    return values.numel() * ceil(log2(max(size, 1)))


def _search(a: Arguments, out: Any) -> int:
    """Comparisons of a binary search for each value."""
    edges: Tensor = a["boundaries"] if "boundaries" in a else a["sorted_sequence"]
    return first(out).numel() * ceil(log2(edges.shape[-1] + 1))


def _distances(a: Arguments, out: Any) -> int:
    """Subtract, square and sum per coordinate; a root per distance."""
    return first(out).numel() * (3 * int(a["x1"].shape[-1]) + 1)


def _scattered(name: str) -> Rule:
    return lambda a, _: int(a[name].numel())


def _scatter(a: Arguments, _out: Any) -> int:
    """Placing is free; the old form that also adds or multiplies is not."""
    return int(a["index"].numel()) if a.get("reduce") else 0


def _index_put(a: Arguments, _out: Any) -> int:
    return int(a["values"].numel()) if a.get("accumulate") else 0


def _embedding_bag(a: Arguments, _out: Any) -> int:
    """One addition per looked-up number; a multiply-add where the rows are weighted."""
    looked_up = int(a["indices"].numel()) * int(a["weight"].shape[-1])
    return looked_up * (1 if a.get("per_sample_weights") is None else 2)


RULES: dict[str, Rule] = {
    **{name: _reduction(name, *cost) for name, cost in _REDUCTIONS.items()},
    "aten.native_layer_norm": _norm,
    "aten.native_group_norm": _norm,
    "aten.batch_norm": _batch_norm,
    "aten.native_batch_norm": _batch_norm,
    "aten._native_batch_norm_legit": _batch_norm,
    "aten._native_batch_norm_legit_no_training": _batch_norm,
    "aten.rms_norm": _rms_norm,
    "aten._fused_rms_norm": _rms_norm,
    "aten.native_dropout": _dropout,
    "aten.max_pool2d_with_indices": _pool(0),
    "aten.max_pool3d_with_indices": _pool(0),
    "aten.avg_pool2d": _pool(1),
    "aten.avg_pool3d": _pool(1),
    # a multiply-add for each neighbour that is blended, as in fvcore
    "aten.upsample_linear1d": _per_output(4),
    "aten.upsample_bilinear2d": _per_output(8),
    "aten.upsample_trilinear3d": _per_output(16),
    "aten.upsample_bicubic2d": _per_output(32),
    "aten.sort": _sort,
    "aten.argsort": _sort,
    "aten.topk": _sort,
    "aten.searchsorted": _search,
    "aten.bucketize": _search,
    "aten._cdist_forward": _distances,
    "aten._euclidean_dist": _distances,
    "aten.scatter": _scatter,
    "aten.scatter_add": _scattered("src"),
    "aten.scatter_reduce": _scattered("src"),
    "aten.index_add": _scattered("source"),
    "aten.index_put": _index_put,
    "aten._embedding_bag": _embedding_bag,
    "aten._embedding_bag_forward_only": _embedding_bag,
}
