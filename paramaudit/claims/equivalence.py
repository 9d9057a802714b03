"""Claims that a part of the model is a known operator: the findings of the audit decide."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction

import torch

from paramaudit.audit import Options, Scan, scan_loaded
from paramaudit.claims.claim import Bench, Claim, Outcome
from paramaudit.claims.layers import Layer, chain, texts
from paramaudit.claims.quantity import Quantity, read
from paramaudit.errors import ParamauditError
from paramaudit.expect import expectations
from paramaudit.plan import Book
from paramaudit.records import Finding, Json, Loaded, Ruling, Tier
from paramaudit.rules import Rule
from paramaudit.rules.evidence import is_naming, is_safe, operators


@dataclass(frozen=True, kw_only=True)
class Equivalence(Claim):
    """A module, or a stored tensor, is an operator with at most ``numbers`` numbers and these arguments.

    With ``layers`` the claim is about every model whose module consists of these layers: it is put to
    freshly drawn weights too, and where they give another answer it depends on the weights.
    """

    module: str
    operator: str
    numbers: Quantity | None = None
    accepts: tuple[str, ...] = ()
    arguments: Mapping[str, object] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()

    @property
    def figure(self) -> Quantity | None:
        """The numbers that it says suffice."""
        return self.numbers

    def judge(self, bench: Bench) -> Outcome:
        """Look for the operator among what the audit proved, then among what it refuted."""
        scan = bench.scan()
        keys = frozenset(_keys(scan, self.module))
        if not keys:
            raise ValueError(f"the model has no numbers in {self.module!r}")
        proven = [f for f in scan.audit.findings if is_safe(f) and keys & {*f.tensors}]
        named = [f for f in proven if self._names(f.operator)]
        if not named:
            return self._not_named(scan, proven, keys)
        outcome = self._named(scan, named, proven, keys)
        if not self.layers or outcome.verdict is Ruling.WRONG:
            return outcome
        return self._for_any_weights(outcome)

    @property
    def _stated(self) -> str:
        return self.operator if self.numbers is None else f"{self.operator}, {_count(self.numbers.text)}"

    def _names(self, operator: str) -> bool:
        return any(fnmatchcase(operator, name) for name in (self.operator, *self.accepts))

    def _named(
        self, scan: Scan, named: Sequence[Finding], proven: Sequence[Finding], keys: frozenset[str]
    ) -> Outcome:
        whole = [f for f in named if f.part_of is None] or named
        after = sum(f.parameters_after for f in whole)
        first = whole[0]
        measured = f"{operators(whole)}, {_count(f'{after:,}')}"
        reason = f"proven ({first.tier}): {first.reason}"
        left = keys - _held(whole, proven)
        wrong = [key for key, value in self.arguments.items() if not _agree(value, first.arguments.get(key))]
        if self.numbers is not None and after > self.numbers.value and not self.numbers.covers(after):
            denied = self._denied(scan).removeprefix("; ") or f"it needs {after:,} numbers; {reason}"
            return Outcome(self._stated, measured, Ruling.WRONG, denied)
        if left:
            where = sorted({key.rpartition(".")[0] for key in left})
            return Outcome(self._stated, measured, Ruling.PARTLY, f"not {', '.join(where[:3])}; {reason}")
        if wrong:
            found = ", ".join(f"{key} is {first.arguments.get(key)!r}" for key in wrong)
            return Outcome(self._stated, measured, Ruling.PARTLY, f"{found}; {reason}")
        return Outcome(self._stated, measured, Ruling.RIGHT, reason)

    def _not_named(self, scan: Scan, proven: Sequence[Finding], keys: frozenset[str]) -> Outcome:
        """It is proven to be something else, or refuted, or open."""
        others = [f for f in proven if is_naming(f.operator) and f.part_of is None]
        if others and not keys - _held(others, proven):
            after = sum(f.parameters_after for f in others)
            names = operators(others)
            same = self.numbers is not None and after > 0 and self.numbers.covers(after)
            ruling = Ruling.PARTLY if same else Ruling.WRONG
            right = "the number is right, the reason is not: " if same else ""
            what = _arguments(others[0])
            reason = f"{right}what is proven is {names}{what}, not {self.operator}"
            measured = f"{names}, {_count(f'{after:,}')}"
            return Outcome(self._stated, measured, ruling, reason + self._denied(scan))
        denied = self._denied(scan)
        if denied:
            return Outcome(self._stated, f"not {self.operator}", Ruling.WRONG, denied.removeprefix("; "))
        found = f"found was {operators(proven)}" if proven else "nothing was found"
        reason = f"neither proven nor refuted on these weights: {found}"
        return Outcome(self._stated, None, Ruling.DEPENDS, reason)

    def _denied(self, scan: Scan) -> str:
        """Why the audit refuses what the claim says, taken as a rule of its own."""
        numbers = int(self.numbers.value) if self.numbers is not None else None
        arguments: dict[str, Json] = {k: v for k, v in self.arguments.items() if isinstance(v, (str, int))}
        rule = Rule(
            id=self.id,
            cls="ml-replaceable",
            path=glob.escape(self.module),
            operator=self.operator,
            numbers=numbers,
            accepts=self.accepts,
            arguments=arguments,
        )
        skipped = {(skip.path, skip.reason): skip for skip in scan.audit.skipped}
        book = Book([f for f in scan.audit.findings if f.tier is not Tier.REFUTED], skipped)
        if scan.original is None:
            return "; stored numbers alone were audited"
        refuted = expectations(*scan.programs, book, [rule])
        return "".join(f"; {finding.reason}" for finding in refuted)

    def _for_any_weights(self, outcome: Outcome) -> Outcome:
        """Whether freshly drawn weights of the same layers are the operator as well."""
        first = chain(self.layers)
        width = next((p.shape[-1] for p in first.parameters() if p.dim() > 1), 0)
        example = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
        drawn = Loaded(texts(self.layers), "factory", module=first, args=(example,))
        try:
            audit = scan_loaded(drawn, Options(), lambda _: None).audit
        except ParamauditError as error:
            raise ValueError(f"{texts(self.layers)}: {error}") from error
        if any(is_safe(f) and self._names(f.operator) for f in audit.findings):
            return outcome
        after = audit.totals.parameters_after
        reason = (
            f"on these weights {outcome.measured} ({outcome.reason}); freshly drawn weights of "
            f"{texts(self.layers)} are not {self.operator}: {after:,} numbers remain"
        )
        return Outcome(outcome.stated, outcome.measured, Ruling.DEPENDS, reason)


def _keys(scan: Scan, path: str) -> list[str]:
    """The stored parameters at or below a path, which may name one of them."""
    return [name for name in scan.names if not path or name == path or name.startswith(f"{path}.")]


def _held(findings: Sequence[Finding], proven: Sequence[Finding]) -> set[str]:
    """Every tensor of some findings and of those that are part of them."""
    held = {f.id: f for f in findings}
    while more := [f for f in proven if f.part_of in held and f.id not in held]:
        held |= {f.id: f for f in more}
    return {tensor for f in held.values() for tensor in f.tensors}


def _agree(stated: object, found: object) -> bool:
    """Whether an argument is the one that was stated, a number to the digits that it was stated with."""
    if isinstance(stated, list) and isinstance(found, list):
        return len(stated) == len(found) and all(map(_agree, stated, found))
    if (
        isinstance(stated, (int, Decimal))
        and not isinstance(stated, bool)
        and isinstance(found, (int, float))
    ):
        return read(stated).covers(Fraction(found))
    return stated == found


def _arguments(finding: Finding) -> str:
    """Which numbers an operator stores, where its arguments are matrices."""
    names = [key for key, value in finding.arguments.items() if isinstance(value, list) and key.isupper()]
    return f" of {' and '.join(names)}" if names else ""


def _count(number: str) -> str:
    return f"{number} number" if number == "1" else f"{number} numbers"
