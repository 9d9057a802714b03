"""Stored tables in models: lookups, slices, windows; what is swapped computes the same bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pipeline import found, load, scan
from torch import Tensor, nn

from paramaudit.audit import Options, Scan, apply_scan, open_target, verify_loaded
from paramaudit.graph.run import run
from paramaudit.records import Tier

ROWS, WIDTH = 64, 32


def quiet(_stage: str) -> None:
    return None


def timescales(rows: int = ROWS, width: int = WIDTH) -> Tensor:
    """Sines beside cosines, every step in float32, over width / 2 - 1 steps."""
    half = width // 2
    steps = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
    angles = torch.arange(float(rows))[:, None] * steps[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def interleaved(rows: int = ROWS, width: int = WIDTH) -> Tensor:
    """``sin(pos / 10000^(2i/d))`` and its cosine in turn, in float64."""
    angles = np.arange(rows)[:, None] / 10000 ** (2 * np.arange(width // 2) / width)
    table = np.empty((rows, width))
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
    return torch.from_numpy(table).float()


class Positions(nn.Module):
    """A sequence with positions added, as models do it in several ways."""

    def __init__(self, table: Tensor, how: str) -> None:
        super().__init__()
        self.how = how
        self.inner = nn.Linear(WIDTH, 5)
        if how == "buffer":
            self.register_buffer("table", table[None])
        elif how == "parameter":
            self.table = nn.Parameter(table[:, None], requires_grad=False)
        else:
            self.table = nn.Embedding.from_pretrained(table.clone(), padding_idx=1)

    def forward(self, sequence: Tensor, places: Tensor | None = None) -> Tensor:
        length = sequence.shape[1]
        if self.how == "buffer":
            added = self.table[:, :length]
        elif self.how == "parameter":
            added = self.table[:length].transpose(0, 1)
        elif places is not None:
            added = self.table(places)
        else:
            added = self.table(torch.arange(length, device=sequence.device))
        return self.inner(torch.tanh(sequence + added))


def sequences(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def swapped(result: Scan, *inputs: Tensor) -> Tensor:
    (value,) = run(result.refactored, inputs, {}, None).values()
    assert isinstance(value, Tensor)
    return value


@pytest.mark.parametrize("make", [timescales, interleaved], ids=["float32 steps", "float64"])
@pytest.mark.parametrize("how", ["parameter", "embedding"])
@torch.no_grad()
def test_a_position_table_is_computed_to_the_last_bit(how, make):
    model = Positions(make(), how).eval()
    result = scan(model, sequences(2, 9, WIDTH))
    (finding,) = found(result, "sinusoid")
    assert finding.tier is Tier.EXACT
    assert (finding.parameters_before, finding.parameters_after) == (ROWS * WIDTH, 0)
    assert finding.arguments["base"] == 10000
    assert bool(finding.requires) == (make is timescales)
    assert result.audit.totals.parameters_after == 5 * WIDTH + 5
    inputs = sequences(3, 20, WIDTH, seed=1)
    assert torch.equal(swapped(result, inputs), model(inputs))


@torch.no_grad()
def test_a_buffer_is_no_parameter_and_is_left():
    result = scan(Positions(interleaved(), "buffer").eval(), sequences(2, 9, WIDTH))
    assert not found(result, "sinusoid")
    assert result.audit.totals.bytes_after == result.audit.totals.bytes_before


@torch.no_grad()
def test_a_looked_up_table_takes_any_places():
    model = Positions(timescales(), "embedding").eval()
    places = torch.tensor([[1, 5, 63], [0, 1, 2]])
    result = scan(model, sequences(2, 3, WIDTH), places)
    assert found(result, "sinusoid")
    again = (sequences(2, 3, WIDTH, seed=2), torch.tensor([[63, 62, 1], [7, 7, 0]]))
    assert torch.equal(swapped(result, *again), model(*again))


def test_what_is_written_is_verified_and_so_is_the_pair_of_files(tmp_path):
    model = Positions(timescales(), "embedding").eval()
    result = scan(model, sequences(2, 9, WIDTH))
    save = tmp_path / "small.pt2"
    certificate = apply_scan(result, save, Options(), quiet)
    assert certificate.equivalent, certificate.reason
    loaded = load(model, sequences(2, 9, WIDTH))
    again = verify_loaded(loaded, open_target(str(save)), Options(), quiet)
    assert again.equivalent, again.reason
    assert again.tier is Tier.EXACT


def test_another_table_is_not_the_same_model(tmp_path):
    result = scan(Positions(timescales(), "embedding").eval(), sequences(2, 9, WIDTH))
    save = tmp_path / "small.pt2"
    apply_scan(result, save, Options(), quiet)
    other = timescales()
    other[7, 3] *= 1.01
    loaded = load(Positions(other, "embedding").eval(), sequences(2, 9, WIDTH))
    assert verify_loaded(loaded, open_target(str(save)), Options(), quiet).equivalent is not True


def test_a_table_that_was_trained_stays():
    table = interleaved() + 0.01 * sequences(ROWS, WIDTH, seed=3)
    result = scan(Positions(table, "embedding").eval(), sequences(2, 9, WIDTH))
    assert not found(result, "sinusoid")
    assert result.audit.totals.parameters_after == result.audit.totals.parameters_before


def test_one_bit_off_is_told_and_left():
    table = timescales()
    table[40, 2] = torch.nextafter(table[40, 2], torch.tensor(2.0))
    result = scan(Positions(table, "embedding").eval(), sequences(2, 9, WIDTH))
    assert not found(result, "sinusoid")
    (finding,) = [f for f in result.audit.findings if f.operator == "sinusoid"]
    assert finding.tier is Tier.BOUNDED
    assert finding.reason.startswith(f"1 of the {ROWS * WIDTH} stored numbers differ")


@torch.no_grad()
def test_a_gain_is_stored_and_counted():
    model = Positions(16 * interleaved(), "parameter").eval()
    result = scan(model, sequences(2, 9, WIDTH))
    (finding,) = found(result, "sinusoid")
    assert finding.parameters_after == 1
    assert result.audit.totals.parameters_after == 5 * WIDTH + 5 + 1
    inputs = sequences(3, 20, WIDTH, seed=1)
    assert torch.equal(swapped(result, inputs), model(inputs))


class Shared(nn.Module):
    """A table that is written to, one that two read, and one that is tied to a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counted", torch.arange(16.0))
        self.table = nn.Embedding.from_pretrained(interleaved(), freeze=False)

    def forward(self, sequence: Tensor) -> Tensor:
        self.counted.add_(1.0)
        added = self.table(torch.arange(sequence.shape[1], device=sequence.device))
        return torch.tanh(sequence + added) @ self.table.weight.T


def test_a_table_that_is_written_is_left():
    result = scan(Shared().eval(), sequences(2, 9, WIDTH))
    assert not found(result, "ramp")


def test_numbers_of_a_table_in_float32_are_the_same_in_a_run_in_float64():
    """What a program makes of nothing in float32 is no formula to be computed again in another dtype."""
    model = Positions(timescales(200), "parameter").eval()
    inputs = sequences(2, 150, WIDTH, seed=4)
    result = scan(model, sequences(2, 9, WIDTH))
    assert found(result, "sinusoid")
    wide = [run(p, (inputs,), {}, torch.float64)["output"] for p in (result.original, result.refactored)]
    assert wide[0].dtype == wide[1].dtype == torch.float64
    torch.testing.assert_close(wide[0], wide[1], rtol=0, atol=1e-14)


class Analysis(nn.Module):
    """A spectrum over frames, with the window that torch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.window = nn.Parameter(torch.hann_window(160))
        self.curve = nn.Parameter(torch.linspace(0.5, 2.0, 160))

    def forward(self, frames: Tensor) -> Tensor:
        return torch.fft.rfft(torch.tanh(frames * self.curve) * self.window).abs().sqrt()


@torch.no_grad()
def test_windows_and_ramps_are_computed():
    model = Analysis().eval()
    result = scan(model, sequences(2, 160))
    (window,), (ramp,) = found(result, "window"), found(result, "ramp")
    assert window.arguments["window"] == "hann"
    assert (window.parameters_before, window.parameters_after) == (160, 0)
    assert (ramp.parameters_before, ramp.parameters_after) == (160, 2)
    inputs = sequences(5, 160, seed=6)
    assert torch.equal(swapped(result, inputs), model(inputs))
