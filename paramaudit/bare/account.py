"""The account of a bare checkpoint: what its modules, by their names, store and what findings would leave."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from paramaudit.bare.offers import Offer
from paramaudit.measure import count, count_by_name
from paramaudit.records import Loaded, ModelInfo, Totals
from paramaudit.rules import ModuleCount

WHY_NOT = (
    "stored numbers without a model: only they were looked at; --factory file.py:function says which model "
    "they belong to"
)

_INDEX_BYTES = 8


def model_info(loaded: Loaded, tensors: Mapping[str, Tensor]) -> ModelInfo:
    """What is said about the checkpoint as a whole."""
    counts = count(tensors)
    return ModelInfo(
        loaded.target,
        loaded.sha256 or _fingerprint(tensors),
        loaded.format,
        counts.parameters,
        counts.buffers + counts.constants,
        counts.bytes,
        exported=False,
        why_not=WHY_NOT,
    )


def totals(tensors: Mapping[str, Tensor], taken: Mapping[str, Offer]) -> Totals:
    """What the chosen findings would leave, tensor by tensor."""
    counts, own = count(tensors), count_by_name(tensors)
    gone = {name: own[name] - offer.left for name, offer in taken.items()}
    indices = sum(offer.indices for offer in taken.values())
    fewer = sum(number * tensors[name].element_size() for name, number in gone.items())
    after = counts.parameters - sum(gone.values())
    return Totals(
        counts.parameters, after, indices, counts.bytes, counts.bytes - fewer + _INDEX_BYTES * indices
    )


def module_counts(tensors: Mapping[str, Tensor], taken: Mapping[str, Offer]) -> list[ModuleCount]:
    """One record for every dotted prefix of a name, the root as "", types unknown."""
    own = count_by_name(tensors)
    before = dict.fromkeys(_paths(tensors), 0)
    after, mine = dict(before), dict(before)
    for name, numbers in own.items():
        left = taken[name].left if name in taken else numbers
        path = name.rpartition(".")[0]
        mine[path] += numbers
        for above in _lineage(path):
            before[above] += numbers
            after[above] += left
    return [ModuleCount(path, "", before[path], mine[path], after[path]) for path in before]


def _paths(names: Iterable[str]) -> list[str]:
    """All module paths, parents before children, in the order of the names."""
    paths = {"": None}
    for name in names:
        for path in reversed(_lineage(name.rpartition(".")[0])):
            paths.setdefault(path)
    return list(paths)


def _lineage(path: str) -> list[str]:
    """A path and those above it, innermost first, the root last."""
    parts = path.split(".") if path else []
    return [".".join(parts[:depth]) for depth in range(len(parts), -1, -1)]


def _fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, kinds and numbers, where there is no file."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.layout == torch.strided and tensor.device.type != "meta" and not tensor.is_quantized:
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
