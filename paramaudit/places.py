"""Where in the user's own Python code each module of a model is built.

The functions of a class know their file, whatever has been imported since; the line is read off the syntax
tree of that file: the assignment that makes a submodule, the element of a list that does, or the class.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType

import torch
from torch import nn

from paramaudit.records import Loaded, ModuleRow

FOREIGN = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class Place:
    """A line of a file, and the expression there that builds the module where there is one."""

    file: str
    line: int
    value: ast.expr | None = None


def placed(rows: Sequence[ModuleRow], loaded: Loaded) -> tuple[ModuleRow, ...]:
    """The rows with the source line of each module, as far as it is known."""
    found = sources(loaded)
    return tuple(dataclasses.replace(row, source=found.get(row.path)) for row in rows)


def sources(loaded: Loaded) -> dict[str, str]:
    """``file:line`` by module path, the file relative to the working directory.

    For each module: the line that assigns it, the element of a list or dict that builds it, its class, or
    whatever is known of the module above it. Only the user's own code counts: no line of a library is
    named, and an exported program or a bare checkpoint has no lines at all.
    """
    if loaded.module is None:
        return {}
    code = Code()
    modules = dict(loaded.module.named_modules(remove_duplicate=False))
    places: dict[str, Place | None] = {}
    for path, module in modules.items():  # parents come before their children
        above, _, name = path.rpartition(".")
        if not path:
            places[path] = code.class_of(type(module)) or _factory(loaded.target, code)
            continue
        parent = modules[above]
        places[path] = (
            code.assignment(parent, name, module)
            or _element(places[above], parent, name)
            or code.class_of(type(module))
            or _without_value(places[above])
        )
    return {path: f"{_shown(place.file)}:{place.line}" for path, place in places.items() if place}


@dataclass(frozen=True)
class Code:
    """The syntax trees of the files that were asked for."""

    trees: dict[str, ast.Module | None] = field(default_factory=dict)

    def tree(self, file: str) -> ast.Module | None:
        """The tree of a file; None where it cannot be read or is no Python any more."""
        if file not in self.trees:
            try:
                with tokenize.open(file) as opened:
                    self.trees[file] = ast.parse(opened.read())
            except (OSError, SyntaxError, ValueError):
                self.trees[file] = None
        return self.trees[file]

    def definition(self, kind: type) -> tuple[str, ast.ClassDef] | None:
        """The file and the definition of a class of the user's own."""
        function = _function(kind)
        file = function.__code__.co_filename if function else _module_file(kind)
        if file is None or not _is_own(file):
            return None
        tree = self.tree(file)
        line = function.__code__.co_firstlineno if function else None
        named = [
            node
            for node in (ast.walk(tree) if tree else ())
            if isinstance(node, ast.ClassDef) and node.name == kind.__name__ and _spans(node, line)
        ]
        return (file, max(named, key=lambda node: node.lineno)) if named else None

    def class_of(self, kind: type) -> Place | None:
        """Where a class of the user's own is defined."""
        found = self.definition(kind)
        return Place(found[0], found[1].lineno) if found else None

    def assignment(self, parent: nn.Module, name: str, module: nn.Module) -> Place | None:
        """Where the parent's class, or one that it inherits from, makes the submodule of this name."""
        for kind in type(parent).__mro__:
            found = self.definition(kind)
            if found is None:
                continue
            made = [pair for method in _methods(found[1]) for pair in _made(method, name)]
            fitting = [pair for pair in made if _called(pair[1]) == type(module).__name__]
            for line, value in fitting or made:
                return Place(found[0], line, value)
        return None


def _function(kind: type) -> FunctionType | None:
    """A function that the body of the class defines, its constructor if it has one."""
    own = vars(kind)
    for name in sorted(own, key=lambda name: name != "__init__"):
        function = inspect.unwrap(own[name]) if isinstance(own[name], FunctionType) else None
        if isinstance(function, FunctionType) and function.__qualname__.startswith(kind.__qualname__ + "."):
            return function
    return None


def _module_file(kind: type) -> str | None:
    """The file of the module that still holds this very class."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    return file if getattr(module, kind.__name__, None) is kind else None


def _is_own(file: str) -> bool:
    path = Path(os.path.abspath(file))  # noqa: PTH100 - links stay links, as the user named them
    libraries = (Path(torch.__file__).parent, Path(sysconfig.get_path("stdlib")))
    if any(part in FOREIGN for part in path.parts) or any(path.is_relative_to(each) for each in libraries):
        return False
    return path.is_file()


def _spans(node: ast.ClassDef, line: int | None) -> bool:
    return line is None or node.lineno <= line <= (node.end_lineno or node.lineno)


def _methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The methods of a class, the constructor first."""
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    yield from sorted(methods, key=lambda method: method.name != "__init__")


def _made(method: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> list[tuple[int, ast.expr | None]]:
    """Every line of a method that makes the attribute, with the value given to it."""
    itself = method.args.args[0].arg if method.args.args else "self"
    found: list[tuple[int, ast.expr | None]] = []
    for node in ast.walk(method):
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.Call) and _is_registered(node, name):
            found.append((node.lineno, node.args[-1]))
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            if any(_is_attribute(part, itself, name) for part in parts):
                found.append((target.lineno, value if len(parts) == 1 else None))
    return sorted(found, key=lambda pair: pair[0])


def _is_attribute(node: ast.expr, itself: str, name: str) -> bool:
    """Whether this is ``self.name``."""
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return False
    return node.attr == name and node.value.id == itself


def _is_registered(call: ast.Call, name: str) -> bool:
    """``self.add_module(name, ...)``, ``self.register_module(name, ...)`` or ``setattr(self, name, ...)``."""
    if _called(call) not in ("add_module", "register_module", "setattr"):
        return False
    names = call.args[-2:-1]
    return len(names) == 1 and _names(names[0], name)


def _names(node: ast.expr, name: str) -> bool:
    """Whether a string, or a string with gaps as in ``f"block{i}"``, can be this name."""
    if isinstance(node, ast.Constant):
        return node.value == name
    if not isinstance(node, ast.JoinedStr):
        return False
    parts = [re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in node.values]
    return re.fullmatch("".join(parts), name) is not None


def _called(node: ast.expr | None) -> str | None:
    """The last name of what is called: "Linear" for ``nn.Linear(3, 4)``."""
    if not isinstance(node, ast.Call):
        return None
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)


def _element(above: Place | None, parent: nn.Module, name: str) -> Place | None:
    """The element of a container that is written out: ``nn.Sequential(a, b)``, ``nn.ModuleDict({...})``."""
    value = above.value if above else None
    if above is None or not isinstance(value, ast.Call) or _called(value) != type(parent).__name__:
        return None
    items: Sequence[ast.expr] = value.args
    if len(items) == 1 and isinstance(items[0], ast.Dict) and isinstance(parent, nn.ModuleDict):
        pairs = zip(items[0].keys, items[0].values, strict=True)
        return next((Place(above.file, v.lineno, v) for k, v in pairs if k and _names(k, name)), None)
    if not isinstance(parent, nn.Sequential | nn.ModuleList):
        return None
    if len(items) == 1:
        only = items[0].value if isinstance(items[0], ast.Starred) else items[0]
        items = only.elts if isinstance(only, ast.List | ast.Tuple) else items
    if any(isinstance(item, ast.Starred | ast.ListComp | ast.GeneratorExp) for item in items):
        return None
    if not name.isdigit() or int(name) >= len(items):
        return None
    return Place(above.file, items[int(name)].lineno, items[int(name)])


def _without_value(place: Place | None) -> Place | None:
    """Where the module above is; what builds that one does not build this one."""
    return place and Place(place.file, place.line)


def _factory(target: str, code: Code) -> Place | None:
    """The function of a target ``FILE.py:FUNCTION`` that builds the model."""
    file, _, name = target.rpartition(":")
    if not file.endswith(".py") or not _is_own(file):
        return None
    tree = code.tree(os.path.abspath(file))  # noqa: PTH100 - links stay links, as the user named them
    last = name.rpartition(".")[2]
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == last:
            return Place(file, node.lineno)
    return None


def _shown(file: str) -> str:
    """The file relative to the working directory, with forward slashes."""
    try:
        return Path(os.path.relpath(file)).as_posix()
    except ValueError:  # on another drive
        return Path(file).as_posix()
