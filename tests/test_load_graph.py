"""What the graph of a .pt2 may say: torch makes source and imports of it, so each field has a rule."""

from __future__ import annotations

import json

import pytest
import torch
from test_load_plants import plant, records, refused, runs_when_trusted, saved_bytes

from paramaudit.load import load


@pytest.fixture
def marker(tmp_path):
    """Must not be there after a test."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


def edited(edit) -> dict[str, bytes]:
    document = json.loads(records()["models/model.json"])
    edit(document)
    return {"models/model.json": json.dumps(document).encode()}


def replace_first(document, field, value):
    """Put ``value(old)`` into the first field of that name, depth first."""
    stack = [document]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get(field), str) and item[field]:
                item[field] = value(item[field])
                return
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    raise AssertionError(f"no field {field}")


def graph(document):
    return document["graph_module"]["graph"]


def signature(document):
    return document["graph_module"]["module_call_graph"][0]["signature"]


def run(marker):
    return f"__import__('os').mkdir({str(marker)!r})"


def test_a_size_that_is_evaluated(tmp_path, marker):
    planted = edited(lambda d: replace_first(d, "expr_str", lambda s: f"{run(marker)} or {s}"))
    target = plant(tmp_path, planted)
    refused(target, "size that is not arithmetic")
    runs_when_trusted(target, marker)


@pytest.mark.parametrize(
    "text",
    [
        "Add('1', '2')",
        "Add('a' + 'b')",
        "Symbol(Symbol('x'))",
        "Symbol('x', **{'a': 1})",
        "Symbol('x y')",
        "Float('1+x')",
        "Integer('1')",
        "lambdify('x', 'x')",
        "s0.func(1)",
        "(lambda: 1)()",
        "[s0 for s0 in s1]",
        "s0 if s1 else s2",
        "s0\n",
        "Pow(s0, 9999999)",
        "2**2**2**2**2**2",
        "Add(*s0)",
        "f'{s0}'",
        "-" * 30000 + "1",
        "",
    ],
)
def test_sizes_that_are_not_arithmetic(tmp_path, text):
    refused(plant(tmp_path, edited(lambda d: replace_first(d, "expr_str", lambda _: text))), "not arithmetic")


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].__class__ == 1",
        "L['x'].size()[0].__add__(1)",
        "__import__('os')",
        "torch.load('x')",
        "math.__loader__",
        "torch.os.system('x')",
        "L['x'].mul_(2)",
        "L == 1",
        "L['x'].size()[0] > 3 # and more",
        'L["x"].size()[0] > 3',
        "L['x'].size()[0] > 3,\n  2",
        "(y := 3) > 2",
    ],
)
def test_guards_that_are_not_comparisons(tmp_path, text):
    refused(plant(tmp_path, edited(lambda d: d["guards_code"].append(text))), "guard")


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].size()[0] > 3",
        "(L['args'][0]['a key'].size()[1] % 2) == 0",
        "math.ceil(L['x'].shape[0] / 2) != 5 and not L['x'].size()[0] == 7",
        "L['mode'] == 'mean'",
        "max(L['x'].size()[0], 2) <= 2**10 + torch.sym_max(1, 2)",
        "-1 < L['n'] < inf",
    ],
)
def test_guards_that_only_compare(tmp_path, text):
    assert load(plant(tmp_path, edited(lambda d: d.update(guards_code=[text])))).exported is not None


def test_a_module_imported_by_a_tree(marker, tmp_path, monkeypatch):
    (tmp_path / "planted_module.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    tree = [1, {"type": "builtins.tuple", "context": None, "children_spec": []}]
    tree[1]["context"] = json.dumps({"__enum__": True, "fqn": "planted_module:a", "name": "b"})
    target = plant(tmp_path, edited(lambda d: signature(d).update(out_spec=json.dumps(tree))))
    refused(target, "key that is no plain text")
    runs_when_trusted(target, marker)


def names(document, text):
    graph(document)["nodes"][0]["name"] = text


def a_target(document, text):
    graph(document)["nodes"][-1]["target"] = text


def kwargs_of_in_spec(document, text):
    spec = json.loads(signature(document)["in_spec"])
    spec[1]["children_spec"][1]["context"] = json.dumps([text])
    signature(document)["in_spec"] = json.dumps(spec)


def default_factory(document, _):
    node = {"type": "collections.defaultdict", "context": "{}", "children_spec": []}
    signature(document)["out_spec"] = json.dumps([1, node])


EDITS = {
    "name of a node": (names, "y; import os; z"),
    "argument of forward": (lambda d, t: signature(d).update(forward_arg_names=[t, "y"]), "x=print()"),
    "keyword of the call": (kwargs_of_in_spec, "k=1"),
    "parameter": (lambda d, t: replace_first(d, "parameter_name", lambda _: t), 'a"), print(), ("'),
    "module path": (
        lambda d, t: graph(d)["nodes"][0]["metadata"].update(nn_module_stack=t),
        'L,,A;k,a"+str(print())+",B',
    ),
    "unknown note": (lambda d, t: graph(d)["nodes"][0]["metadata"].update(planted=t), "x"),
    "module": (lambda d, t: d["graph_module"]["module_call_graph"][0].update(fqn=t), "a('')"),
    "any function of torch": (a_target, "torch.os.system"),
    "any function of operator": (a_target, "_operator.methodcaller"),
    "an attribute of an operator": (a_target, "torch.ops.aten.add.Tensor.__globals__"),
    "an operator that opens files": (a_target, "torch.ops.aten.from_file.default"),
    "an operator of other code": (a_target, "torch.ops.mylib.op.default"),
    "an extension": (a_target, "#ext:op"),
    "a hidden graph": (a_target, "torch.ops.higher_order.call_torchbind"),
    "a custom object": (
        lambda d, t: graph(d).update(custom_obj_values={t: {"name": t, "class_fqn": t}}),
        "x",
    ),
    "a default factory": (default_factory, ""),
    "an unknown field": (lambda d, t: d.update(planted=t), "x"),
    "text for a number": (lambda d, t: d["schema_version"].update(minor=t), "x"),
    "a string among the inputs": (
        lambda d, t: graph(d)["inputs"].append({"as_string": t}),
        "' or print() or '",
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_every_field_has_a_rule(tmp_path, what):
    edit, text = EDITS[what]
    refused(plant(tmp_path, edited(lambda d: edit(d, text))))


def test_keys_of_example_inputs_stay_text(tmp_path):
    inputs = (torch.ones(8, 4),), {"y'\"]": torch.ones(8, 4)}
    refused(plant(tmp_path, {"data/sample_inputs/model.pt": saved_bytes(inputs)}), "no plain text")
