"""Graph rewrites, one file each; this folder lists itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType

from paramaudit.graph.match import Rewrite


def _load() -> tuple[ModuleType, ...]:
    found: list[ModuleType] = []
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if not isinstance(getattr(module, "REWRITE", None), Rewrite):
            msg = f"{module.__name__} has no REWRITE"
            raise TypeError(msg)
        found.append(module)
    return tuple(found)


_MODULES = _load()
REWRITES: tuple[Rewrite, ...] = tuple(module.REWRITE for module in _MODULES)


def documentation() -> Mapping[str, str]:
    """The documentation of every rewrite by name."""
    return {module.REWRITE.name: (module.__doc__ or "").strip() for module in _MODULES}
