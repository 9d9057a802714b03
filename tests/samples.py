"""Records of an invented model, for tests of documents and of the command line."""

from __future__ import annotations

from paramaudit.records import (
    Attack,
    Audit,
    Certificate,
    Comparison,
    Contract,
    Cost,
    DeviceCost,
    Finding,
    Flops,
    InputSpec,
    Latency,
    Measured,
    ModelInfo,
    ModuleRow,
    OutputError,
    Plan,
    Refusal,
    RuleHit,
    Skipped,
    Specialised,
    SwapProof,
    Tier,
    Totals,
    Verdict,
)

MODEL = ModelInfo("net.py:build", "ab" * 32, "factory", 1_200, 7, 4_828, exported=True)
CONTRACT = Contract(
    mode="eval",
    inputs=(InputSpec("frame", "float32", ("batch", 16)),),
    outputs=("spectrum", "score"),
    specialised=(Specialised("frame", 1, "a size that a layer fixes"),),
)
TOTALS = Totals(1_200, 300, 8, 4_800, 1_264)
GAP, WITNESS = Measured(3.1e-7, "spectral", "|x|"), Measured(8.8e-7, "spectral", "|x|")

FINDINGS = (
    Finding(
        id="front:rdft",
        path="front",
        tensors=("front.0.weight", "front.1.weight"),
        operator="rdft",
        arguments={"n": 16, "window": None, "bins": [1, 2]},
        tier=Tier.ROUNDING,
        reason="the product is a windowed transform",
        parameters_before=800,
        parameters_after=0,
        indices_after=8,
        applied_by_default=True,
        gap=GAP,
        witness=WITNESS,
    ),
    Finding(
        id="front:linear-chain",
        path="front",
        tensors=("front.0.weight", "front.1.weight"),
        operator="linear-chain",
        arguments={},
        tier=Tier.EXACT,
        reason="nothing stands between",
        parameters_before=800,
        parameters_after=200,
        part_of="front:rdft",
    ),
    Finding(
        id="body.deep:wavelet",
        path="body.deep.layer",
        tensors=("body.deep.layer.weight",),
        operator="wavelet",
        arguments={"wavelet": "db4"},
        tier=Tier.REFUTED,
        reason="differs | by [0.31]",
        parameters_before=300,
        parameters_after=0,
        p_value=0.59,
        counterexample=".paramaudit/x.pt",
    ),
)

RULE = RuleHit("spectrum", "ml-replaceable", "rdft")
AUDIT = Audit(
    model=MODEL,
    contract=CONTRACT,
    modules=(
        ModuleRow("", "net.Net", 1_200, 0, 300, None, Verdict.MIXED, "parts differ"),
        ModuleRow("front", "Sequential", 800, 0, 0, RULE, Verdict.ML_REPLACEABLE, "proved"),
        ModuleRow("front.0", "Linear", 500, 500, 0, None, Verdict.ML_REPLACEABLE, "proved"),
        ModuleRow("front.1", "Linear", 300, 300, 0, None, Verdict.ML_REPLACEABLE, "proved"),
        ModuleRow("body", "Block", 400, 50, 300, None, Verdict.DL_REQUIRED, "no equivalent"),
        ModuleRow("body.deep", "Block", 350, 50, 300, None, Verdict.DL_REQUIRED, "no equivalent"),
        ModuleRow("body.deep.layer", "Linear", 300, 300, 300, None, Verdict.DL_REQUIRED, "none"),
        ModuleRow("body.deep.layer.act", "GELU", 0, 0, 0, None, Verdict.DL_REQUIRED, "holds none"),
        ModuleRow("body.act", "GELU", 0, 0, 0, None, Verdict.DL_REQUIRED, "holds no parameters"),
    ),
    findings=FINDINGS,
    skipped=(Skipped("body.odd", "a hook"),),
    totals=TOTALS,
    seconds={"export": 1.5},
)
PLAN = Plan(MODEL, ("front:rdft",), (Refusal("body.deep:wavelet", "refuted"),), TOTALS)
NO_PLAN = Plan(MODEL, (), (Refusal("body.deep:wavelet", "refuted"),), TOTALS)


def certificate(equivalent: bool | None) -> Certificate:
    """A certificate with this answer."""
    return Certificate(
        equivalent=equivalent,
        tier=Tier.ROUNDING if equivalent else Tier.REFUTED,
        gap=GAP,
        outputs=(OutputError("spectrum", 1e-6, 2e-6, float("inf")),),
        swaps=(SwapProof("front:rdft", Tier.ROUNDING, GAP, None),),
        attack=Attack(8, 100, float("nan"), 2),
        counterexample=None if equivalent else ".paramaudit/y.pt",
        contract=CONTRACT,
        original="a" * 64,
        refactored="b" * 64,
        versions={"torch": "2"},
        reason="all regions are",
    )


COMPARISON = Comparison(
    original=Cost(
        parameters=1_200,
        buffers=7,
        bytes=4_828,
        file_bytes=9_000,
        flops=Flops(2_400),
        devices={
            "cpu": DeviceCost(Latency(2.0, 1.9, 2.2, 30), 50_000),
            "cuda": DeviceCost(None, None, "no CUDA"),
        },
    ),
    refactored=Cost(
        parameters=300,
        buffers=7,
        bytes=1_228,
        file_bytes=None,
        flops=Flops(None, ("aten.fft",)),
        devices={"cpu": DeviceCost(Latency(1.0, 0.9, 1.2, 30), 40_000)},
    ),
    latency={"cpu": 2.0},
)
