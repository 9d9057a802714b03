"""The atlas: one file an operator, and this file only lists its own folder.

A new operator is a new file with an ``OPERATOR``; nothing else has to change.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import ModuleType

from paramaudit.errors import OptionError
from paramaudit.records import Operator


def listed(paths: Iterable[str], package: str) -> Mapping[str, ModuleType]:
    """The operator modules found in a package's folders, by the name of their operator, sorted.

    Args:
        paths: the package's ``__path__``.
        package: the package's dotted name.

    Raises:
        ImportError: when a file has no ``OPERATOR``, or two have the same name.
    """
    modules: dict[str, ModuleType] = {}
    for entry in pkgutil.iter_modules(list(paths)):
        module = importlib.import_module(f"{package}.{entry.name}")
        operator = getattr(module, "OPERATOR", None)
        if not isinstance(operator, Operator):
            raise ImportError(f"{module.__name__} defines no OPERATOR")
        if operator.name in modules:
            raise ImportError(
                f"{module.__name__} and {modules[operator.name].__name__} are both {operator.name!r}"
            )
        modules[operator.name] = module
    return dict(sorted(modules.items()))


_MODULES = listed(__path__, __name__)

OPERATORS: tuple[Operator, ...] = tuple(module.OPERATOR for module in _MODULES.values())
"""All operators, sorted by name."""


def looking_at(view: type) -> tuple[Operator, ...]:
    """The operators that are recognised in views of a type."""
    return tuple(operator for operator in OPERATORS if operator.view is view)


def explain(name: str) -> str:
    """What an operator is, how it is proven and what to mind: the documentation of its file.

    Raises:
        OptionError: when there is no operator of that name.
    """
    if name not in _MODULES:
        raise OptionError(f"there is no operator {name!r}; known are {', '.join(_MODULES)}")
    return (_MODULES[name].__doc__ or "").strip()


def documentation() -> Mapping[str, str]:
    """The documentation of every operator by name."""
    return {name: (module.__doc__ or "").strip() for name, module in _MODULES.items()}
