"""What is asked of each release, and what its record answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from probes.errors import UserError
from probes.schema.record import Check, ClaimRecord, Verdict
from probes.upgrade.cells import _Stored

if TYPE_CHECKING:
    from pydantic import JsonValue

    from probes.schema.record import Record

_MEASURE = re.compile(r"(?P<claim>[a-z0-9-]+)(\[(?P<check>.+)\])?\.(?P<path>.+)")
_LONGEST = 160


class Finding(_Stored):
    """What one release answers."""

    state: bool | None
    """Whether the claim holds, or the number is above the threshold; None: it cannot be told."""
    said: str
    """The same in words, with the reason."""


class Question(_Stored):
    """A claim's verdict, or a number in its evidence against a threshold."""

    claim: str
    """The claim's id."""
    check: str | None = None
    """Of a number: the parameters of the check that has it; None where one check alone has it."""
    path: tuple[str, ...] = ()
    """Of a number: its key in the evidence, and the keys below; empty for the verdict."""
    threshold: float = 0.0
    """Of a number: what it is held against."""

    def __str__(self) -> str:
        """The question as a reader would say it.

        >>> str(Question(claim="bos-inserted")), str(measure("collapse.probability", 0.5))
        ('bos-inserted', 'collapse.probability against 0.5')
        """
        if not self.path:
            return self.claim
        return f"{self.named} against {self.threshold:g}"

    @property
    def named(self) -> str:
        """The claim, or the number as `--measure` names it."""
        check = f"[{self.check}]" if self.check else ""
        return ".".join([f"{self.claim}{check}", *self.path])

    def answer(self, record: Record) -> Finding:
        """What a record answers.

        Raises:
            UserError: Several checks of the claim have the number, and none was named.
        """
        claim = next((each for each in record.claims if each.id == self.claim), None)
        if claim is None:
            return Finding(state=None, said="it was not decided")
        return self._number(claim) if self.path else _verdict(claim)

    def _number(self, claim: ClaimRecord) -> Finding:
        checks = [
            check for check in claim.evidence if self.check in (None, _parameters(check.name))
        ]
        found = {
            check.name: value
            for check in checks
            if (value := _below(check.values, self.path)) is not None
        }
        if len(found) > 1:
            names = [_parameters(name) for name in found]
            key = ".".join(self.path)
            raise UserError(
                f"{len(found)} checks of {self.claim} have {key}: name one, as in "
                f"--measure '{self.claim}[{names[0]}].{key}'; they are {', '.join(names[:5])}"
            )
        number = _as_number(next(iter(found.values()), None))
        if number is None:
            return Finding(state=None, said=f"{self.named} is not among the evidence as a number")
        above = number > self.threshold
        word = "above" if above else "not above"
        return Finding(state=above, said=f"{self.named} = {number:.6g}, {word} {self.threshold:g}")


def measure(text: str, threshold: float) -> Question:
    """The question that `--measure` asks.

    >>> measure("collapse[narrow].probability.first", 0.5).path
    ('probability', 'first')

    Raises:
        UserError: It is written otherwise.
    """
    match = _MEASURE.fullmatch(text)
    if match is None:
        raise UserError(
            f"--measure {text!r}: expected CLAIM.KEY or CLAIM[CHECK].KEY.KEY, as in "
            "collapse.probability"
        )
    return Question(
        claim=match["claim"],
        check=match["check"],
        path=tuple(match["path"].split(".")),
        threshold=threshold,
    )


def _verdict(claim: ClaimRecord) -> Finding:
    word = claim.verdict.value if claim.verdict else "undecided"
    states = {Verdict.HOLDS: True, Verdict.FAILS: False}
    said = f"{word}: {claim.reason}" if claim.reason else word
    return Finding(state=states.get(claim.verdict) if claim.verdict else None, said=said)


def _parameters(name: str) -> str:
    """What tells a check from its like: its parameters, or else its whole name."""
    rest = name.partition("[")[2]
    return rest[:-1] if rest.endswith("]") else name


def _below(value: JsonValue, path: tuple[str, ...]) -> JsonValue:
    for key in path:
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return None
    return value


def _as_number(value: JsonValue) -> float | None:
    if isinstance(value, bool):
        return float(value)
    return float(value) if isinstance(value, (int, float)) else None


def differing(before: ClaimRecord, after: ClaimRecord, most: int = 8) -> list[str]:
    """The values of the evidence that differ between two records of a claim, a line each.

    Args:
        before: the claim at one release.
        after: the claim at the next.
        most: so many lines at most; one more says how many were left out.
    """
    lines = []
    others = {check.name: check for check in after.evidence}
    for check in before.evidence:
        other = others.get(check.name)
        if other is not None:
            lines += _changes(check, other)
    if len(lines) > most:
        return [*lines[:most], f"and {len(lines) - most} more"]
    return lines


def _changes(one: Check, other: Check) -> list[str]:
    return [
        f"{_parameters(one.name)}: {key}: {_short(one.values.get(key))} → "
        f"{_short(other.values.get(key))}"
        for key in dict.fromkeys([*one.values, *other.values])
        if one.values.get(key) != other.values.get(key)
    ]


def _short(value: JsonValue) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
