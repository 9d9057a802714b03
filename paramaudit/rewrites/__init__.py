"""Graph rewrites, one file each; this folder lists itself."""

from __future__ import annotations

import importlib
import pkgutil

from paramaudit.graph.match import Rewrite


def _load() -> tuple[Rewrite, ...]:
    found: list[Rewrite] = []
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if not isinstance(getattr(module, "REWRITE", None), Rewrite):
            msg = f"{module.__name__} has no REWRITE"
            raise TypeError(msg)
        found.append(module.REWRITE)
    return tuple(found)


REWRITES = _load()
