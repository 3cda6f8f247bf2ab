"""Differences between the evidence of two runs: numbers, texts, and everything else."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from scipy import special

from probes.compare.engines import find_changed_engine, list_names_apart
from probes.compare.kept_outputs import (
    find_changed_beams,
    find_changed_chats,
    find_changed_ends,
    find_changed_ids,
    list_outputs_apart,
)
from probes.compare.logprobs import find_first_token
from probes.compare.settings import find_changed_settings
from probes.schema.claim import catalogue
from probes.schema.comparison import Difference, Effect, Estimate, Outcome
from probes.schema.evidence import COMPARED_APART
from probes.schema.record import OPEN, Check, ClaimRecord
from probes.schema.recorded_output import RecordedText

Floats = npt.NDArray[np.float64]
Path = tuple[str | int, ...]
Pair = tuple[Path, JsonValue, JsonValue]

NOT_COMPARED = (
    *COMPARED_APART,
    *("causes", "changed_since", "distributions", "made", "outputs", "table", "trace"),
    *("refused_conversations", "drafted_texts", "stopped_texts"),
    *("kept_beams", "used_settings"),
    *("largest_change", "largest_share_of_tolerance", "noise", "share", "tolerance"),
)
"""Evidence of built-in claims that is compared elsewhere, repeats other evidence or says what the
run was made with; and numbers that measure rounding, by which the others are judged."""

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
"""Names of whole numbers that are token ids: another id is a change."""

LARGEST_NUMBER = 2**53
"""Larger whole numbers are compared as text."""

SHOWN = 300
"""Characters of a value in a comparison; the records have the rest."""


@dataclass(frozen=True)
class Rounding:
    """What rounding explains: it moves a logit by `noise`. Both records keep logits of `texts`."""

    noise: float
    texts: tuple[Sequence[RecordedText], Sequence[RecordedText]] = ((), ())

    @property
    def share(self) -> float:
        """How far it moves any number of evidence, as a share of the number.

        The longest product is of sixty probabilities; each moves by a factor of at most e^(2 x
        noise).

        >>> round(Rounding(noise=1e-6).share, 6)
        0.00012
        """
        return min(MOST_EXPLAINED, 2 * LONGEST_TEXT * self.noise)

    def allowed(self, scale: Floats) -> Floats:
        """Return how far numbers of this size may move."""
        allowed = self.share * scale + min(0.01, LEAST_EXPLAINED * self.noise)
        return np.where(np.isfinite(allowed), allowed, 0.0)


def find_differences(old: ClaimRecord, new: ClaimRecord, rounding: Rounding) -> list[Difference]:
    """Return what differs in the evidence of a claim: what changed before what drifted."""
    before = {check.name: check for check in old.evidence}
    after = {check.name: check for check in new.evidence}
    names = dict.fromkeys([*before, *after])
    if old.deselected or new.deselected:  # a check that was not selected is not missing
        names = dict.fromkeys(name for name in before if name in after)
    ignored = NOT_COMPARED if old.id in catalogue() else COMPARED_APART
    found = [
        difference
        for name in names
        for difference in _compare_checks(
            name, before.get(name), after.get(name), rounding, ignored
        )
    ]
    return sorted(found, key=lambda each: each.outcome is not Outcome.CHANGED)


def _compare_checks(
    name: str, old: Check | None, new: Check | None, rounding: Rounding, ignored: Sequence[str]
) -> Iterator[Difference]:
    if any(each is not None and each.verdict in OPEN for each in (old, new)):
        return  # it was left out of a run
    if old is not None and new is not None:
        if old.verdict is new.verdict and old.values == new.values:
            return  # as in most checks: looking at each value takes its time
        for found in (find_changed_ids(old, new), find_changed_chats(old, new)):
            if found is not None:
                yield found
        yield from find_changed_settings(old, new)
        yield from find_changed_beams(old, new, rounding.noise)
        yield from find_changed_ends(old, new, rounding.noise)
        yield from find_changed_engine(old, new)
        ignored = (*ignored, *list_names_apart(old, new), *list_outputs_apart(old, new))
    if old is None or new is None or old.verdict is not new.verdict:
        verdicts = ("absent" if each is None else each.verdict.value for each in (old, new))
        yield Difference(
            check="", name=name, outcome=Outcome.CHANGED, old=next(verdicts), new=next(verdicts)
        )
        return
    pairs = [
        pair
        for key in old.values.keys() & new.values.keys()
        if key not in ignored
        for pair in _pairs((key,), old.values[key], new.values[key])
        if pair[0][-1] not in ignored
    ]
    by_name = sorted(pairs, key=lambda pair: pattern(pair[0]))
    for where, group in groupby(by_name, key=lambda pair: pattern(pair[0])):
        yield from _compare_values(name, where, list(group), rounding)


def pattern(path: Path, index: str = "*") -> str:
    """Return the place of a value, the same for all items of a list unless `index` is empty.

    >>> pattern(("grid", 3, "probability"))
    'grid[*].probability'
    """
    words = [f"[{index or part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(words).removeprefix(".")


def _pairs(path: Path, old: JsonValue, new: JsonValue) -> Iterator[Pair]:
    """Yield the values at the same place of both; a list of another length is one value."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _pairs((*path, key), old.get(key, "absent"), new.get(key, "absent"))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _pairs((*path, place), before, after)
    else:
        yield path, old, new


def _compare_values(
    check: str, where: str, pairs: Sequence[Pair], rounding: Rounding
) -> Iterator[Difference]:
    """Yield what differs among the values of one name."""
    numbers = []
    for path, before, after in pairs:
        a, b = as_number(before), as_number(after)
        if a is not None and b is not None:
            numbers.append((a, b))
        elif before != after:
            yield _compare_others(check, path, before, after, rounding)
    if numbers:
        whole = all(
            isinstance(value, int) for _, *both in pairs for value in both if value is not None
        )
        yield from _compare_numbers(check, where, numbers, rounding, whole=whole)


def _compare_others(
    check: str, path: Path, old: JsonValue, new: JsonValue, rounding: Rounding
) -> Difference:
    token = None
    if isinstance(old, str) and isinstance(new, str):
        token = find_first_token(old, new, rounding.texts, rounding.noise)
    return Difference(
        check=check,
        name=pattern(path, index=""),
        outcome=Outcome.DRIFTED if token is not None and token.near_tie else Outcome.CHANGED,
        old=_shorten(old),
        new=_shorten(new),
        token=token,
    )


def as_number(value: JsonValue) -> float | None:
    """Return a stored number that a float can hold, finite or not; else None.

    >>> as_number("Infinity"), as_number(3), as_number(True), as_number("3")
    (inf, 3.0, None, None)
    """
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(str(value))
    if isinstance(value, float):
        return value
    small = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
    return float(str(value)) if small else None


def _as_json(value: float) -> JsonValue:
    if math.isfinite(value):
        return value
    return str(value).replace("inf", "Infinity").replace("nan", "NaN")


def _compare_numbers(
    check: str, where: str, pairs: Sequence[tuple[float, float]], rounding: Rounding, *, whole: bool
) -> Iterator[Difference]:
    """Yield the difference of numbers of one name, if rounding does not explain it."""
    old, new = np.array(pairs).T
    with np.errstate(invalid="ignore"):
        change = np.where((old == new) | (np.isnan(old) & np.isnan(new)), 0.0, new - old)
    change = np.where(np.isnan(change), np.inf, change)
    scale = np.maximum(np.abs(old), np.abs(new))
    allowed = np.zeros(len(old)) if whole else rounding.allowed(scale)
    moved = np.abs(change) > allowed
    if not moved.any():
        return
    far = np.abs(change) > np.maximum(1.0, COUNT_DRIFTS * scale)
    ids = whole and IDS.search(where.replace("[*]", "")) is not None
    changed = ids or (whole and bool(far.any()))
    worst = int(np.abs(change).argmax())
    mean, half, size = float(change.mean()), float(allowed.max()), None
    if len(change) >= 3 and np.isfinite(change).all():
        spread = float(change.std(ddof=1))
        half = float(special.stdtrit(len(change) - 1, 0.975)) * spread / math.sqrt(len(change))
        size = mean / spread if spread > 0 else None
    effect = Effect(
        numbers=len(old),
        moved=int(moved.sum()),
        difference=Estimate(value=mean, low=mean - half, high=mean + half),
        size=size,
        largest=float(change[worst]),
    )
    before, after = (int(value) if whole else _as_json(value) for value in pairs[worst])
    yield Difference(
        check=check,
        name=where,
        outcome=Outcome.CHANGED if changed else Outcome.DRIFTED,
        old=before,
        new=after,
        effect=None if ids else effect,
    )


def _shorten(value: JsonValue) -> JsonValue:
    """Return a value as a comparison holds it: a long text is cut, a list is counted."""
    if isinstance(value, str):
        return value if len(value) <= SHOWN else value[: SHOWN - 1] + "…"
    if isinstance(value, list):
        return f"{len(value)} items"
    if isinstance(value, dict):
        return f"{len(value)} entries"
    return value
