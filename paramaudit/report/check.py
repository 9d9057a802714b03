"""The page of a check, and the lines that say what grew, by how much, where."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from paramaudit.records import Budget, Check, Growth, ModuleUse
from paramaudit.report.page import ROOT, Page, Table, change

MOST = 3
"""Modules that a line names."""

WORDS = {"flops": "FLOPs"}
Places = list[tuple[str, int]]


def reasons(check: Check) -> tuple[str, ...]:
    """One line for everything that is over, then for what could not be measured."""
    return (
        *(_over(budget, check) for budget in check.budgets if budget.passed is False),
        *(_grew(growth, check) for growth in check.baseline if not growth.passed),
        *(f"{_word(b.name)} was not measured: {b.why_not}" for b in check.budgets if b.passed is None),
    )


def check_page(check: Check) -> Page:
    """What a person reads: the lines, the budgets, the baseline and the modules that changed."""
    lines = [_verdict(check), *reasons(check), *_hints(check)]
    numbers = frozenset({1, 2, 3})
    budgets = tuple(_budget(budget) for budget in check.budgets)
    totals = tuple(_growth(growth) for growth in check.baseline)
    changed = tuple(
        (use.path or ROOT, f"{use.before:,}", f"{use.parameters:,}", change(use.before, use.parameters))
        for use in check.modules
        if use.before is not None and use.before != use.parameters
    )
    tables = (
        Table("Budgets", ("", "budget", "actual", "used", "result"), budgets, numbers),
        Table("Baseline", ("", "before", "now", "change", "tolerated", "result"), totals, numbers | {4}),
        Table("Modules that changed", ("module", "before", "now", "change"), changed, numbers),
    )
    return Page(f"Check of {check.target}", tuple(lines), tables)


def _verdict(check: Check) -> str:
    if check.passed:
        return "within budgets and baseline" if check.baseline else "within budgets"
    return "over, and informational: nothing fails" if check.informational else "OVER"


def _hints(check: Check) -> Iterator[str]:
    """A baseline that is larger than the model tolerates growth that nobody saw."""
    fell = [growth for growth in check.baseline if growth.actual < growth.before]
    if fell and check.passed:
        less = " and ".join(f"{_word(g.name)} fell by {_amount(g.before - g.actual, g.unit)}" for g in fell)
        yield f"{less} below the baseline; --update-baseline holds the model to that"


def _over(budget: Budget, check: Check) -> str:
    actual = budget.actual or 0
    return (
        f"{_word(budget.name)} {_amount(actual, budget.unit)} is over the budget of "
        f"{_amount(budget.limit, budget.unit)} by {_amount(actual - budget.limit, budget.unit)}"
        f"{_where(budget.name, check)}"
    )


def _grew(growth: Growth, check: Check) -> str:
    more = growth.actual - growth.before
    where = _most_of_it(_grown(check), "+", _unit(growth.name))
    if not where and growth.name == "bytes":
        where = "; no module's parameters grew: it is buffers or dtypes"
    return (
        f"{_word(growth.name)} {_amount(growth.actual, growth.unit)} is over the baseline of "
        f"{_amount(growth.before, growth.unit)} by {_amount(more, growth.unit)} "
        f"({change(growth.before, growth.actual)}, {check.threshold:g} % tolerated){where}"
    )


def _where(name: str, check: Check) -> str:
    """Where most of it is: what grew since the baseline, else what is largest."""
    if name == "waste":
        return _most_of_it(_ranked(check, lambda use: use.removable or 0))
    if name in ("parameters", "bytes") and (grown := _grown(check)):
        return _most_of_it(grown, "+", _unit(name))
    if name == "flops":
        return _largest(_ranked(check, lambda use: use.flops or 0))
    if name.startswith("latency"):
        return ""
    return _largest(_ranked(check, lambda use: use.parameters), _unit(name))


def _grown(check: Check) -> Places:
    """The modules whose parameters grew most since the baseline."""
    return _ranked(check, lambda use: 0 if use.before is None else use.parameters - use.before)


def _ranked(check: Check, amount: Callable[[ModuleUse], int]) -> Places:
    """The modules with the largest positive amounts, equal ones in the model's order."""
    found = [(use.path or ROOT, amount(use)) for use in check.modules if amount(use) > 0]
    return sorted(found, key=lambda place: -place[1])[:MOST]


def _unit(name: str) -> str:
    """Modules are weighed by their parameters, which need not be said of parameters."""
    return "" if name == "parameters" else " parameters"


def _most_of_it(places: Places, sign: str = "", unit: str = "") -> str:
    return f"; most of it: {_named(places, sign, unit)}" if places else ""


def _largest(places: Places, unit: str = "") -> str:
    return f"; the largest: {_named(places, '', unit)}" if places else ""


def _named(places: Places, sign: str, unit: str) -> str:
    return ", ".join(f"{path} ({sign}{amount:,}{unit})" for path, amount in places)


def _budget(budget: Budget) -> tuple[str, ...]:
    result = {True: "within", False: "OVER", None: "not measured"}[budget.passed]
    limit = _amount(budget.limit, budget.unit)
    if budget.actual is None:
        return _word(budget.name), limit, "", "", result
    used = f"{100 * budget.actual / budget.limit:.1f} %" if budget.limit else ""
    return _word(budget.name), limit, _amount(budget.actual, budget.unit), used, result


def _growth(growth: Growth) -> tuple[str, ...]:
    amounts = (_amount(n, growth.unit) for n in (growth.before, growth.actual))
    return (
        _word(growth.name),
        *amounts,
        change(growth.before, growth.actual),
        f"up to {_amount(growth.limit, growth.unit)}",
        "within" if growth.passed else "OVER",
    )


def _word(name: str) -> str:
    return WORDS.get(name, name.replace("latency.", "latency on "))


def _amount(value: float, unit: str) -> str:
    """Counts in full, since a budget is often missed by little; times and shares to four digits."""
    number = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f"{number} {unit}".rstrip()
