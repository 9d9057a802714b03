"""`paramaudit claims`: exit codes, documents, and files that are malformed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from claims_model import SOURCE
from commands import call, one_line

from paramaudit.claims import KINDS, load_claims
from paramaudit.errors import OptionError

GOOD = '[[claim]]\nid = "a"\nstatement = "seven fours"\nkind = "product"\nstated = 28\nfactors = [4, 7]\n'
WRONG = GOOD.replace("28", "29")


@pytest.mark.parametrize(
    ("text", "code", "strict"), [(GOOD, 0, 0), (WRONG, 0, 1)], ids=["holds", "does not hold"]
)
def test_the_exit_code_asks_for_truth_only_when_strict(
    text: str, code: int, strict: int, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "claims.toml").write_text(text, encoding="utf-8")
    done = call(tmp_path, "claims", "net.py:build", "claims.toml", "--format", "json")
    assert done.code == code, done.stderr
    assert done.document["schema"] == "paramaudit/claims/1"
    [claim] = done.document["claims"]
    assert set(claim) == {"id", "statement", "stated", "measured", "verdict", "reason"}
    assert claim["measured"] == 28
    for name in ("json", "markdown", "table"):
        again = call(tmp_path, "claims", "net.py:build", "claims.toml", "--strict", "--format", name)
        assert again.code == strict
        assert "seven fours" in again.stdout


def test_a_claim_about_a_model_without_a_graph_is_an_error(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3)}, tmp_path / "w.pt")
    (tmp_path / "claims.toml").write_text(GOOD, encoding="utf-8")
    assert call(tmp_path, "claims", "w.pt", "claims.toml").code == 0
    one_line(call(tmp_path, "claims", "none.pt", "claims.toml"), 2, "none.pt")


MALFORMED = {
    "": "no [[claim]]",
    "claim = 3": "[[claim]] tables",
    "[[claims]]": "unknown key 'claims'",
    "[[claim]]\nid = 3": "'id' must be",
    "[[claim": "not valid TOML",
    '[[claim]]\nid = "x"': "'kind' must be one of parameters",
    '[[claim]]\nid = "x"\nkind = "guess"': "not 'guess'",
    GOOD + GOOD: "claim 2, 'a': this id is given twice",
    GOOD + "verdict = 'right'": "unknown key 'verdict'",
    GOOD.replace("stated = 28\n", ""): "'stated' is missing",
    GOOD.replace('statement = "seven fours"\n', ""): "'statement' is missing",
    GOOD.replace("28", "nan"): "'stated': 'NaN' is not a number",
    GOOD.replace("28", "1e999999999"): "is not a number",
    GOOD.replace("[4, 7]", "[]"): "'factors': must be a list",
    GOOD.replace("[4, 7]", '[{ stated = "b" }]'): "refers to 'b', which is no earlier claim",
    GOOD.replace("[4, 7]", '[{ stated = "a" }]'): "refers to 'a', which is no earlier claim",
    GOOD.replace("[4, 7]", "[{ weight = 3 }]"): "a table must have one of stated",
    GOOD.replace("[4, 7]", '[{ layer = "Linear(4)" }]'): "Linear(4):",
    GOOD.replace("[4, 7]", '[{ layer = "MultiheadAttention(3, 2)" }]'): "MultiheadAttention(3, 2):",
    GOOD.replace("[4, 7]", '[{ layer = "Lineal(4, 4)" }]'): "has a layer 'Lineal'",
    GOOD.replace("[4, 7]", '[{ layer = "Linear(open(0), 4)" }]'): "is not a layer",
    GOOD.replace("[4, 7]", '[{ layer = "functional.relu(3)" }]'): "is not a layer",
}


@pytest.mark.parametrize("text", MALFORMED, ids=[str(n) for n in range(len(MALFORMED))])
def test_a_malformed_file_is_one_clear_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError) as caught:
        load_claims(path)
    message = str(caught.value)
    assert MALFORMED[text] in message
    assert str(path) in message
    assert "\n" not in message


def test_the_command_refuses_a_malformed_file_before_it_opens_the_model(tmp_path: Path) -> None:
    (tmp_path / "claims.toml").write_text("[[claim", encoding="utf-8")
    one_line(call(tmp_path, "claims", "none.pt", "claims.toml"), 2, "claims.toml: not valid TOML")
    one_line(call(tmp_path, "claims", "none.pt", "gone.toml"), 2, "gone.toml: cannot be read")


def test_nothing_in_the_memo_says_a_verdict() -> None:
    path = Path(__file__).parents[1] / "examples" / "red_heart" / "memo.toml"
    claims = load_claims(path)
    assert len(claims) >= 25
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert not {word for word in ("wrong", "partly", "depends", "verdict") if word in "\n".join(lines)}
    assert "impossible" not in KINDS
