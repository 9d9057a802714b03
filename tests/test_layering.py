"""Imports run one way, stages do not import each other, and nothing in the package knows the example."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "paramaudit"
FILES = sorted(PACKAGE.rglob("*.py"))
EXAMPLE = sorted((ROOT / "examples" / "red_heart").glob("*.py"))
MOST_LINES = 400

# Lowest first. A part may import itself and parts of lower layers, never another part of its own layer.
LAYERS = (
    {"frames"},
    {"errors", "records"},
    {"numerics", "budgets", "baseline"},
    {"load", "graph", "operators", "prove", "measure", "rules", "save"},
    {"rewrites", "layers"},
    {"plan"},
    {"account", "gate", "changes", "expect", "bare", "pairing", "pays", "places", "attack"},
    {"objective", "counterexample", "locate", "compose", "gradients"},
    {"certify", "redesign", "scanned"},
    {"audit"},
    {"api", "claims", "report"},
    {"kept"},
    {"cli_options"},
    {"config"},
    {"cli_output", "recheck"},
    {"replay"},
    {"cli"},
    {"__main__"},
)
# Parts that may import less than their layer does.
ONLY = {
    "rewrites": {"errors", "records", "numerics", "graph"},
    "report": {"errors", "records", "numerics"},
    "layers": {"records", "numerics", "operators"},
}
# What an operator's or a layer's own file may import: the operators' `__init__` alone also names its error,
# and a layer may be an operator's with arguments that a person would choose.
OPERATOR_IMPORTS = {"paramaudit.records", "paramaudit.numerics", "torch", "numpy", "scipy"}
LAYER_IMPORTS = OPERATOR_IMPORTS | {"paramaudit.operators"}
# An operator that is another one over frames asks that one.
OVER_FRAMES = {"stft.py": "paramaudit.operators.rdft"}
# Untyped packages: one file each, so that the rest stays typed.
ONE_FILE = ("fvcore", "pywt", "pandas")
HEAVY_AT_START = {"torch", "numpy", "scipy", "pandas", "fvcore", "pywt", "sympy"}


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, anywhere in it, with the line; `from a import b` is `a.b` too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield str(node.module), node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def part_of(path: Path) -> str:
    """The part of the package that a file belongs to; "" for the package's own `__init__`."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def part_named(module: str) -> str | None:
    """The part that a dotted name lies in, None for anything that is not a part of ours."""
    pieces = module.split(".")
    if pieces[0] != "paramaudit" or len(pieces) == 1:
        return None
    return pieces[1] if (PACKAGE / pieces[1]).is_dir() or (PACKAGE / f"{pieces[1]}.py").is_file() else None


def layer(part: str) -> int:
    return next((rank for rank, parts in enumerate(LAYERS) if part in parts), -1)


def shown(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_every_part_has_its_layer() -> None:
    parts = {part_of(path) for path in FILES} - {""}
    assert parts - set().union(*LAYERS) == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    own = part_of(path)
    rank = layer(own) if own else len(LAYERS)
    for module, line in imported(path):
        other = part_named(module)
        if other is None or other == own:
            continue
        assert layer(other) < rank, f"{shown(path, line)}: {own} may not import {other}"
        assert other in ONLY.get(own, {other}), f"{shown(path, line)}: {own} may not import {other}"


def test_operators_and_layers_know_records_numerics_and_mathematics_alone() -> None:
    for path in FILES:
        if part_of(path) not in ("operators", "layers") or path.name == "__init__.py":
            continue
        for module, line in imported(path):
            first, _, rest = module.partition(".")
            name = module if not rest else f"{first}.{rest.partition('.')[0]}"
            inner = OVER_FRAMES.get(path.name, module + ".")
            known = LAYER_IMPORTS if part_of(path) == "layers" else OPERATOR_IMPORTS
            allowed = first in sys.stdlib_module_names or {first, name} & known
            allowed = allowed or module in (inner, f"{inner}.propose")
            # `from paramaudit import x` yields "paramaudit" first; its second name tells what it is.
            message = f"{shown(path, line)}: {part_of(path)} may not import {module}"
            assert allowed or module == "paramaudit", message


@pytest.mark.parametrize("package", ONE_FILE)
def test_an_untyped_package_is_imported_in_one_file(package: str) -> None:
    users = {path for path in FILES for module, _ in imported(path) if module.partition(".")[0] == package}
    assert len(users) <= 1


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", entry)[0].lower() for entry in project["dependencies"]}
    declared = {{"pywavelets": "pywt"}.get(name, name) for name in declared}
    for path in FILES:
        for module, line in imported(path):
            first = module.partition(".")[0]
            known = first in sys.stdlib_module_names or first in declared | {"paramaudit"}
            assert known or first == "sympy", f"{shown(path, line)}: {first} is no declared dependency"


def test_help_needs_no_heavy_package() -> None:
    for path in FILES:
        if not part_of(path).startswith(("cli", "config", "__main__")):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [str(node.module)]
                heavy = {name.partition(".")[0] for name in names} & HEAVY_AT_START
                assert not heavy, f"{shown(path, node.lineno)}: {heavy} at the top"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_too_long(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES


# --- the package does not know its example ------------------------------------------------------


def sources() -> Iterator[Path]:
    yield from (path for path in sorted(PACKAGE.rglob("*")) if path.suffix in (".py", ".toml"))


def own_names() -> set[str]:
    """What the example calls its parts: attributes that it assigns, two words or more."""
    names = {"red_heart", "redheart"}
    for path in EXAMPLE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
    return {name for name in names if "_" in name and not name.startswith("_")}


def own_numbers() -> set[int]:
    """Sizes that the example uses and that nobody would use by chance."""
    found = {153_300_000, 118_368_845}
    for path in EXAMPLE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and type(node.value) is int:
                found.add(node.value)
    ordinary = {480, 640, 768, 960, 1536, 3072}
    return {n for n in found if n >= 400 and n not in ordinary and n & (n - 1) and n % 100}


# A general rule may use the ordinary word for a thing that the example also has.
ORDINARY_WORDS = {"delay_line", "token_embedding", "wavelet_transform"}


def test_the_example_is_not_named_in_the_package() -> None:
    names = own_names() - ORDINARY_WORDS
    assert len(names) > 20, "the example's names were not found"
    for path in sources():
        words = set(re.findall(r"[a-z_0-9]+", path.read_text(encoding="utf-8").lower()))
        assert not words & names, path.name


def test_the_example_is_not_counted_in_the_package() -> None:
    numbers = own_numbers()
    assert len(numbers) > 15, "the example's sizes were not found"
    for path in sources():
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            written = {int(n) for n in re.findall(r"(?<![\w.])\d+(?![\w.])", text)}
        else:
            tokens = tokenize.generate_tokens(io.StringIO(text).readline)
            plain = (t.string for t in tokens if t.type == tokenize.NUMBER)
            written = {int(n, 0) for n in plain if re.fullmatch(r"[\d_]+", n)}
        assert not written & numbers, path.name
