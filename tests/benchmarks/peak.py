"""Run a command and print its peak memory: deciding the claims takes less than 2 GB.

    python -m tests.benchmarks.peak pytest tests/claims

The exit code is the command's, or 1 if it took 2 GB or more at once. POSIX only.
"""

from __future__ import annotations

import resource
import subprocess
import sys

LIMIT = 2e9


def main() -> int:
    code = subprocess.run(sys.argv[1:], check=False).returncode
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    print(f"peak memory: {peak / 1e9:.2f} GB, allowed below {LIMIT / 1e9:.0f} GB")
    return code or int(peak >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
