"""Run the command line as ``python -m paramaudit``."""

from __future__ import annotations

from paramaudit.cli import main

if __name__ == "__main__":
    main()
