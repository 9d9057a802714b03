"""The library: the same pipeline as the command line, on models that are already in memory."""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paramaudit import audit as pipeline
from paramaudit.errors import VerificationError
from paramaudit.graph.conditions import Gate
from paramaudit.records import Audit, Certificate, Comparison, Loaded

Model = nn.Module | torch.export.ExportedProgram
Inputs = Tensor | Sequence[Any] | Mapping[str, Any] | None


def scan(model: Model, inputs: Inputs = None, **options: Any) -> Audit:
    """Audit a model: what each module is, what could go and with which proof, what was refused.

    Args:
        model: an ``nn.Module`` or an exported program; it is left as it was.
        inputs: example inputs: a tensor, a tuple of positional or a dict of keyword inputs. An exported
            program may bring its own.
        **options: fields of :class:`paramaudit.audit.Options`, e.g. ``static={"batch": 1}``.

    Raises:
        InputError: the inputs do not fit.
        CaptureError: the model cannot be exported.
    """
    return pipeline.scan_loaded(_loaded(model, inputs), _options(options), _quiet).audit


def refactor(
    model: Model, inputs: Inputs = None, *, fit: str | Sequence[Tensor] | None = None, **options: Any
) -> nn.Module:
    """The model with every safe swap applied and verified; it shares no memory with the original.

    The result has the module tree of the original, and untouched parameters keep their state-dict keys.
    Merged numbers are the same function, not the same training.

    Args:
        model: an ``nn.Module`` or an exported program; it is left as it was.
        inputs: example inputs, see :func:`scan`.
        fit: recorded inputs, a tensor for each or a file: modules that a rule calls replaceable and no
            proof does are fitted to them, and swapped where ``allow`` holds ``Tier.FITTED``.
        **options: fields of :class:`paramaudit.audit.Options`.

    Raises:
        NotAuditableError: there is nothing to apply.
        VerificationError: the refactored model is not equivalent; nothing is returned.
    """
    done = pipeline.scan_loaded(_loaded(model, inputs), _options(options), _quiet)
    if fit is not None:
        done = pipeline.fit_scan(done, fit, _options(options), _quiet)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "refactored.pt2"
        certificate = pipeline.apply_scan(done, path, _options(options), _quiet)
        if not certificate.keeps:
            raise VerificationError(certificate.reason)
        exported = torch.export.load(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own use of a renamed class
        module = torch.export.unflatten(exported)
    module.register_forward_pre_hook(Gate(exported), with_kwargs=True)
    return module


def verify(original: Model, refactored: Model, inputs: Inputs = None, **options: Any) -> Certificate:
    """How strongly two models with the same interface are known to be the same function.

    Args:
        original: an ``nn.Module`` or an exported program.
        refactored: the other one.
        inputs: example inputs of both, see :func:`scan`.
        **options: fields of :class:`paramaudit.audit.Options`.

    Raises:
        InputError: the interfaces differ.
    """
    pair = (_loaded(original, inputs), _loaded(refactored, inputs))
    return pipeline.verify_loaded(*pair, _options(options), _quiet)


def compare(original: Model, refactored: Model, inputs: Inputs = None, **options: Any) -> Comparison:
    """Parameters, bytes, FLOPs and interleaved latency of two models, see :func:`verify` for arguments."""
    pair = (_loaded(original, inputs), _loaded(refactored, inputs))
    return pipeline.compare_loaded(*pair, _options(options), _quiet)


def _loaded(model: Model, inputs: Inputs) -> Loaded:
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    if isinstance(inputs, Mapping):
        kwargs = inputs
    elif isinstance(inputs, Tensor):
        args = (inputs,)
    elif inputs is not None:
        args = tuple(inputs)
    name = type(model).__name__
    if isinstance(model, torch.export.ExportedProgram):
        return Loaded(name, "pt2", exported=model, args=args, kwargs=kwargs)
    return Loaded(name, "factory", module=model, args=args, kwargs=kwargs)


def _options(options: Mapping[str, Any]) -> pipeline.Options:
    known = {f.name for f in dataclasses.fields(pipeline.Options)}
    unknown = set(options) - known
    if unknown:
        msg = f"unknown option {sorted(unknown)[0]!r}; there are: {', '.join(sorted(known))}"
        raise TypeError(msg)
    return pipeline.Options(**options)


def _quiet(_stage: str) -> None:
    """Progress that nobody reads."""


__all__ = ["compare", "refactor", "scan", "verify"]
