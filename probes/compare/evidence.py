"""What differs between the evidence of two runs: numbers, texts, and all else."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from probes.compare.logprobs import first_token
from probes.schema.claim import catalogue
from probes.schema.comparison import Difference, Effect, Estimate, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from pydantic import JsonValue

    from probes.schema.record import Check, ClaimRecord
    from probes.schema.recorded_output import RecordedText

    Floats = npt.NDArray[np.float64]
    Path = tuple[str | int, ...]
    Pair = tuple[Path, JsonValue, JsonValue]

KEPT_FOR_COMPARISONS = ("kept_prompts", "kept_texts")
"""Evidence that is there for comparisons alone."""

KEPT_APART = (
    *KEPT_FOR_COMPARISONS,
    "changed_since",
    "distributions",
    "made",
    "outputs",
    "table",
    "trace",
)
"""Evidence of built-in claims that says what the run was made with, or again what other evidence
does: kept whole to be looked at, or compared elsewhere."""

OF_NOISE = ("largest_change", "largest_share_of_tolerance", "noise", "share", "tolerance")
"""Names, in built-in claims, of numbers that say what rounding does: others are judged by them."""

LONGEST_TEXT = 60
"""Tokens in the longest text whose probability is evidence."""

MOST_EXPLAINED = 0.05
"""The largest share of a number that rounding is ever taken to explain."""

LEAST_EXPLAINED = 10
"""How many times the noise a number may move however small it is: differences that are themselves
rounding move by as much as they are. Never more than a hundredth."""

COUNT_DRIFTS = 0.05
"""Share of a count up to which it drifts; beyond it, it changed. One more or less is a drift."""

IDS = re.compile(r"(^|[._])ids?$")
"""What names of whole numbers end in that are token ids: another id is a change."""

LARGEST_NUMBER = 2**53
"""Whole numbers beyond it are compared as they are written."""

SHOWN = 300
"""Characters of a value that are kept in a comparison; the records have the rest."""


@dataclass(frozen=True)
class Explained:
    """What rounding explains between two runs.

    Attributes:
        noise: how far it moves a logit.
        texts: the greedy texts whose logits the two records keep.
    """

    noise: float
    texts: tuple[Sequence[RecordedText], Sequence[RecordedText]] = ((), ())

    @property
    def share(self) -> float:
        """How far it moves any number of evidence, as a share of it.

        The longest product is of sixty probabilities, each of which moves by a factor of at most
        e^(2 x noise).

        >>> round(Explained(noise=1e-6).share, 6)
        0.00012
        """
        return min(MOST_EXPLAINED, 2 * LONGEST_TEXT * self.noise)

    def allowed(self, scale: Floats) -> Floats:
        """How far numbers of this size may move."""
        allowed = self.share * scale + min(0.01, LEAST_EXPLAINED * self.noise)
        return np.where(np.isfinite(allowed), allowed, 0.0)


def differences(old: ClaimRecord, new: ClaimRecord, explained: Explained) -> list[Difference]:
    """What differs in the evidence of a claim, what changed before what drifted."""
    before = {check.name: check for check in old.evidence}
    after = {check.name: check for check in new.evidence}
    names = dict.fromkeys([*before, *after])
    if old.deselected or new.deselected:  # what was not asked for is not missing
        names = dict.fromkeys(name for name in before if name in after)
    apart = (*KEPT_APART, *OF_NOISE) if old.id in catalogue() else KEPT_FOR_COMPARISONS
    found = [
        difference
        for name in names
        for difference in _of_check(name, before.get(name), after.get(name), explained, apart)
    ]
    return sorted(found, key=lambda each: each.outcome is not Outcome.CHANGED)


def _of_check(
    name: str,
    old: Check | None,
    new: Check | None,
    explained: Explained,
    apart: Sequence[str],
) -> Iterator[Difference]:
    if old is None or new is None or old.verdict is not new.verdict:
        yield Difference(
            check="",
            name=name,
            outcome=Outcome.CHANGED,
            old="absent" if old is None else old.verdict.value,
            new="absent" if new is None else new.verdict.value,
        )
        return
    pairs = [
        pair
        for key in old.values.keys() & new.values.keys()
        if key not in apart
        for pair in _pairs((key,), old.values[key], new.values[key])
        if pair[0][-1] not in apart
    ]
    by_name = sorted(pairs, key=lambda pair: pattern(pair[0]))
    for where, group in groupby(by_name, key=lambda pair: pattern(pair[0])):
        yield from _of_values(name, where, list(group), explained)


def pattern(path: Path) -> str:
    """Where a value stands, the same for all items of a list.

    >>> pattern(("grid", 3, "probability"))
    'grid[*].probability'
    """
    words = ["[*]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(words).removeprefix(".")


def _pairs(path: Path, old: JsonValue, new: JsonValue) -> Iterator[Pair]:
    """The values that stand in the same place of both; a list of another length is one value."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _pairs((*path, key), old.get(key, "absent"), new.get(key, "absent"))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _pairs((*path, place), before, after)
    else:
        yield path, old, new


def _of_values(
    check: str, where: str, pairs: Sequence[Pair], explained: Explained
) -> Iterator[Difference]:
    """What differs among the values of one name."""
    numbers = []
    for path, before, after in pairs:
        a, b = as_number(before), as_number(after)
        if a is not None and b is not None:
            numbers.append((a, b))
        elif before != after:
            yield _of_others(check, path, before, after, explained)
    if numbers:
        whole = all(
            isinstance(value, int) for _, *both in pairs for value in both if value is not None
        )
        ids = whole and IDS.search(where.replace("[*]", "")) is not None
        moved = _of_numbers(numbers, explained, whole=whole, ids=ids)
        if moved is not None:
            outcome, effect, (old, new) = moved
            shown = (int(old), int(new)) if whole else (old, new)
            yield Difference(
                check=check,
                name=where,
                outcome=outcome,
                old=_finite(shown[0]),
                new=_finite(shown[1]),
                effect=None if ids else effect,
            )


def _of_others(
    check: str, path: Path, old: JsonValue, new: JsonValue, explained: Explained
) -> Difference:
    token = None
    if isinstance(old, str) and isinstance(new, str):
        token = first_token(old, new, explained.texts, explained.noise)
    return Difference(
        check=check,
        name=_spelled(path),
        outcome=Outcome.DRIFTED if token is not None and token.near_tie else Outcome.CHANGED,
        old=shortened(old),
        new=shortened(new),
        token=token,
    )


def _spelled(path: Path) -> str:
    words = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(words).removeprefix(".")


def as_number(value: JsonValue) -> float | None:
    """A stored number that a float holds, those that are not finite included; else None.

    >>> as_number("Infinity"), as_number(3), as_number(True), as_number("3")
    (inf, 3.0, None, None)
    """
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(str(value))
    if isinstance(value, float):
        return value
    small = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
    return float(str(value)) if small else None


def _finite(value: float) -> JsonValue:
    if math.isfinite(value):
        return value
    return str(value).replace("inf", "Infinity").replace("nan", "NaN")


def _of_numbers(
    pairs: Sequence[tuple[float, float]], explained: Explained, *, whole: bool, ids: bool
) -> tuple[Outcome, Effect, tuple[float, float]] | None:
    """What became of numbers of one name; None if rounding explains it."""
    old, new = np.array(pairs).T
    with np.errstate(invalid="ignore"):
        change = np.where((old == new) | (np.isnan(old) & np.isnan(new)), 0.0, new - old)
    change = np.where(np.isnan(change), np.inf, change)
    scale = np.maximum(np.abs(old), np.abs(new))
    allowed = np.zeros(len(old)) if whole else explained.allowed(scale)
    moved = np.abs(change) > allowed
    if not moved.any():
        return None
    far = np.abs(change) > np.maximum(1.0, COUNT_DRIFTS * scale)
    changed = ids or (whole and bool(far.any()))
    worst = int(np.abs(change).argmax())
    return (
        Outcome.CHANGED if changed else Outcome.DRIFTED,
        Effect(
            numbers=len(old),
            moved=int(moved.sum()),
            difference=_mean_difference(change, float(allowed.max())),
            size=_effect_size(change),
            largest=float(change[worst]),
        ),
        (float(old[worst]), float(new[worst])),
    )


def _mean_difference(change: Floats, allowed: float) -> Estimate:
    mean = float(change.mean())
    if len(change) < 3 or not np.isfinite(change).all():
        half = allowed
    else:
        spread = float(change.std(ddof=1)) / math.sqrt(len(change))
        half = float(stats.t.ppf(0.975, len(change) - 1)) * spread
    return Estimate(value=mean, low=mean - half, high=mean + half)


def _effect_size(change: Floats) -> float | None:
    if len(change) < 3 or not np.isfinite(change).all():
        return None
    spread = float(change.std(ddof=1))
    return float(change.mean()) / spread if spread > 0 else None


def shortened(value: JsonValue) -> JsonValue:
    """A value as a comparison keeps it: long texts and lists cut.

    >>> shortened("a" * 400)[-3:]
    'aa…'
    """
    if isinstance(value, str):
        return value if len(value) <= SHOWN else value[: SHOWN - 1] + "…"
    if isinstance(value, list):
        return f"{len(value)} items"
    if isinstance(value, dict):
        return f"{len(value)} entries"
    return value
