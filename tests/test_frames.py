"""Audits as pandas frames."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pandas as pd
import torch
from samples import AUDIT, FINDINGS
from torch import nn

import paramaudit as pa
from paramaudit import frames
from paramaudit.records import Finding, ModuleRow


def test_modules_have_a_row_each_and_sum_to_the_model() -> None:
    frame = AUDIT.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.index) == [row.path for row in AUDIT.modules]
    assert {frame.index.name, *frame.columns} == {field.name for field in fields(ModuleRow)}
    assert frame["own_parameters"].sum() == AUDIT.model.parameters == 1_200
    assert frame.loc["front", "rule"] == "spectrum"
    assert frame.loc["body", "rule"] is None
    assert frame[frame["verdict"] == "ml-replaceable"]["own_parameters"].sum() == 800


def test_findings_have_numbers_as_numbers() -> None:
    frame = frames.findings(AUDIT)
    told = {field.name for field in fields(Finding)} - {"worst_case", "traces"}
    assert {frame.index.name, *frame.columns} == told
    named = frame.loc["front:rdft"]
    assert (named["gap"], named["witness"]) == (3.1e-7, 8.8e-7)
    assert math.isnan(named["p_value"])
    assert frame.loc["body.deep:wavelet", "p_value"] == 0.59
    assert frame.loc["body.deep:wavelet", "tier"] == "refuted"
    assert type(named["tier"]) is str
    assert list(frame.query("applied_by_default").index) == ["front:rdft"]
    assert named["tensors"] == FINDINGS[0].tensors
    assert named["arguments"] == FINDINGS[0].arguments


def test_a_frame_without_rows_has_the_same_columns_and_types() -> None:
    empty = replace(AUDIT, findings=(), modules=())
    for make in (frames.modules, frames.findings):
        assert list(make(empty).columns) == list(make(AUDIT).columns)
        assert list(make(empty).dtypes) == list(make(AUDIT).dtypes)
    assert frames.modules(empty)["parameters"].sum() == 0


def test_a_scan_in_memory_becomes_a_frame_with_lines_of_source() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.front(x))

    frame = pa.scan(Net(), torch.randn(2, 4)).to_frame()
    assert frame.loc["front", ["parameters", "parameters_after"]].tolist() == [85, 20]
    assert frame.loc["front", "source"].rpartition(":")[0].endswith("test_frames.py")
    assert frame.loc["front.0", "source"] == frame.loc["front", "source"]
