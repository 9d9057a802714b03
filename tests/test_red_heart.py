"""The known-answer model against the formulas it is said to hide, taken here from scipy, numpy and pywt."""

import copy
import hashlib
import importlib
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pywt
import scipy.fft
import scipy.signal
import torch
from torch import nn

FOLDER = Path(__file__).parents[1] / "examples" / "red_heart"

# Each part's largest difference to its formula over the formula's largest value, weights rounded to float32.
# Measured: 3e-8 to 2e-7, and 1.4e-6 for the envelopes, whose steep slopes multiply the rounding of the knots.
# Leaving out the quietest of the 32 taps would make a difference of about 1e-2.
TOLERANCE = 6e-7
ENVELOPE_TOLERANCE = 5e-6

DSP = "emotion_dsp_simulator"
COUNTS = {
    "unified_backbone": 49_999_872,
    "emotion_head": 1_670_225,
    "memory_head": 1_669_950,
    "reasoning_head": 1_670_410,
    "optimization_head": 1_670_768,
    "bentham_calculator": 8_328_552,
    "fusion_network": 839_799,
    "token_embedding": 24_578_304,
    "synergy_head": 1_671_275,
    "moe_system": 4_997_440,
    "context.temporal": 11_550_720,
    "context.fuse": 2_362_368,
    "context.fuse_mlp": 1_574_656,
    "context.tails": 3_567_420,
    "context.cov_head": 4_407_552,
    "context.mlp": 9_439_296,
    f"{DSP}.freq_analyzer": 197_248,
    f"{DSP}.adsr_generator": 4_214_791,
    f"{DSP}.valence_arousal": 1_332_864,
    f"{DSP}.resonance_engine.wavelet_transform": 384,
    f"{DSP}.resonance_engine.mode_bank": 4_429_681,
    f"{DSP}.resonance_engine.pattern_matcher": 503_936,
    f"{DSP}.resonance_engine.time_freq_fusion": 66_048,
    f"{DSP}.reverb_system": 8_224 + 2_993_208,
    f"{DSP}.equaliser": 4_509_528,
    f"{DSP}.compressor": 264_193,
    f"{DSP}.synthesiser": 1_481_479,
    "dynamic_kalman_filter": 500_431,
    "transform_bank.dct": 525_568,
    "transform_bank.dwt": 615_856,
    "transform_bank.hilbert": 667_156,
    "transform_bank.mel": 690_510,
    "io_adapter": 300_288,
}


@pytest.fixture(scope="module")
def source() -> Iterator[object]:
    """The example's `model.py`, loaded the way a target is: its folder on the path."""
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("red_heart_model", FOLDER / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def built(source):
    return source.build(0)


@pytest.fixture(scope="module")
def model(built):
    return built[0]


@pytest.fixture(scope="module")
def truth(source):
    return source.truth(0)


@pytest.fixture
def signal():
    return np.random.default_rng(11).standard_normal((64, 256))


def run(part: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return copy.deepcopy(part).double()(torch.from_numpy(x)).numpy()


def difference(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape
    return np.abs(got - expected).max() / np.abs(expected).max()


def digests(model: nn.Module) -> dict[str, str]:
    return {
        name: hashlib.blake2b(tensor.numpy().data, digest_size=16).hexdigest()
        for name, tensor in model.state_dict().items()
    }


# --- counts and construction -------------------------------------------------------------------------


@pytest.mark.parametrize("path", COUNTS)
def test_each_part_has_its_count(model, path):
    assert sum(parameter.numel() for parameter in model.get_submodule(path).parameters()) == COUNTS[path]


def test_the_reverb_splits_into_taps_and_tank(model):
    reverb = model.emotion_dsp_simulator.reverb_system
    assert {name: tuple(p.shape) for name, p in reverb.named_parameters(recurse=False)} == {
        "delay_line": (32, 256),
        "tap_mix": (32,),
    }
    assert sum(parameter.numel() for parameter in reverb.tank.parameters()) == 2_993_208


def test_the_total_is_exact_and_float32(model):
    parameters = list(model.parameters())
    assert sum(COUNTS.values()) == sum(parameter.numel() for parameter in parameters) == 153_300_000
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == 153_300_000
    assert not model.training
    assert not any(torch.isnan(parameter).any() for parameter in parameters)


def test_a_seed_decides_every_number(source, built, truth):
    before = torch.get_rng_state()
    again, inputs = source.build(0)
    assert torch.equal(torch.get_rng_state(), before)
    first = digests(built[0])
    assert digests(again) == first
    assert all(torch.equal(a, b) for a, b in zip(inputs, built[1], strict=True))
    del again
    other, _ = source.build(1)
    assert not digests(other).items() & first.items()
    assert not np.array_equal(source.truth(1).delays, truth.delays)


# --- every replaceable part is its formula -----------------------------------------------------------


def test_freq_analyzer_is_a_windowed_rfft(model, signal):
    spectrum = np.fft.rfft(signal * scipy.signal.get_window("hann", 256))[:, 1:65]
    expected = np.concatenate([spectrum.real, spectrum.imag], axis=1)
    assert difference(run(model.emotion_dsp_simulator.freq_analyzer, signal), expected) < TOLERANCE


def test_adsr_generator_is_seven_envelopes(model, truth):
    times = np.random.default_rng(3).uniform(0, 1, 2000)
    expected = np.stack(
        [
            np.interp(times, [0, attack, attack + decay, 1 - release, 1], [0, 1, sustain, sustain, 0])
            for attack, decay, sustain, release in truth.adsr
        ],
        axis=1,
    )
    got = run(model.emotion_dsp_simulator.adsr_generator, times[:, None])
    assert difference(got, expected) < ENVELOPE_TOLERANCE


def test_adsr_units_bend_at_eighteen_times_or_sleep(model, truth):
    first, _, second, _, _ = copy.deepcopy(model.emotion_dsp_simulator.adsr_generator).double()
    bends = (-first.bias / first.weight[:, 0]).detach().numpy()
    inside = np.sort(bends[(bends > 0) & (bends < 1.05)])
    clusters = np.split(inside, np.flatnonzero(np.diff(inside) > 1e-6) + 1)
    assert len(clusters) == len(truth.knots) == 18
    # A cluster is as wide as the rounding of weight and bias; the knots are 0.02 apart.
    assert max(np.ptp(cluster) for cluster in clusters) < 2e-7
    np.testing.assert_allclose([cluster.mean() for cluster in clusters], truth.knots, atol=1e-7)
    times = torch.linspace(0, 1.05, 2001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        awake = torch.relu(first(times))
        assert int((awake == 0).all(0).sum()) == 16
        assert second(awake).min() > 0


def test_valence_arousal_is_one_linear_map(model, truth):
    x = np.random.default_rng(4).standard_normal((64, 768))
    part = model.emotion_dsp_simulator.valence_arousal
    assert difference(run(part, x), x @ truth.valence_arousal.T) < TOLERANCE


def test_mode_bank_is_seven_resonators(model, truth, signal):
    expected = np.concatenate(
        [
            scipy.signal.lfilter([b0], [1, -2 * radius * np.cos(angle), radius**2], signal)
            for b0, radius, angle in truth.resonators
        ],
        axis=1,
    )
    part = model.emotion_dsp_simulator.resonance_engine.mode_bank
    assert difference(run(part, signal), expected) < TOLERANCE


def test_reverb_is_sparse_delays_beside_a_comb(model, truth, signal):
    reverb = model.emotion_dsp_simulator.reverb_system
    late = scipy.signal.lfilter([1], [1, *[0] * 36, -0.55], signal)
    assert difference(run(reverb.tank, signal), late) < TOLERANCE
    early = np.zeros_like(signal)
    for delay, gain in zip(truth.delays, truth.gains, strict=True):
        early[:, delay:] += gain * signal[:, :-delay]
    assert len(set(truth.delays)) == 32
    assert difference(run(reverb, signal), early + late) < TOLERANCE
    assert np.abs(reverb.delay_line.detach().numpy()).min() > 0


def test_equaliser_is_a_gain_for_each_bin(model, truth, signal):
    assert truth.equaliser.shape == (129,)
    expected = np.fft.irfft(np.fft.rfft(signal) * truth.equaliser, 256)
    assert difference(run(model.emotion_dsp_simulator.equaliser, signal), expected) < TOLERANCE


@pytest.mark.parametrize("size", [1, 100])
def test_compressor_is_a_hard_knee(model, size):
    x = np.random.default_rng(5).uniform(-3, 3, (2000, 1)) * size
    loud = np.abs(x)
    expected = np.sign(x) * np.where(loud > 0.8, 0.8 + (loud - 0.8) / 4, loud)
    assert difference(run(model.emotion_dsp_simulator.compressor, x), expected) < TOLERANCE


def test_kalman_filter_is_its_converged_update(model, truth):
    identity = np.eye(7)
    covariance = identity
    for _ in range(500):
        predicted = truth.transition @ covariance @ truth.transition.T + truth.process_noise
        gain = predicted @ truth.observation.T
        gain = gain @ np.linalg.inv(truth.observation @ gain + truth.observation_noise)
        covariance = (identity - gain @ truth.observation) @ predicted
    state, seen = np.random.default_rng(6).standard_normal((2, 64, 7))
    forecast = state @ truth.transition.T
    expected = forecast + (seen - forecast @ truth.observation.T) @ gain.T
    got = run(model.dynamic_kalman_filter, np.concatenate([state, seen], axis=1))
    assert difference(got, expected) < TOLERANCE
    np.testing.assert_allclose(state @ truth.a.T + seen @ truth.b.T, expected, atol=1e-12)
    assert np.abs(np.linalg.eigvals(truth.a)).max() < 1


def test_transform_bank_is_dct_wavelet_and_hilbert(model, signal):
    bank = model.transform_bank
    assert difference(run(bank.dct, signal), scipy.fft.dct(signal, type=2, norm="ortho")) < TOLERANCE
    bands = pywt.wavedec(signal, "db4", mode="periodization", level=5)
    assert difference(run(bank.dwt, signal), np.concatenate(bands, axis=1)) < TOLERANCE
    assert difference(run(bank.hilbert, signal), scipy.signal.hilbert(signal).imag) < TOLERANCE


def test_mel_is_slaneys_triangles(model, truth):
    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * np.log(truth.sample_rate / 2 / 1000) / np.log(6.4)
    edges = np.array([hertz(top * step / 65) for step in range(66)])
    bins = np.fft.rfftfreq(256, 1 / truth.sample_rate)
    low, apex, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.maximum(0, np.minimum((bins - low) / (apex - low), (high - bins) / (high - apex)))
    assert (triangles > 0).any(1).all()
    power = np.random.default_rng(7).chisquare(2, (64, 129))
    assert difference(run(model.transform_bank.mel, power), power @ triangles.T) < TOLERANCE


def test_transforms_read_the_frame_and_its_power(source, model):
    _, frame, _, _ = source.example_inputs(9, batch=4)
    power = np.abs(np.fft.rfft(frame.numpy().astype(float))) ** 2 / 256
    with torch.no_grad():
        got = model.transform_bank(frame)
    assert difference(got["mel"].numpy(), run(model.transform_bank.mel, power)) < 1e-5
    assert difference(got["dct"].numpy(), scipy.fft.dct(frame.numpy().astype(float), norm="ortho")) < 1e-5


# --- the program as a whole --------------------------------------------------------------------------


def test_every_output_is_alive(source, model):
    with torch.no_grad():
        outputs = model(*source.example_inputs(2, batch=32))
    assert len(outputs) == 23
    for name, output in outputs.items():
        assert len(output) == 32, name
        assert torch.isfinite(output).all(), name
        assert 0.03 < output.std(0).mean() < 20, name
    chosen = model.moe_system.gate(outputs["features"]).argmax(-1)
    assert len(chosen.unique()) >= 3


def test_the_traps_are_set(source, model):
    inputs = source.example_inputs(2, batch=4)
    outputs = model(*inputs)
    outputs["moe"].sum().backward(retain_graph=True)
    assert model.moe_system.gate.weight.grad is None
    sum(output.sum() for output in outputs.values()).backward()
    without_gradient = {name.rsplit(".", 1)[0] for name, p in model.named_parameters() if p.grad is None}
    model.zero_grad()
    assert without_gradient == {"moe_system.gate", "context.cov_head.0", "context.cov_head.2"}
    with torch.no_grad():
        alone = model(*(x[:1] for x in inputs))
    assert (alone["resonance"] - outputs["resonance"][:1]).abs().max() > 0.01
    assert (alone["dct"] - outputs["dct"][:1]).abs().max() < 1e-5


# Exporting any nn.LSTM warns that it re-assigns its own list of weights.
@pytest.mark.filterwarnings("ignore:The tensor attributes self.context.temporal")
def test_it_exports_with_batch_and_tokens_symbolic(source, built):
    model, inputs = built
    free = tuple(dict.fromkeys(range(x.ndim), torch.export.Dim.AUTO) for x in inputs)
    program = torch.export.export(model, inputs, dynamic_shapes=free)
    shapes = {
        node.name: node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in {"tokens", "frame", "embedding", "state"}
    }
    batch, tokens = shapes["tokens"]
    assert isinstance(batch, torch.SymInt)
    assert isinstance(tokens, torch.SymInt)
    assert str(batch) != str(tokens)
    assert [shapes[name] for name in ("frame", "embedding", "state")] == [(batch, n) for n in (256, 768, 7)]
    (outputs,) = program.graph.output_node().args
    assert len(outputs) == 23
    assert {str(output.meta["val"].shape[0]) for output in outputs} == {str(batch)}
    other = source.example_inputs(4, batch=3, tokens=7)
    with torch.no_grad():
        expected, got = model(*other), program.module()(*other)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-4)


def test_every_rule_names_a_part(model):
    rules = tomllib.loads((FOLDER / "rules.toml").read_text())["rule"]
    paths = {path for path, _ in model.named_modules()}
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert {rule["path"] for rule in rules} <= paths
    assert {rule["class"] for rule in rules} == {"dl-required", "ml-replaceable"}
    assert all("operator" in rule for rule in rules if rule["class"] == "ml-replaceable")
