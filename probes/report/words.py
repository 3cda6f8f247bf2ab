"""What a report says, in words: verdicts, counts, sizes, times, commands."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import TYPE_CHECKING

from probes.claims import catalogue
from probes.record import ClaimRecord, Record, TargetFacts, Verdict

if TYPE_CHECKING:
    from collections import Counter

UNDECIDED = "undecided"

# By verdict, in the order they are counted: said of one claim, and of several.
_SAID: dict[Verdict | None, tuple[str, str]] = {
    Verdict.HOLDS: ("holds", "hold"),
    Verdict.FAILS: ("fails", "fail"),
    Verdict.ERROR: ("ended in an error", "ended in an error"),
    Verdict.NOT_APPLICABLE: ("not applicable", "not applicable"),
    None: (UNDECIDED, UNDECIDED),
}

ORDER: tuple[Verdict | None, ...] = tuple(_SAID)
"""Verdicts in the order they are counted."""


def verdict_word(verdict: Verdict | None) -> str:
    """The verdict as one or two words.

    >>> verdict_word(None)
    'undecided'
    """
    return UNDECIDED if verdict is None else verdict.value


def counted(counts: Counter[Verdict | None]) -> str:
    """How many claims came to each verdict, as a sentence without its full stop.

    >>> from collections import Counter
    >>> counted(Counter({Verdict.HOLDS: 17, Verdict.FAILS: 1, Verdict.NOT_APPLICABLE: 1}))
    '17 claims hold, 1 fails, 1 not applicable'
    >>> counted(Counter({Verdict.HOLDS: 19}))
    'all 19 claims hold'
    """
    present = [(verdict, counts[verdict]) for verdict in ORDER if counts[verdict]]
    if not present:
        return "no claims"
    if len(present) == 1 and present[0] == (Verdict.HOLDS, counts.total()) and counts.total() > 1:
        return f"all {counts.total():,} claims hold"
    said = [f"{number:,} {_SAID[verdict][number != 1]}" for verdict, number in present]
    first = present[0][1]
    noun = "claim" if first == 1 else "claims"
    said[0] = said[0].replace(f"{first:,} ", f"{first:,} {noun} ", 1)
    return ", ".join(said)


def incomplete(record: Record) -> str:
    """What is missing of a run that did not make every planned check; empty if nothing is.

    The run was stopped from outside, or it ended by itself with checks left out.
    """
    if record.complete:
        return ""
    missing = sum(max(0, claim.planned - len(claim.evidence)) for claim in record.claims)
    planned = sum(claim.planned for claim in record.claims)
    made = f"{planned - missing:,} of {planned:,} checks were made"
    if record.finished is None:
        return f"Incomplete: the run did not reach its end. {made.capitalize()}."
    return f"Incomplete: the run ended early. {made.capitalize()}."


def plural(number: int, noun: str, many: str = "") -> str:
    """A number with its noun.

    >>> plural(1, "check"), plural(1200, "check"), plural(2, "pass", "passes")
    ('1 check', '1,200 checks', '2 passes')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {many or noun + 's'}"


def label(key: str) -> str:
    """A key of the evidence as a reader would say it.

    >>> label("new_tokens")
    'new tokens'
    """
    return key.replace("_", " ").strip() or key


def parameter(name: str) -> str:
    """Of a test's name, what tells it from its like; the whole name if it has no parameters.

    >>> parameter("test_bos_is_first[Japanese]"), parameter("test_bos_is_first")
    ('Japanese', 'test_bos_is_first')
    """
    rest = name.partition("[")[2]
    return rest[:-1] if rest.endswith("]") and rest != "]" else name


def duration(seconds: float) -> str:
    """Seconds, as one would say them.

    >>> duration(0.0042), duration(3.14159), duration(83), duration(7500)
    ('4 ms', '3.1 s', '1 min 23 s', '2 h 5 min')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def byte_size(size: int) -> str:
    """Bytes in decimal units, as memory is sold and models are described.

    >>> byte_size(512), byte_size(7_040_000), byte_size(4_450_000_000)
    ('512 bytes', '7.0 MB', '4.45 GB')
    """
    if size < 1000:
        return plural(size, "byte")
    if size < 1_000_000:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1_000_000_000 else f"{size / 1e9:.2f} GB"


def moment(iso: str) -> str:
    """A stored time, for people; a text that is none stays as it is.

    >>> moment("2026-11-23T07:51:20Z")
    '23 November 2026, 07:51 UTC'
    """
    try:
        time = datetime.fromisoformat(iso.replace("Z", "+00:00"))
    except ValueError:
        return iso
    return f"{time.day} {_MONTHS[time.month - 1]} {time.year}, {time:%H:%M} UTC"


# Not the locale's: a report reads the same wherever it is made.
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


def command(claim: ClaimRecord, target: TargetFacts) -> str:
    """The command that decides this claim alone on this target."""
    words = ["pytest"]
    if claim.id in catalogue():
        words.append("tests/claims")
    if target.source == "folder":
        words += ["--target", f"path/to/{target.name}"]
    elif target.source == "hub" or target.name != "embedded":
        words += ["--target", target.name]
    return shlex.join([*words, "--claim", claim.id])
