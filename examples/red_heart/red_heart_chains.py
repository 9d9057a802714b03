"""Small maps hidden in wide dense layers; everything here is float64 and exact up to its rounding."""

from dataclasses import dataclass

import numpy as np
from red_heart_truth import Array


@dataclass(frozen=True, eq=False)
class Affine:
    """One layer: weight (out, in) and bias (out,), or no bias."""

    weight: Array
    bias: Array | None


def solve(target: Array, features: Array, rng: np.random.Generator) -> Array:
    """A dense, random `w` with `w @ features == target`.

    The smallest solution plus a random matrix that does not see the features' column space.
    """
    inverse = np.linalg.pinv(features)
    size = np.linalg.norm(target) / len(target) ** 0.5
    noise = rng.standard_normal((len(target), len(features))) * size / len(features) ** 0.5
    solution: Array = target @ inverse + noise - (noise @ features) @ inverse
    return solution


def chain(
    matrix: Array, widths: tuple[int, ...], rng: np.random.Generator, bias: bool = True
) -> list[Affine]:
    """Linear layers with nothing between whose product is `matrix` (out, in) and whose biases cancel.

    Args:
        matrix: the map to hide.
        widths: the hidden widths, all equal and at least the number of columns.
        rng: the source of everything random.
        bias: whether the layers have biases.
    """
    width, columns = widths[0], matrix.shape[1]
    factors = [rng.standard_normal((width, columns)) / columns**0.5]
    factors += [orthogonal(width, rng) * rng.uniform(0.7, 1.4) for _ in widths[1:]]
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    factors.append(solve(matrix, product, rng))
    if not bias:
        return [Affine(factor, None) for factor in factors]
    layers, carried = [], np.zeros(columns)
    for factor in factors[:-1]:
        shift = 0.1 * rng.standard_normal(len(factor))
        layers.append(Affine(factor, shift))
        carried = factor @ carried + shift
    return [*layers, Affine(factors[-1], -factors[-1] @ carried)]


def orthogonal(size: int, rng: np.random.Generator) -> Array:
    """A random orthogonal matrix."""
    basis, triangle = np.linalg.qr(rng.standard_normal((size, size)))
    # Without the signs the QR of a Gaussian matrix would not be uniformly distributed.
    return basis * np.sign(np.diag(triangle))


def mixed_rows(target: Array, rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Dense rows (rows, n) and a mix (rows,) whose product is `target` (n,)."""
    mix = rng.uniform(0.3, 1.0, rows) * rng.choice([-1.0, 1.0], rows)
    mix /= np.linalg.norm(mix)
    noise = rng.standard_normal((rows, len(target))) / rows**0.5
    return noise + np.outer(mix, target - mix @ noise), mix


def paired_relu(matrix: Array, width: int, rng: np.random.Generator) -> list[Affine]:
    """Two hidden ReLU layers that compute the linear map `matrix` (out, in) for every input.

    relu(u) - relu(-u) = u: each hidden unit has a partner of opposite sign and another size, somewhere.
    """
    half, columns = width // 2, matrix.shape[1]
    first = rng.standard_normal((half, columns)) / columns**0.5
    middle = orthogonal(half, rng) * rng.uniform(0.7, 1.4)
    first_shift, middle_shift = 0.3 * rng.standard_normal((2, half))
    last = solve(matrix, middle @ first, rng)
    shift = -last @ (middle @ first_shift + middle_shift)
    outer, read_outer = _with_partners(first, first_shift, -1.0, rng)
    inner, read_inner = _with_partners(middle @ read_outer, middle_shift, -1.0, rng)
    return [outer, inner, Affine(last @ read_inner, shift)]


def hard_knee(threshold: float, ratio: float, width: int, rng: np.random.Generator) -> list[Affine]:
    """Two hidden ReLU layers from one number to one: slope 1 up to the threshold, 1 / ratio beyond, odd.

    Every unit of either layer bends at plus or minus the threshold only, so that no false knots arise.
    """
    half = width // 2
    weight = rng.uniform(0.5, 1.5, half) * rng.choice([-1.0, 1.0], half)
    inner = rng.random(half) < 0.5
    bias = threshold * np.abs(weight) * np.where(inner, 1, -1)
    # relu(w x + b) - relu(-w x + b) is odd; these are its slopes below and above the threshold.
    slopes = np.stack([np.where(inner, 2 * weight, 0), weight], axis=1)
    outer, read_outer = _with_partners(weight[:, None], bias, 1.0, rng)
    # Monotone, so that each second unit crosses zero once; the bias puts that on a threshold.
    wanted = rng.uniform(0.3, 1.5, (half, 2)) * rng.choice([-1.0, 1.0], (half, 1))
    shift = threshold * wanted[:, 0] * rng.choice([-1.0, 1.0], half)
    middle = solve(wanted, slopes, rng) @ read_outer
    paired, read_paired = _with_partners(middle, shift, -1.0, rng)
    last = solve(np.array([[1.0, 1.0 / ratio]]), wanted, rng)
    return [outer, paired, Affine(last @ read_paired, -last @ shift)]


def _with_partners(
    weight: Array, bias: Array, bias_sign: float, rng: np.random.Generator
) -> tuple[Affine, Array]:
    """Adds to each unit (w, b) a partner c (-w, sign b), shuffles, and tells how to read the differences.

    Returns:
        The layer of 2n units, and the matrix (n, 2n) that yields relu(unit) - relu(partner) / c.
    """
    units = len(weight)
    size = rng.uniform(0.5, 2.0, units)
    order = rng.permutation(2 * units)
    rows = np.concatenate([weight, -size[:, None] * weight])[order]
    shifts = np.concatenate([bias, bias_sign * size * bias])[order]
    reader = np.concatenate([np.eye(units), -np.diag(1 / size)], axis=1)[:, order]
    return Affine(rows, shifts), reader


def bending_curves(
    knots: Array, curves: Array, width: int, asleep: int, rng: np.random.Generator
) -> list[Affine]:
    """Two hidden ReLU layers that compute piecewise linear curves of one variable on [0, 1].

    The first layer's units bend at the knots or not at all on [0, 1.05]; the second layer is a dense mix of
    them that stays positive there, so that it adds no knots.

    Args:
        knots: (k,), where the curves may bend.
        curves: (out, 2 + k), in the basis 1, t, max(t - knot, 0).
        width: the units of either hidden layer.
        asleep: how many units of the first layer wake only beyond 1.05.
        rng: the source of everything random.
    """
    # A fifth of the units never bends on the interval; the others share the knots evenly.
    which = rng.permutation(np.arange(width))
    bends = np.where(which < asleep, -2, np.where(which % 5 == 0, -1, which % len(knots)))
    sign = np.where(bends == -2, 1.0, rng.choice([-1.0, 1.0], width))
    outside = np.where(sign > 0, rng.uniform(-1.0, -0.1, width), rng.uniform(1.1, 2.0, width))
    outside = np.where(bends == -2, rng.uniform(1.06, 1.5, width), outside)
    place = np.where(bends >= 0, knots[bends], outside)
    size = rng.uniform(0.5, 1.5, width)
    features = np.zeros((width, curves.shape[1]))
    bent = np.flatnonzero(bends >= 0)
    features[bent, 2 + bends[bent]] = size[bent]
    # A unit that is on at zero contributes its line; max(k - t, 0) = (k - t) + max(t - k, 0).
    on = np.where(bends >= 0, sign < 0, bends == -1)
    features[:, 0] = np.where(on, -sign * size * place, 0)
    features[:, 1] = np.where(on, sign * size, 0)
    middle = rng.standard_normal((width, width)) * (2 / width) ** 0.5
    mixed = middle @ features
    times = np.concatenate([[0.0], knots, [1.05]])
    basis = np.stack([np.ones_like(times), times, *np.maximum(times - knots[:, None], 0)])
    lift = rng.uniform(0.05, 0.5, width) - (mixed @ basis).min(axis=1)
    mixed[:, 0] += lift
    shift = 0.3 * rng.standard_normal(len(curves))
    wanted = curves.copy()
    wanted[:, 0] -= shift
    first = Affine((sign * size)[:, None], -sign * size * place)
    return [first, Affine(middle, lift), Affine(solve(wanted, mixed, rng), shift)]
