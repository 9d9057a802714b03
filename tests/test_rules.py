from __future__ import annotations

from pathlib import Path

import pytest

from paramaudit.errors import OptionError
from paramaudit.records import Finding, ModuleRow, RuleHit, Tier, Verdict
from paramaudit.rules import ModuleCount, Rule, load_rules, match, verdicts

DL, ML, MIXED = Verdict.DL_REQUIRED, Verdict.ML_REPLACEABLE, Verdict.MIXED
REDUNDANT, UNPROVEN = Verdict.REDUNDANT, Verdict.UNPROVEN


def found(
    path: str,
    operator: str,
    tier: Tier = Tier.EXACT,
    *,
    tensors: tuple[str, ...] = (),
    applied: bool | None = None,
    reason: str = "shown",
) -> Finding:
    return Finding(
        id=f"{path}:{operator}",
        path=path,
        tensors=tensors,
        operator=operator,
        arguments={},
        tier=tier,
        reason=reason,
        parameters_before=100,
        parameters_after=0,
        applied_by_default=tier.safe if applied is None else applied,
    )


def judge(
    counts: dict[str, tuple[int, int, int]],
    findings: list[Finding] | None = None,
    rules: tuple[Rule, ...] = (),
) -> dict[str, ModuleRow]:
    """Verdicts of {path: (parameters, own, after)}."""
    modules = [ModuleCount(path, "torch.nn.Module", *numbers) for path, numbers in counts.items()]
    rows = verdicts(modules, findings or [], rules)
    assert [row.path for row in rows] == list(counts)
    return {row.path: row for row in rows}


def leaf(before: int, after: int, *findings: Finding, rule: Rule | None = None) -> ModuleRow:
    counts = {"": (before, 0, after), "part": (before, before, after)}
    return judge(counts, list(findings), (rule,) if rule else ())["part"]


LEARNED = Rule("learned", "dl-required", path="part", reason="it learns")
FORMULA = Rule(
    "formula", "ml-replaceable", path="part", operator="rdft", numbers=0, accepts=("dft", "linear-ch*")
)


# --- rules files --------------------------------------------------------------------------------


def write(folder: Path, text: str) -> Path:
    path = folder / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_rules_file_is_read_whole(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [[rule]]
        id = "spectrum"
        path = "front.analyser"
        type = "Linear"
        class = "ml-replaceable"
        operator = "wavelet"
        numbers = 0
        accepts = ["linear-chain"]
        arguments = { wavelet = "db4", level = 5 }
        reason = "fixed"
        [[rule]]
        id = "rest"
        class = "dl-required"
        """,
    )
    spectrum, rest = load_rules(path)
    assert spectrum == Rule(
        id="spectrum",
        cls="ml-replaceable",
        path="front.analyser",
        type="Linear",
        operator="wavelet",
        numbers=0,
        accepts=("linear-chain",),
        arguments={"wavelet": "db4", "level": 5},
        reason="fixed",
    )
    assert rest == Rule(id="rest", cls="dl-required")


def test_an_empty_rules_file_holds_no_rules(tmp_path: Path) -> None:
    assert load_rules(write(tmp_path, "")) == ()


GOOD = '[[rule]]\nid = "a"\nclass = "dl-required"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule", "not valid TOML"),
        ("name = 1", "unknown key 'name'"),
        ("rule = 3", "[[rule]] tables"),
        ('[rule]\nid = "a"', "[[rule]] tables"),
        ('[[rule]]\nclass = "dl-required"', "rule 1: 'id'"),
        (GOOD + '[[rule]]\nid = ""', "rule 2: 'id'"),
        (GOOD + GOOD, "rule 'a': this id is given twice"),
        ('[[rule]]\nid = "a"', "rule 'a': 'class' must be"),
        ('[[rule]]\nid = "a"\nclass = "magic"', "not 'magic'"),
        (GOOD + "kind = 1", "rule 'a': unknown key 'kind'"),
        (GOOD + "path = 1", "'path' must be a string"),
        (GOOD + "numbers = true", "'numbers' must be"),
        (GOOD + "numbers = -1", "'numbers' must be"),
        (GOOD + 'accepts = "rdft"', "'accepts' must be"),
        (GOOD + "arguments = { on = 2020-01-01 }", "'arguments' must be"),
    ],
)
def test_a_malformed_rules_file_is_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(OptionError) as error:
        load_rules(write(tmp_path, text))
    assert says in str(error.value)
    assert "rules.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_rules_file_is_an_option_error(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        load_rules(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("path", "kind", "cls"),
    [
        ("encoder.layers.0", "torch.nn.modules.transformer.TransformerEncoderLayer", "dl-required"),
        ("a.attn", "torch.nn.modules.activation.MultiheadAttention", "dl-required"),
        ("words", "torch.nn.modules.sparse.Embedding", "dl-required"),
        ("unified_backbone", "Net", "dl-required"),
        ("lm_head", "Linear", "dl-required"),
        ("block.experts.3", "Sequential", "dl-required"),
        ("fusion_network", "Sequential", "dl-required"),
        ("freq_analyzer", "Sequential", "ml-replaceable"),
        ("front.stft", "Conv1d", "ml-replaceable"),
        ("spectrogram", "Conv1d", "ml-replaceable"),
        ("tracker.kalman_filter", "Net", "ml-replaceable"),
        ("adsr", "Net", "ml-replaceable"),
        ("delay_line", "Net", "ml-replaceable"),
        ("equalizer", "Net", "ml-replaceable"),
        ("equaliser", "Net", "ml-replaceable"),
        ("front.mel", "Linear", "ml-replaceable"),
        ("mel", "Linear", "ml-replaceable"),
        ("bank.dwt", "Sequential", "ml-replaceable"),
        ("timeline", "Linear", None),
        ("", "Net", None),
    ],
)
def test_the_default_rules_know_common_names(path: str, kind: str, cls: str | None) -> None:
    rule = match(load_rules(None), path, kind)
    assert (rule.cls if rule else None) == cls


def test_the_most_specific_rule_speaks() -> None:
    broad = Rule("broad", "dl-required", path="*head*")
    longer = Rule("longer", "dl-required", path="*cov_head*")
    exact = Rule("exact", "dl-required", path="a.h")
    pattern = Rule("pattern", "dl-required", path="a.h*", type="Linear")
    twin = Rule("twin", "ml-replaceable", path="*cov_head?")
    rules = (broad, longer, pattern, exact, twin)
    assert match(rules, "x.cov_head1", "Net") is longer  # as many literals as its twin, and earlier
    assert match(rules, "x.head", "Net") is broad
    assert match(rules, "a.h", "my.Linear") is exact  # no wildcard beats more literals
    assert match(rules, "a.h2", "Linear") is pattern
    assert match(rules, "a.h2", "linear") is None
    assert match(rules, "a.H", "Net") is None


# --- a rule says learned ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "verdict", "says"),
    [
        (1000, DL, "it learns"),
        (950, DL, "exact folds leave 95.0 %"),
        (900, DL, "exact folds"),
        (500, MIXED, "500 of 1,000 remain"),
        (0, REDUNDANT, "nothing of it is needed (unused)"),
    ],
)
def test_a_learned_rule_meets_the_counts(after: int, verdict: Verdict, says: str) -> None:
    row = leaf(1000, after, found("part", "unused"), rule=LEARNED)
    assert row.verdict is verdict
    assert says in row.reason
    assert row.rule == RuleHit("learned", "dl-required", None)


# --- a rule says formula ------------------------------------------------------------------------


def test_the_expected_operator_proves_a_formula_rule() -> None:
    row = leaf(1000, 0, found("part", "rdft"), rule=FORMULA)
    assert row.verdict is ML
    assert row.reason == "proved: rdft leaves 0 numbers of 1,000, the rule expects 0"
    assert row.rule == RuleHit("formula", "ml-replaceable", "rdft")


@pytest.mark.parametrize("operator", ["dft", "linear-chain"])
def test_an_accepted_operator_proves_it_too(operator: str) -> None:
    assert leaf(1000, 100, found("part.0", operator, Tier.ROUNDING), rule=FORMULA).verdict is ML


def test_another_operator_proves_it_only_when_next_to_nothing_is_left() -> None:
    assert leaf(1000, 10, found("part", "circulant"), rule=FORMULA).verdict is ML
    assert leaf(1000, 11, found("part", "circulant"), rule=FORMULA).verdict is MIXED
    assert leaf(1000, 0, rule=FORMULA).verdict is MIXED  # nothing safe explains it


def test_a_rule_without_operator_is_satisfied_by_any_name() -> None:
    rule = Rule("any", "ml-replaceable", path="part")
    assert leaf(1000, 100, found("part", "comb"), rule=rule).verdict is ML
    assert leaf(1000, 100, found("part", "linear-chain"), rule=rule).verdict is MIXED


def test_a_formula_rule_with_much_left_is_mixed() -> None:
    row = leaf(1000, 101, found("part", "rdft"), rule=FORMULA)
    assert row.verdict is MIXED
    assert "the rule expects rdft with 0 numbers; 101 of 1,000 remain (rdft)" in row.reason


def test_unsafe_or_unapplied_findings_prove_nothing() -> None:
    for finding in (found("part", "rdft", Tier.BOUNDED), found("part", "rdft", applied=False)):
        assert leaf(1000, 50, finding, rule=FORMULA).verdict is MIXED


def test_a_formula_rule_without_equivalent_is_unproven() -> None:
    row = leaf(1000, 900, rule=FORMULA)
    assert row.verdict is UNPROVEN
    assert row.reason == "the rule expects rdft with 0 numbers; no equivalent was found"


def test_an_unproven_rule_cites_what_was_refuted() -> None:
    other = found("part.0", "circulant", Tier.REFUTED, reason="off by 9")
    wanted = found("part.1", "rdft", Tier.REFUTED, reason="off by 0.3")
    here = found("part", "toeplitz", Tier.REFUTED, reason="off by 2")
    assert leaf(1000, 1000, other, wanted, here, rule=FORMULA).reason.endswith("rdft is refuted: off by 0.3")
    assert leaf(1000, 1000, other, here, rule=FORMULA).reason.endswith("toeplitz is refuted: off by 2")
    assert leaf(1000, 1000, found("elsewhere", "rdft", Tier.REFUTED), rule=FORMULA).reason.endswith("found")
    skipped = found("part", "rdft", applied=False, reason="overlaps")
    assert leaf(1000, 1000, skipped, rule=FORMULA).reason.endswith("rdft was not applied: overlaps")


def test_a_container_is_proved_by_what_was_shown_about_its_layers() -> None:
    rule = Rule("filter", "ml-replaceable", path="filter", operator="state-space", accepts=("paired-relu",))
    counts = {
        "": (500_431, 0, 105),
        "filter": (500_431, 0, 105),
        "filter.0": (10_440, 10_440, 0),
        "filter.2": (489_991, 489_991, 105),
    }
    rows = judge(
        counts, [found("filter", "paired-relu", Tier.ROUNDING, tensors=("filter.0.weight",))], (rule,)
    )
    assert rows["filter"].verdict is ML
    assert rows["filter.0"].verdict is MIXED


def test_a_container_with_a_rule_and_some_learned_parts_is_mixed() -> None:
    rule = Rule("dsp", "ml-replaceable", path="dsp")
    counts = {"": (1000, 0, 110), "dsp": (1000, 0, 110), "dsp.a": (890, 890, 0), "dsp.b": (110, 110, 110)}
    rows = judge(counts, [found("dsp.a", "rdft")], (rule,))
    assert rows["dsp"].verdict is MIXED
    assert rows["dsp.a"].verdict is ML
    assert rows["dsp.b"].verdict is DL
    assert rows[""].verdict is MIXED


# --- no rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "findings", "verdict", "says"),
    [
        (1000, [], DL, "no equivalent was found"),
        (1000, [found("part", "rdft", Tier.REFUTED)], DL, "no equivalent was found"),
        (950, [found("part", "shift-invariant-bias")], DL, "shift-invariant-bias leaves 95.0 %"),
        (1050, [found("part", "norm-affine-fold")], DL, "no equivalent was found"),
        (5000, [found("part", "linear-chain")], MIXED, "merged from other modules"),
        (0, [found("part", "unused")], REDUNDANT, "unused"),
        (0, [found("part", "single-key-attention"), found("part", "linear-chain")], REDUNDANT, "single-key"),
        (0, [found("part", "linear-chain")], MIXED, "0 of 1,000 remain (linear-chain)"),
        (0, [found("part", "linear-chain"), found("part", "rdft")], ML, "proved: rdft leaves 0 numbers"),
        (1, [found("part", "comb")], ML, "1 number"),
        (0, [found("part", "rdft", Tier.BOUNDED)], MIXED, "0 of 1,000 remain"),
        (477, [found("part", "single-step-recurrence")], MIXED, "single-step-recurrence"),
        (300, [found("part", "low-rank")], MIXED, "low-rank"),
        (10, [], MIXED, "10 of 1,000 remain"),
    ],
)
def test_a_layer_is_judged_by_its_evidence(
    after: int, findings: list[Finding], verdict: Verdict, says: str
) -> None:
    row = leaf(1000, after, *findings)
    assert row.verdict is verdict
    assert says in row.reason
    assert row.rule is None


def test_a_finding_on_a_container_speaks_about_the_layers_it_touches() -> None:
    counts = {
        "": (700, 0, 200),
        "chain": (500, 0, 0),
        "chain.0": (300, 300, 0),
        "chain.1": (200, 200, 0),
        "other": (200, 200, 200),
    }
    rows = judge(
        counts, [found("chain", "rdft", tensors=("chain.0.weight", "chain.1.weight", "chain.1.bias"))]
    )
    verdicts_of = {path: row.verdict for path, row in rows.items()}
    assert verdicts_of == {"": MIXED, "chain": ML, "chain.0": ML, "chain.1": ML, "other": DL}


def test_a_chain_merged_but_not_named_is_mixed() -> None:
    counts = {"": (500, 0, 60), "0": (400, 400, 0), "1": (100, 100, 60)}
    rows = judge(counts, [found("", "linear-chain", tensors=("0.weight", "1.weight"))])
    assert rows[""].verdict is MIXED


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ({"a": (600, 600, "x"), "b": (400, 400, "x")}, DL),
        ({"a": (910, 910, "x"), "b": (90, 0, "unused")}, DL),  # under a tenth does not change it
        ({"a": (900, 900, "x"), "b": (100, 0, "unused")}, MIXED),
        ({"a": (910, 910, "x"), "b": (45, 0, "unused"), "c": (45, 0, "unused")}, DL),
        ({"a": (850, 850, "x"), "b": (75, 0, "unused"), "c": (75, 0, "unused")}, MIXED),  # together more
        ({"a": (990, 0, "rdft"), "b": (10, 10, "x")}, MIXED),
        ({"a": (600, 0, "rdft"), "b": (400, 0, "comb")}, ML),
        ({"a": (600, 0, "rdft"), "b": (400, 0, "unused")}, ML),
        ({"a": (600, 0, "unused"), "b": (400, 0, "duplicate")}, REDUNDANT),
        ({"a": (600, 200, "linear-chain"), "b": (400, 400, "x")}, MIXED),
    ],
)
def test_a_container_joins_its_children(parts: dict[str, tuple[int, int, str]], verdict: Verdict) -> None:
    counts = {"": (1000, 0, sum(after for _, after, _ in parts.values()))}
    counts |= {path: (before, before, after) for path, (before, after, _) in parts.items()}
    findings = [found(path, operator) for path, (_, _, operator) in parts.items() if operator != "x"]
    assert judge(counts, findings)[""].verdict is verdict


def test_numbers_that_a_container_holds_itself_weigh_too() -> None:
    counts = {"": (1000, 600, 400), "proj": (400, 400, 400)}
    rows = judge(counts, [found("", "single-key-attention", tensors=("in_proj_weight",))])
    assert rows[""].verdict is MIXED
    assert rows["proj"].verdict is DL
    below = judge(counts, [found("", "rdft", tensors=("proj.weight",))])
    assert "ml-replaceable" not in below[""].reason  # a finding about the child says nothing of its own


def test_a_container_of_unproven_parts_is_unproven() -> None:
    counts = {"": (20, 0, 20), "a": (20, 0, 20), "a.b": (20, 20, 20)}
    rules = (Rule("r", "ml-replaceable", path="a.b", operator="rdft"),)
    assert {path: row.verdict for path, row in judge(counts, [], rules).items()} == {
        "": UNPROVEN,
        "a": UNPROVEN,
        "a.b": UNPROVEN,
    }


def test_modules_without_parameters_follow_their_parent() -> None:
    counts = {"net.act.inner": (0, 0, 0), "": (10, 0, 0), "net": (10, 10, 0), "net.act": (0, 0, 0)}
    rows = judge(counts, [found("net", "unused")])
    for path in ("net.act", "net.act.inner"):
        assert rows[path].verdict is REDUNDANT
        assert rows[path].reason == "holds no parameters"
    assert judge({"": (0, 0, 0)})[""].verdict is REDUNDANT


def test_shares_are_never_rounded_to_everything() -> None:
    row = leaf(10_000_000, 9_999_999, found("part", "unused"))
    assert "over 99.9 %" in row.reason
