"""The options that commands share, and how a command gets them.

Nothing here imports torch: help and usage errors are instant.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Strings = list[str] | None
Target = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="A model file, a folder, or file.py:function.", show_default=False),
]
MaybeTarget = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET", help="As for scan; the last audited model by default.", show_default=False
    ),
]
MaybeOriginal = Annotated[
    str | None, typer.Argument(metavar="ORIGINAL", help="The model as it was.", show_default=False)
]
MaybeRefactored = Annotated[
    str | None,
    typer.Argument(
        metavar="REFACTORED",
        help="The model as it is now; without both, --certificate FILE is checked again.",
        show_default=False,
    ),
]
Original = Annotated[str, typer.Argument(metavar="ORIGINAL", help="The model as it was.", show_default=False)]
Refactored = Annotated[
    str, typer.Argument(metavar="REFACTORED", help="The model as it is now.", show_default=False)
]
Apply = Annotated[bool, typer.Option("--apply", help="Swap, verify and write the refactored model.")]
Save = Annotated[
    Path | None,
    typer.Option(
        "--save", metavar="OUT", help="Where to; by default <stem>.refactored.pt2.", show_default=False
    ),
]
UpdateBaseline = Annotated[
    bool,
    typer.Option("--update-baseline", help="Accept what the model costs now: write the baseline, exit 0."),
]
ClaimsFile = Annotated[
    Path, typer.Argument(metavar="CLAIMS.toml", help="Statements to judge.", show_default=False)
]
CounterexampleFile = Annotated[
    Path, typer.Argument(metavar="COUNTEREXAMPLE.json", help="What `verify` saved where the two differ.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 when a claim is not right.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="An operator or rewrite.", show_default=False)]


@dataclass(frozen=True)
class Flags:
    """What was asked for; None means that neither the command line nor the configuration says.

    Every field is an option of that name and a key of ``[tool.paramaudit]``.
    """

    format: Annotated[
        Strings,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="table, json, markdown, html, sarif, github, junit; repeatable.",
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the document here instead of to stdout."),
    ] = None
    device: Annotated[str | None, typer.Option("--device", metavar="DEVICE", help="cpu or cuda.")] = None
    mode: Annotated[str | None, typer.Option("--mode", metavar="MODE", help="eval or train.")] = None
    static: Annotated[
        Strings, typer.Option("--static", metavar="NAME=SIZE", help="Fix an input dimension; repeatable.")
    ] = None
    dynamic: Annotated[
        Strings, typer.Option("--dynamic", metavar="NAME", help="Keep an input dimension open; repeatable.")
    ] = None
    read: Annotated[
        Strings, typer.Option("--read", metavar="OUTPUT", help="Only this output is read; repeatable.")
    ] = None
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="FILE", help="Rules to judge by (TOML).")
    ] = None
    select: Annotated[
        Strings,
        typer.Option("--select", metavar="OPERATOR", help="Only this operator or path:operator; repeatable."),
    ] = None
    ignore: Annotated[
        Strings,
        typer.Option("--ignore", metavar="OPERATOR", help="Not this operator or path:operator; repeatable."),
    ] = None
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            metavar="WHAT",
            help="parameters, bytes, latency or flops; the last two refuse swaps that cost them.",
        ),
    ] = None
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", metavar="FLOAT", help="Largest gap of a bounded swap.")
    ] = None
    allow: Annotated[
        Strings,
        typer.Option("--allow", metavar="TIER", help="Also use bounded, tested or fitted; repeatable."),
    ] = None
    trust: Annotated[
        bool | None, typer.Option("--trust/--no-trust", help="Let a model file run the code it brings.")
    ] = None
    factory: Annotated[
        str | None,
        typer.Option("--factory", metavar="FILE.py:FUNCTION", help="Makes the module of a state dict."),
    ] = None
    inputs: Annotated[
        Strings,
        typer.Option(
            "--inputs",
            metavar="INPUTS",
            help="file.py:function, or 'float32[batch,256]' once for each input.",
        ),
    ] = None
    fit: Annotated[
        str | None,
        typer.Option(
            "--fit",
            metavar="DATA",
            help="With refactor: fit unproven modules to recorded inputs (.npz or file.py:function).",
        ),
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", metavar="INT", help="Of all randomness.")] = None
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate",
            metavar="FILE",
            help="Write the certificate here; to verify without models, check it again.",
        ),
    ] = None
    quiet: Annotated[bool | None, typer.Option("--quiet", "-q", help="No progress, notes or warnings.")] = (
        None
    )
    verbose: Annotated[
        bool | None, typer.Option("--verbose", "-v", help="Each stage's share of time; tracebacks.")
    ] = None


def expose(
    body: Callable[..., int],
    run: Callable[[Callable[..., int], dict[str, Any], Flags], None],
    only: Sequence[str] | None = None,
) -> Callable[..., None]:
    """A function for typer: the parameters of ``body``, with ``flags`` unfolded into options.

    Args:
        body: a command ``body(..., *, flags)`` that returns its exit code.
        run: called with the body, its own arguments and the flags given on the command line.
        only: the names of the options to offer; all by default.
    """
    hints = get_type_hints(Flags, include_extras=True)
    names = [field.name for field in fields(Flags) if only is None or field.name in only]
    own = inspect.signature(body, eval_str=True).parameters
    parameters = [parameter for name, parameter in own.items() if name != "flags"]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints[name])
        for name in names
    ]

    def command(**values: Any) -> None:
        flags = Flags(**{name: values.pop(name) for name in names})
        run(body, values, flags)

    command.__name__, command.__doc__ = body.__name__, body.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
