"""Careful changes to a copy of a program's graph."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._dispatch.python import enable_python_dispatcher
from torch.fx.node import map_arg

from paramaudit.graph import facts
from paramaudit.graph.program import Program, attribute, copy_module, placeholders, stored
from paramaudit.graph.shapes import Size, same, shape


class Draft:
    """A working copy of a program: emit calls, add numbers, replace nodes. The program stays untouched.

    ``origin`` maps the name of every number that was added to the state-dict keys it was made from.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.module = copy_module(program.module)
        self.origin: dict[str, tuple[str, ...]] = {}
        self._unsettled: dict[str, torch.dtype] = {}
        self._wanted: dict[str, str] = {}
        self._names = {node.name for node in program.graph.nodes}
        self._stands: dict[str, str] = {}
        self._shared = _names_of_one_memory(program)
        self._fake = next(
            (v.fake_mode for n in self.graph.nodes if hasattr(v := n.meta.get("val"), "fake_mode")), None
        )
        self.clean()

    @property
    def graph(self) -> fx.Graph:
        """The graph that is being changed."""
        return self.module.graph

    def clean(self) -> None:
        """Drop nodes that nobody reads."""
        self.graph.eliminate_dead_code(lambda node: facts.is_impure(node))

    def finish(self) -> Program:
        """The changed program."""
        self.clean()
        self._tidy_names()
        self.graph.lint()
        module = copy_module(self.module)
        module.recompile()
        kept = dict(stored(module))
        trained = {name for name, tensor in kept.items() if self._is_parameter(name, tensor)}
        return replace(
            self.program,
            module=module,
            parameters={name: tensor for name, tensor in kept.items() if name in trained},
            buffers={name: tensor for name, tensor in kept.items() if name not in trained},
        )

    def _tidy_names(self) -> None:
        """Numbers that were added take the name they were meant to have, where it is free by now."""
        for target, wanted in list(self._wanted.items()):
            nodes = [
                n for n in self.graph.nodes if n.op in ("get_attr", "call_module") and n.target == target
            ]
            used = {str(n.target) for n in self.graph.nodes if n.op in ("get_attr", "call_module")}
            free = not any(u == wanted or u.startswith(f"{wanted}.") for u in used)
            if nodes and free and target != wanted:
                self._set(wanted, attribute(self.module, target))
                self.origin[wanted] = self.origin.pop(target, ())
                for node in nodes:
                    node.target = wanted

    def _is_parameter(self, name: str, tensor: Tensor) -> bool:
        return name in self.program.parameters or isinstance(tensor, nn.Parameter)

    # --- reading ---

    def tensor(self, node: Any) -> Tensor | None:
        """The stored tensor behind a ``get_attr`` node, None for anything else."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return None
        value = attribute(self.module, str(node.target))
        return value.detach() if isinstance(value, Tensor) else None

    def float64(self, node: fx.Node) -> Tensor:
        """The stored tensor behind a ``get_attr`` node in float64.

        Raises:
            LookupError: the node reads no stored tensor.
        """
        tensor = self.tensor(node)
        if tensor is None:
            msg = f"{node.name} reads no stored tensor"
            raise LookupError(msg)
        return tensor.to("cpu", torch.float64)

    def alone(self, *nodes: fx.Node | None) -> bool:
        """Whether each node (None passes) is a stored tensor with a single reader under all its names."""
        return all(n is None or self._read_once(n) for n in nodes)

    def _read_once(self, node: fx.Node) -> bool:
        if node.op != "get_attr" or len(node.users) != 1:
            return False
        names = self._shared.get(str(node.target), {str(node.target)})
        readers = [n for n in self.graph.find_nodes(op="get_attr", sort=False) if str(n.target) in names]
        return len(readers) == 1

    def keys(self, nodes: Sequence[fx.Node]) -> tuple[str, ...]:
        """The original state-dict keys behind the stored numbers among ``nodes`` and their arguments."""
        names: dict[str, None] = {}
        stack = list(nodes)
        seen: set[fx.Node] = set()
        while stack:
            node = stack.pop(0)
            if node in seen:
                continue
            seen.add(node)
            if node.op == "get_attr":
                names.update(dict.fromkeys(self.origin.get(str(node.target), (str(node.target),))))
            elif node.op == "call_module":
                names.update(dict.fromkeys(self.origin.get(str(node.target), ())))
        return tuple(sorted(names))

    # --- writing ---

    def call(self, target: Callable[..., Any], *args: Any, path_of: fx.Node, **kwargs: Any) -> fx.Node:
        """Emit an aten call at the insertion point; it speaks of the module of ``path_of``."""
        node = self.graph.call_function(target, args, kwargs)
        value_args, value_kwargs = map_arg((args, kwargs), lambda n: n.meta["val"])
        with self._symbolic():
            node.meta["val"] = target(*value_args, **value_kwargs)
        return self._describe(node, path_of)

    @contextmanager
    def _symbolic(self) -> Iterator[None]:
        """Around a call on values without data: a symbolic size must not become the example's size.

        Raises:
            RuntimeError: the call would assume something about a symbolic size.
        """
        if self._fake is None:
            with torch.no_grad():
                yield
            return
        sizes = self._fake.shape_env
        strict = getattr(sizes, "error_on_new_guards", nullcontext)
        known = dict(sizes.replacements) if sizes is not None else {}
        with self._fake, enable_python_dispatcher(), strict(), torch.no_grad():
            yield
        if sizes is not None and sizes.replacements != known:
            msg = "a symbolic size was taken for the example's"
            raise RuntimeError(msg)

    def again(self, node: fx.Node, *args: Any) -> fx.Node:
        """Emit the same call with other arguments of the same shapes; its value keeps the shape."""
        new = self.graph.create_node(node.op, node.target, args, dict(node.kwargs))
        new.meta["val"] = node.meta["val"]
        return self._describe(new, node)

    def follow(self, node: fx.Node, moved: dict[fx.Node, fx.Node]) -> fx.Node:
        """The calls from a node in ``moved`` to ``node``, each on its first argument, on what it became."""
        if node not in moved:
            source: Any = node.args[0]
            before = self.follow(source, moved)
            with self.graph.inserting_before(node):
                moved[node] = self.again(node, before, *node.args[1:])
        return moved[node]

    def number(
        self, name: str, value: Tensor, dtype: torch.dtype, made_from: Sequence[str], path_of: fx.Node
    ) -> fx.Node:
        """Store a new tensor under ``name``, or a free name near it, and read it at the insertion point.

        ``value`` is kept as computed, in float64, until :meth:`settle` rounds it to ``dtype``.
        """
        target = self._store(name, nn.Parameter(value.contiguous(), requires_grad=True))
        self.origin[target] = tuple(sorted(set(made_from)))
        self._unsettled[target] = dtype
        node = self.graph.get_attr(target)
        rounded = value.to(dtype)
        node.meta["val"] = self._fake.from_tensor(rounded, static_shapes=True) if self._fake else rounded
        return self._describe(node, path_of)

    def settle(self) -> bool:
        """Round every new number to the dtype it is stored in; True when that changed any."""
        changed = False
        for target, dtype in self._unsettled.items():
            computed = attribute(self.module, target).detach()
            rounded = computed.to(dtype)
            changed = changed or not torch.equal(rounded.to(computed.dtype), computed)
            self._set(target, nn.Parameter(rounded))
        self._unsettled.clear()
        return changed

    def layer(
        self,
        name: str,
        layer: nn.Module,
        source: fx.Node,
        like: fx.Node,
        made_from: Sequence[str],
        *,
        whole: bool = False,
    ) -> fx.Node:
        """Call a layer that maps ``source`` to a tensor with the last dimension of ``like``.

        A layer for the ``whole`` of ``like`` returns all of its dimensions instead.
        """
        target = self._store(name, layer)
        self.origin[target] = tuple(sorted(set(made_from)))
        return self._call_layer(target, source, like, whole)

    def layer_again(self, layer: fx.Node, source: fx.Node, like: fx.Node) -> fx.Node:
        """Call a layer that is already there on another tensor."""
        return self._call_layer(str(layer.target), source, like)

    def _call_layer(self, target: str, source: fx.Node, like: fx.Node, whole: bool = False) -> fx.Node:
        node = self.graph.call_module(target, (source,))
        value = like.meta["val"]
        leading = value.shape[:-1] if whole else source.meta["val"].shape[:-1]
        with self._symbolic():
            node.meta["val"] = value.new_empty((*leading, value.shape[-1]))
        return self._describe(node, like)

    def read_again(self, stored_node: fx.Node, path_of: fx.Node) -> fx.Node:
        """Read a stored number at the insertion point too."""
        node = self.graph.get_attr(str(stored_node.target))
        node.meta["val"] = stored_node.meta["val"]
        return self._describe(node, path_of)

    def reshape_like(self, node: fx.Node, like: fx.Node, source: fx.Node) -> fx.Node:
        """``node`` in the shape of ``like``; symbolic sizes are read off ``source`` or the inputs.

        Raises:
            LookupError: they do not tell a size.
        """
        have, want = shape(node) or (), shape(like) or ()
        if len(have) == len(want) and all(str(a) == str(b) for a, b in zip(have, want, strict=True)):
            return node
        sizes = [self.length(size, like, source) for size in want]
        if sizes.count(None) == 1:
            sizes[sizes.index(None)] = -1
        if None in sizes:
            msg = f"the shape of {like.name} cannot be told from {source.name}"
            raise LookupError(msg)
        return self.call(torch.ops.aten.reshape.default, node, sizes, path_of=like)

    def length(self, size: Size, path_of: fx.Node, *sources: fx.Node) -> int | fx.Node | None:
        """A size as an int or read off ``sources`` and the program's inputs; None where they do not tell it.

        Read off an input, and not off the tensor that has the size, it keeps no computation alive.
        """
        if isinstance(size, int) or size.is_number:
            return int(size)
        for node in (*sources, *placeholders(self.graph)):
            for axis, mine in enumerate(shape(node) or ()):
                if same(mine, size):
                    return self.call(torch.ops.aten.sym_size.int, node, axis, path_of=path_of)
        factors = size.as_ordered_factors()
        found = [self.length(factor, path_of, *sources) for factor in factors if len(factors) > 1]
        if not found or None in found:
            return None
        total = found[0]
        for factor in found[1:]:
            total = self.call(operator.mul, total, factor, path_of=path_of)
        return total

    def replace(self, old: fx.Node, new: fx.Node) -> None:
        """Readers of ``old`` read ``new`` from now on."""
        if new.name not in self._names:
            self._stands[new.name] = self.name_of(old)
        old.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new, propagate_meta=False)

    def name_of(self, node: fx.Node) -> str:
        """The name of the program's node whose value this one has, or a name that the program lacks."""
        return self._stands.get(node.name, node.name)

    def discard(self, nodes: Sequence[fx.Node]) -> None:
        """Take back nodes that were emitted and turned out wrong."""
        for node in sorted(nodes, reverse=True):
            if not node.users:
                self.graph.erase_node(node)

    def _store(self, name: str, value: nn.Parameter | nn.Module) -> str:
        name = self._wanted.get(name, name)  # what replaces an added number wants that number's name
        used = {str(node.target) for node in self.graph.nodes if node.op in ("get_attr", "call_module")}
        target, count = name, 1
        while target in used or any(u.startswith(f"{target}.") for u in used):
            count += 1
            target = f"{name}_{count}"
        self._wanted[target] = name
        self._set(target, value)
        return target

    def _set(self, target: str, value: nn.Parameter | nn.Module) -> None:
        *parents, leaf = target.split(".")
        owner: nn.Module = self.module
        for part in parents:
            child = getattr(owner, part, None)
            if not isinstance(child, nn.Module):
                child = nn.Module()
                setattr(owner, part, child)
            owner = child
        if hasattr(owner, leaf):
            delattr(owner, leaf)
        setattr(owner, leaf, value)

    def _describe(self, node: fx.Node, path_of: fx.Node) -> fx.Node:
        for key in ("nn_module_stack", "stack_trace"):
            if key in path_of.meta:
                node.meta[key] = path_of.meta[key]
        return node

    # --- counting ---

    def count(self) -> int:
        """Floating-point numbers read by live nodes, each storage once, the original's buffers apart."""
        alive = facts.live(self.graph)
        targets = {str(n.target) for n in alive if n.op in ("get_attr", "call_module")}
        seen: dict[int, int] = {}
        for name, tensor in stored(self.module):
            owner = name if name in targets else name.rsplit(".", 1)[0]
            if not targets & {owner, *(owner[:i] for i, letter in enumerate(owner) if letter == ".")}:
                continue
            if name in self.program.buffers or not (tensor.is_floating_point() or tensor.is_complex()):
                continue
            numbers = tensor.numel() * (2 if tensor.is_complex() else 1)
            key = tensor.untyped_storage().data_ptr() if tensor.numel() else id(tensor)
            seen[key] = max(seen.get(key, 0), numbers)
        return sum(seen.values())


def _names_of_one_memory(program: Program) -> dict[str, set[str]]:
    """For every name of a stored tensor that has several, all of them."""
    groups: dict[int, set[str]] = defaultdict(set)
    for name, tensor in (*program.parameters.items(), *program.buffers.items()):
        if tensor.numel():
            groups[tensor.untyped_storage().data_ptr()].add(name)
    return {name: names for names in groups.values() if len(names) > 1 for name in names}
