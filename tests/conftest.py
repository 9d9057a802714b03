"""Fixtures that several files of tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from faked_pipeline import ATLAS, Pipeline

from paramaudit import audit

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # each worker has a core


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pipeline:
    """A pipeline that audits nothing, in an empty folder."""
    fake = Pipeline()
    for name in ("open_target", "scan_loaded", "apply_scan", "verify_loaded", "compare_loaded", "plan_of"):
        monkeypatch.setattr(audit, name, getattr(fake, name))
    monkeypatch.setattr(audit, "atlas", lambda: ATLAS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return fake
