"""Every error that paramaudit raises on purpose.

::

    ParamauditError          one clear line for the user, exit 2
    ├── TargetError          the target cannot be read: missing, empty, unknown format, broken
    │   └── UnsafeTargetError    reading it would run code that it brings; lists the names
    ├── InputError           example inputs are missing or do not fit the model
    ├── OptionError          an option or configuration value makes no sense
    ├── StaleError           a saved plan or certificate belongs to another model
    ├── VerificationError    a refactored model is not equivalent to its original, exit 1
    └── NotAuditableError    nothing could be audited, exit 3
        └── CaptureError     the model cannot be exported; says why
"""

from __future__ import annotations


class ParamauditError(Exception):
    """Base of all errors meant for the user; ``str(error)`` is one clear line."""

    exit_code = 2


class TargetError(ParamauditError):
    """The target cannot be read."""


class UnsafeTargetError(TargetError):
    """Reading the target would run code that it brings.

    Attributes:
        wanted: the dotted names that the file wants to load.
    """

    def __init__(self, message: str, wanted: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.wanted = wanted


class InputError(ParamauditError):
    """Example inputs are missing or do not fit the model."""


class OptionError(ParamauditError):
    """An option or configuration value makes no sense."""


class StaleError(ParamauditError):
    """A saved plan or certificate belongs to another model."""


class VerificationError(ParamauditError):
    """A refactored model is not equivalent to its original."""

    exit_code = 1


class NotAuditableError(ParamauditError):
    """Nothing could be audited."""

    exit_code = 3


class CaptureError(NotAuditableError):
    """The model cannot be exported."""


def without_graph(target: str) -> NotAuditableError:
    """The error for what stored numbers alone cannot answer."""
    return NotAuditableError(
        f"{target} holds stored numbers only, and no graph to change or run; "
        "pass --factory file.py:function for its model"
    )
