"""Models that Python code builds: ``path/to/file.py:function`` and ``package.module:function``.

The user named this code, so it runs. It leaves nothing behind: search path, random numbers, default dtype and
gradient mode are as before, and what it prints goes to stderr, since stdout carries our document alone.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from paramaudit.errors import TargetError
from paramaudit.load.text import cause, short

_SOURCE = re.compile(
    r"(?P<where>.+\.py|[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<function>[^\W\d]\w*(\.[^\W\d]\w*)*)", re.DOTALL
)
_MARK = "__paramaudit_loaded__"  # on modules that we imported from the user's folder


def is_source(target: str) -> bool:
    """True when ``target`` has the form ``FILE.py:FUNCTION`` or ``PACKAGE.MODULE:FUNCTION``."""
    return _SOURCE.fullmatch(target) is not None


def build(target: str) -> tuple[nn.Module, object | None]:
    """Call the factory and return its module and example inputs (None when it gives none).

    Args:
        target: ``FILE.py:FUNCTION`` or ``PACKAGE.MODULE:FUNCTION``.

    Raises:
        TargetError: there is no such function, it raises, or it returns something else; with file and line.
    """
    value = call(target)
    if isinstance(value, nn.Module):
        return value, None
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], nn.Module):
        return value[0], value[1]
    what = type(value).__name__
    if isinstance(value, type) and issubclass(value, nn.Module):
        what = f"the class {value.__name__}, not an instance of it"
    elif isinstance(value, tuple):
        what = f"a tuple of ({', '.join(type(v).__name__ for v in value)})"
    raise TargetError(f"{target} returned {what}; return an nn.Module, or (module, inputs)")


def call(target: str) -> object:
    """Import the code that ``target`` names and call the function without arguments.

    Raises:
        TargetError: as for :func:`build`.
    """
    match = _SOURCE.fullmatch(target)
    if match is None:
        raise TargetError(
            f"{short(target)!r} names no function; write FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION"
        )
    where = match["where"]
    path = Path(where).absolute() if where.endswith(".py") else None
    if path is not None and not path.is_file():
        raise TargetError(f"{where} does not exist, or is no file")
    folder = path.parent if path is not None else Path.cwd()
    with importing_from(folder), _state_restored():
        try:
            module = _import_file(path) if path is not None else importlib.import_module(where)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # user code raises anything, SystemExit too; it is reported
            raise TargetError(f"importing {where} raised {cause(error)}{_place(error, folder)}") from error
        function = _function(module, match["function"], where)
        try:
            return function()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise TargetError(f"{target} raised {cause(error)}{_place(error, folder)}") from error


@contextlib.contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Put ``folder`` first on the search path, and forget what an earlier target imported from its own.

    Without the second, two folders that both hold a ``model.py`` would share the first one. No byte code
    is written.
    """
    for name in [n for n, m in sys.modules.items() if hasattr(m, _MARK)]:
        del sys.modules[name]
    before, path, bytecode = set(sys.modules), list(sys.path), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = bytecode
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and Path(file).is_relative_to(folder) and "site-packages" not in file:
                setattr(sys.modules[name], _MARK, True)


def _import_file(path: Path) -> ModuleType:
    # A file called like a module that is loaded already must not replace it.
    name = path.stem if path.stem not in sys.modules else f"_{path.stem}_of_target"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _function(module: ModuleType, name: str, where: str) -> Callable[[], object]:
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise TargetError(f"{where} has no {name!r}{_alternatives(module)}")
        found = getattr(found, part)
    if isinstance(found, nn.Module) or not callable(found):
        raise TargetError(
            f"{where}:{name} is {type(found).__name__}, not a function; name one that returns the module"
        )
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise TargetError(
            f"{where}:{name} needs arguments ({error}); name a function that takes none"
        ) from error
    except ValueError:
        pass  # a builtin without signature: the call itself will tell
    return found


def _alternatives(module: ModuleType) -> str:
    own = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
    return f"; it has {', '.join(own[:5])}" if own else ""


def _place(error: BaseException, folder: Path) -> str:
    """`` (file.py:12)``: the innermost line of the user's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({_shown(error.filename)}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).is_relative_to(folder) and "site-packages" not in f.filename]
    return f" ({_shown(own[-1].filename)}:{own[-1].lineno})" if own else ""


def _shown(filename: str) -> str:
    relative = os.path.relpath(filename)
    return filename if relative.startswith("..") else relative


@contextlib.contextmanager
def _state_restored() -> Iterator[None]:
    dtype, gradients, python, numpy = (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        random.getstate(),
        np.random.get_state(),  # noqa: NPY002 - the state that user code draws from
    )
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.random.fork_rng(devices=devices), contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
