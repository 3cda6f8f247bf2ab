"""What a report says, in words: verdicts, counts, sizes, times, commands.

Each function speaks one language, English unless told otherwise; `language.both` makes it speak
all. The words themselves stand in `texts/`.
"""

from __future__ import annotations

import shlex
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING

from probes.report.language import phrase
from probes.schema.claim import catalogue
from probes.schema.record import ClaimRecord, Environment, Record, TargetFacts, Verdict

if TYPE_CHECKING:
    from collections import Counter

ORDER: tuple[Verdict | None, ...] = (*Verdict, None)
"""Verdicts in the order they are counted."""

UNDECIDED = "undecided"


def kind(verdict: Verdict | None) -> str:
    """The verdict as one word, for keys of texts and for the page's style.

    >>> kind(Verdict.NOT_APPLICABLE), kind(None)
    ('not-applicable', 'undecided')
    """
    return UNDECIDED if verdict is None else verdict.value.replace(" ", "-")


def verdict_word(verdict: Verdict | None, language: str = "en") -> str:
    """The verdict as one or two words.

    >>> verdict_word(None), verdict_word(Verdict.HOLDS, "ja")
    ('undecided', '成立')
    """
    return phrase(f"verdict.{kind(verdict)}", language)


def counted(counts: Counter[Verdict | None], language: str = "en") -> str:
    """How many claims came to each verdict, as a sentence without its full stop.

    >>> from collections import Counter
    >>> counted(Counter({Verdict.HOLDS: 17, Verdict.FAILS: 1, Verdict.NOT_APPLICABLE: 1}))
    '17 claims hold, 1 fails, 1 not applicable'
    >>> counted(Counter({Verdict.HOLDS: 19}))
    'all 19 claims hold'
    """
    present = [(verdict, counts[verdict]) for verdict in ORDER if counts[verdict]]
    if not present:
        return phrase("counted.none", language)
    if len(present) == 1 and present[0] == (Verdict.HOLDS, counts.total()) and counts.total() > 1:
        return phrase("counted.all", language, n=f"{counts.total():,}")
    said = []
    for place, (verdict, number) in enumerate(present):
        one = "one" if number == 1 else "many"
        what = phrase(f"counted.{one}.{kind(verdict)}", language)
        key = "counted.next" if place else f"counted.first_{one}"
        said.append(phrase(key, language, n=f"{number:,}", what=what))
    return phrase("counted.joint", language).join(said)


def headline(counts: Counter[Verdict | None], language: str = "en") -> str:
    """The same as a whole sentence.

    >>> from collections import Counter
    >>> headline(Counter({Verdict.HOLDS: 19})), headline(Counter({Verdict.HOLDS: 19}), "ja")
    ('All 19 claims hold.', '19 件の主張がすべて成立。')
    """
    said = counted(counts, language)
    return phrase("counted.sentence", language, said=said[:1].upper() + said[1:])


def incomplete(record: Record, language: str = "en") -> str:
    """What is missing of a run that did not make every planned check; empty if nothing is.

    The run was stopped from outside, or it ended by itself with checks left out.
    """
    if record.complete:
        return ""
    missing = sum(max(0, claim.planned - len(claim.evidence)) for claim in record.claims)
    planned = sum(claim.planned for claim in record.claims)
    key = "incomplete.stopped" if record.finished is None else "incomplete.early"
    return phrase(key, language, made=f"{planned - missing:,}", planned=f"{planned:,}")


def plural(number: int, noun: str, language: str = "en") -> str:
    """A number with its noun, one of `count` in the texts.

    >>> plural(1, "check"), plural(1200, "check"), plural(2, "pass")
    ('1 check', '1,200 checks', '2 forward passes')
    """
    one = "one" if number == 1 else "many"
    return phrase(f"count.{noun}.{one}", language, n=f"{number:,}")


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


def duration(seconds: float, language: str = "en") -> str:
    """Seconds, as one would say them.

    >>> duration(0.0042), duration(3.14159), duration(83), duration(7500)
    ('4 ms', '3.1 s', '1 min 23 s', '2 h 5 min')
    """
    if not isfinite(seconds):
        return f"{seconds} s"
    if seconds < 1:
        return phrase("duration.below_a_second", language, ms=f"{seconds * 1000:.0f}")
    if seconds < 60:
        return phrase("duration.seconds", language, s=f"{seconds:.1f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return phrase("duration.minutes", language, min=minutes, s=rest)
    hours, minutes = divmod(minutes, 60)
    return phrase("duration.hours", language, h=f"{hours:,}", min=minutes)


def byte_size(size: int, language: str = "en") -> str:
    """Bytes in decimal units, as memory is sold and models are described.

    >>> byte_size(512), byte_size(7_040_000), byte_size(4_450_000_000)
    ('512 bytes', '7.0 MB', '4.45 GB')
    """
    if size < 1000:
        return plural(size, "byte", language)
    if size < 1_000_000:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1_000_000_000 else f"{size / 1e9:.2f} GB"


def moment(iso: str, language: str = "en") -> str:
    """A stored time, for people; a text that is none stays as it is.

    >>> moment("2026-11-23T07:51:20Z"), moment("2026-11-23T07:51:20Z", "ja")
    ('23 November 2026, 07:51 UTC', '2026年11月23日 07:51 UTC')
    """
    try:
        time = datetime.fromisoformat(iso.replace("Z", "+00:00"))
    except ValueError:
        return iso
    # Not the locale's months: a report reads the same wherever it is made.
    month = phrase(f"month.{time.month}", language)
    return phrase(
        "month.moment", language, day=time.day, month=month, year=time.year, time=f"{time:%H:%M}"
    )


def loaded_as(target: TargetFacts) -> str:
    """How a target was loaded, in the libraries' own words.

    >>> loaded_as(TargetFacts(name="m", source="hub", quantization="nf4", dtype="float16"))
    'nf4 · float16 · auto'
    """
    words = (target.quantization, target.dtype, target.device)
    return " · ".join(word for word in words if word != "none")


def versions(environment: Environment) -> str:
    """Versions of the two libraries that decide most."""
    packages = environment.packages
    return " · ".join(
        f"{package} {packages[package]}"
        for package in ("transformers", "torch")
        if package in packages
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
