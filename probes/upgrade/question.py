"""What a bisection asks of each release, and how a record answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import JsonValue

from probes._util.text import shorten
from probes.errors import UserError
from probes.report.text.phrases import format_verdict, shorten_test_name
from probes.schema.record import ClaimRecord, Record, Verdict

_MEASURE = re.compile(r"(?P<claim>[a-z0-9-]+)(\[(?P<check>.+)\])?\.(?P<path>.+)")
_LONGEST_VALUE = 160


@dataclass(frozen=True)
class Finding:
    """The answer of one release."""

    state: bool | None
    """Whether the claim holds, or the number is above the threshold; None if unknown."""
    text: str


@dataclass(frozen=True)
class Question:
    """A claim's verdict, or a number of its evidence against a threshold."""

    claim: str
    check: str | None = None
    """The parameters of the check that has the number; None if only one check has it."""
    path: tuple[str, ...] = ()
    """The number's key in the evidence, and the keys below; empty for the verdict."""
    threshold: float = 0.0

    @property
    def name(self) -> str:
        """The claim, or the number as `--measure` names it."""
        check = f"[{self.check}]" if self.check else ""
        return ".".join([f"{self.claim}{check}", *self.path])

    def answer(self, record: Record) -> Finding:
        """Return the record's answer; raise UserError where several checks have the number."""
        claim = find_claim(record, self.claim)
        if claim is None:
            return Finding(None, "it was not decided")
        if self.path:
            return self._compare(claim)
        states: dict[Verdict | None, bool] = {
            Verdict.HOLDS: True,
            Verdict.FAILS: False,
            Verdict.NOT_OBSERVED: False,
        }
        text = f"{format_verdict(claim.verdict)}: {claim.reason}".removesuffix(": ")
        return Finding(states.get(claim.verdict), text)

    def _compare(self, claim: ClaimRecord) -> Finding:
        found = {
            shorten_test_name(check.name): value
            for check in claim.evidence
            if self.check in (None, shorten_test_name(check.name))
            and (value := _get(check.values, self.path)) is not None
        }
        if len(found) > 1:
            key = ".".join(self.path)
            raise UserError(
                f"{len(found)} checks of {self.claim} have {key}: name one, as in "
                f"--measure '{self.claim}[{next(iter(found))}].{key}'; "
                f"they are {', '.join([*found][:5])}"
            )
        number = next(iter(found.values()), None)
        if not isinstance(number, (bool, int, float)):
            return Finding(None, f"{self.name} is not among the evidence as a number")
        above = number > self.threshold
        side = "above" if above else "not above"
        return Finding(above, f"{self.name} = {number:.6g}, {side} {self.threshold:g}")


def parse_measure(text: str, threshold: float) -> Question:
    """Parse the value of `--measure`.

    >>> parse_measure("collapse[narrow].probability.first", 0.5).path
    ('probability', 'first')
    """
    match = _MEASURE.fullmatch(text)
    if match is None:
        raise UserError(
            f"--measure {text!r}: expected CLAIM.KEY or CLAIM[CHECK].KEY.KEY, as in "
            "collapse.probability"
        )
    path = tuple(match["path"].split("."))
    return Question(match["claim"], match["check"], path, threshold)


def find_claim(record: Record, claim: str) -> ClaimRecord | None:
    """Return a claim of a record by its id."""
    return next((each for each in record.claims if each.id == claim), None)


def _get(value: JsonValue, path: tuple[str, ...]) -> JsonValue:
    for key in path:
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return None
    return value


def list_differences(before: ClaimRecord, after: ClaimRecord, limit: int = 8) -> list[str]:
    """Return the values of the evidence that differ between two records of a claim, one a line."""
    others = {check.name: check.values for check in after.evidence}
    lines = [
        f"{shorten_test_name(check.name)}: {key}: {_format(old)} → {_format(new)}"
        for check in before.evidence
        if check.name in others
        for key in dict.fromkeys([*check.values, *others[check.name]])
        if (old := check.values.get(key)) != (new := others[check.name].get(key))
    ]
    more = len(lines) - limit
    return lines if more <= 0 else [*lines[:limit], f"and {more} more"]


def _format(value: JsonValue) -> str:
    return "nothing" if value is None else shorten(str(value), _LONGEST_VALUE)
