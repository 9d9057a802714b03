"""``file.py:function`` and ``package.module:function``."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from paramaudit.errors import InputError, OptionError, TargetError
from paramaudit.load import load

HEADER = "import torch\nfrom torch import nn\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a Python file into an empty current folder and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(body: str, name: str = "factory.py") -> str:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + body)
        return name

    return write


def test_a_module_alone(write):
    loaded = load(write("def make():\n    return nn.Linear(3, 2)\n") + ":make")
    assert loaded.format == "factory"
    assert isinstance(loaded.module, torch.nn.Linear)
    assert loaded.exported is None
    assert loaded.tensors is None
    assert loaded.sha256 is None
    assert not loaded.has_inputs


@pytest.mark.parametrize(
    ("given", "args", "names"),
    [
        ("torch.ones(1, 3)", 1, []),
        ("(torch.ones(1, 3), torch.ones(1))", 2, []),
        ("[torch.ones(1, 3)]", 1, []),
        ("{'input': torch.ones(1, 3)}", 0, ["input"]),
        ("()", 0, []),
    ],
)
def test_inputs_that_come_with_the_module(write, given, args, names):
    loaded = load(write(f"def make():\n    return nn.Linear(3, 2), {given}\n") + ":make")
    assert (len(loaded.args), list(loaded.kwargs)) == (args, names)
    assert loaded.has_inputs


def test_a_module_that_needs_no_inputs_has_them(write):
    body = "class M(nn.Module):\n    def forward(self):\n        return torch.ones(1)\n"
    assert load(write(body) + ":M").has_inputs


def test_given_inputs_go_before_the_factorys(write):
    target = write("def make():\n    return nn.Linear(3, 2), torch.ones(1, 3)\n") + ":make"
    loaded = load(target, inputs=["float32[n,3]"])
    assert loaded.args[0].shape == (2, 3)
    assert loaded.symbols == {(0, 0): "n"}


def test_siblings_are_imported_from_the_files_own_folder(write, tmp_path):
    write("WIDTH = 5\n", "far/sizes_of_far.py")
    write(
        "import sizes_of_far\ndef make():\n    import sizes_of_far as s\n    return nn.Linear(s.WIDTH, 1)\n",
        "far/a.py",
    )
    before = list(sys.path)
    assert load("far/a.py:make").module.in_features == 5
    assert load(str(tmp_path / "far" / "a.py") + ":make").module.in_features == 5
    assert sys.path == before
    assert not list(Path("far").rglob("__pycache__"))


def test_two_folders_may_call_their_files_alike(write):
    for folder, width in (("one", 3), ("two", 4)):
        write(f"WIDTH = {width}\n", f"{folder}/sizes.py")
        write("import sizes\ndef make():\n    return nn.Linear(sizes.WIDTH, 1)\n", f"{folder}/model.py")
    first, second = load("one/model.py:make"), load("two/model.py:make")
    assert (first.module.in_features, second.module.in_features) == (3, 4)


def test_a_changed_file_is_read_again(write):
    for width in (3, 4):
        write(f"def make():\n    return nn.Linear({width}, 1)\n")
        assert load("factory.py:make").module.in_features == width


def test_a_file_called_like_a_library_does_not_replace_it(write):
    load(write("def make():\n    return nn.Linear(1, 1)\n", "random.py") + ":make")
    assert sys.modules["random"] is random


def test_package_relative_to_the_current_folder(write):
    write("", "packaged_here/__init__.py")
    write("from .part import make\n", "packaged_here/models.py")
    write("def make():\n    return nn.Linear(6, 1)\n", "packaged_here/part.py")
    assert load("packaged_here.models:make").module.in_features == 6


def test_nothing_is_left_behind(write, capsys):
    body = """
import random, numpy
def make():
    torch.manual_seed(1), random.seed(1), numpy.random.seed(1)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    print("hello")
    return nn.Linear(1, 1)
"""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    load(write(body) + ":make")
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "hello\n")


@pytest.mark.parametrize(
    ("body", "function", "says"),
    [
        (
            "def make():\n    x = 1\n    raise ValueError('bad size')\n",
            "make",
            ["ValueError: bad size", "factory.py:5"],
        ),
        (
            "def make():\n    return nn.Linear(1, 1)(torch.ones(2))\n",
            "make",
            ["RuntimeError", "factory.py:4"],
        ),
        (
            "import sys\ndef make():\n    sys.exit('no weights')\n",
            "make",
            ["SystemExit: no weights", "factory.py:5"],
        ),
        ("1 / 0\n", "make", ["importing factory.py", "ZeroDivisionError", "factory.py:3"]),
        ("import no_such_library\n", "make", ["ModuleNotFoundError", "no_such_library", "factory.py:3"]),
        ("def make(:\n", "make", ["SyntaxError", "factory.py:3"]),
        ("raise SystemExit\n", "make", ["SystemExit", "factory.py:3"]),
        ("def build():\n    pass\n", "make", ["has no 'make'", "it has build"]),
        ("make = 3\n", "make", ["int, not a function"]),
        ("make = nn.Linear(1, 1)\n", "make", ["Linear, not a function"]),
        ("def make(size, *, n):\n    pass\n", "make", ["needs arguments", "size"]),
        ("def make():\n    pass\n", "make", ["returned NoneType", "return an nn.Module"]),
        ("def make():\n    return nn.Linear\n", "make", ["class Linear, not an instance"]),
        ("def make():\n    return 1, 2, 3\n", "make", ["tuple of (int, int, int)"]),
    ],
)
def test_one_clear_line(write, body, function, says):
    with pytest.raises(TargetError) as caught:
        load(write(body) + f":{function}")
    for words in says:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_line_named_is_the_users_own(write):
    write("def width():\n    raise KeyError('w')\n", "helper_of_factory.py")
    body = "import helper_of_factory\ndef make():\n    return nn.Linear(helper_of_factory.width(), 1)\n"
    with pytest.raises(TargetError, match=r"\(helper_of_factory\.py:4\)"):
        load(write(body) + ":make")


def test_inputs_of_a_wrong_type(write):
    with pytest.raises(InputError, match="gave int as inputs"):
        load(write("def make():\n    return nn.Linear(1, 1), 5\n") + ":make")


def test_interrupting_interrupts(write):
    with pytest.raises(KeyboardInterrupt):
        load(write("def make():\n    raise KeyboardInterrupt\n") + ":make")


@pytest.mark.parametrize("target", ["nowhere.py:make", "no.such.package:make"])
def test_code_that_does_not_exist(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TargetError, match=r"does not exist|ModuleNotFoundError"):
        load(target)


def test_factory_goes_with_checkpoints_only(write):
    target = write("def make():\n    return nn.Linear(1, 1)\n") + ":make"
    with pytest.raises(OptionError, match="--factory"):
        load(target, factory=target)
