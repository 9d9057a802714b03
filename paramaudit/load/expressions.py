"""Expressions that torch evaluates as Python while it reads a .pt2, and those that are only arithmetic.

Sizes are stored as text that ``sympy.sympify`` hands to ``eval``, guards as text that ends up in ``exec``.
Both are parsed here, never evaluated, and passed only when every part is on the list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from paramaudit.load.allowed import GUARD_FUNCTIONS, GUARD_MATH, GUARD_METHODS, GUARD_TORCH, SIZE_FUNCTIONS

# No quote but ', no backslash, comment or line break: text torch pastes into source must stay in its place.
_CHARACTERS = re.compile(r"[\w '()\[\],.+\-*/%=<>!&|~:@]*")
_MAX_LENGTH = 20_000
_MAX_POWER = 64
_MAX_TOWER = 3
_STRING = re.compile(r"[\w .:/@+\-]*")
_NUMBER = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?|[+-]?(inf|nan)")

_OPERATORS = (
    ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.And, ast.Or, ast.Not, ast.USub,
    ast.UAdd, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.Eq, ast.NotEq, ast.Lt,
    ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.BitAnd, ast.BitOr, ast.Invert, ast.LShift, ast.RShift,
)  # fmt: skip


def is_size(text: str) -> bool:
    """True when ``text`` is arithmetic over symbols: ``Symbol('s0')``, ``2*s0``."""
    return _passes(text, _is_size_part)


def is_guard(text: str) -> bool:
    """True when ``text`` only compares sizes and numbers of inputs, e.g. ``L['x'].size()[0] > 3``."""
    return _passes(text, _is_guard_part)


def _passes(text: str, part: Callable[[ast.AST], bool]) -> bool:
    try:
        tree = _parse(text)
        return tree is not None and part(tree) and _tower(tree) <= _MAX_TOWER
    except RecursionError:
        return False


def _parse(text: str) -> ast.expr | None:
    if len(text) > _MAX_LENGTH or not _CHARACTERS.fullmatch(text):
        return None
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_size_part(node: ast.AST) -> bool:
    match node:
        # sympy evaluates a string given to anything but these two.
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str() as name)], keywords=options):
            return name.isidentifier() and all(map(_is_flag, options))
        case ast.Call(
            func=ast.Name(id="Float"), args=[ast.Constant(value=str() as digits)], keywords=options
        ):
            return _NUMBER.fullmatch(digits) is not None and all(map(_is_flag, options))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=options):
            return (
                name in SIZE_FUNCTIONS and all(map(_is_size_part, arguments)) and all(map(_is_flag, options))
            )
        case ast.Constant(value=value):
            return isinstance(value, bool | int | float)
        case ast.Name():
            return True
        case _:
            return isinstance(node, _OPERATORS) and all(map(_is_size_part, ast.iter_child_nodes(node)))


def _is_flag(option: ast.keyword) -> bool:
    """``positive=True``, ``precision=53``."""
    return (
        option.arg is not None
        and isinstance(option.value, ast.Constant)
        and type(option.value.value) in (bool, int)
    )


def _is_guard_part(node: ast.AST) -> bool:
    """Top down, so that a name is only passed in a place where it is known to be harmless."""
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr=method), args=arguments, keywords=[]):
            if _is_math(owner, method) or (isinstance(owner, ast.Name) and _is_sym(owner.id, method)):
                return all(_is_guard_part(a) for a in arguments)
            return method in GUARD_METHODS and not arguments and _is_source(owner)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return name in GUARD_FUNCTIONS and all(_is_guard_part(a) for a in arguments)
        case ast.Attribute(value=owner, attr=attribute):
            return _is_math(owner, attribute) or (attribute == "shape" and _is_source(owner))
        case ast.Subscript(value=inner, slice=ast.Constant(value=key)):
            return _is_source(node) or (type(key) is int and _is_guard_part(inner))
        case ast.Constant(value=str() as value):
            return _STRING.fullmatch(value) is not None
        case ast.Constant(value=value):
            return value is None or isinstance(value, bool | int | float)
        case ast.Name(id=name):
            return name == "inf"
        case _:
            return isinstance(node, _OPERATORS) and all(_is_guard_part(n) for n in ast.iter_child_nodes(node))


def _is_source(node: ast.AST) -> bool:
    """``L['x']``, ``L['args'][0]['key']``: an input of the program."""
    match node:
        case ast.Subscript(value=ast.Name(id="L"), slice=ast.Constant(value=str() as key)):
            return _STRING.fullmatch(key) is not None
        case ast.Subscript(value=inner, slice=ast.Constant(value=str() as key)):
            return _STRING.fullmatch(key) is not None and _is_source(inner)
        case ast.Subscript(value=inner, slice=ast.Constant(value=int())):
            return _is_source(inner)
        case _:
            return False


def _is_math(owner: ast.AST, attribute: str) -> bool:
    return isinstance(owner, ast.Name) and owner.id == "math" and attribute in GUARD_MATH


def _is_sym(owner: str, function: str) -> bool:
    return owner == "torch" and function in GUARD_TORCH


def _tower(node: ast.AST) -> int:
    """How many powers stand on each other; a tall tower would be computed for ever."""
    below = max(map(_tower, ast.iter_child_nodes(node)), default=0)
    match node:
        case ast.BinOp(op=ast.Pow() | ast.LShift(), right=exponent):
            pass
        case ast.Call(func=ast.Name(id="Pow" | "PowByNatural" | "FloatPow" | "LShift"), args=[_, exponent]):
            pass
        case _:
            return below
    numbers = [n.value for n in ast.walk(exponent) if isinstance(n, ast.Constant)]
    tall = len(numbers) > 2 or any(isinstance(n, int | float) and n > _MAX_POWER for n in numbers)
    return _MAX_TOWER + 1 if tall or _tower(exponent) else below + 1
