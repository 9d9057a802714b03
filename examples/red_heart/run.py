"""The whole of paramaudit on the known-answer model: scan, plan, apply, verify, compare, claims.

``python examples/red_heart/run.py`` runs the commands that a person would type, in the folder
``runs/red_heart`` of this repository, and stops at the first that fails.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "runs" / HERE.name
SOURCE = Path(os.path.relpath(HERE, FOLDER))
MODEL = f"{SOURCE / 'model.py'}:build"
SAVED = f"{HERE.name}.pt2"

COMMANDS = (
    ("scan", MODEL, "--rules", str(SOURCE / "rules.toml"), "-v"),
    ("refactor",),
    ("refactor", "--apply", "--save", SAVED),
    ("verify", MODEL, SAVED),
    ("compare", MODEL, SAVED),
    ("claims", MODEL, str(SOURCE / "memo.toml")),
)


def main() -> int:
    """Runs the commands in turn; the exit code is that of the last one that ran."""
    tool = shutil.which("paramaudit", path=str(Path(sys.executable).parent)) or shutil.which("paramaudit")
    if tool is None:
        print("paramaudit is not installed: pip install -c constraints.txt .", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"$ cd {os.path.relpath(FOLDER)}", flush=True)
    start = time.perf_counter()
    for command in COMMANDS:
        print(f"\n$ paramaudit {shlex.join(command)}", flush=True)
        code = subprocess.run([tool, *command], cwd=FOLDER, check=False).returncode
        if code:
            print(f"paramaudit {command[0]} exited with {code}", file=sys.stderr)
            return code
    seconds = time.perf_counter() - start
    print(f"\nall {len(COMMANDS)} commands succeeded in {seconds:.0f} s; their files are in {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
