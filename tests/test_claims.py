"""Claims: how a file is read, what each kind measures, and how far a stated figure reaches."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from claims_model import LEFT, TOTAL, build

from paramaudit.audit import Options
from paramaudit.claims import judge_loaded, load_claims
from paramaudit.claims.quantity import read
from paramaudit.errors import OptionError
from paramaudit.records import Judged, Loaded


def judge(folder: Path, text: str, *, model: bool = False) -> dict[str, Judged]:
    path = folder / "claims.toml"
    path.write_text(text, encoding="utf-8")
    if model:
        module, args = build()
        loaded = Loaded("net", "factory", module=module, args=args)
    else:
        loaded = Loaded("nothing", "factory")  # a claim that looked at it would fail
    done = judge_loaded(loaded, load_claims(path), Options(), lambda _: None)
    return {claim.id: claim for claim in done.claims}


def one(folder: Path, fields: str) -> Judged:
    return judge(folder, f'[[claim]]\nid = "it"\nstatement = "s"\n{fields}')["it"]


# --- the digits of a statement -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "low", "high"),
    [
        ("131K", 130_500, 131_500),
        ("~130M", 125_000_000, 135_000_000),
        ("130M", 129_500_000, 130_500_000),
        ("~23M", 22_500_000, 23_500_000),
        ("~2M", 1_500_000, 2_500_000),
        ("~153.3M", 153_250_000, 153_350_000),
        ("0.0001M", 50, 150),
        ("12 %", Fraction(23, 2), Fraction(25, 2)),
        ("8,192", Fraction(16_383, 2), Fraction(16_385, 2)),
        (28, Fraction(55, 2), Fraction(57, 2)),
        (Decimal("1.670"), Fraction("1.6695"), Fraction("1.6705")),
    ],
)
def test_a_figure_reaches_as_far_as_its_digits(stated: object, low: Fraction, high: Fraction) -> None:
    quantity = read(stated)
    small = Fraction(1, 10**6)
    assert quantity.covers(low)
    assert quantity.covers(high)
    assert not quantity.covers(low - small)
    assert not quantity.covers(high + small)


def test_a_figure_may_be_cut_off_instead_of_rounded() -> None:
    assert read("65K").cuts(65_999)
    assert not read("65K").covers(65_536)
    assert not read("65K").cuts(66_000)
    assert not read("~130M").cuts(136_000_000)


NO_FIGURES = ["", "many", "1.2.3M", "12 M %", "1,23", True, None, Decimal("NaN"), [1], "1e9"]


@pytest.mark.parametrize("bad", NO_FIGURES)
def test_what_is_no_figure_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="is not a number such as"):
        read(bad)


# --- arithmetic ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "verdict", "measured", "says"),
    [
        ('kind = "sum"\nstated = "~130M"\nitems = ["50M", "6.68M", "9.17M"]', "wrong", 65_850_000, "64.15M"),
        ('kind = "sum"\nstated = "5M"\nitems = ["2M", "0.0001M", "3M"]', "right", 5_000_100, "5.0001M"),
        ('kind = "product"\nstated = 28\nfactors = [4, 7]', "right", 28, "4 x 7 = 28"),
        ('kind = "product"\nstated = 29\nfactors = [4, 7]', "wrong", 28, "off by 1"),
        ('kind = "product"\nstated = "6.68M"\nfactors = [4, "1.67M"]', "right", 6_680_000, "6.68M"),
        (
            'kind = "reduction"\nstated = "18.3M"\npercent = "12 %"\nbefore = "153.3M"\nafter = "135M"',
            *("right", 18_300_000, "11.94 %"),
        ),
        (
            'kind = "reduction"\nstated = "18.3M"\npercent = "13 %"\nbefore = "153.3M"\nafter = "135M"',
            *("partly", 18_300_000, "off by 1.06 %"),
        ),
        ('kind = "difference"\nstated = 5\nbefore = 12\nafter = 8', "wrong", 4, "off by 1"),
        ('kind = "reduction"\npercent = "25 %"\nbefore = 12\nafter = 9', "right", 25, "25.00 %"),
        (
            'kind = "difference"\nstated = 4\nbefore = 12\nafter = 8\nalso = [{ before = 12, after = 9 }]',
            *("partly", 4, "12 - 9 = 3"),
        ),
        (
            'kind = "reduction"\npercent = "10 %"\nbefore = 30\nafter = 20\nof = 100',
            *("right", 10, "10.00 %"),
        ),
    ],
)
def test_arithmetic_needs_no_model(
    fields: str, verdict: str, measured: object, says: str, tmp_path: Path
) -> None:
    found = one(tmp_path, fields)
    assert (found.verdict, found.measured) == (verdict, measured)
    assert says in found.reason


def test_a_claim_builds_on_what_earlier_ones_state_or_measure(tmp_path: Path) -> None:
    head = '[[claim]]\nid = "a"\nstatement = "a"\nkind = "product"\nstated = 30\nfactors = [4, 7]\n'
    rest = '[[claim]]\nid = "{0}"\nstatement = "b"\nkind = "sum"\nstated = 31\nitems = [1, {{ {0} = "a" }}]\n'
    found = judge(tmp_path, head + rest.format("stated") + rest.format("measured"))
    assert [found[key].measured for key in ("a", "stated", "measured")] == [28, 31, 29]
    assert [found[key].verdict for key in ("a", "stated", "measured")] == ["wrong", "right", "wrong"]


# --- layers that are written out, shapes, filters ------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "stated", "verdict", "measured", "says"),
    [
        ("Linear(256, 512)", '"131K"', "partly", 131_584, "only without bias: 131,072"),
        ("Linear(256, 512)", '"132K"', "right", 131_584, "as stated"),
        ("Linear(256, 512, bias=False)", "131072", "right", 131_072, "as stated"),
        ("Linear(256, 512, False)", "131073", "wrong", 131_072, "off by 1"),
        ("Conv1d(1, 64, 5)", "320", "wrong", 384, "only without bias: 320"),
        ("Parameter(32, 256)", "8192", "right", 8_192, "as stated"),
        ("LSTM(3, 5)", "200", "right", 4 * 5 * (3 + 5 + 2), "as stated"),
        ("Linear(100000, 1000000)", '"100B"', "right", 100_001_000_000, "as stated"),
    ],
)
def test_layers_are_counted_as_they_are_written(
    layers: str, stated: str, verdict: str, measured: int, says: str, tmp_path: Path
) -> None:
    found = one(tmp_path, f'kind = "parameters"\nstated = {stated}\nlayers = ["{layers}"]')
    assert (found.verdict, found.measured) == (verdict, measured)
    assert says in found.reason


@pytest.mark.parametrize(
    ("level", "length", "kernel", "verdict", "says"),
    [
        (5, 256, 5, "wrong", ["db4 has 8 taps", "kernel of 5"]),
        (5, 223, 9, "wrong", ["level 5 needs 224 samples, there are 223"]),
        (5, 224, 9, "wrong", ["[1, 224]"]),
    ],
)
def test_wavelets_must_fit_the_kernel_the_length_and_the_outputs(
    level: int, length: int, kernel: int, verdict: str, says: list[str], tmp_path: Path
) -> None:
    found = one(
        tmp_path,
        f'kind = "wavelet-shapes"\nwavelet = "db4"\nlevel = {level}\nlength = {length}\n'
        f'layers = ["Conv1d(1, 1, {kernel}, padding={kernel // 2})"]',
    )
    assert found.verdict == verdict
    assert all(part in found.reason for part in says)
    assert ("needs" in found.reason) is (length < 224)


def test_a_wavelet_that_fits_is_right(tmp_path: Path) -> None:
    # haar: 8 samples make 4 + 4 numbers; one kernel of 2 taps and stride 2 with 2 channels, then flattened
    fields = 'kind = "wavelet-shapes"\nwavelet = "haar"\nlevel = 1\nlength = 8\n'
    found = one(tmp_path, fields + 'layers = ["Conv1d(1, 2, 2, stride=2)", "Flatten()"]')
    assert found.verdict == "right"


def test_a_whole_fourier_transform_has_other_outputs_than_real_layers(tmp_path: Path) -> None:
    found = one(tmp_path, 'kind = "fourier-shapes"\nlength = 256\nlayers = ["Linear(256, 128)"]')
    assert (found.verdict, found.measured) == ("wrong", "256 of complex64")
    assert "128 of float32" in found.reason


def test_the_gain_of_constant_matrices_settles(tmp_path: Path) -> None:
    assert one(tmp_path, 'kind = "steady-gain"\nstates = 3\nobservations = 2').verdict == "right"


def test_speed_depends_where_shapes_disagree(tmp_path: Path) -> None:
    small = '{ original = ["Linear(4, 4)"], replacement = ["Linear(1024, 1024)"], shape = [8, 1024] }'
    fields = 'kind = "speed"\ncase = [{}]'
    slow = '{ original = ["Linear(256, 2)"], replacement = ["Linear(256, 8192)"], shape = [64, 256] }'
    fast = '{ original = ["Linear(256, 8192)"], replacement = ["Linear(256, 2)"], shape = [64, 256] }'
    assert one(tmp_path, fields.format(fast)).verdict == "right"
    assert one(tmp_path, fields.format(slow)).verdict == "wrong"
    both = one(tmp_path, fields.format(f"{slow}, {fast}"))
    assert both.verdict == "depends"
    assert "64 x 256" in both.reason
    with pytest.raises(OptionError, match=r"claim 'it': .*on 8 x 1024"):
        one(tmp_path, fields.format(small))


# --- the model -----------------------------------------------------------------------------------

# id: verdict: measured: kind; fields
MODEL_CLAIMS = """
all: right: 1348: parameters; module = ""; stated = 1348
pattern: wrong: 676: parameters; module = "m*"; stated = 600
count: wrong: 478: sum; stated = 480; items = [{ parameters = "front" }, { parameters = "head" }]
left: right: 68: sum; stated = 68; items = [{ remaining = "merge" }]
saved: right: : reduction; percent = "80 %"; before = { parameters = "" }; after = { remaining = "" }
layer: right: 20: sum; stated = 20; items = [{ layer = "Linear(4, 4)" }]
enough: right: 68: needs; module = "merge"; stated = 68
too-many: partly: 68: needs; module = "merge"; stated = 100
too-few: wrong: 68: needs; module = "merge"; stated = 34
no-waste: right: 0: waste; modules = ["head", "conv"]
waste: wrong: 778: waste; modules = ["head", "spare", "merge.*", "merge"]
some-waste: right: 170: waste; modules = ["head", "spare"]; stated = "50 %"
rdft: right: rdft, 0 numbers: equivalence; module = "front"; operator = "rdft"; numbers = 0; arguments = N16
n: partly: rdft, 0 numbers: equivalence; module = "front"; operator = "rdft"; arguments = { n = 32 }
tensor: right: rdft, 0 numbers: equivalence; module = "front.weight"; operator = "rdft"
dct: wrong: rdft, 0 numbers: equivalence; module = "front"; operator = "dct"; numbers = 0
chain: right: linear-chain, 68 numbers: equivalence; module = "merge"; operator = "linear-chain"; numbers = 68
short: wrong: linear-chain, 68 numbers: equivalence; module = "merge"; operator = "linear-chain"; numbers = 34
open: depends: : equivalence; module = "merge"; operator = "rdft"
bent: wrong: not rdft: equivalence; module = "head"; operator = "rdft"
taps: wrong: not wavelet: equivalence; module = "conv"; operator = "wavelet"; arguments = { wavelet = "db4" }
drawn: depends: rdft, 0 numbers: equivalence; module = "front"; operator = "rdft"; layers = ["Linear(16, 18)"]
any: right: linear-chain, 68 numbers: equivalence; module = "merge"; operator = "linear-*"; layers = LAYERS
memory: right: : memory
timed: : : speed; batches = [2, 3]
""".replace("LAYERS", '["Linear(16, 32)", "Linear(32, 4)"]').replace("N16", "{ n = 16 }")
STATED = {line.split(": ")[0]: line.split(": ", 3)[1:] for line in MODEL_CLAIMS.strip().splitlines()}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Judged]:
    tables = []
    for key, (*_, stated) in STATED.items():
        kind, *fields = stated.split("; ")
        lines = [f'id = "{key}"', 'statement = "s"', f'kind = "{kind}"', *fields]
        tables.append("\n".join(["[[claim]]", *lines]))
    return judge(tmp_path_factory.mktemp("claims"), "\n".join(tables), model=True)


@pytest.mark.parametrize("key", STATED)
def test_claims_about_the_model(key: str, judged: dict[str, Judged]) -> None:
    verdict, measured, _ = STATED[key]
    if verdict:
        assert judged[key].verdict == verdict, judged[key].reason
    if measured:
        assert str(judged[key].measured) == measured


def test_the_whole_model_is_timed_at_each_batch(judged: dict[str, Judged]) -> None:
    reason = judged["timed"].reason
    assert "the model, batch 2: " in reason
    assert "the model, batch 3: " in reason


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("dct", "what is proven is rdft, not dct"),
        ("n", "n is 16"),
        ("taps", "db4 has 8 taps, and a kernel of 5 cannot hold them"),
        ("bent", "nor any linear formula"),
        ("waste", "merge 608 of 676 (linear-chain); spare 170 of 170 (unused)"),
        ("drawn", "freshly drawn weights of Linear(16, 18) are not rdft: 306 numbers remain"),
        ("open", "neither proven nor refuted"),
        ("too-many", "100 is more than enough"),
        ("too-few", "34 is not enough"),
    ],
)
def test_the_reason_says_what_was_seen(key: str, says: str, judged: dict[str, Judged]) -> None:
    assert says in judged[key].reason


def test_what_is_left_of_the_model_is_the_audit_s_total(judged: dict[str, Judged]) -> None:
    assert judged["saved"].measured == pytest.approx(100 * (TOTAL - LEFT) / TOTAL)


def test_a_module_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    text = '[[claim]]\nid = "x"\nstatement = "s"\nkind = "parameters"\nstated = 1\nmodule = "heed"'
    with pytest.raises(OptionError, match=r"'x': the model has no module 'heed'; did you mean head"):
        judge(tmp_path, text, model=True)
