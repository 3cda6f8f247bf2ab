"""How long checks will take, from what they took before.

What a claim took in an earlier run on the same target is the best guess; else what it takes on the
embedded model. Both are corrected by what this run has taken so far: another machine, device or
model is slower or faster by a factor, which all claims that compute forward passes share.
"""

from __future__ import annotations

from collections import Counter
from functools import cache, cached_property
from statistics import median
from typing import TYPE_CHECKING

from probes._util.files import DATA
from probes._util.tomlfile import load_toml
from probes.schema.record import Cost

if TYPE_CHECKING:
    from collections.abc import Mapping

MEASURED = 3.0
"""Seconds of checks with forward passes from which the factor is taken."""

CONFIDENCE = 5.0
"""Seconds for which an earlier run on the same target counts against what this one measures."""


@cache
def embedded_costs() -> dict[str, Cost]:
    """Return what each built-in claim takes on the embedded model; some may be missing."""
    table = load_toml(DATA / "costs.toml")
    return {name: Cost(seconds=each[0], tokens=each[1]) for name, each in table.items()}


class ExpectedCosts:
    """What each claim is expected to cost on a target, before anything is measured."""

    def __init__(
        self, earlier: Mapping[str, Cost], embedded: Mapping[str, Cost] | None = None
    ) -> None:
        """Take what claims took in earlier runs on the target, and on the embedded model."""
        self.earlier = earlier
        self._embedded = embedded_costs() if embedded is None else embedded

    @cached_property
    def _ratio(self) -> float:
        """Seconds on this target for one on the embedded model, of claims known on both."""
        known = [name for name in self.earlier if name in self._embedded]
        ours, theirs = (
            sum(costs[name].seconds for name in known if costs[name].tokens)
            for costs in (self.earlier, self._embedded)
        )
        return ours / theirs if ours and theirs else 1.0

    @cached_property
    def _typical(self) -> Cost:
        """The cost of a claim that is known on neither: an author's own, or a new one."""
        costs = [*self.earlier.values()] or [*self._embedded.values()]
        return Cost(seconds=median(cost.seconds for cost in costs) if costs else 0.0, tokens=1)

    def of(self, claim: str) -> Cost:
        """Return a claim's expected cost.

        >>> costs = ExpectedCosts({"a": Cost(seconds=8, tokens=9)}, {})
        >>> costs.of("a").seconds, costs.of("own claim").seconds
        (8.0, 8.0)
        """
        if claim in self.earlier:
            return self.earlier[claim]
        cost = self._embedded.get(claim, self._typical)
        scale = self._ratio if cost.tokens and cost is not self._typical else 1.0
        return cost.model_copy(update={"seconds": cost.seconds * scale})


class Forecast:
    """The seconds that the checks of one target have taken, and that the rest will take.

    >>> shipped = ExpectedCosts({}, {name: Cost(seconds=1, tokens=9) for name in "ab"})
    >>> forecast = Forecast({"a": 1, "b": 4}, shipped)
    >>> forecast.seconds_of("b")  # nothing is known of this device yet
    >>> forecast.add("a", 10.0)
    >>> forecast.seconds_of("b"), forecast.per_check("b")
    (10.0, 2.5)
    """

    def __init__(self, checks: Mapping[str, int], costs: ExpectedCosts) -> None:
        """Take the number of checks of each claim, and what the claims are expected to cost."""
        self.is_from_earlier_runs = bool(costs.earlier)
        self.spent = 0.0
        self._left = Counter(checks)
        cost_of = {claim: costs.of(claim) for claim in checks}
        self._per_check = {claim: cost_of[claim].seconds / checks[claim] for claim in checks}
        self._computes = {claim for claim in checks if cost_of[claim].tokens}
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
        return None if per_check is None else per_check * self._left[claim]
