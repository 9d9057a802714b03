"""Writes the weights: the formulas into their hiding places, random numbers into the rest."""

import numpy as np
import red_heart_chains as chains
import red_heart_formulas as formulas
import torch
from red_heart_chains import Affine
from red_heart_dsp import EmotionDspSimulator, TransformBank
from red_heart_truth import Array, Truth, stream
from torch import nn


def _write(part: nn.Module, layers: list[Affine]) -> None:
    """Copies float64 layers into the Linear layers of `part`, in order."""
    targets = [module for module in part.modules() if isinstance(module, nn.Linear)]
    for target, layer in zip(targets, layers, strict=True):
        target.weight.copy_(torch.from_numpy(layer.weight))
        if layer.bias is not None:
            target.bias.copy_(torch.from_numpy(layer.bias))


def _hide(part: nn.Module, name: str, matrix: Array, truth: Truth) -> list[nn.Module]:
    """Writes `matrix` as a chain as wide as `part` is."""
    linears = [module for module in part.modules() if isinstance(module, nn.Linear)]
    widths = tuple(layer.out_features for layer in linears[:-1])
    has_bias = linears[0].bias is not None
    _write(part, chains.chain(matrix, widths, stream(truth.seed, name), bias=has_bias))
    return [part]


def hide_simulator(part: EmotionDspSimulator, truth: Truth) -> list[nn.Module]:
    """Fills the simulator's formulas; returns the modules that are complete now."""
    part.time_grid.copy_(torch.linspace(0, 1, 64).unsqueeze(1))
    resonance, reverb = part.resonance_engine, part.reverb_system
    rows, mix = chains.mixed_rows(formulas.delay_line(truth), 32, stream(truth.seed, "delay_line"))
    reverb.delay_line.copy_(torch.from_numpy(rows))
    reverb.tap_mix.copy_(torch.from_numpy(mix))
    rng = stream(truth.seed, "adsr_generator")
    _write(
        part.adsr_generator,
        chains.bending_curves(truth.knots, formulas.envelopes(truth), width=2048, asleep=16, rng=rng),
    )
    rng = stream(truth.seed, "compressor")
    _write(part.compressor, chains.hard_knee(truth.threshold, truth.ratio, 512, rng))
    return [
        part.adsr_generator,
        part.compressor,
        reverb,
        *_hide(part.freq_analyzer, "freq_analyzer", formulas.windowed_rdft(truth), truth),
        *_hide(part.valence_arousal, "valence_arousal", truth.valence_arousal, truth),
        *_hide(resonance.mode_bank, "mode_bank", formulas.resonators(truth), truth),
        *_hide(reverb.tank, "tank", formulas.comb(truth), truth),
        *_hide(part.equaliser, "equaliser", formulas.equaliser(truth), truth),
    ]


def hide_transforms(part: TransformBank, truth: Truth) -> list[nn.Module]:
    """Fills the four transforms; returns the modules that are complete now."""
    return [
        *_hide(part.dct, "dct", formulas.dct(), truth),
        *_hide(part.dwt, "dwt", formulas.wavelet(truth), truth),
        *_hide(part.hilbert, "hilbert", formulas.hilbert(), truth),
        *_hide(part.mel, "mel", formulas.mel(truth), truth),
    ]


def hide_kalman(part: nn.Module, truth: Truth) -> list[nn.Module]:
    """Fills the state update A s + B z; returns the module that is complete now."""
    step = np.concatenate([truth.a, truth.b], axis=1)
    _write(part, chains.paired_relu(step, 696, stream(truth.seed, "dynamic_kalman_filter")))
    return [part]


def fill_learned(model: nn.Module, finished: list[nn.Module], seed: int) -> None:
    """Fills every parameter outside `finished` with random numbers that keep activations near one.

    Rows differ in size and norms are not exactly one, as in a trained network, and unlike any initialiser.
    """
    done = {id(parameter) for part in finished for parameter in part.parameters()}
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if id(parameter) in done:
            continue
        if parameter.ndim == 1:
            parameter.normal_(0, 0.1, generator=generator)
            if name.rsplit(".", 2)[-2].startswith("norm") and name.endswith("weight"):
                parameter.add_(1)
            continue
        spread = 1.2 / parameter[0].numel() ** 0.5
        spread = {"token_embedding.weight": 0.8, "unified_backbone.positions": 0.4}.get(name, spread)
        parameter.normal_(0, spread, generator=generator)
        rows = torch.empty(len(parameter), *[1] * (parameter.ndim - 1))
        parameter.mul_(rows.uniform_(0.7, 1.3, generator=generator))


def quiet_spectrum(reader: nn.Module) -> None:
    """Shrinks the columns that read the spectrum, which is about eight times as large as its neighbours."""
    next(reader.parameters())[:, :128].div_(8)
