"""Run the command line in processes of its own, with streams of their own.

`call` forks from a server that has imported already what every call imports, which takes seconds; in every
other way it is what a shell would start. `start` starts an interpreter, and watches how much memory it needs.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramaudit

PRELOADED = (
    *("paramaudit.api", "paramaudit.cli", "paramaudit.report", "rich.console", "rich.table", "networkx"),
    *("torch.export._trace", "torch.export.unflatten", "torch._export.non_strict_utils"),
    *("torch._functorch.partitioners", "sympy.combinatorics"),
)
PATIENCE = 120.0
ROOT = Path(paramaudit.__file__).parents[1]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def document(self) -> Any:
        """The JSON document that is all of stdout; NaN and Infinity are no JSON."""
        return json.loads(self.stdout, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in a document")


def call(folder: Path, *args: str) -> Done:
    """Run ``paramaudit ARGS`` in a folder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    streams = (folder / ".stdout", folder / ".stderr")
    process = context.Process(target=_child, args=(args, folder, streams))
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"paramaudit {args} did not end within {PATIENCE:.0f} s")
    texts = [path.read_text(encoding="utf-8") for path in streams]
    for path in streams:
        path.unlink()
    return Done(process.exitcode, *texts)


def start(folder: Path, *args: str) -> Done:
    """Run ``python ARGS`` in a folder, as a process that this one knows nothing of."""
    streams = (folder / ".stdout", folder / ".stderr")
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    begin = time.perf_counter()
    with streams[0].open("wb") as stdout, streams[1].open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, *args],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": search},
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begin
    texts = [path.read_text(encoding="utf-8") for path in streams]
    for path in streams:
        path.unlink()
    unit = 1 if sys.platform == "darwin" else 1024
    return Done(process.returncode, *texts, seconds, used.ru_maxrss * unit)


def _child(args: Sequence[str], folder: Path, streams: Sequence[Path]) -> None:
    os.chdir(folder)
    for descriptor, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["paramaudit", *args]
    from paramaudit.cli import main

    main()


def one_line(done: Done, code: int, *says: str) -> None:
    """An error: its exit code, one line on stderr, nothing on stdout."""
    assert (done.code, done.stdout) == (code, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    for part in says:
        assert part in line
