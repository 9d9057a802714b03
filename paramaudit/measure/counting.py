"""Looks up every operator that runs, and keeps the account.

An operator has a rule of its own, a place in the table of free operators, or torch's tag for elementwise
ones. What has none of these is decomposed by torch's own definition and its parts are looked up; what
cannot be decomposed is put down by name as uncounted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode

from paramaudit.measure import attention, factorisations, fourier, products, recurrent, reductions
from paramaudit.measure import pointwise as elementwise
from paramaudit.measure.free import FREE
from paramaudit.measure.operands import Arguments, Rule, any_float, bound, name_of
from paramaudit.records import Flops

_RULES: dict[str, Rule] = {
    **products.RULES,
    **attention.RULES,
    **recurrent.RULES,
    **fourier.RULES,
    **factorisations.RULES,
    **elementwise.RULES,
    **reductions.RULES,
}
_RESULTS = {**recurrent.RESULTS, **fourier.RESULTS}  # operators that need not run for their shapes


@dataclass
class Ledger:
    """What was counted, by the path of the module that ran it."""

    path: str = ""
    counted: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    uncounted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, name: str, amount: int | None) -> None:
        """Charge the present path; None puts the name down as uncounted."""
        if amount is None:
            self.uncounted[self.path].add(name)
        else:
            self.counted[self.path] += amount

    def totals(self) -> dict[str, Flops]:
        """FLOPs by path, each with its children; the root is always there."""
        totals: dict[str, int] = defaultdict(int)
        missing: dict[str, set[str]] = defaultdict(set)
        totals[""] = 0
        for path, amount in self.counted.items():
            for ancestor in _ancestors(path):
                totals[ancestor] += amount
        for path, names in self.uncounted.items():
            for ancestor in _ancestors(path):
                missing[ancestor] |= names
        return {
            path: Flops(None if path in missing else totals[path], tuple(sorted(missing.get(path, ()))))
            for path in sorted({*totals, *missing})
        }


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks up every operator that runs."""

    supports_higher_order_operators = True

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ledger = ledger

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = name_of(func)
        if name in FREE or name.startswith("prim."):
            return func(*args, **kwargs)
        if name in _RULES or (isinstance(func, torch._ops.OpOverload) and elementwise.is_pointwise(func)):
            return self._count(func, name, args, kwargs)
        if name.startswith("aten."):
            with self:
                result = func.decompose(*args, **kwargs)
                if result is NotImplemented and func in decomposition_table:
                    result = decomposition_table[func](*args, **kwargs)
            if result is not NotImplemented:
                return result
        self.ledger.add(name, None)
        return func(*args, **kwargs)

    def _count(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        named = bound(func, args, kwargs)
        out = _RESULTS[name](named) if name in _RESULTS else func(*args, **kwargs)
        if any_float((args, kwargs, out)):  # work on integers is no floating-point work
            self.ledger.add(name, _look_up(name, named, out))
        return out


def _look_up(name: str, named: Arguments, out: Any) -> int | None:
    try:
        return _RULES[name](named, out) if name in _RULES else elementwise.pointwise(name, named, out)
    except (AssertionError, AttributeError, LookupError, TypeError):
        return None  # a form of the call that the rule does not know: uncounted, by name


def _ancestors(path: str) -> list[str]:
    """``["", "a", "a.b"]`` for ``"a.b"``."""
    parts = path.split(".") if path else []
    return [".".join(parts[:depth]) for depth in range(len(parts) + 1)]
