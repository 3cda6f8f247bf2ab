"""How long checks will take, from what they took before.

What a claim took in an earlier run on the same target is the best guess; else what it takes on the
embedded model. Both are corrected by what this run has taken so far: another machine, device or
model is slower or faster by a factor, which all claims that compute forward passes share.

Claims share measurements, which count for the first that needs them. In the usual order the others
cost little; under a budget another one may be first, so there each counts with what it takes alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import median
from typing import TYPE_CHECKING

from probes._util.files import DATA
from probes._util.tomlfile import load_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probes.schema.record import Cost

MEASURED = 3.0
"""Seconds of checks with forward passes from which the factor is taken."""

CONFIDENCE = 5.0
"""Seconds for which an earlier run on the same target counts against what this one measures."""


@dataclass(frozen=True)
class ClaimTime:
    """The seconds that a claim takes: after others in a whole run, and alone.

    `computes` says whether it makes forward passes, whose time depends on the model.
    """

    seconds: float
    alone: float
    computes: bool

    def scale(self, factor: float) -> ClaimTime:
        """Return what it takes where forward passes take so many times as long."""
        if not self.computes:
            return self
        return ClaimTime(self.seconds * factor, self.alone * factor, computes=True)


@cache
def embedded_times() -> dict[str, ClaimTime]:
    """Return what each built-in claim takes on the embedded model; new ones may be missing."""
    table = load_toml(DATA / "costs.toml")
    return {name: ClaimTime(row[0], row[1], computes=row[2] > 0) for name, row in table.items()}


class ExpectedTimes:
    """What each claim is expected to take on a target, before anything is measured."""

    def __init__(
        self, earlier: Mapping[str, Cost], embedded: Mapping[str, ClaimTime] | None = None
    ) -> None:
        """Take what claims cost in earlier runs on the target, and take on the embedded model."""
        self.earlier = earlier
        self._embedded = embedded_times() if embedded is None else embedded

    @cached_property
    def _ratio(self) -> float:
        """Seconds on this target for one on the embedded model, of claims known on both."""
        known = [name for name, each in self._embedded.items() if each.computes]
        known = [name for name in known if name in self.earlier]
        ours = sum(self.earlier[name].seconds for name in known)
        theirs = sum(self._embedded[name].seconds for name in known)
        return ours / theirs if ours and theirs else 1.0

    @cached_property
    def _typical(self) -> ClaimTime:
        """What a claim takes that is known on neither: an author's own, or a new one."""
        seconds = [cost.seconds for cost in self.earlier.values()]
        seconds = seconds or [each.seconds for each in self._embedded.values()]
        middle = median(seconds) if seconds else 0.0
        return ClaimTime(middle, middle, computes=True)

    def of(self, claim: str) -> ClaimTime:
        """Return what a claim is expected to take.

        >>> from probes.schema.record import Cost
        >>> times = ExpectedTimes({"a": Cost(seconds=8)}, {"a": ClaimTime(1, 2, computes=True)})
        >>> times.of("a")
        ClaimTime(seconds=8.0, alone=16.0, computes=True)
        """
        embedded = self._embedded.get(claim)
        if claim not in self.earlier:
            return self._typical if embedded is None else embedded.scale(self._ratio)
        earlier = self.earlier[claim]
        alone, computes = earlier.seconds, earlier.tokens > 0
        if embedded is not None:
            alone = max(alone, embedded.scale(self._ratio).alone)
            computes = computes or embedded.computes
        return ClaimTime(earlier.seconds, alone, computes)


class Forecast:
    """The seconds that the checks of one target have taken, and that the rest will take.

    >>> shipped = ExpectedTimes({}, {name: ClaimTime(1, 1, computes=True) for name in "ab"})
    >>> forecast = Forecast({"a": 1, "b": 4}, shipped)
    >>> forecast.seconds_of("b")  # nothing is known of this device yet
    >>> forecast.add("a", 10.0)
    >>> forecast.seconds_of("b"), forecast.per_check("b")
    (10.0, 2.5)
    """

    def __init__(
        self,
        checks: Mapping[str, int],
        times: ExpectedTimes,
        *,
        alone: bool = False,
        workers: int = 1,
    ) -> None:
        """Take the number of checks of each claim, and what the claims are expected to take.

        With `alone` each counts with what it takes alone; `workers` processes share its checks.
        """
        self._workers = workers
        self.is_from_earlier_runs = bool(times.earlier)
        self.spent = 0.0
        self._left = Counter(checks)
        time_of = {claim: times.of(claim) for claim in checks}
        self._per_check = {
            claim: (each.alone if alone else each.seconds) / checks[claim]
            for claim, each in time_of.items()
        }
        self._computes = {claim for claim, each in time_of.items() if each.computes}
        self._expected = self._taken = 0.0

    def add(
        self, claim: str, seconds: float, *, loading: float = 0.0, decided: bool = True
    ) -> None:
        """Count a check that took this long, `loading` seconds of it while weights were loaded.

        `decided` is False of one that was not applicable or was left out.
        """
        self.spent += seconds
        self._left[claim] -= 1
        if decided and claim in self._computes:
            self._taken += max(0.0, seconds - loading)
            self._expected += self._per_check[claim]

    @property
    def _factor(self) -> float | None:
        """What passes take here for a second expected; None while too little is measured."""
        trust = CONFIDENCE if self.is_from_earlier_runs else 0.0
        if not trust and (self._taken < MEASURED or not self._expected):
            return None
        return (self._taken + trust) / (self._expected + trust)

    @property
    def is_measured(self) -> bool:
        """Whether enough was measured in this run to say how long the rest will take."""
        return self._taken >= MEASURED

    def per_check(self, claim: str) -> float | None:
        """Return the seconds that one check of a claim will take; None while that is unknown."""
        factor = self._factor if claim in self._computes else 1.0
        return None if factor is None else factor * self._per_check[claim]

    def seconds_of(self, claim: str) -> float | None:
        """Return the seconds that the rest of a claim will take; None while that is unknown."""
        per_check = self.per_check(claim)
        left = self._left[claim]
        return None if per_check is None else per_check * max(min(left, 1), left / self._workers)
