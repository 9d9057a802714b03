"""Layers that a claim writes out, such as ``Linear(256, 512)``: read as data, then built and counted."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paramaudit import layers as computed

PARAMETER = "Parameter"

# What a constructor raises that does not take its arguments; torch asserts some of them.
_REFUSALS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A class of ``torch.nn`` or ``paramaudit.layers`` with literal arguments, or ``Parameter(sizes)``."""

    text: str
    name: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]

    def build(self, device: str = "cpu") -> nn.Module:
        """The layer itself, with torch's random initial weights.

        Raises:
            ValueError: it does not take these arguments.
        """
        try:
            if self.name == PARAMETER:
                return _Stored(self.args, device)
            if hasattr(computed, self.name):
                return _class(self.name)(*self.args, **dict(self.kwargs))
            with torch.device(device):
                return _class(self.name)(*self.args, **dict(self.kwargs))
        except _REFUSALS as error:
            raise ValueError(f"{self.text}: {' '.join(str(error).split())}") from error

    def numbers(self) -> int:
        """How many numbers it stores as parameters."""
        return sum(parameter.numel() for parameter in self.build("meta").parameters())

    def numbers_without_bias(self) -> int | None:
        """How many with ``bias=False``; None where the text says which, or there is no bias to leave out."""
        if self.name == PARAMETER:
            return None
        signature = inspect.signature(_class(self.name))
        if "bias" not in signature.parameters:
            return None
        if "bias" in signature.bind(*self.args, **dict(self.kwargs)).arguments:
            return None
        return Layer(self.text, self.name, self.args, (*self.kwargs, ("bias", False))).numbers()


class _Stored(nn.Module):
    """A stored tensor without anything that reads it."""

    def __init__(self, sizes: tuple[Any, ...], device: str) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.empty(sizes, device=device))


def read(value: object) -> Layer:
    """The layer of a text such as ``Conv1d(1, 64, 5, padding=2)``; nothing in it is evaluated.

    Raises:
        ValueError: it is not one call of a known layer with literal arguments that the layer takes.
    """
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a layer such as 'Linear(256, 512)'")
    try:
        call = ast.parse(value.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("no call")
        args = tuple(ast.literal_eval(argument) for argument in call.args)
        kwargs = tuple((str(k.arg), ast.literal_eval(k.value)) for k in call.keywords if k.arg)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{value!r} is not a layer such as 'Linear(256, 512)'") from error
    name = call.func.id
    if name != PARAMETER and not _is_known(name):
        raise ValueError(f"{value!r}: neither torch.nn nor paramaudit.layers has a layer {name!r}")
    layer = Layer(value.strip(), name, args, kwargs)
    layer.build("meta")
    return layer


def chain(stated: tuple[Layer, ...], seed: int = 0, device: str = "cpu") -> nn.Module:
    """The layers one after the other, their random weights drawn from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)
        return nn.Sequential(*(layer.build(device) for layer in stated)).eval()


def output(stated: tuple[Layer, ...], shape: tuple[int, ...]) -> Tensor:
    """What the layers make of float32 inputs of a shape, without numbers.

    Raises:
        ValueError: they do not take inputs of this shape.
    """
    try:
        result = chain(stated, device="meta")(torch.empty(shape, device="meta"))
    except _REFUSALS as error:
        raise ValueError(f"shape {list(shape)}: {' '.join(str(error).split())}") from error
    if not isinstance(result, Tensor):
        raise ValueError(f"{texts(stated)}: more than one output")
    return result


def texts(stated: tuple[Layer, ...]) -> str:
    """The layers for a sentence."""
    return ", ".join(layer.text for layer in stated)


def _is_known(name: str) -> bool:
    found = getattr(computed, name, None) or getattr(nn, name, None)
    return isinstance(found, type) and issubclass(found, nn.Module) and not name.startswith("_")


def _class(name: str) -> type[nn.Module]:
    found: type[nn.Module] = getattr(computed, name, None) or getattr(nn, name)
    return found
