"""Find, with proof, which parameters of a PyTorch model are really a known algorithm, or nothing at all.

::

    import paramaudit as pa

    audit = pa.scan(model, inputs)               # modules, findings, totals
    new = pa.refactor(model, inputs)             # the refactored model, a verified ``nn.Module``
    certificate = pa.verify(model, new, inputs)  # how strongly the two are known to be equal

Layers that compute a known algorithm, to train in place of dense ones, are in :mod:`paramaudit.layers`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from paramaudit import layers
    from paramaudit.api import compare, refactor, scan, verify

__all__ = ["__version__", "compare", "layers", "refactor", "scan", "verify"]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: torch takes seconds, ``--help`` must not."""
    if name == "layers":
        return importlib.import_module("paramaudit.layers")
    if name in __all__:
        from paramaudit import api

        return getattr(api, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
