"""The verdict on each module: what a rule expects, joined with what was proven.

A rule without evidence is an expectation and evidence without a rule speaks for itself; see
:func:`verdicts` for how the two meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from paramaudit.records import Finding, ModuleRow, RuleHit, Verdict
from paramaudit.rules.evidence import REMOVALS, About, gather, is_naming, lineage, operators
from paramaudit.rules.parse import Rule, match

KEPT = 0.9  # from here on a module is kept: exact folds of a few per cent do not make it anything else
GROWN = 1.1  # a layer that holds more than this much of what it had took over its neighbours' numbers
BULK = 0.1  # up to here its bulk is replaced
GONE = 0.01  # up to here next to nothing is left, whatever did it
MINOR = 0.1  # children below this share together do not change a dl-required verdict

Judged = tuple[Verdict, str]


@dataclass(frozen=True)
class ModuleCount:
    """Counts of one module path; ``parameters`` and ``parameters_after`` include everything below it."""

    path: str
    type: str
    parameters: int
    own_parameters: int
    parameters_after: int

    @property
    def kept(self) -> float:
        """The share of its parameters that the default plan leaves."""
        return self.parameters_after / self.parameters if self.parameters else 0.0


def verdicts(
    modules: Sequence[ModuleCount], findings: Sequence[Finding], rules: Sequence[Rule]
) -> tuple[ModuleRow, ...]:
    """Judge every module.

    With a rule, the counts say whether it is borne out. Without one a layer is judged by its own
    evidence and a container joins its children, each weighing as many parameters as it holds; what it
    holds itself counts as one more child. A module without parameters is what its parent is.

    Args:
        modules: every module path with its counts, in any order.
        findings: all findings of the audit, refuted ones included.
        rules: see :func:`paramaudit.rules.load_rules`.

    Returns:
        One row a module, in the order given.
    """
    counts = {count.path: count for count in modules}
    children = _children(counts)
    evidence = gather(counts.keys(), findings)
    hits = {path: match(rules, path, count.type) for path, count in counts.items()}
    judged: dict[str, Judged] = {}
    for count in sorted(modules, key=lambda count: -_depth(count.path)):  # children before parents
        if count.parameters:
            judged[count.path] = _judge(count, hits[count.path], evidence[count.path], children, judged)
    for count in sorted(modules, key=lambda count: _depth(count.path)):  # parents before children
        if not count.parameters:
            above = next((path for path in lineage(count.path) if path in judged), None)
            verdict = Verdict.REDUNDANT if above is None else judged[above][0]
            judged[count.path] = verdict, "holds no parameters"
    return tuple(_row(count, hits[count.path], *judged[count.path]) for count in modules)


def _row(count: ModuleCount, rule: Rule | None, verdict: Verdict, reason: str) -> ModuleRow:
    return ModuleRow(
        path=count.path,
        type=count.type,
        parameters=count.parameters,
        own_parameters=count.own_parameters,
        parameters_after=count.parameters_after,
        rule=RuleHit(rule.id, rule.cls, rule.operator) if rule else None,
        verdict=verdict,
        reason=reason,
    )


def _depth(path: str) -> int:
    return path.count(".") + 1 if path else 0


def _children(counts: Mapping[str, ModuleCount]) -> Mapping[str, list[ModuleCount]]:
    """The modules with parameters directly below each module."""
    children: dict[str, list[ModuleCount]] = {path: [] for path in counts}
    for path, count in counts.items():
        above = (up for up in lineage(path) if up != path and up in counts)
        parent = next(above, None)
        if parent is not None and count.parameters:
            children[parent].append(count)
    return children


def _judge(
    count: ModuleCount,
    rule: Rule | None,
    evidence: About,
    children: Mapping[str, list[ModuleCount]],
    judged: Mapping[str, Judged],
) -> Judged:
    if rule and rule.cls == "dl-required":
        return _learned(count, rule, evidence)
    if rule:
        return _formula(count, rule, evidence)
    below = children[count.path]
    if not below:
        return _leaf(count, evidence.safe)
    parts = [(judged[child.path][0], child.parameters) for child in below]
    if count.own_parameters:
        after = max(0, count.parameters_after - sum(child.parameters_after for child in below))
        own = ModuleCount(count.path, count.type, count.own_parameters, count.own_parameters, after)
        parts.append((_leaf(own, evidence.own)[0], own.parameters))
    return _join(parts)


def _learned(count: ModuleCount, rule: Rule, evidence: About) -> Judged:
    """A rule says that this has to be learned."""
    why = rule.reason or "the rule says that it is learned"
    if count.kept >= KEPT:
        folds = f"; exact folds leave {_share(count.kept)}" if count.kept < 1 else ""
        return Verdict.DL_REQUIRED, why + folds
    if not count.parameters_after:
        by = f" ({operators(evidence.safe)})" if evidence.safe else ""
        return Verdict.REDUNDANT, f"the rule says learned, yet nothing of it is needed{by}"
    return Verdict.MIXED, f"the rule says learned, yet {_remains(count, evidence.safe)}"


def _formula(count: ModuleCount, rule: Rule, evidence: About) -> Judged:
    """A rule says that a formula computes this."""
    proof = [finding for finding in evidence.safe if _satisfies(rule, finding.operator)]
    if count.kept <= BULK and proof:
        return Verdict.ML_REPLACEABLE, f"proved: {_done(count, rule, proof)}"
    if count.kept <= GONE and evidence.safe:
        return Verdict.ML_REPLACEABLE, _done(count, rule, evidence.safe)
    if count.kept < KEPT:
        return Verdict.MIXED, f"{_expected(rule)}; {_remains(count, evidence.safe)}"
    return (
        Verdict.UNPROVEN,
        f"{_expected(rule)}; no equivalent was found{_nearest(count, rule, evidence.open)}",
    )


def _nearest(count: ModuleCount, rule: Rule, findings: Sequence[Finding]) -> str:
    """What came nearest to the rule: an operator that it wants, then what was found at this very path."""
    if not findings:
        return ""
    near = min(findings, key=lambda f: (not _satisfies(rule, f.operator), f.path != count.path, f.tier.rank))
    state = "was not applied" if near.tier.safe else f"is {near.tier}"
    return f": {near.operator} {state}: {near.reason}"


def _satisfies(rule: Rule, operator: str) -> bool:
    if any(fnmatchcase(operator, pattern) for pattern in rule.accepts):
        return True
    return is_naming(operator) if rule.operator is None else operator == rule.operator


def _expected(rule: Rule) -> str:
    what = rule.operator or "a formula"
    numbers = "" if rule.numbers is None else f" with {_numbers(rule.numbers)}"
    why = f" ({rule.reason})" if rule.reason else ""
    return f"the rule expects {what}{numbers}{why}"


def _done(count: ModuleCount, rule: Rule, findings: Sequence[Finding]) -> str:
    hoped = "" if rule.numbers is None else f", the rule expects {rule.numbers:,}"
    return f"{operators(findings)} leaves {_numbers(count.parameters_after)} of {count.parameters:,}{hoped}"


def _numbers(count: int) -> str:
    return f"{count:,} number{'' if count == 1 else 's'}"


def _remains(count: ModuleCount, findings: Sequence[Finding]) -> str:
    by = f" ({operators(findings)})" if findings else ""
    return f"{count.parameters_after:,} of {count.parameters:,} remain{by}"


def _leaf(count: ModuleCount, findings: Sequence[Finding]) -> Judged:
    """No rule speaks: what was proven about these numbers."""
    named = [finding for finding in findings if is_naming(finding.operator)]
    removed = [finding for finding in findings if finding.operator in REMOVALS]
    if count.kept >= KEPT and (count.kept <= GROWN or not findings):
        folds = f"; {operators(findings)} leaves {_share(count.kept)}" if findings and count.kept < 1 else ""
        return Verdict.DL_REQUIRED, f"no equivalent was found{folds}"
    if count.kept > GROWN:
        return Verdict.MIXED, f"holds numbers merged from other modules: {_remains(count, findings)}"
    if named:
        return Verdict.ML_REPLACEABLE, f"proved: {operators(named)} leaves {_numbers(count.parameters_after)}"
    if not count.parameters_after and removed:
        return Verdict.REDUNDANT, f"nothing of it is needed ({operators(removed)})"
    return Verdict.MIXED, _remains(count, findings)


def _join(parts: Sequence[tuple[Verdict, int]]) -> Judged:
    """The verdict of a container from its children's verdicts and weights."""
    total = sum(weight for _, weight in parts)
    shares: dict[Verdict, float] = {}
    for verdict, weight in parts:
        shares[verdict] = shares.get(verdict, 0.0) + weight / total
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    reason = "by parameters: " + ", ".join(f"{_share(share)} {verdict}" for verdict, share in ordered)
    if len(shares) == 1:
        return ordered[0][0], f"all parts are {ordered[0][0]}"
    if shares.keys() == {Verdict.ML_REPLACEABLE, Verdict.REDUNDANT}:
        return Verdict.ML_REPLACEABLE, reason
    if shares.get(Verdict.DL_REQUIRED, 0.0) > 1 - MINOR:
        return Verdict.DL_REQUIRED, reason
    return Verdict.MIXED, reason


def _share(share: float) -> str:
    """A share as a percentage that never rounds to 100 % or 0 % what is neither."""
    text = f"{100 * share:.1f} %"
    if text == "100.0 %" and share < 1:
        return "over 99.9 %"
    return "under 0.1 %" if text == "0.0 %" and share > 0 else text
