"""Certificates that can be made again: what to record in one, and whether a recorded one still holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from paramaudit.cli_options import Flags
from paramaudit.config import options, settle
from paramaudit.errors import OptionError, StaleError, TargetError, UnsafeTargetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramaudit.audit import Options
    from paramaudit.records import Certificate, Counterexample, Json, Loaded, Measured, SwapProof

COMMANDS = ("verify", "refactor")
KEPT = (
    *("mode", "device", "static", "dynamic", "read", "rules", "select", "ignore", "objective", "tolerance"),
    *("allow", "factory", "inputs", "fit", "seed"),
)
"""The options that a certificate records, by the names of the command line."""

SLACK = 1.01
"""A gap counts as larger from here on: below, another machine's float64 may round it so."""


def recorded(certificate: Certificate, targets: tuple[str, str], command: str, flags: Flags) -> Certificate:
    """The certificate with all that is needed to make it again.

    Args:
        certificate: what the verification found.
        targets: the names of the original and the refactored model.
        command: "verify" or "refactor".
        flags: the settled options of that command.
    """
    meant = options(flags)
    kept: dict[str, Json] = {"command": command}
    for name in KEPT:
        value = getattr(flags, name)
        value = getattr(meant, name, None) if value is None else value
        if name in ("static", "allow") and not isinstance(value, list):
            value = []  # nothing was asked for
        kept[name] = [str(v) for v in value] if isinstance(value, list | tuple) else _plain(value)
    kept["inputs"] = kept["inputs"] or []
    return dataclasses.replace(certificate, targets=targets, options=kept)


def recheck(saved: Certificate, file: Path, *, trust: bool, progress: Callable[[str], None]) -> Certificate:
    """Make a recorded certificate again, and say in its ``recheck`` whether the recorded one holds.

    Relative names are looked for here first, then beside the certificate.

    Args:
        saved: the certificate as it was read.
        file: where it was read from.
        trust: run code that it names, wherever that lies, and code that a model file brings.
        progress: told the stage.

    Raises:
        TargetError: the certificate does not say how it was made, or a model is missing.
        UnsafeTargetError: it names code that lies neither here nor beside it.
        StaleError: a model is not the one that was certified.
    """
    from paramaudit import audit

    if saved.targets is None:
        raise TargetError(f"{file} names no models to check again; name ORIGINAL and REFACTORED")
    flags = flags_in(saved.options, file)
    find = Places(file, trust)
    targets = tuple(find(name) for name in saved.targets)
    inputs = [find(name) for name in flags.inputs or ()]
    factory = find(flags.factory) if flags.factory else None
    progress("load")
    first, second = (audit.open_target(name, inputs=inputs, factory=factory, trust=trust) for name in targets)
    rules = Path(find(str(flags.rules))) if flags.rules else None
    meant = dataclasses.replace(options(flags), rules=rules)
    same_models(saved, first, second, meant)
    if saved.options.get("command") == "refactor":
        fit = find(flags.fit) if flags.fit else None
        made = audit.recertify(first, second, fit, meant, progress)
    else:
        made = audit.verify_loaded(first, second, meant, progress)
    return _compared(saved, made, file)


def flags_in(recorded_options: Mapping[str, Json], file: Path) -> Flags:
    """The recorded options, checked as those of a command line are.

    Raises:
        TargetError: one is unknown or makes no sense.
    """
    if recorded_options.get("command") not in COMMANDS:
        raise TargetError(f"{file}: the certificate does not say which command made it")
    hints = get_type_hints(Flags)
    known = {field.name for field in fields(Flags)} & set(KEPT)
    values: dict[str, Any] = {}
    for name, value in recorded_options.items():
        if name == "command" or value is None:
            continue
        if name not in known or not _fits(hints[name], value):
            raise TargetError(
                f"{file}: the certificate's option {name[:40]!r} is unknown or of the wrong type"
            )
        values[name] = Path(str(value)) if name == "rules" else value
    try:
        flags = settle(Flags(**values), {})
        options(flags)
    except OptionError as error:
        raise TargetError(f"{file}: the certificate's options make no sense: {error}") from error
    return flags


def _fits(kind: object, value: object) -> bool:
    """Whether a JSON value may be that option's."""
    words = str(kind)
    if isinstance(value, list):
        return "list[str]" in words and all(isinstance(item, str) for item in value)
    if isinstance(value, str):
        return "list" not in words and ("str" in words or "Path" in words)
    if isinstance(value, bool):
        return "bool" in words
    return ("float" in words and isinstance(value, int | float)) or (
        "int" in words and isinstance(value, int)
    )


class Places:
    """Finds what a certificate names: here, or beside it. Code from elsewhere needs trust."""

    def __init__(self, file: Path, trust: bool) -> None:
        self._file, self._trust = file, trust
        self._folders = (Path.cwd().resolve(), file.resolve().parent)

    def __call__(self, name: str) -> str:
        """The name with its file where it is.

        Raises:
            UnsafeTargetError: it names code that lies elsewhere.
        """
        from paramaudit.load.source import is_source

        where, colon, function = name.rpartition(":") if is_source(name) else (name, "", "")
        is_file = not colon or where.endswith(".py")
        if is_file:
            where = self._located(where)
        if colon and not self._trust and not (is_file and self._lies_near(where)):
            raise UnsafeTargetError(
                f"{self._file} names code that lies neither here nor beside it: {name!r}; "
                "--trust runs it, or name ORIGINAL and REFACTORED yourself",
                (name,),
            )
        return f"{where}{colon}{function}"

    def _located(self, where: str) -> str:
        try:
            beside = self._folders[1] / where
            return str(beside) if not Path(where).exists() and beside.exists() else where
        except (OSError, ValueError):  # no file name at all; loading it says so
            return where

    def _lies_near(self, where: str) -> bool:
        place = Path(where).resolve()
        return any(place.is_relative_to(folder) for folder in self._folders)


def same_models(saved: Certificate | Counterexample, first: Loaded, second: Loaded, meant: Options) -> None:
    """Nothing where both models are those that a document speaks of.

    Raises:
        StaleError: one of them is not.
    """
    from paramaudit import audit

    what, document = ("certified", "certificate")
    if not hasattr(saved, "tier"):
        what, document = ("attacked", "counterexample")
    now = audit.identities(first, second, meant)
    for loaded, before, after in zip((first, second), (saved.original, saved.refactored), now, strict=True):
        if before != after:
            raise StaleError(
                f"{loaded.target} is not the model that was {what}: its SHA-256 is {after[:12]}..., "
                f"the {document} says {before[:12]}..."
            )


def _compared(saved: Certificate, made: Certificate, file: Path) -> Certificate:
    from paramaudit.records import Recheck

    reasons = tuple(_reasons(saved, made))
    before = Recheck(str(file), not reasons, reasons, saved.equivalent, saved.tier, saved.gap)
    return dataclasses.replace(made, targets=saved.targets, options=saved.options, recheck=before)


def _reasons(saved: Certificate, made: Certificate) -> list[str]:
    """What the recorded certificate claims and the repeated one does not."""
    words = {True: "equivalent", False: "not equivalent", None: "not certified"}
    found: list[str] = []
    if saved.equivalent is not made.equivalent:
        found.append(f"recorded as {words[saved.equivalent]}, found {words[made.equivalent]}")
    found += _weaker("", saved, made)
    if saved.contract != made.contract:
        found.append("recorded under another contract")
    again = {swap.id: swap for swap in made.swaps}
    for swap in saved.swaps:
        if swap.id in again:
            found += _weaker(f"swap {swap.id}: ", swap, again[swap.id])
            found += [f"swap {swap.id}: needs {c}" for c in again[swap.id].requires if c not in swap.requires]
        elif made.swaps:
            found.append(f"swap {swap.id} was not found again")
    return found + _tighter(saved, made)


def _weaker(where: str, saved: Certificate | SwapProof, made: Certificate | SwapProof) -> list[str]:
    """Where the recorded tier is stronger, or the recorded gap smaller, than what was found."""
    found = []
    if made.tier.rank > saved.tier.rank:
        found.append(f"{where}recorded as {saved.tier}, found {made.tier}")
    if _larger(made.gap, saved.gap):
        was, now = (f"{gap.value:.2g}" if gap else "none" for gap in (saved.gap, made.gap))
        found.append(f"{where}recorded gap {was}, found {now}")
    return found


def _larger(now: Measured | None, before: Measured | None) -> bool:
    if now is None or now.value == 0:
        return False
    if before is None or (now.norm, now.per) != (before.norm, before.per):
        return True
    return not now.value <= before.value * SLACK


def _tighter(saved: Certificate, made: Certificate) -> list[str]:
    """Outputs whose recorded bound is smaller than what was found."""
    if saved.end_to_end is None:
        return []
    known = {b.output: b.value for b in made.end_to_end.bounds} if made.end_to_end else {}
    return [
        f"output {bound.output}: recorded bound {bound.value:.2g} was not found again"
        for bound in saved.end_to_end.bounds
        if bound.value is not None and not (known.get(bound.output) or 0.0) <= bound.value * SLACK
    ]


def _plain(value: object) -> Json:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
