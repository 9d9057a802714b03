"""Fixtures that several files of tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from faked_pipeline import ATLAS, Pipeline
from hypothesis import settings

from paramaudit import audit

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # each worker has a core

# For every file alike, whichever of them are collected, and with the same examples in each run.
settings.register_profile("paramaudit", deadline=None, max_examples=40, derandomize=True, database=None)
settings.load_profile("paramaudit")


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


@pytest.fixture(scope="module")
def single_threaded() -> Iterator[None]:
    """Many small products are quicker on one thread, most of all beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
