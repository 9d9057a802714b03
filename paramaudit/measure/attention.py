"""FLOPs of scaled dot-product attention: the same number on the fast and on the slow path.

With L queries, S keys, width E and value width V, per head: scale the queries (L E), score (2 L S E),
add a floating-point mask (L S; a boolean or causal mask selects and costs nothing), softmax (5 L S),
weigh the values (2 L S V). A causal mask does not halve the count: the plain form computes every score.
"""

from __future__ import annotations

from math import prod
from typing import Any

from paramaudit.measure.operands import Arguments, Rule, any_float, first
from paramaudit.measure.reductions import SOFTMAX


def _attention(a: Arguments, out: Any) -> int:
    *_, length, width = a["query"].shape
    heads = prod(first(out).shape[:-2])
    scores = heads * length * int(a["key"].shape[-2])
    flops = heads * length * width + scores * (2 * width + SOFTMAX + 2 * int(a["value"].shape[-1]))
    if any_float([a.get("attn_mask"), a.get("attn_bias")]):
        flops += scores
    if a.get("dropout_p"):
        flops += 2 * scores
    return int(flops)


RULES: dict[str, Rule] = {
    "aten.scaled_dot_product_attention": _attention,
    "aten._scaled_dot_product_attention_math": _attention,
    "aten._scaled_dot_product_flash_attention": _attention,
    "aten._scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten._scaled_dot_product_efficient_attention": _attention,
    "aten._scaled_dot_product_cudnn_attention": _attention,
}
