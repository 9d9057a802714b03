"""Statements about a model, as a memo makes them, each measured and judged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from paramaudit.audit import Options, Progress, Scan, scan_loaded
from paramaudit.claims.claim import Bench, Claim
from paramaudit.claims.parse import KINDS, load_claims
from paramaudit.claims.quantity import Quantity
from paramaudit.errors import NotAuditableError, TargetError
from paramaudit.records import Json, Judged, Judgement, Loaded


def judge_loaded(loaded: Loaded, claims: Sequence[Claim], options: Options, progress: Progress) -> Judgement:
    """Judge claims in their order; the model is audited once, and only when a claim speaks about it.

    Raises:
        OptionError: a claim does not fit the model.
        TargetError: a claim speaks about the model, and it cannot be audited.
    """

    @cache
    def scan() -> Scan:
        try:
            done = scan_loaded(loaded, options, progress)
        except NotAuditableError as error:
            raise TargetError(str(error)) from error
        progress("claims")
        return done

    progress("claims")
    stated: dict[str, Quantity] = {}
    measured: dict[str, Json] = {}
    judged: list[Judged] = []
    bench = Bench(scan, options.device, stated, measured)
    for claim in claims:
        judged.append(claim.judged(bench))
        measured[claim.id] = judged[-1].measured
        if claim.figure is not None:
            stated[claim.id] = claim.figure
    return Judgement(loaded.target, tuple(judged))


__all__ = ["KINDS", "Claim", "judge_loaded", "load_claims"]
