"""What stored numbers say without any graph, kind by kind; the truths are written down."""

from __future__ import annotations

import pytest
import torch
from bare_numbers import audited, learned, of, only
from torch import Tensor, nn

from paramaudit.records import Tier

# --- zero ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (5, 6), (4, 3, 5), (2, 3, 3, 3), ()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_tensor_of_zeros_goes(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    finding = only(audited({"a.weight": torch.zeros(shape, dtype=dtype)}), "zero")
    assert (finding.tier, finding.parameters_after, finding.applied_by_default) == (Tier.EXACT, 0, True)


def test_rows_and_columns_at_an_edge_go_without_an_index() -> None:
    weight = torch.zeros(20, 30)
    weight[:16, 3:] = learned(16, 27)
    audit = audited({"a.weight": weight})
    finding = only(audit, "zero")
    assert (finding.parameters_after, finding.indices_after) == (16 * 27, 0)
    assert audit.totals.parameters_after == 16 * 27


def test_scattered_zeros_are_told_with_their_indices_and_save_nothing() -> None:
    weight = learned(20, 30)
    weight.view(-1)[torch.arange(31, 600, 40)] = 0.0
    audit = audited({"a.weight": weight})
    finding = only(audit, "zero")
    assert (finding.parameters_before, finding.parameters_after, finding.indices_after) == (600, 585, 15)
    assert not finding.applied_by_default
    assert audit.totals.parameters_after == 600


def test_rows_inside_take_an_index_each() -> None:
    weight = learned(20, 30)
    weight[[4, 9]] = 0.0
    finding = only(audited({"a.weight": weight}), "zero")
    assert (finding.parameters_after, finding.indices_after) == (18 * 30, 2)
    assert finding.arguments["which_rows"] == [4, 9]
    assert not finding.applied_by_default


def test_small_numbers_are_no_zeros() -> None:
    assert not of(audited({"a.weight": torch.full((5, 5), 1e-40)}), "zero")


# --- constant-table ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "left"),
    [
        (torch.full((6, 7), 2.5), 1),
        (learned(1, 40).repeat(9, 1), 40),
        (learned(9, 1).repeat(1, 40), 9),
        (torch.full((12,), -1.0), 1),
        (torch.full((3, 4, 5), 0.1, dtype=torch.bfloat16), 1),
    ],
)
def test_what_repeats_is_stored_once(table: Tensor, left: int) -> None:
    finding = only(audited({"a.table": table}), "constant-table")
    assert (finding.tier, finding.parameters_after) == (Tier.EXACT, left)


def test_nearly_equal_rows_and_signs_of_zeros_are_not_the_same() -> None:
    table = learned(1, 40).repeat(9, 1)
    table[3, 3] = torch.nextafter(table[3, 3], torch.tensor(9.0))
    assert not of(audited({"a.table": table}), "constant-table")
    signs = learned(1, 40).repeat(9, 1)
    signs[:, 5] = 0.0
    signs[2, 5] = -0.0
    assert not of(audited({"a.table": signs}), "constant-table")


# --- duplicate -----------------------------------------------------------------------------------


def test_tied_tensors_count_once() -> None:
    table = learned(30, 20)
    audit = audited({"in.weight": table, "out.weight": table})
    assert audit.model.parameters == audit.totals.parameters_after == 600
    assert only(audit, "duplicate").arguments == {"of": "in.weight", "how": "tied"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("how", "indices"), [("equal", 0), ("transposed", 0), ("rows permuted", 24)])
def test_copies_can_go(how: str, indices: int, dtype: torch.dtype) -> None:
    first = learned(24, 24).to(dtype)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(4))
    copy = {"equal": first.clone(), "transposed": first.T.contiguous(), "rows permuted": first[order]}[how]
    audit = audited({"a.weight": first, "b.weight": copy})
    finding = only(audit, "duplicate")
    assert finding.arguments == {"of": "a.weight", "how": how}
    assert (finding.tensors, finding.indices_after) == (("b.weight",), indices)
    assert (audit.totals.parameters_after, audit.totals.indices_after) == (576, indices)


def test_the_same_numbers_in_another_order_are_no_copy() -> None:
    first = learned(24, 24)
    shuffled = first.view(-1)[torch.randperm(576, generator=torch.Generator().manual_seed(1))].view(24, 24)
    off = first.clone()
    off[5, 5] += 1e-6
    audit = audited({"a.weight": first, "b.weight": shuffled, "c.weight": off})
    assert not of(audit, "duplicate")


def test_constants_are_no_copies() -> None:
    assert not of(audited({"a.bias": torch.ones(9), "b.bias": torch.ones(9)}), "duplicate")


# --- recurrent biases ------------------------------------------------------------------------------


def trained(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    return {
        name: learned(*tensor.shape, seed=seed + i)
        for i, (name, tensor) in enumerate(module.state_dict().items())
        if tensor.is_floating_point()
    }


@pytest.mark.parametrize(
    ("module", "gone"),
    [
        (nn.LSTM(6, 10, num_layers=2, bidirectional=True), 4 * 40),
        (nn.LSTM(6, 10, proj_size=4), 40),
        (nn.GRU(6, 10), 20),
        (nn.RNN(6, 10), 10),
        (nn.LSTMCell(6, 10), 40),
        (nn.GRUCell(6, 10), 20),
    ],
)
def test_two_biases_of_a_recurrent_layer_merge(module: nn.Module, gone: int) -> None:
    audit = audited(trained(module))
    found = of(audit, "duplicate")
    assert {f.tier for f in found} == {Tier.EXACT}
    assert all("as its names and shapes say" in f.requires[0] for f in found)
    assert audit.totals.parameters_before - audit.totals.parameters_after == gone


def test_a_cell_with_norms_of_its_own_is_only_suspected() -> None:
    tensors = trained(nn.LSTMCell(6, 10)) | {"norm.weight": learned(40, seed=9)}
    audit = audited({f"cell.{name}": tensor for name, tensor in tensors.items()})
    assert only(audit, "duplicate").tier is Tier.SUSPECTED
    assert audit.totals.parameters_after == audit.totals.parameters_before


def test_a_bias_of_zeros_and_its_partner_do_not_both_go() -> None:
    tensors = trained(nn.LSTM(6, 10)) | {"bias_ih_l0": torch.zeros(40)}
    audit = audited(tensors)
    assert audit.totals.parameters_before - audit.totals.parameters_after == 40


def test_a_bias_that_another_layer_copies_is_not_merged() -> None:
    first, second = trained(nn.LSTM(6, 10)), trained(nn.LSTM(6, 10), seed=50)
    second["bias_ih_l0"] = first["bias_ih_l0"].clone()
    tensors = {f"a.{n}": t for n, t in first.items()} | {f"b.{n}": t for n, t in second.items()}
    audit = audited(tensors)
    # the copy of 40 numbers goes; merging either layer would change or need one of the two equal vectors
    assert audit.totals.parameters_before - audit.totals.parameters_after == 40


# --- weight norm and batch norm --------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
def test_a_length_folds_into_its_direction(old: bool) -> None:
    tensors = trained(nn.utils.parametrizations.weight_norm(nn.Linear(12, 10)))
    if old:
        names = {
            "parametrizations.weight.original0": "weight_g",
            "parametrizations.weight.original1": "weight_v",
        }
        tensors = {names.get(name, name): tensor for name, tensor in tensors.items()}
    audit = audited(tensors)
    finding = only(audit, "weight-norm-pair")
    assert (finding.tier, finding.parameters_before, finding.parameters_after) == (Tier.EXACT, 130, 120)
    assert audit.totals.parameters_after == audit.totals.parameters_before - 10


def test_tensors_of_one_size_are_no_pair() -> None:
    tensors = {"weight_g": learned(10, 12), "weight_v": learned(10, 12, seed=1)}
    assert not of(audited(tensors), "weight-norm-pair")


def test_a_batch_norm_after_a_convolution_is_only_suspected() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8))
    audit = audited(trained(module) | {"2.num_batches_tracked": torch.tensor(3)})
    finding = only(audit, "weight-norm-pair")
    assert finding.tier is Tier.SUSPECTED
    assert audit.totals.parameters_after == audit.totals.parameters_before


# --- dead units --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.0, 1e-33, 1e-20])
def test_units_with_nothing_in_and_out_are_suspected(size: float) -> None:
    tensors = {
        "0.weight": learned(16, 9),
        "0.bias": learned(16, seed=1),
        "2.weight": learned(5, 16, seed=2),
    }
    tensors["0.weight"][[3, 8]] = size
    tensors["2.weight"][:, [3, 8]] = size
    finding = only(audited(tensors), "dead-units")
    assert finding.tier is Tier.SUSPECTED
    assert finding.arguments == {"units": 2, "of": 16}
    assert finding.parameters_before - finding.parameters_after == 2 * (9 + 1 + 5)


def test_a_unit_that_is_read_is_not_dead() -> None:
    tensors = {"0.weight": learned(16, 9), "2.weight": learned(5, 16, seed=2)}
    tensors["0.weight"][3] = 0.0
    assert not of(audited(tensors), "dead-units")
