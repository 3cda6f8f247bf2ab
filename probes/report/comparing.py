"""What a comparison says, in words: for the terminal, for Markdown, for a page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from probes.report.language import phrase
from probes.report.words import moment, verdict_word
from probes.schema.comparison import Outcome

if TYPE_CHECKING:
    from pydantic import JsonValue

    from probes.schema.comparison import (
        ClaimComparison,
        Comparison,
        Difference,
        Drift,
        Estimate,
        FirstToken,
        Flip,
        Run,
    )

ORDER = (
    Outcome.NEWLY_FAILING,
    Outcome.CHANGED,
    Outcome.DRIFTED,
    Outcome.REMOVED,
    Outcome.NOT_COMPARABLE,
    Outcome.FIXED,
    Outcome.ADDED,
    Outcome.SAME,
)
"""Outcomes as they are shown: what needs looking at comes first."""

TOLD = 5
"""Differences of a claim that are told one by one, where space is short."""

NAMED = 3
"""Prompts that are named, of those encoded otherwise."""


def outcome_word(outcome: Outcome, language: str = "en") -> str:
    """An outcome in a word or two.

    >>> outcome_word(Outcome.NEWLY_FAILING), outcome_word(Outcome.FIXED, "ja")
    ('newly failing', '修復')
    """
    return phrase(f"outcome.{outcome.option}", language)


def compared_headline(comparison: Comparison, language: str = "en") -> str:
    """What became of the claims, in a sentence: "1 newly failing, 2 drifted, 53 same."."""
    counts = comparison.counts
    if not set(counts) - {Outcome.SAME}:
        return phrase("compare.all_same", language, n=f"{counts.total():,}")
    said = [
        phrase(
            "compare.claims", language, n=f"{counts[each]:,}", outcome=outcome_word(each, language)
        )
        for each in ORDER
        if counts[each]
    ]
    return phrase("compare.changed", language, said=phrase("compare.joint", language).join(said))


def compared_run(run: Run, which: str, language: str = "en") -> str:
    """When a run was made and with which version of the suite; `which` is `old` or `new`."""
    said = phrase(
        "compare.run",
        language,
        which=phrase(f"compare.{which}", language),
        when=moment(run.started, language),
        suite=run.suite,
    )
    return said if run.complete else f"{said} ({phrase('compare.stopped', language)})"


def turn(claim: ClaimComparison, language: str = "en") -> str:
    """A claim's two verdicts, or the one if it is the same."""
    if claim.old is claim.new or claim.outcome is Outcome.ADDED:
        return verdict_word(claim.new, language)
    if claim.outcome is Outcome.REMOVED:
        return verdict_word(claim.old, language)
    return phrase(
        "compare.was",
        language,
        old=verdict_word(claim.old, language),
        new=verdict_word(claim.new, language),
    )


def in_order(comparison: Comparison) -> list[ClaimComparison]:
    """The claims that are not the same, what needs looking at first."""
    differing = [claim for claim in comparison.claims if claim.outcome is not Outcome.SAME]
    return sorted(differing, key=lambda claim: ORDER.index(claim.outcome))


def place(difference: Difference) -> str:
    """Where a difference is found: the check and the name in its evidence."""
    return f"{difference.check}: {difference.name}" if difference.check else difference.name


def difference_words(difference: Difference, language: str = "en") -> str:
    """What differs, in a sentence without its full stop."""
    values = {"old": plain(difference.old), "new": plain(difference.new)}
    if not difference.check:
        return phrase("difference.check", language, **values)
    effect = difference.effect
    if effect is None:
        said = phrase("difference.value", language, **values)
        token = difference.token
        return said if token is None else f"{said}; {_token_words(token, language)}"
    estimate = effect.difference
    values |= {
        "difference": signed(estimate.value),
        "low": signed(estimate.low),
        "high": signed(estimate.high),
    }
    if effect.numbers == 1:
        return phrase("difference.number", language, **values)
    size = ""
    if effect.size is not None:
        size = phrase("difference.size", language, size=signed(effect.size))
    return phrase(
        "difference.numbers",
        language,
        moved=f"{effect.moved:,}",
        numbers=f"{effect.numbers:,}",
        size=size,
        largest=signed(effect.largest),
        **values,
    )


def _token_words(token: FirstToken, language: str) -> str:
    return phrase(
        "difference.token",
        language,
        step=token.step,
        at_least=phrase("difference.at_least", language) if token.at_least else "",
        margin=short(token.margin),
        noise=short(token.noise),
        tie=phrase(f"compare.{'tie' if token.near_tie else 'no_tie'}", language),
    )


def drift_words(drift: Drift, language: str = "en") -> list[str]:
    """What became of the distributions, in sentences."""
    said = []
    if drift.encoded_otherwise:
        named = drift.encoded_otherwise[:NAMED]
        examples = ", ".join(json.dumps(prompt, ensure_ascii=False) for prompt in named)
        said.append(
            phrase(
                "compare.drift_changed",
                language,
                n=len(drift.encoded_otherwise),
                examples=examples + (" …" if len(drift.encoded_otherwise) > NAMED else ""),
            )
        )
    if drift.in_one_only:
        said.append(phrase("compare.drift_alone", language, n=len(drift.in_one_only)))
    if drift.kl is None:
        return said or [phrase("compare.drift_not_comparable", language)]
    clear = [flip for flip in drift.flips if not flip.near_tie]
    explained = drift.largest_change <= drift.explained and not clear
    said.append(
        phrase(
            f"compare.drift_{'same' if explained else 'drifted'}",
            language,
            positions=f"{drift.positions:,}",
            prompts=f"{drift.prompts:,}",
        )
    )
    said.append(
        phrase(
            "compare.largest",
            language,
            change=short(drift.largest_change),
            tolerance=short(drift.explained),
        )
    )
    return said


def measures(drift: Drift) -> list[tuple[str, Estimate]]:
    """The measures of drift, by the key of their name."""
    found = {"kl": drift.kl, "rms_dp": drift.rms_dp, "same_top": drift.same_top}
    return [(name, estimate) for name, estimate in found.items() if estimate is not None]


def estimate_words(name: str, estimate: Estimate) -> tuple[str, str]:
    """A measure's value and its interval; shares in per cent."""
    if name == "same_top":
        say = [f"{100 * number:.2f} %" for number in (estimate.value, estimate.low, estimate.high)]
    else:
        say = [short(number) for number in (estimate.value, estimate.low, estimate.high)]
    return say[0], f"{say[1]} – {say[2]}"


def flip_words(flip: Flip, language: str = "en") -> str:
    """A position after which another token leads."""
    return phrase(
        "compare.flip",
        language,
        prompt=flip.prompt,
        position=flip.position,
        old=json.dumps(flip.old, ensure_ascii=False),
        new=json.dumps(flip.new, ensure_ascii=False),
        margin=short(flip.margin),
        tie=phrase(f"compare.{'tie' if flip.near_tie else 'no_tie'}", language),
    )


def speed_words(speed: Estimate, language: str = "en") -> str:
    """The ratio of times, with its interval."""
    return phrase(
        "compare.speed",
        language,
        ratio=f"{speed.value:.2f}",
        low=f"{speed.low:.2f}",
        high=f"{speed.high:.2f}",
    )


def short(number: float) -> str:
    """Three significant digits.

    >>> short(0.000123456), short(12345.0), short(0.0)
    ('0.000123', '1.23e+04', '0')
    """
    return f"{number:.3g}"


def signed(number: float) -> str:
    """The same with its sign.

    >>> signed(-0.5), signed(0.25), signed(0.0)
    ('−0.5', '+0.25', '0')
    """
    if number == 0:
        return "0"
    return f"{number:+.3g}".replace("-", "−", 1) if number < 0 else f"{number:+.3g}"


def plain(value: JsonValue) -> str:
    """A value as text: a text in quotes, a number with up to six digits.

    >>> plain("a"), plain(0.123456789), plain(None)
    ('"a"', '0.123457', 'null')
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False)
