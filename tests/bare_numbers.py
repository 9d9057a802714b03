"""Checkpoints of bare numbers, and their audits, for the tests of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from paramaudit.audit import Options, scan_loaded
from paramaudit.records import Audit, Finding, Loaded


def audited(
    tensors: Mapping[str, Tensor], optimizer: Mapping[str, Any] | None = None, **options: Any
) -> Audit:
    loaded = Loaded("numbers.pt", "state-dict", tensors=tensors, optimizer=optimizer)
    return scan_loaded(loaded, Options(**options), lambda _stage: None).audit


def of(audit: Audit, operator: str) -> list[Finding]:
    return [finding for finding in audit.findings if finding.operator == operator]


def only(audit: Audit, operator: str) -> Finding:
    [finding] = of(audit, operator)
    return finding


def learned(*shape: int, seed: int = 0, scale: float = 0.3) -> Tensor:
    """Numbers that no initialiser draws: heavy tails and rows that depend on each other."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(*shape, generator=generator) + torch.randn(shape[-1], generator=generator)
    return scale * (noise + 0.4 * noise**3)
