"""How long checks will take, from what they took before.

What a claim took in an earlier run on the same target is the best guess; else what it takes on the
embedded model. Both are corrected by what this run has taken so far: on another machine, device or
model the forward passes take longer or shorter by a factor. What a claim does beside them, such as
drawing many tokens from the same logits, is taken to last as long as on the embedded model.

Claims share measurements, which count for the first that needs them. In the usual order the others
cost little; under a budget another one may be first, so there each counts with what it takes alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import median

from probes._util.files import DATA
from probes._util.tomlfile import load_toml
from probes.schema.record import Cost

MEASURED = 3.0
"""Seconds of checks with forward passes from which the factor is taken."""

PER_POSITION = 0.002
"""Seconds of the embedded model's forward pass for a token position, in the batches of claims."""

SMALLEST_SHARE = 0.3
"""A smaller share of forward passes in a claim's time is neglected: it says nothing of a model."""

CONFIDENCE = 5.0
"""Seconds for which an earlier run on the same target counts against what this one measures."""


@dataclass(frozen=True)
class ClaimTime:
    """The seconds that a claim takes: after others in a whole run, and alone.

    `share` is that of forward passes, whose time depends on the model: from 0 to 1.
    """

    seconds: float
    alone: float
    share: float

    def scale(self, factor: float) -> ClaimTime:
        """Return what it takes where forward passes take so many times as long.

        >>> ClaimTime(2, 4, share=0.5).scale(3.0)
        ClaimTime(seconds=4.0, alone=8.0, share=0.75)
        """
        whole = 1 - self.share + self.share * factor
        return ClaimTime(self.seconds * whole, self.alone * whole, self.share * factor / whole)


@cache
def embedded_times() -> dict[str, ClaimTime]:
    """Return what each built-in claim takes on the embedded model; new ones may be missing."""
    table = load_toml(DATA / "costs.toml")
    return {name: _embedded_time(*row) for name, row in table.items()}


def _embedded_time(seconds: float, alone: float, positions: int) -> ClaimTime:
    share = min(1.0, positions * PER_POSITION / alone) if alone else 0.0
    return ClaimTime(seconds, alone, share if share >= SMALLEST_SHARE else 0.0)


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
        """Seconds of passes here for one on the embedded model, of claims known on both."""
        known = [
            (self._embedded[name], cost.seconds)
            for name, cost in self.earlier.items()
            if name in self._embedded and self._embedded[name].share
        ]
        passes = sum(each.seconds * each.share for each, _ in known)
        rest = sum(each.seconds * (1 - each.share) for each, _ in known)
        ours = sum(seconds for _, seconds in known)
        return max(0.0, ours - rest) / passes if passes else 1.0

    @cached_property
    def _typical(self) -> ClaimTime:
        """What a claim takes that is known on neither: an author's own, or a new one."""
        seconds = [cost.seconds for cost in self.earlier.values()]
        seconds = seconds or [each.seconds for each in self._embedded.values()]
        middle = median(seconds) if seconds else 0.0
        return ClaimTime(middle, middle, share=1.0)

    def of(self, claim: str) -> ClaimTime:
        """Return what a claim is expected to take.

        >>> from probes.schema.record import Cost
        >>> times = ExpectedTimes({"a": Cost(seconds=8)}, {"a": ClaimTime(1, 2, share=1)})
        >>> times.of("a")
        ClaimTime(seconds=8.0, alone=16.0, share=1.0)
        """
        embedded = self._embedded.get(claim)
        if claim not in self.earlier:
            return self._typical if embedded is None else embedded.scale(self._ratio)
        earlier = self.earlier[claim]
        alone, share = earlier.seconds, float(earlier.tokens > 0)
        if embedded is not None:
            scaled = embedded.scale(self._ratio)
            alone, share = max(alone, scaled.alone), scaled.share
        return ClaimTime(earlier.seconds, alone, share)


class Forecast:
    """The seconds that the checks of one target have taken, and that the rest will take.

    >>> shipped = ExpectedTimes({}, {name: ClaimTime(1, 1, share=1) for name in "ab"})
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
        self._passes: dict[str, float] = {}
        self._rest: dict[str, float] = {}
        for claim, number in checks.items():
            time = times.of(claim)
            seconds = (time.alone if alone else time.seconds) / number
            self._passes[claim] = time.share * seconds
            self._rest[claim] = seconds - self._passes[claim]
        self._open_taken: dict[str, float] = defaultdict(float)
        self._open_expected: dict[str, float] = defaultdict(float)
        self._expected = self._taken = 0.0

    def add(
        self, claim: str, seconds: float, *, loading: float = 0.0, decided: bool = True
    ) -> None:
        """Count a check that took this long, `loading` seconds of it while weights were loaded.

        `decided` is False of one that was not applicable or was left out.
        """
        self.spent += seconds
        self._left[claim] -= 1
        if decided and self._passes[claim]:
            self._open_taken[claim] += seconds - loading - self._rest[claim]
            self._open_expected[claim] += self._passes[claim]
        # Its first check may have done what the others needed too. Of workers each sees some alone.
        if self._workers > 1 or not self._left[claim]:
            self._taken += max(0.0, self._open_taken.pop(claim, 0.0))
            self._expected += self._open_expected.pop(claim, 0.0)

    @property
    def _factor(self) -> float | None:
        """Seconds of passes here for one expected; None while too little is measured."""
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
        passes, factor = self._passes[claim], self._factor
        if passes and factor is None:
            return None
        return self._rest[claim] + passes * (factor or 0.0)

    def seconds_of(self, claim: str) -> float | None:
        """Return the seconds that the rest of a claim will take; None while that is unknown."""
        per_check = self.per_check(claim)
        left = self._left[claim]
        return None if per_check is None else per_check * max(min(left, 1), left / self._workers)
