"""Models with nothing to find: how long a scan takes beside WeightWatcher's analysis of the same model.

    python -m pip install weightwatcher && OMP_NUM_THREADS=1 python benchmarks/generic_scan.py

Both sides look at the same module in the same process, in turn, and only ratios within one run mean
anything. WeightWatcher is no dependency of ours: any environment that holds both will do. Its default
``analyze()`` takes the singular values of each linear layer, the cube of its width, and fits a power law to
them. A scan reads every number a few times, the square of the width, and captures a graph at a cost that
does not depend on the width. So the ratio grows with the width, and narrow layers have a row of their own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import weightwatcher
from torch import Tensor, nn

from paramaudit import audit
from paramaudit.records import Loaded, Tier

HERE = Path(__file__).resolve().parent
ROUNDS = 3
WINDOW, CODES, WIDTH = 32, 256, 64
STEPS, BATCH = 120, 256


@dataclass(frozen=True)
class Subject:
    """A model, its inputs, and what it is."""

    name: str
    what: str
    model: nn.Module
    inputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Spent:
    """Seconds of one run: of the wall clock, and of the processor."""

    wall: float
    cpu: float


class Block(nn.Module):
    """A transformer's layer of plain linear layers, so that both sides see every matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(batch, time, width)`` to the same."""
        normed = self.before(inputs)
        parts = (
            part(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        inputs = inputs + self.out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        return inputs + self.down(F.gelu(self.up(self.between(inputs))))


def transformer(width: int, depth: int) -> Subject:
    """As PyTorch initialises it."""
    blocks = (Block(width, width // 64) for _ in range(depth))
    model = nn.Sequential(nn.Embedding(4000, width), *blocks, nn.Linear(width, 4000)).eval()
    name = f"random transformer, {width} wide"
    return Subject(name, "as PyTorch initialises it", model, (torch.randint(0, 4000, (2, 16)),))


def perceptron(width: int, depth: int) -> Subject:
    """As PyTorch initialises it."""
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(width, 1000)).eval()
    return Subject(f"random MLP, {width} wide", "as PyTorch initialises it", model, (torch.randn(2, width),))


def language_model(depth: int) -> Subject:
    """Trained here to tell the next byte of Python's own library from the 32 before it."""
    width = WINDOW * WIDTH
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())]
    model = nn.Sequential(nn.Embedding(CODES, WIDTH), nn.Flatten(), *hidden, nn.Linear(width, CODES))
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = torch.frombuffer(bytearray(b"".join(f.read_bytes() for f in files)), dtype=torch.uint8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.1)
    losses = []
    for _ in range(STEPS):
        starts = torch.randint(0, len(text) - WINDOW - 1, (BATCH, 1))
        some = text[starts + torch.arange(WINDOW + 1)].long()
        loss = F.cross_entropy(model(some[:, :-1]), some[:, -1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    what = f"trained for {STEPS} steps of {BATCH} windows of {len(text):,} bytes of Python's library, loss "
    what += f"{losses[0]:.2f} to {statistics.fmean(losses[-10:]):.2f}"
    return Subject(f"trained byte MLP, {width} wide", what, model.eval(), (some[:2, :-1],))


def scans(subject: Subject) -> dict[str, Callable[[], object]]:
    """What is timed: the scan with the graph, the one of the stored numbers alone, and the other tool."""
    tensors = {name: tensor.detach() for name, tensor in subject.model.state_dict().items()}
    options = audit.Options()
    graph = Loaded(subject.name, "factory", module=subject.model, args=subject.inputs)
    bare = Loaded(subject.name, "checkpoint", tensors=tensors)
    return {
        "graph": lambda: audit.scan_loaded(graph, options, lambda _stage: None).audit,
        "bare": lambda: audit.scan_loaded(bare, options, lambda _stage: None).audit,
        "weightwatcher": lambda: weightwatcher.WeightWatcher(model=subject.model).analyze(),
    }


def timed(work: Callable[[], object]) -> Spent:
    """One run; what it prints goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def named(subject: Subject) -> str:
    """What the scan names in a model that should hold nothing with a name."""
    graph = Loaded(subject.name, "factory", module=subject.model, args=subject.inputs)
    found = audit.scan_loaded(graph, audit.Options(), lambda _stage: None).audit
    safe = sorted({f.operator for f in found.findings if f.tier in (Tier.EXACT, Tier.ROUNDING)})
    return ", ".join(safe) or "nothing"


def measured(subject: Subject) -> Iterator[str]:
    """The rows of one model's table."""
    work = scans(subject)
    timed(work["graph"])  # first use of the tools themselves
    rounds = [{what: timed(run) for what, run in work.items()} for _ in range(ROUNDS)]
    count = sum(p.numel() for p in subject.model.parameters())
    theirs = [each["weightwatcher"] for each in rounds]
    yield f"## {subject.name}\n"
    yield f"{count:,} parameters, {subject.what}. Proven by the scan: {named(subject)}.\n"
    yield "| | wall, s | processor, s | WeightWatcher / it, wall | WeightWatcher / it, processor |"
    yield "|---|---:|---:|---:|---:|"
    labels = {
        "graph": "scan with the graph",
        "bare": "scan of the stored numbers alone",
        "weightwatcher": "WeightWatcher",
    }
    for what, label in labels.items():
        ours = [each[what] for each in rounds]
        ratios = [
            statistics.median(
                getattr(t, clock) / getattr(o, clock) for t, o in zip(theirs, ours, strict=True)
            )
            for clock in ("wall", "cpu")
        ]
        seconds = [statistics.median(getattr(o, clock) for o in ours) for clock in ("wall", "cpu")]
        yield f"| {label} | {seconds[0]:.2f} | {seconds[1]:.2f} | {ratios[0]:.1f} | {ratios[1]:.1f} |"
    yield ""


def main() -> None:
    """Measure, print and write the tables."""
    logging.getLogger(weightwatcher.__name__).setLevel(logging.ERROR)
    torch.manual_seed(0)
    lines = [
        "# Models with nothing to find, beside WeightWatcher\n",
        f"Medians of {ROUNDS} rounds in turn. torch {torch.__version__}, WeightWatcher "
        f"{weightwatcher.__version__}, {platform.machine()}, {torch.get_num_threads()} threads "
        f"(OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}), load {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores at the start.\n",
    ]
    makers = (
        lambda: transformer(768, 4),
        lambda: perceptron(2048, 6),
        lambda: perceptron(4096, 2),
        lambda: language_model(4),
    )
    for make in makers:
        for row in measured(make()):
            sys.stdout.write(row + "\n")
            sys.stdout.flush()
            lines.append(row)
    (HERE / "results" / "generic_scan.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
