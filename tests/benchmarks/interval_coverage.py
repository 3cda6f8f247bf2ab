"""Simulate how often the intervals of `quantization-cost` cover the truth.

    python -m tests.benchmarks.interval_coverage [RUNS]

Positions are log-normal, as divergences are, and correlated within windows of 255. Printed are, by
the number of texts, of windows of each, and by the correlation, the share of the stated intervals
that cover the value drawn from, and in brackets the share of the runs that state one.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from probes.stats import distribution_distance as distances

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes.schema.evidence.shape import Interval

POSITIONS = 255

RUNS = 400

TEXTS, WINDOWS, CORRELATIONS = (1, 2), (2, 3, 4, 8), (0.03, 0.1, 0.3)


def _estimate_share(values: distances.Windows) -> Interval | None:
    below = [[(window < np.e).astype(float) for window in text] for text in values]
    return distances.estimate_share(below)


QUANTITIES: dict[str, tuple[float, Callable[[distances.Windows], Interval | None]]] = {
    "mean": (float(np.exp(0.5)), distances.estimate_mean),
    "50 %": (1.0, lambda values: distances.estimate_percentile(values, 50)),
    "90 %": (
        float(np.exp(stats.norm.ppf(0.9))),
        lambda values: distances.estimate_percentile(values, 90),
    ),
    "share": (float(stats.norm.cdf(1)), _estimate_share),
}
"""What the distribution has, and its estimate."""


def draw_windows(generator: Any, texts: int, windows: int, correlation: float) -> distances.Windows:
    """Draw positions whose logarithms have this intraclass correlation within windows."""
    own = generator.standard_normal((texts * windows, 1)) * correlation**0.5
    rest = generator.standard_normal((texts * windows, POSITIONS)) * (1 - correlation) ** 0.5
    return [list(part) for part in np.split(np.exp(own + rest), texts)]


def count_covered(
    name: str, runs: int, texts: int, windows: int, correlation: float
) -> tuple[int, int]:
    """Return how many intervals of a quantity cover the truth, and how many are stated."""
    truth, estimate = QUANTITIES[name]
    generator = np.random.default_rng(2)
    found = [estimate(draw_windows(generator, texts, windows, correlation)) for _ in range(runs)]
    stated = [interval for interval in found if interval is not None]
    return sum(interval.low <= truth <= interval.high for interval in stated), len(stated)


def main(runs: int = RUNS) -> None:
    print("| texts | windows | correlation |", " | ".join(QUANTITIES), "|")
    print("|---|---|---|" + "---|" * len(QUANTITIES))
    for texts in TEXTS:
        for windows in WINDOWS:
            for correlation in CORRELATIONS:
                cells = []
                for name in QUANTITIES:
                    covered, stated = count_covered(name, runs, texts, windows, correlation)
                    share = f"{covered / stated:.0%}" if stated else "–"
                    cells.append(f"{share} ({stated / runs:.0%})")
                print(f"| {texts} | {windows} | {correlation:g} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
