"""The graph of a .pt2 is JSON, and torch turns parts of that JSON into Python source or imports.

In torch 2.13: sizes go through ``eval`` (sympy); guards, and the names of nodes, inputs, keywords and
parameters, through ``exec`` (they are pasted into generated source); tree specs may name a module to import;
and a node may name any function reachable from ``torch``. So every field has a rule here, and a field,
operator or type without one is refused. Free text stands only where torch keeps it as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from paramaudit.errors import TargetError, UnsafeTargetError
from paramaudit.load.allowed import CONTAINERS, NOTES, is_operator
from paramaudit.load.expressions import is_guard, is_size
from paramaudit.load.text import is_plain, short
from paramaudit.records import Json

_WORDS_FOR_NUMBERS = ("Infinity", "-Infinity", "NaN")

Rule = Callable[[str, Json], None]


def vet_json(data: bytes, label: str) -> Json:
    """Check one JSON document of a .pt2 (graph or payload list) against the rules.

    Args:
        data: the document as torch will read it.
        label: how messages call the file.

    Returns:
        The parsed document.

    Raises:
        TargetError: it is no JSON.
        UnsafeTargetError: a field is not known to be harmless; names it.
    """
    try:
        document: Json = json.loads(data.decode())
        _branch(label, document)
    except (ValueError, RecursionError) as error:
        raise TargetError(f"{label} holds a broken program description: {short(error)}") from error
    return document


def _branch(where: str, value: Json) -> None:
    """A record or list of records: every field is judged by its own rule."""
    if isinstance(value, list):
        for item in value:
            _branch(where, item)
    elif isinstance(value, dict):
        for field, item in value.items():
            rule = _RULES.get(field)
            if rule is None:
                raise _refusal(where, "an unknown field", field)
            rule(where, item)
    elif value is not None:
        raise _refusal(where, "an unexpected value", value)


def _table(accept: Callable[[str], bool]) -> Rule:
    """A dict whose keys the file chose."""

    def rule(where: str, value: Json) -> None:
        if not isinstance(value, dict):
            raise _refusal(where, "an unexpected value", value)
        for name, item in value.items():
            if not accept(name):
                raise _refusal(where, "a name that is no name", name)
            if isinstance(item, dict):
                _branch(where, item)
            else:
                _number(where, item)

    return rule


def _text(accept: Callable[[str], bool], what: str) -> Rule:
    """Text, or a list of texts, each of which ``accept`` passes."""

    def rule(where: str, value: Json) -> None:
        for item in value if isinstance(value, list) else [value]:
            if item is not None and not (isinstance(item, str) and accept(item)):
                raise _refusal(where, what, item)

    return rule


def _number(where: str, value: Json) -> None:
    if isinstance(value, list):
        for item in value:
            _number(where, item)
    elif isinstance(value, str) and value not in _WORDS_FOR_NUMBERS:
        raise _refusal(where, "text in the place of a number", value)
    elif isinstance(value, dict):
        raise _refusal(where, "a record in the place of a number", sorted(value))


def _maybe_name(where: str, value: Json) -> None:
    """``name`` of an argument may be empty: then it is positional."""
    if value not in (None, ""):
        _text(str.isidentifier, "a name that is no name")(where, value)


def _inputs(where: str, value: Json) -> None:
    """Of a node: records with ``arg``. Of a graph: arguments; torch pastes their text into the guards."""
    _branch(where, value)
    for item in value if isinstance(value, list) else []:
        if isinstance(item, dict) and "as_string" in item:
            _PLAIN(where, item["as_string"])


def _constant_input(where: str, value: Json) -> None:
    _branch(where, value)
    constant = value.get("value") if isinstance(value, dict) else None
    if isinstance(constant, dict):
        _PLAIN(where, constant.get("as_string"))


def _tree(where: str, value: Json) -> None:
    if value in (None, ""):
        return
    if not isinstance(value, str):
        raise _refusal(where, "a tree that is no text", value)
    spec = json.loads(value)
    if not isinstance(spec, list) or len(spec) != 2:
        raise _refusal(where, "a tree of an unknown protocol", value)
    _tree_node(where, spec[1])


def _in_spec(where: str, value: Json) -> None:
    """As a tree; the keywords of the call also become parameters of a generated function."""
    _tree(where, value)
    root = json.loads(value)[1] if isinstance(value, str) and value else {}
    children = root["children_spec"] if root else []
    if len(children) == 2 and children[1]["type"] == "builtins.dict":
        _NAME(where, json.loads(children[1]["context"] or "[]"))


def _tree_node(where: str, node: Json) -> None:
    if not isinstance(node, dict) or set(node) != {"type", "context", "children_spec"}:
        raise _refusal(where, "a broken tree", node)
    kind, context, children = node["type"], node["context"], node["children_spec"]
    if not isinstance(children, list) or not isinstance(context, str | None):
        raise _refusal(where, "a broken tree", node)
    if kind is not None and kind not in CONTAINERS:
        raise _refusal(where, "a container type that other code defines", kind)
    keys = json.loads(context) if context is not None else None
    for key in keys if isinstance(keys, list) else [keys]:
        if not (key is None or isinstance(key, bool | int) or (isinstance(key, str) and is_plain(key))):
            raise _refusal(where, "a key that is no plain text", key)
    for child in children:
        _tree_node(where, child)


def _metadata(where: str, value: Json) -> None:
    """Notes about where a node comes from. Module paths become attribute names in generated source."""
    if not isinstance(value, dict):
        raise _refusal(where, "an unexpected value", value)
    for name, note in value.items():
        if name not in NOTES or not isinstance(note, str):
            raise _refusal(where, "an unknown note", name)
    stack = value.get("nn_module_stack") or ""
    if isinstance(stack, str) and re.search(r'["\\\x00-\x1f]', stack):
        raise _refusal(where, "a module path that is no path", stack)


def _nothing(where: str, value: Json) -> None:
    if value not in (None, {}, []):
        raise _refusal(where, "a custom object, which only foreign code can rebuild", value)


def _not_pickled(where: str, value: Json) -> None:
    if value is not False:
        raise _refusal(where, "tensors stored as pickles (use_pickle)", value)


def _refusal(where: str, what: str, value: object) -> UnsafeTargetError:
    shown = short(value)
    return UnsafeTargetError(
        f"{where} holds {what}: {shown}. Reading it could run code, so it was not read; "
        "--trust reads it anyway, only for files you made",
        (str(value),) if isinstance(value, str) else (),
    )


_NAME = _text(str.isidentifier, "a name that is no name")
_PLAIN = _text(is_plain, "text that is not plain")


def _group(rule: Rule, fields: str) -> dict[str, Rule]:
    return dict.fromkeys(fields.split(), rule)


_RULES: Mapping[str, Rule] = {
    **_group(
        _branch,
        """graph_module graph signature nodes outputs input_specs output_specs module_call_graph
        schema_version user_input parameter buffer tensor_constant token user_output loss_output
        buffer_mutation value arg gradient_to_parameter gradient_to_user_input user_input_mutation
        parameter_mutation tensor_meta device as_tensor as_tensors as_nested_tensors
        as_optional_tensor as_optional_tensors as_graph as_device as_sym_int as_sym_ints as_sym_float
        as_sym_floats as_sym_bool as_sym_bools as_expr hint as_complex sizes strides storage_offset""",
    ),
    **_group(
        _number,
        """as_int as_ints as_int_lists as_float as_floats as_float_lists as_bool as_bools as_none
        as_scalar_type as_memory_format as_layout dtype layout requires_grad index kind real imag
        major minor min_val max_val persistent is_param is_single_tensor_return
        is_hop_single_tensor_return""",
    ),
    **_group(
        _table(str.isidentifier),
        "tensor_values sym_int_values sym_float_values sym_bool_values range_constraints",
    ),
    **_group(_table(is_plain), "config opset_version treespec_namedtuple_fields as_string_to_argument"),
    **_group(_NAME, "as_name forward_arg_names field_names"),
    **_group(
        _PLAIN,
        """parameter_name buffer_name tensor_constant_name user_input_name fqn type path_name verifiers
        torch_version""",
    ),
    **_group(_text(lambda _: True, "an unexpected value"), "as_string as_strings"),
    **_group(
        _text(is_operator, "an operator that is not torch's own, or not harmless"), "target as_operator"
    ),
    **_group(_nothing, "custom_obj custom_obj_values as_custom_obj custom_obj_name class_fqn"),
    "name": _maybe_name,
    "inputs": _inputs,
    "constant_input": _constant_input,
    "expr_str": _text(is_size, "a size that is not arithmetic"),
    "guards_code": _text(is_guard, "a guard that is not a comparison of sizes"),
    "in_spec": _in_spec,
    "out_spec": _tree,
    "metadata": _metadata,
    "use_pickle": _not_pickled,
}
