"""Capture a model once with ``torch.export``; every dimension is dynamic unless the model fixes it."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from paramaudit.errors import CaptureError, InputError, OptionError
from paramaudit.graph.conditions import conditions, guarded, guards, met
from paramaudit.graph.faithful import check, outputs, untouched
from paramaudit.graph.functional import unlifted, without_effects
from paramaudit.graph.program import Program, output_leaves, output_node, placeholders
from paramaudit.graph.shapes import size
from paramaudit.records import Contract, InputSpec, Loaded, Specialised

_AUTO = torch.export.Dim.AUTO
_FIXED = "the model fixes this size"


def capture(
    loaded: Loaded,
    *,
    mode: str = "eval",
    static: Mapping[str, int] | None = None,
    dynamic: Sequence[str] = (),
    read: Sequence[str] = (),
) -> Program:
    """Capture ``loaded`` as a program.

    Args:
        loaded: a module with example inputs, or an exported program.
        mode: "eval" or "train".
        static: sizes of input dimensions to hold constant, by the name that the contract prints.
        dynamic: names of dimensions that must stay symbolic.
        read: names of the outputs that are read; all when empty.

    Raises:
        CaptureError: the model cannot be exported.
        InputError: the example inputs do not fit the model.
        OptionError: a name in ``static``, ``dynamic`` or ``read`` is unknown, or cannot be met.
    """
    if loaded.exported is not None:
        program = _from_exported(loaded.exported, loaded, {})
        if static:
            program = _narrow(program, loaded, static)
    elif loaded.module is not None:
        if not loaded.has_inputs:
            msg = f"{loaded.target} brings no example inputs; return (module, inputs) or give --inputs"
            raise InputError(msg)
        program = _from_module(loaded.module, loaded, mode, dict(static or {}))
    else:
        msg = f"{loaded.target} holds stored numbers only; pass --factory file.py:function for its model"
        raise CaptureError(msg)
    for name in dynamic:
        names = {size for spec in program.contract.inputs for size in spec.shape if isinstance(size, str)}
        if name not in names:
            msg = f"--dynamic {name}: the model fixes it or has no such dimension; symbolic: {_listed(names)}"
            raise OptionError(msg)
    return _restrict(program, read) if read else program


def _from_module(module: nn.Module, loaded: Loaded, mode: str, static: dict[str, int]) -> Program:
    with _in_mode(module, mode), untouched(module):
        args, kwargs = _widened(module, loaded.args, dict(loaded.kwargs))
        exported = _export(module, args, kwargs, lambda _leaf, _dim: False)
        held: dict[tuple[int, int], str] = {}
        if static:
            names = _dimension_names(exported, _symbol_names(exported, loaded))
            args, kwargs, held = _held(names, args, kwargs, static)
            if not _attempt(module, args, kwargs, required=False):
                asked = ", ".join(dict.fromkeys(held.values()))
                msg = f"{asked}: the model does not run on inputs of that size"
                raise OptionError(msg)
            exported = _export(module, args, kwargs, lambda leaf, dim: (leaf, dim) in held)
        program = _program(exported, args, kwargs, loaded, mode, held, _types(module))
        check(module, program)
    return program


def _from_exported(
    exported: torch.export.ExportedProgram, loaded: Loaded, held: dict[tuple[int, int], str]
) -> Program:
    args, kwargs = loaded.args, dict(loaded.kwargs)
    if not args and not kwargs and exported.example_inputs is not None:
        args, kwargs = exported.example_inputs[0], dict(exported.example_inputs[1])
    return _program(exported, tuple(args), kwargs, loaded, "eval", held, {})


def _narrow(program: Program, loaded: Loaded, static: Mapping[str, int]) -> Program:
    if loaded.exported is None:
        return program
    symbols = _symbol_names(loaded.exported, loaded)
    names = {at: n for at, n in _dimension_names(loaded.exported, symbols).items() if n in symbols.values()}
    args, kwargs, held = _held(names, program.args, dict(program.kwargs), static)
    if not met(program, args, kwargs):
        msg = f"{', '.join(dict.fromkeys(held.values()))}: the program was exported for other sizes"
        raise OptionError(msg)
    exported = _export(program.module, args, kwargs, lambda leaf, dim: (leaf, dim) in held)
    exported = guarded(exported, program.guards)
    return _program(exported, args, kwargs, loaded, "eval", held, dict(program.types))


def from_exported(exported: torch.export.ExportedProgram, like: Program) -> Program:
    """The program of an exported graph with the example inputs of another one."""
    loaded = Loaded("", "pt2", exported=exported, args=tuple(like.args), kwargs=dict(like.kwargs))
    return _from_exported(exported, loaded, {})


def reexport(program: Program) -> torch.export.ExportedProgram:
    """Export a program again, dynamic where its contract is symbolic and guarded as it was."""
    specs = program.contract.inputs

    def fixed(leaf: int, dim: int) -> bool:
        return isinstance(specs[leaf].shape[dim], int)

    return guarded(_export(program.module, program.args, dict(program.kwargs), fixed), program.guards)


# --- exporting ----------------------------------------------------------------------------------


def _export(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], fixed: Any
) -> torch.export.ExportedProgram:
    leaves, spec = pytree.tree_flatten((args, kwargs))
    kinds = {True: torch.export.Dim.STATIC, False: _AUTO}
    shapes = [
        {d: kinds[fixed(i, d)] for d in range(leaf.dim())} if isinstance(leaf, Tensor) else None
        for i, leaf in enumerate(leaves)
    ]
    arg_shapes, kwarg_shapes = pytree.tree_unflatten(shapes, spec)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _quiet(), torch.random.fork_rng(devices=[]), _spelled_out(module, args, kwargs):
            dynamic = dict(inspect.signature(module.forward).bind(*arg_shapes, **kwarg_shapes).arguments)
            return torch.export.export(module, args, kwargs, dynamic_shapes=dynamic, strict=False)
    except (Exception, SystemExit) as error:  # a model may call sys.exit
        what = f"{type(error).__name__}: {_first_line(error)}"
        msg = f"the model cannot be exported: {what}{_place(error)}"
        raise CaptureError(msg) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Around an export, which warns, logs and prints whole graphs before it raises."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    unread = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(unread),
            contextlib.redirect_stderr(unread),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _spelled_out(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[None]:
    """A ``forward(*args, **kwargs)`` with its arguments named, which dynamic shapes need."""
    original = module.forward
    kinds = {p.kind for p in inspect.signature(original).parameters.values()}
    if not kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        yield
        return
    names = [
        *(inspect.Parameter(f"args_{i}", inspect.Parameter.POSITIONAL_OR_KEYWORD) for i in range(len(args))),
        *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in kwargs),
    ]

    def forward(*positional: Any, **named: Any) -> Any:
        return original(*positional, **named)

    vars(forward)["__signature__"] = inspect.Signature(names)
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def _widened(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Example inputs with dimensions of size 1 repeated to 2 where the model accepts that.

    Export makes a dimension static when the example has size 1 there, and a size known only from the
    example is no fact. All of them are tried first, then the leading ones, then one at a time.
    """
    leaves, spec = pytree.tree_flatten((args, kwargs))
    _attempt(module, args, kwargs, required=True)
    ones = [
        (i, d)
        for i, leaf in enumerate(leaves)
        if isinstance(leaf, Tensor)
        for d in range(leaf.dim())
        if leaf.shape[d] == 1
    ]
    groups = [ones, [(i, d) for i, d in ones if d == 0], *[[one] for one in ones]]
    for group in (g for n, g in enumerate(groups) if g and g not in groups[:n]):
        candidate = list(leaves)
        for i, d in group:
            if candidate[i].shape[d] == 1:
                candidate[i] = torch.cat([candidate[i], candidate[i]], d)
        new_args, new_kwargs = pytree.tree_unflatten(candidate, spec)
        if _attempt(module, new_args, new_kwargs, required=False):
            leaves = candidate
            if group is groups[0]:
                break
    args, kwargs = pytree.tree_unflatten(leaves, spec)
    return tuple(args), dict(kwargs)


def _attempt(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], *, required: bool) -> bool:
    try:
        outputs(module, args, kwargs)
    except (Exception, SystemExit) as error:  # a model may call sys.exit
        if required:
            what = f"{type(error).__name__}: {_first_line(error)}"
            msg = f"the model does not run on its example inputs: {what}"
            raise InputError(msg) from error
        return False
    return True


@contextmanager
def _in_mode(module: nn.Module, mode: str) -> Iterator[None]:
    before = [(part, part.training) for part in module.modules()]
    module.train(mode == "train")
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"


def _place(error: BaseException) -> str:
    """`` (model.py:12)`` where torch says which line of the model an export failed at."""
    found = re.search(r'File "([^"]+)", line (\d+)', str(error))
    return f" ({Path(found[1]).name}:{found[2]})" if found else ""


# --- names and the contract ---------------------------------------------------------------------


def _symbol_names(exported: torch.export.ExportedProgram, loaded: Loaded) -> dict[str, str]:
    """A readable name for each symbol: given by the user, "batch" for a leading one, else input_dim."""
    names: dict[str, str] = {}
    for i, (name, value) in enumerate(_inputs(unlifted(exported).graph)):
        for d, length in enumerate(getattr(value, "shape", ())):
            symbol = str(size(length))
            if isinstance(size(length), int) or symbol in names:
                continue
            wanted = loaded.symbols.get((i, d)) or ("batch" if d == 0 else f"{name}_{d}")
            names[symbol] = wanted if wanted not in names.values() else f"{name}_{d}"
    return names


def _inputs(graph: fx.Graph) -> list[tuple[str, Any]]:
    return [(str(node.target), node.meta.get("val")) for node in placeholders(graph)]


def _dimension_names(
    exported: torch.export.ExportedProgram, symbols: Mapping[str, str]
) -> dict[tuple[int, int], str]:
    """The name of every (input, dimension); one that export had to fix to the example's is input_dim."""
    return {
        (i, d): symbols.get(str(size(length)), f"{name}_{d}")
        for i, (name, value) in enumerate(_inputs(unlifted(exported).graph))
        for d, length in enumerate(getattr(value, "shape", ()))
    }


def _held(
    names: Mapping[tuple[int, int], str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    static: Mapping[str, int],
) -> tuple[tuple[Any, ...], dict[str, Any], dict[tuple[int, int], str]]:
    """Example inputs resized to the declared sizes, and which (input, dimension) they fix."""
    unknown = set(static) - set(names.values())
    if unknown:
        msg = f"--static {sorted(unknown)[0]}: no such dimension; there are: {_listed(set(names.values()))}"
        raise OptionError(msg)
    leaves, spec = pytree.tree_flatten((args, kwargs))
    held: dict[tuple[int, int], str] = {}
    for (i, d), name in names.items():
        if name in static:
            index = torch.arange(static[name]) % leaves[i].shape[d]
            leaves[i] = leaves[i].index_select(d, index)
            held[(i, d)] = f"--static {name}={static[name]}"
    args, kwargs = pytree.tree_unflatten(leaves, spec)
    return tuple(args), dict(kwargs), held


def _program(
    exported: torch.export.ExportedProgram,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    loaded: Loaded,
    mode: str,
    held: Mapping[tuple[int, int], str],
    types: dict[str, str],
) -> Program:
    module = without_effects(exported)
    names = _symbol_names(exported, loaded)
    inputs: list[InputSpec] = []
    specialised: list[Specialised] = []
    for i, (name, value) in enumerate(_inputs(module.graph)):
        sizes = [size(length) for length in getattr(value, "shape", ())]
        shape = tuple(length if isinstance(length, int) else names[str(length)] for length in sizes)
        dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__
        inputs.append(InputSpec(name, dtype, shape))
        fixed = [d for d, length in enumerate(shape) if isinstance(length, int)]
        specialised.extend(Specialised(name, d, held.get((i, d), _FIXED)) for d in fixed)
    outputs = _output_names(module)
    found = guards(exported)
    contract = Contract(mode, tuple(inputs), outputs, tuple(specialised), conditions(found, inputs))
    state = dict(exported.state_dict)
    constants = {k: v for k, v in exported.constants.items() if isinstance(v, Tensor)}
    parameters = {k: v for k, v in state.items() if k in set(exported.graph_signature.parameters)}
    buffers = {k: v for k, v in {**state, **constants}.items() if k not in parameters}
    types = types or _types_from_graph(module.graph)
    return Program(module, contract, tuple(args), kwargs, parameters, buffers, types, found)


def _types(module: nn.Module) -> dict[str, str]:
    return {path: type(part).__name__ for path, part in module.named_modules()}


def _types_from_graph(graph: fx.Graph) -> dict[str, str]:
    types = {"": "ExportedProgram"}
    for node in graph.nodes:
        for path, kind in (node.meta.get("nn_module_stack") or {}).values():
            if isinstance(path, str) and not path.startswith("_empty"):
                name = kind if isinstance(kind, str) else kind.__name__
                types.setdefault(path.split("@")[0], name.rsplit(".", 1)[-1])
    return types


def _output_names(module: fx.GraphModule) -> tuple[str, ...]:
    """Dotted names of the returned leaves, by their place in the returned structure."""
    codegen: Any = module.graph._codegen
    spec = codegen.pytree_info.out_spec
    count = len(output_leaves(module.graph))
    tree = pytree.tree_unflatten(list(range(count)), spec) if spec is not None else list(range(count))
    pairs, _ = pytree.tree_flatten_with_path(tree)
    return tuple(".".join(map(_key, path)) or "output" for path, _ in pairs)


def _key(entry: Any) -> str:
    return str(getattr(entry, "key", getattr(entry, "idx", entry)))


def _restrict(program: Program, read: Sequence[str]) -> Program:
    unknown = [name for name in read if name not in program.contract.outputs]
    if unknown:
        msg = f"--read {unknown[0]}: no such output; there are: {_listed(program.contract.outputs)}"
        raise OptionError(msg)
    graph = program.module.graph
    leaves = output_leaves(graph)
    kept = {name: leaf for name, leaf in zip(program.contract.outputs, leaves, strict=True) if name in read}
    flat, spec = pytree.tree_flatten(kept)
    output_node(graph).args = (tuple(flat),)
    codegen: Any = graph._codegen
    codegen.pytree_info = codegen.pytree_info._replace(out_spec=spec)
    program.module.recompile()
    contract = dataclasses.replace(program.contract, outputs=tuple(kept), read=tuple(kept))
    return dataclasses.replace(program, contract=contract)


def _listed(names: Any) -> str:
    return ", ".join(sorted(map(str, names))) or "none"
