"""Where things go: the document to stdout or a file, everything else to stderr."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

import typer

from paramaudit.cli_options import Flags
from paramaudit.config import formats
from paramaudit.errors import OptionError
from paramaudit.kept import witness_file
from paramaudit.report import FORMATS

if TYPE_CHECKING:
    from rich.status import Status

    from paramaudit.records import Check

WIDTH = 140
"""Columns of a table that goes to a file or a pipe."""


Render = Callable[..., str]
"""Makes the document: ``render(format, width=..., color=...)``."""


def say(line: str) -> None:
    """One line on stderr, control characters written out."""
    flat = " ".join(line.split())
    typer.echo(
        "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in flat),
        err=True,
    )


def publish(flags: Flags, render: Render) -> None:
    """Write the document once in each format asked for, to stdout or to files.

    Raises:
        OptionError: a file cannot be written.
    """
    if flags.output is None:
        width = shutil.get_terminal_size((WIDTH, 24)).columns
        for name in formats(flags):
            _print(render(name, width=width, color=_is_colorful()))
        return
    for name, path in _files(flags.output, formats(flags)).items():
        write(path, render(name, width=WIDTH, color=False))
        note(flags, f"wrote {path}")


def note(flags: Flags, line: str) -> None:
    """One line on stderr unless silence was asked for."""
    if not flags.quiet:
        say(line)


def say_why(flags: Flags, result: Check) -> None:
    """What is over, for the log of a job whose document goes elsewhere."""
    from paramaudit.report.check import reasons

    if flags.output is not None or "table" not in formats(flags):
        for line in reasons(result):
            note(flags, line)


def quoted_atlas(flags: Flags) -> Mapping[str, str] | None:
    """The documentation of operators where a document quotes it; it needs the whole pipeline."""
    if "sarif" not in formats(flags):
        return None
    from paramaudit import audit

    return audit.atlas()


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the folder that it lies in.

    Raises:
        OptionError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OptionError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_outputs(flags: Flags, targets: Sequence[str], save: Path | None = None) -> None:
    """Refuse, before any work is done, outputs that cannot be written or would harm a model.

    Raises:
        OptionError: a folder is missing, or a file is one of the targets.
    """
    documents = _files(flags.output, formats(flags)).values() if flags.output else ()
    witnesses = witness_file(flags.certificate) if flags.certificate else None
    for path in (*documents, *filter(None, (save, flags.certificate, witnesses))):
        if path.is_dir() or not path.parent.is_dir():
            raise OptionError(f"{path}: cannot be written: not a file in an existing folder")
        for target in targets:
            for model in {target, target.rpartition(":")[0] or target}:
                if _is_part(path, Path(model)):
                    raise OptionError(f"{path}: would overwrite the model {target}")


@contextlib.contextmanager
def work(flags: Flags) -> Iterator[Stages]:
    """Around all work on models: stages are shown, and whatever is printed or warned goes to stderr."""
    with _to_stderr(), warnings.catch_warnings(), Stages(flags) as stages:
        if flags.quiet:
            warnings.simplefilter("ignore")
        warnings.showwarning = _warn
        yield stages


@contextlib.contextmanager
def _to_stderr() -> Iterator[None]:
    """Send stdout to stderr: what Python prints and, where there are descriptors, what C code prints."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        with contextlib.suppress(OSError, ValueError):  # streams without descriptors, as in tests
            kept = os.dup(1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
            os.dup2(2, 1)
        yield


def costs(looked: Mapping[str, float]) -> str:
    """What each operator's looking took, the dearest first."""
    dearest = sorted(looked.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in dearest) or "nothing to look at"
    return f"operators looked for {sum(looked.values()):.2f} s: {shown}"


class Stages:
    """The progress callback: shows each stage while it runs, and how long each took at the end."""

    def __init__(self, flags: Flags) -> None:
        self._verbose = bool(flags.verbose)
        self._live = not flags.quiet and sys.stderr.isatty() and not os.environ.get("CI")
        self._status: Status | None = None
        self._starts: list[tuple[str, float]] = []

    def __call__(self, stage: str) -> None:
        """A stage starts."""
        self._starts.append((stage, time.perf_counter()))
        if self._status is not None:
            self._status.update(stage)

    def __enter__(self) -> Stages:
        if self._live:
            from rich.console import Console

            self._status = Console(stderr=True).status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
        if self._verbose and self._starts:
            say(self._shares(time.perf_counter()))

    def _shares(self, end: float) -> str:
        """Each stage's share of time, a stage that came twice added up."""
        spent: dict[str, float] = {}
        ends = [start for _, start in self._starts[1:]] + [end]
        for (stage, start), stop in zip(self._starts, ends, strict=True):
            spent[stage] = spent.get(stage, 0.0) + stop - start
        total = sum(spent.values()) or 1.0
        shares = ", ".join(f"{stage} {100 * time / total:.0f} %" for stage, time in spent.items())
        return f"stages: {shares} of {total:.2f} s"


def _files(output: Path, names: Sequence[str]) -> dict[str, Path]:
    """One file a format: the file itself for one, told apart by suffix for several."""
    if len(names) == 1:
        return {names[0]: output}
    stem = output.with_suffix("") if output.suffix in FORMATS.values() else output
    return {name: stem.with_name(stem.name + FORMATS[name]) for name in names}


def _is_part(path: Path, model: Path) -> bool:
    """Whether writing the path would change the model's file or a file in the model's folder."""
    if not path.exists() or not model.exists():
        return False
    if model.is_dir():
        return path.resolve().is_relative_to(model.resolve())
    return path.samefile(model)


def _is_colorful() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:  # a reader such as `head` has enough; the exit code stays what it is
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    say(f"warning: {message} ({category.__name__})")
