"""``python -m probes``: the command line."""

from __future__ import annotations

from probes.cli import main

if __name__ == "__main__":
    main()
