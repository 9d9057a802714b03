"""Every operator of matrices, planted at random sizes under random gauges, dtypes and noise.

A seed draws the case whole. The default suite takes a few seeds an operator, the slow tests many and larger
matrices.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from chains import runner, single
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from plants import PLANTS, Plant, eight_bits, gauged, noisy
from torch import nn

from paramaudit.numerics.layers import floats
from paramaudit.numerics.noise import stored
from paramaudit.numerics.storage import storage_noise
from paramaudit.operators import OPERATORS, looking_at
from paramaudit.prove.affine import dense, judge
from paramaudit.records import Evidence, Matrix, State, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

Array = NDArray[np.float64]
BY_NAME = {operator.name: operator for operator in OPERATORS}
SEEDS = st.integers(0, 2**31 - 1)
LARGEST = 100
FORMATS = {"float64": 1e-10, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.2e-2}
ABSORBING = ("low-rank", "low-displacement", "block-diagonal")  # another row only makes them larger
FORMULAS = tuple(
    p.name for p in PLANTS if p.name in ("dft", "rdft", "dct", "dst", "hartley", "hilbert", "wavelet")
)


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Found:
    """What was proposed for numbers that hold a clean map, and what was proven of it."""

    layer: nn.Module
    candidate: Array
    held: Array
    evidence: Evidence

    @property
    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(json.dumps(self.layer.arguments()))
        return said

    def off(self, clean: Array) -> float:
        """The relative distance from another map, in the Frobenius norm."""
        return float(np.linalg.norm(self.candidate - clean) / np.linalg.norm(clean))

    def checked(self) -> Found:
        """The same; a safe one being, by numpy's norms alone, the map that is held."""
        if self.evidence.tier.safe:
            apart = np.linalg.norm(self.candidate - self.held, 2)
            assert apart <= 2e-6 * np.linalg.norm(self.held, 2) * max(1, len(self.held) / 64) ** 0.5
        return self


def drawn(plant: Plant, seed: int, largest: int) -> tuple[np.random.Generator, Array, dict[str, Any], str]:
    """A generator to go on with, the clean map, what must be read off it, and the gauge."""
    rng = np.random.default_rng([seed, zlib.crc32(plant.name.encode())])
    gauge = str(rng.choice(["none", *plant.gauges]))
    matrix, said = plant.build(rng, min(plant.most, largest))
    return rng, gauged(matrix, gauge, rng), said, gauge


def found(plant: Plant, gauge: str, held: Array, dtype: torch.dtype = torch.float32) -> Found | None:
    names = (plant.name, *plant.also) if gauge != "none" else (plant.name,)
    view = stored(np.ascontiguousarray(held), dtype=dtype)
    if plant.stateful:
        view = Matrix(view.weight, None, dtype, State(0, len(held)))
    best: Found | None = None
    for layer in (BY_NAME[name].propose(view) for name in names):
        if layer is not None:
            candidate = dense(layer, held.shape[1], dtype)
            evidence = judge(view, candidate, runner(single(view)), torch.Generator().manual_seed(0))
            one = Found(layer, candidate.weight.numpy(), view.weight.numpy(), evidence)
            best = one if best is None or one.off(held) < best.off(held) else best
    return best


def read(found: Found, said: dict[str, Any]) -> None:
    """The arguments are those that were planted; blocks come in any order."""

    def plain(blocks: list[list[int]]) -> list[list[int]]:
        return sorted(shape for count, *shape in blocks for _ in range(count))

    told = found.said
    known = {key: told.get(key) for key in said}
    if "blocks" in said:
        known["blocks"], said = plain(known["blocks"]), {**said, "blocks": plain(said["blocks"])}
    gains = {key for key, value in said.items() if isinstance(value, float)}
    assert {key: known[key] for key in said if key not in gains} == {
        k: said[k] for k in said if k not in gains
    }
    assert all(known[key] == pytest.approx(said[key], rel=3e-2) for key in gains)


def clean(plant: Plant, seed: int, largest: int) -> None:
    rng, matrix, said, gauge = drawn(plant, seed, largest)
    name = str(rng.choice([name for name in FORMATS if name not in plant.missed]))
    one = found(plant, gauge, matrix, getattr(torch, name))
    assert one is not None, f"nothing was proposed for {matrix.shape} under {gauge} in {name}"
    assert one.off(matrix) <= FORMATS[name]
    assert one.evidence.tier is not Tier.REFUTED, one.evidence.reason
    if name == "float32" and not one.checked().evidence.tier.safe:
        # scales of rows and columns are each rounded, and so are their products
        assert "D" in gauge, one.evidence.reason
        assert one.off(matrix) <= 2e-7
    assert floats(one.layer) < matrix.size + plant.stateful
    if gauge == "none":
        read(one, said)


def noised(plant: Plant, seed: int, largest: int) -> None:
    rng, matrix, said, gauge = drawn(plant, seed, largest)
    amount = float(rng.uniform(0.01, max(plant.noise, 0.01)))
    one = found(plant, gauge, noisy(matrix, amount, rng))
    if one is None:
        assert amount > plant.noise, f"nothing was proposed for {matrix.shape} under {gauge} at {amount:.1%}"
        return
    assert not one.evidence.tier.safe, one.evidence.reason
    if amount <= plant.noise:
        assert one.off(matrix) <= 1.1 * amount
        if gauge == "none":
            read(one, said)


def shortened(plant: Plant, seed: int, largest: int) -> None:
    """Numbers that were stored in fewer bits once, and are float32 now."""
    rng, matrix, said, gauge = drawn(plant, seed, largest)
    short = str(rng.choice(["float16", "bfloat16", "int8"]))
    held = (
        eight_bits(matrix)
        if short == "int8"
        else torch.from_numpy(matrix.copy()).to(getattr(torch, short)).double().numpy()
    )
    one = found(plant, gauge, held)
    if plant.hidden(short, gauge):
        assert one is None or one.checked() is one
        return
    assert one is not None, f"nothing was proposed for {matrix.shape} under {gauge} in {short}"
    assert one.checked().off(matrix) <= (1.2e-2 if short != "int8" else 3e-2)
    if gauge == "none":  # a window may be read off and stored
        read(
            one,
            {key: value for key, value in said.items() if (key, one.said.get(key)) != ("window", "stored")},
        )
    if gauge == "none" and plant.name in FORMULAS and not floats(one.layer) and not one.evidence.tier.safe:
        steps = np.maximum(np.abs(one.held).max(1, keepdims=True), 1e-9) / 127
        # numbers that all lie near the steps were hardly rounded
        if short != "int8" or np.sqrt(np.mean(((one.held - matrix) / steps) ** 2)) > 0.1:
            told = storage_noise(torch.from_numpy(one.held), torch.from_numpy(one.candidate))
            assert told.startswith(short)


def missed(plant: Plant, seed: int, largest: int) -> None:
    """One row is another of the same length, two numbers have changed places, or one is 1 % larger."""
    rng, matrix, _, gauge = drawn(plant, seed, largest)
    kind = str(rng.choice(["row", "places", "number"]))
    row = int(rng.integers(len(matrix)))
    if kind == "row":
        other = rng.standard_normal(matrix.shape[1])
        least = 1e-3 * np.linalg.norm(matrix)  # a row of zeros, up to rounding, is none
        matrix[row] = other * max(np.linalg.norm(matrix[row]), least) / np.linalg.norm(other)
    elif kind == "places":
        columns = rng.permutation(matrix.shape[1])[:2]
        matrix[row, columns] = matrix[row, columns[::-1]]
    else:
        matrix[row, int(np.abs(matrix[row]).argmax())] *= 1.01
    for dtype in (torch.float32, torch.float64):
        one = found(plant, gauge, matrix, dtype)
        if one is not None and one.checked().evidence.tier.safe:
            assert kind != "row" or plant.name in ABSORBING, one.evidence.reason


Check = Callable[[Plant, int, int], None]
CHECKS: dict[str, Check] = {
    "clean": clean, "noised": noised, "shortened": shortened, "near misses": missed
}  # fmt: skip
# Whatever numbers update a state are a state space, noise or not.
CASES = pytest.mark.parametrize(
    ("plant", "how"),
    [
        pytest.param(plant, how, id=f"{plant.name}: {how}")
        for plant in PLANTS
        for how in CHECKS
        if not plant.stateful or how in ("clean", "shortened")
    ],
)


def test_every_operator_of_matrices_is_planted() -> None:
    assert sorted(plant.name for plant in PLANTS) == sorted(operator.name for operator in looking_at(Matrix))


@CASES
@examples(3)
@given(SEEDS)
def test_planted(plant: Plant, how: str, seed: int) -> None:
    CHECKS[how](plant, seed, LARGEST)


@pytest.mark.slow
@CASES
@examples(25)
@given(SEEDS)
def test_planted_more_and_larger(plant: Plant, how: str, seed: int) -> None:
    CHECKS[how](plant, seed, 441)
