"""The main job on the 153.3M example, measured against named baselines in the same run.

    python benchmarks/red_heart.py            # about three minutes on two cores; writes results/red_heart.md

Baselines, each on the same model in the same process:

* the scan against the singular values of every weight matrix, which is what a spectral analyser of layers
  computes and the least that a tool without triage has to do;
* the refactored model's latency against the original's, timed in turn, at several batch sizes;
* the scan's peak memory against the model's bytes.
"""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

from paramaudit import audit
from paramaudit.graph.capture import reexport
from paramaudit.measure import interleaved
from paramaudit.records import Loaded

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "red_heart"
REPEATS = 3
BATCHES = (2, 8, 32)


def main() -> None:
    """Measure, print and write the table."""
    sys.path.insert(0, str(EXAMPLE))
    import model as red_heart  # the example's own file

    module, inputs = red_heart.build()
    loaded = Loaded("red_heart", "factory", module=module, args=inputs)
    options = audit.Options(rules=EXAMPLE / "rules.toml")
    model_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
    resident = _peak_bytes()
    scans, spectra = [], []
    scan = None
    for _ in range(REPEATS):
        start = time.perf_counter()
        scan = audit.scan_loaded(loaded, options, lambda _stage: None)
        scans.append(time.perf_counter() - start)
        if len(scans) == 1:
            memory = _peak_bytes() - resident
        start = time.perf_counter()
        for parameter in module.parameters():
            if parameter.dim() == 2:
                torch.linalg.svdvals(parameter.detach())
        spectra.append(time.perf_counter() - start)
    if scan is None:
        return
    totals = scan.audit.totals
    rows = [
        ("parameters after / before", f"{totals.parameters_after:,} / {totals.parameters_before:,}"),
        ("bytes after / before", f"{totals.bytes_after / totals.bytes_before:.3f}"),
        ("scan time / svdvals of all matrices (median)", f"{_ratio(scans, spectra):.2f}"),
        ("scan's extra peak memory / model bytes", f"{memory / model_bytes:.2f}"),
    ]
    refactored = reexport(scan.refactored).module(check_guards=False)
    for batch in BATCHES:
        arguments = red_heart.example_inputs(0, batch, 16)
        timed = interleaved(scan.original.module, refactored, arguments, budget_s=10.0)
        rows.append((f"CPU latency original / refactored, batch {batch} (medians)", f"{timed.ratio:.2f}"))
    lines = [
        "# The main job on the 153.3M example",
        "",
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}; "
        f"medians of {REPEATS} runs, ratios within one run.",
        "",
        "| what | value |",
        "|---|---:|",
        *(f"| {what} | {value} |" for what, value in rows),
        "",
    ]
    text = "\n".join(lines)
    target = HERE / "results" / "red_heart.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
    sys.stdout.write(text)


def _ratio(a: list[float], b: list[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
