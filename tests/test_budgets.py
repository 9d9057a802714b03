"""Budgets of `[tool.paramaudit]`: units, spellings, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from faked_pipeline import Pipeline, call, configure, one_line

from paramaudit.budgets import KEYS, Limits, read_limits
from paramaudit.config import read_config
from paramaudit.config import read_limits as limits_of_folder
from paramaudit.errors import OptionError


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pipeline:
    monkeypatch.chdir(tmp_path)
    fake = Pipeline()
    monkeypatch.setattr("paramaudit.audit.open_target", fake.open_target)
    monkeypatch.setattr("paramaudit.audit.scan_loaded", fake.scan_loaded)
    return fake


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (1200, 1200),
        ("1200", 1200),
        ("1,200", 1200),
        ("120_000_000", 120_000_000),
        ("120M", 120_000_000),
        ("120 M", 120_000_000),
        (" 1.5k ", 1500),
        ("1.5 K", 1500),
        ("2G", 2 * 10**9),
        ("1.3B", 1_300_000_000),
        ("1T", 10**12),
        ("1.0005k", 1000),  # the half parameter is cut off
        (0, 0),
    ],
)
def test_parameters_are_counted_in_thousands(value: object, count: int) -> None:
    assert read_limits({"max-parameters": value}) == Limits(parameters=count)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (512, 512),
        ("512 B", 512),
        ("500 MB", 500_000_000),
        ("1.5kB", 1500),
        ("1 KB", 1000),
        ("25 GB", 25 * 10**9),
        ("1 KiB", 1024),
        ("1.5 MiB", 1_572_864),  # 1.5 * 1024^2
        ("2GiB", 2_147_483_648),
    ],
)
def test_bytes_are_decimal_or_binary(value: object, count: int) -> None:
    assert read_limits({"max-bytes": value}).bytes == count


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("4 G", 4 * 10**9),
        ("4 GFLOPs", 4 * 10**9),
        ("656 FLOPs", 656),
        ("1.2T", 1_200_000_000_000),
        (656, 656),
    ],
)
def test_flops(value: object, count: int) -> None:
    assert read_limits({"max-flops": value}).flops == count


def test_latency_is_kept_in_milliseconds_by_device() -> None:
    table = {"cpu": "8 ms", "cuda": "250us"}
    assert read_limits({"max-latency": table}).latency == {"cpu": 8, "cuda": Fraction(1, 4)}
    times = {"a": "1.5 s", "b": "3 µs", "c": "7 ns"}
    assert read_limits({"max-latency": times}).latency == {
        "a": 1500,
        "b": Fraction(3, 1000),
        "c": Fraction(7, 1_000_000),
    }


def test_shares_are_exact() -> None:
    limits = read_limits({"max-waste": "2 %", "threshold": "0.1%"})
    assert (limits.waste, limits.threshold) == (2, Fraction(1, 10))
    assert read_limits({}).threshold == 0


def test_both_spellings_mean_the_same() -> None:
    hyphens = {"max-parameters": "1k", "max-bytes": "1 kB", "max-flops": "1k", "max-latency": {"cpu": "1 s"}}
    underscores = {key.replace("-", "_"): value for key, value in hyphens.items()}
    assert read_limits(hyphens) == read_limits(underscores)
    with pytest.raises(OptionError, match="'max-bytes' is given twice"):
        read_limits({"max-bytes": "1 kB", "max_bytes": "1 kB"})


def test_what_is_absent_limits_nothing() -> None:
    assert read_limits({"mode": "eval"}) == Limits()
    assert not Limits(baseline=Path("b.json"), threshold=Fraction(1)).any_budget
    assert Limits(waste=Fraction(0)).any_budget
    assert Limits(latency={"cpu": Fraction(8)}).any_budget


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("max-parameters", "120 X", "the unit 'X' is unknown; there are k, K, M, G, B, T"),
        ("max-parameters", "120 MB", "the unit 'MB' is unknown"),
        ("max-parameters", "many", "'many', which is no quantity such as '120M'"),
        ("max-parameters", "", "no quantity"),
        ("max-parameters", "-5", "no quantity"),
        ("max-parameters", -5, "-5, which is no quantity"),
        ("max-parameters", 1.5, "1.5, which is no quantity"),
        ("max-parameters", float("nan"), "no quantity"),
        ("max-parameters", True, "True, which is no quantity"),
        ("max-parameters", ["1"], "no quantity"),
        ("max-parameters", "1,5 M", "no quantity"),
        ("max-parameters", "1e6", "no quantity"),
        ("max-parameters", "9" * 5000, "no quantity"),
        ("max-parameters", "٣M", "no quantity"),  # an Arabic three
        ("max-bytes", "500", "it has no unit; there are B, kB"),
        ("max-bytes", "500 M", "the unit 'M' is unknown"),
        ("max-flops", "4 ms", "the unit 'ms' is unknown"),
        ("max-latency", "8 ms", "must be a table of devices"),
        ("max-latency", {"cpu": "8"}, "'max-latency.cpu' is '8': it has no unit; there are ns, us"),
        ("max-latency", {"cpu": 8}, "'max-latency.cpu' is 8, which is no quantity such as '8 ms'"),
        ("max-waste", "2", "it has no unit; there are %"),
        ("max-waste", 0.02, "no quantity such as '2 %'"),
        ("max-waste", "101 %", "at most 100 %"),
        ("threshold", "1", "it has no unit"),
        ("baseline", 3, "'baseline' must be the name of a file"),
        ("baseline", " ", "'baseline' must be the name of a file"),
        ("informational", "yes", "'informational' must be true or false"),
    ],
)
def test_a_malformed_value_is_named(key: str, value: object, says: str) -> None:
    with pytest.raises(OptionError) as refused:
        read_limits({key: value})
    assert says in str(refused.value)
    assert key in str(refused.value)
    assert len(str(refused.value)) < 160


def test_budgets_stand_beside_options(tmp_path: Path) -> None:
    lines = ("mode = 'eval'", "max-parameters = '1k'", "max_waste = '2 %'", "informational = true")
    text = "\n".join(("[tool.paramaudit]", *lines))
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert read_config(tmp_path) == {"mode": "eval"}
    assert limits_of_folder(tmp_path) == Limits(parameters=1000, waste=Fraction(2), informational=True)
    assert limits_of_folder(tmp_path / "none") == Limits()


def test_an_unknown_key_names_the_budgets_too(pipeline: Pipeline) -> None:
    configure("[tool.paramaudit]\nmax-size = '1k'\n")
    one_line(call("check", "net.pt"), 2, "unknown key 'max-size'", *KEYS)
    assert not pipeline.opened


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max-parameters = '120 X'", "pyproject.toml: [tool.paramaudit]: 'max-parameters' is '120 X'"),
        ("max-latency = { tpu = '8 ms' }", "max-latency: 'tpu' is not one of cpu, cuda"),
        ("max-latency = 8", "must be a table of devices"),
        ("max-parameters = inf", "inf, which is no quantity"),
        ("baseline = 'there.json'", "there.json does not exist; --update-baseline writes it"),
        ("max-parameters = ", "not valid TOML"),
        ("threshold = '1 %'", "nothing to check"),
    ],
)
def test_check_refuses_before_any_work(text: str, says: str, pipeline: Pipeline) -> None:
    configure(f"[tool.paramaudit]\n{text}\n")
    one_line(call("check", "net.pt"), 2, says)
    assert not pipeline.opened


def test_a_malformed_budget_disturbs_no_other_command(pipeline: Pipeline) -> None:
    configure("[tool.paramaudit]\nmax-parameters = 'many'\n")
    assert call("scan", "net.pt").exit_code == 0
    assert pipeline.opened
