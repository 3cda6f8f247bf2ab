"""The most memory that deciding the claims takes: the same as pytest, and a limit.

    python -m tests.benchmarks.peak tests/claims

ends with pytest's exit code, or with 1 where the run held 2 GB or more at once. POSIX alone tells.
"""

from __future__ import annotations

import resource
import subprocess
import sys

LIMIT = 2e9


def main() -> int:
    """Run pytest with the arguments given, and say what it took."""
    code = subprocess.run([sys.executable, "-m", "pytest", *sys.argv[1:]], check=False).returncode
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    print(f"peak memory: {peak / 1e9:.2f} GB, allowed below {LIMIT / 1e9:.0f} GB")
    return code or int(peak >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
