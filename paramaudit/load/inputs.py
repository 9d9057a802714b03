"""Example inputs: from ``--inputs``, or from what a factory returns.

A spec is ``dtype[dimensions]``, e.g. ``float32[batch,256]`` or ``int64[batch,16]<100``. A named dimension is
symbolic. It gets a size of its own (2, 3, ... in order of appearance), so that two names are never equal by
chance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from paramaudit.errors import InputError, TargetError
from paramaudit.load.source import call, is_source
from paramaudit.load.text import cause, short

_SPEC = re.compile(r"\s*(\w+)\s*\[([^\[\]]*)\]\s*(?:<\s*(\d+)\s*)?")
_FORM = "write DTYPE[DIMENSIONS], e.g. 'float32[batch,256]' or 'int64[batch,16]<100'"
_FLOATS = {
    str(t).removeprefix("torch."): t for t in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}
_COMPLEX = {str(t).removeprefix("torch."): t for t in (torch.complex64, torch.complex128)}
_INTEGERS = {
    str(t).removeprefix("torch."): t for t in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
}
_DTYPES = {**_FLOATS, **_COMPLEX, **_INTEGERS, "bool": torch.bool}


@dataclass(frozen=True)
class Examples:
    """Example inputs of a call; ``symbols`` is {(argument index, dimension): name}."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    symbols: Mapping[tuple[int, int], str] = field(default_factory=dict)


def read_inputs(values: Sequence[str], seed: int = 0) -> Examples | None:
    """Example inputs from the values of ``--inputs``; None when there are none.

    Args:
        values: one ``file.py:function``, or one spec per input.
        seed: of the generator that draws the numbers; the global one is left alone.

    Raises:
        InputError: a value is malformed, or the function returns no inputs.
    """
    if not values:
        return None
    if any(is_source(value) for value in values):
        if len(values) > 1:
            raise InputError("--inputs takes one FILE.py:FUNCTION, or one spec per input, not both")
        try:
            return as_call(call(values[0]), values[0])
        except TargetError as error:
            raise InputError(f"--inputs: {error}") from error
    return _draw(values, torch.Generator().manual_seed(seed))


def as_call(value: object, who: str) -> Examples:
    """The call that ``value`` stands for: a tensor, a tuple or list of arguments, or a dict of keywords.

    Args:
        value: what a function returned.
        who: the function, for the message.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(value, Tensor):
        return Examples((value,))
    if isinstance(value, tuple | list):
        return Examples(tuple(value))
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return Examples((), dict(value))
    raise InputError(
        f"{who} gave {type(value).__name__} as inputs; give a tensor, a tuple or a dict of keywords"
    )


def _draw(specs: Sequence[str], generator: torch.Generator) -> Examples:
    sizes: dict[str, int] = {}
    symbols: dict[tuple[int, int], str] = {}
    args = []
    for index, spec in enumerate(specs):
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise InputError(f"--inputs {short(spec)!r} is malformed; {_FORM}")
        shape = []
        for dimension, text in enumerate(_dimensions(match[2])):
            if text.isidentifier():
                symbols[index, dimension] = text
                shape.append(sizes.setdefault(text, len(sizes) + 2))
            elif text.isdecimal():
                shape.append(int(text))
            else:
                raise InputError(f"--inputs {short(spec)!r}: {text!r} is neither a size nor a name; {_FORM}")
        args.append(_tensor(spec, match[1], shape, match[3], generator))
    return Examples(tuple(args), {}, symbols)


def _dimensions(text: str) -> list[str]:
    """``[]`` is a scalar; a trailing comma is a missing size."""
    return [part.strip() for part in text.split(",")] if text.strip() else []


def _tensor(spec: str, name: str, shape: list[int], bound: str | None, generator: torch.Generator) -> Tensor:
    dtype = _DTYPES.get(name)
    if dtype is None:
        raise InputError(f"--inputs {short(spec)!r}: {name!r} is no dtype; one of {', '.join(_DTYPES)}")
    if bound is not None and name not in _INTEGERS:
        raise InputError(f"--inputs {short(spec)!r}: only integers take a bound '<N'")
    top = int(bound) if bound is not None else 2
    if name in _INTEGERS and not 1 <= top <= torch.iinfo(dtype).max + 1:
        raise InputError(f"--inputs {short(spec)!r}: the bound must be between 1 and what {name} can hold")
    try:
        if name in _INTEGERS or dtype is torch.bool:
            return torch.randint(min(top, 2**63 - 1), shape, generator=generator, dtype=dtype)
        return torch.randn(shape, generator=generator, dtype=dtype)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise InputError(f"--inputs {short(spec)!r} cannot be made: {cause(error)}") from error
