"""A pipeline that audits nothing, for tests of the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from samples import AUDIT, COMPARISON, PLAN, certificate
from typer.testing import CliRunner, Result

from paramaudit import audit
from paramaudit.cli import app
from paramaudit.records import Certificate, Loaded

ATLAS = {"rdft": "A real transform.\n\nWhat it finds: lines.", "linear-chain": "Affine after affine."}


class Pipeline:
    """Stands in for the pipeline; keeps what it was asked for."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, dict[str, Any]]] = []
        self.options = audit.Options()
        self.scanned: Any = SimpleNamespace(audit=AUDIT, plan=PLAN)
        self.answer: bool | None = True
        self.error: BaseException | None = None
        self.trouble: Callable[[], object] = lambda: None

    def open_target(self, target: str, **how: Any) -> Loaded:
        self.opened.append((target, how))
        return Loaded(target, "factory")

    def _work(self, options: audit.Options, progress: audit.Progress) -> None:
        self.options = options
        progress("prove")
        self.trouble()
        if self.error is not None:
            raise self.error

    def scan_loaded(self, loaded: Loaded, options: audit.Options, progress: audit.Progress) -> Any:  # noqa: ARG002
        self._work(options, progress)
        return self.scanned

    def apply_scan(
        self, scan: Any, save: Path, options: audit.Options, progress: audit.Progress
    ) -> Certificate:
        assert scan is self.scanned
        self._work(options, progress)
        if self.answer:
            save.write_text("model", encoding="utf-8")
        return certificate(self.answer)

    def verify_loaded(self, *args: Any) -> Certificate:
        self._work(*args[2:])
        return certificate(self.answer)

    def compare_loaded(self, *args: Any) -> Any:
        self._work(*args[2:])
        return COMPARISON

    def plan_of(self, last: Any, options: audit.Options) -> Any:
        assert last == AUDIT
        self.options = options
        return PLAN


def call(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def configure(text: str) -> None:
    Path("pyproject.toml").write_text(text, encoding="utf-8")


def one_line(result: Result, code: int, *says: str) -> None:
    assert result.exit_code == code
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    for part in says:
        assert part in line
