"""A comparison of two records as sentences: for the terminal, for Markdown, for the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from probes.report.locale import phrase
from probes.report.text.phrases import (
    format_rate,
    format_rate_name,
    format_ratio,
    format_time,
    format_verdict,
)
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
        RateRatio,
        Run,
    )

MOST_LINES = 5
"""Differences of a claim, or flips, that are listed where space is short."""

MOST_PROMPTS = 3
"""Prompts with other token ids that are quoted."""


# --- the runs and their claims -------------------------------------------------------------------


def format_outcome(outcome: Outcome, language: str = "en") -> str:
    """Return an outcome as one or two words.

    >>> format_outcome(Outcome.NEWLY_FAILING), format_outcome(Outcome.FIXED, "ja")
    ('newly failing', '修復')
    """
    return phrase(f"outcome.{outcome.option}", language)


def format_outcomes(comparison: Comparison, language: str = "en") -> str:
    """Return how many claims have each outcome, such as "1 newly failing, 2 drifted, 53 same."."""
    counts = comparison.counts
    if not set(counts) - {Outcome.SAME}:
        return phrase("compare.all_same", language, n=f"{counts.total():,}")
    numbers = {outcome: counts[outcome] for outcome in Outcome if counts[outcome]}
    parts = [
        phrase("compare.claims", language, n=f"{n:,}", outcome=format_outcome(outcome, language))
        for outcome, n in numbers.items()
    ]
    return phrase("compare.changed", language, said=phrase("compare.joint", language).join(parts))


def format_run(run: Run, which: str, language: str = "en") -> str:
    """Return when a run was made and by which suite; `which` is `old` or `new`."""
    text = phrase(
        "compare.run",
        language,
        which=phrase(f"compare.{which}", language),
        when=format_time(run.started, language),
        suite=run.suite,
    )
    return text if run.complete else f"{text} ({phrase('compare.stopped', language)})"


def list_changed_claims(comparison: Comparison) -> list[ClaimComparison]:
    """Return the claims that are not the same, those that need attention first."""
    differing = [claim for claim in comparison.claims if claim.outcome is not Outcome.SAME]
    return sorted(differing, key=lambda claim: [*Outcome].index(claim.outcome))


def format_verdicts(claim: ClaimComparison, language: str = "en") -> str:
    """Return a claim's two verdicts, or the one if they are the same."""
    if claim.old is claim.new or claim.outcome is Outcome.ADDED:
        return format_verdict(claim.new, language)
    if claim.outcome is Outcome.REMOVED:
        return format_verdict(claim.old, language)
    old, new = format_verdict(claim.old, language), format_verdict(claim.new, language)
    return phrase("compare.was", language, old=old, new=new)


def describe_claim(claim: ClaimComparison) -> list[str]:
    """Return a changed claim's reasons and first differences, a line each."""
    lines = []
    if claim.old_reason != claim.new_reason:
        reasons = {"old": claim.old_reason, "new": claim.new_reason}
        lines = [
            f"{phrase(f'compare.reason_{which}')}: {why}" for which, why in reasons.items() if why
        ]
    for difference in claim.differences[:MOST_LINES]:
        lines.append(f"{format_place(difference)}: {describe_difference(difference)}")
    if len(claim.differences) > MOST_LINES:
        lines.append(phrase("compare.more", n=len(claim.differences) - MOST_LINES))
    return lines


# --- evidence ------------------------------------------------------------------------------------


def format_place(difference: Difference) -> str:
    """Return where a difference is: the check and the name in its evidence."""
    return f"{difference.check}: {difference.name}" if difference.check else difference.name


def describe_difference(difference: Difference, language: str = "en") -> str:
    """Return what differs, as a sentence without its full stop."""
    values = {"old": format_value(difference.old), "new": format_value(difference.new)}
    if not difference.check:
        return phrase("difference.check", language, **values)
    effect = difference.effect
    if effect is None:
        text = phrase("difference.value", language, **values)
        token = difference.token
        return text if token is None else f"{text}; {_describe_token(token, language)}"
    estimate = effect.difference
    values |= {
        "difference": format_signed(estimate.value),
        "low": format_signed(estimate.low),
        "high": format_signed(estimate.high),
    }
    if effect.numbers == 1:
        return phrase("difference.number", language, **values)
    size = ""
    if effect.size is not None:
        size = phrase("difference.size", language, size=format_signed(effect.size))
    return phrase(
        "difference.numbers",
        language,
        moved=f"{effect.moved:,}",
        numbers=f"{effect.numbers:,}",
        size=size,
        largest=format_signed(effect.largest),
        **values,
    )


def _describe_token(token: FirstToken, language: str) -> str:
    return phrase(
        "difference.token",
        language,
        step=token.step,
        at_least=phrase("difference.at_least", language) if token.at_least else "",
        margin=format_number(token.margin),
        noise=format_number(token.noise),
        tie=phrase(f"compare.{'tie' if token.near_tie else 'no_tie'}", language),
    )


# --- distributions and speed ---------------------------------------------------------------------


def describe_drift(drift: Drift, language: str = "en") -> list[str]:
    """Return how the next-token distributions changed, in sentences."""
    lines = []
    if drift.encoded_otherwise:
        quoted = [json.dumps(prompt, ensure_ascii=False) for prompt in drift.encoded_otherwise]
        examples = ", ".join(quoted[:MOST_PROMPTS]) + (" …" if len(quoted) > MOST_PROMPTS else "")
        lines = [phrase("compare.drift_changed", language, n=len(quoted), examples=examples)]
    if drift.in_one_only:
        lines.append(phrase("compare.drift_alone", language, n=len(drift.in_one_only)))
    if drift.kl is None:
        return lines or [phrase("compare.drift_not_comparable", language)]
    positions, prompts = f"{drift.positions:,}", f"{drift.prompts:,}"
    is_explained = drift.largest_change <= drift.explained and all(
        flip.near_tie for flip in drift.flips
    )
    key = f"compare.drift_{'same' if is_explained else 'drifted'}"
    change, tolerance = format_number(drift.largest_change), format_number(drift.explained)
    return [
        *lines,
        phrase(key, language, positions=positions, prompts=prompts),
        phrase("compare.largest", language, change=change, tolerance=tolerance),
    ]


def list_drift_measures(drift: Drift) -> list[tuple[str, str, str]]:
    """Return the measures of drift: the key of the name, the value and its interval."""
    measures = {"kl": drift.kl, "rms_dp": drift.rms_dp, "same_top": drift.same_top}
    return [(name, *_format_measure(name, e)) for name, e in measures.items() if e is not None]


def _format_measure(name: str, estimate: Estimate) -> tuple[str, str]:
    numbers = (estimate.value, estimate.low, estimate.high)
    if name == "same_top":
        value, low, high = (f"{100 * number:.2f} %" for number in numbers)
    else:
        value, low, high = map(format_number, numbers)
    return value, f"{low} – {high}"


def describe_flip(flip: Flip, language: str = "en") -> str:
    """Return a position after which another token is the most likely, as a sentence."""
    return phrase(
        "compare.flip",
        language,
        prompt=flip.prompt,
        position=flip.position,
        old=json.dumps(flip.old, ensure_ascii=False),
        new=json.dumps(flip.new, ensure_ascii=False),
        margin=format_number(flip.margin),
        tie=phrase(f"compare.{'tie' if flip.near_tie else 'no_tie'}", language),
    )


def describe_speed(speed: Estimate, language: str = "en") -> str:
    """Return the ratio of times with its interval, as a sentence."""
    ratio, low, high = (f"{number:.2f}" for number in (speed.value, speed.low, speed.high))
    return phrase("compare.speed", language, ratio=ratio, low=low, high=high)


def describe_ratio(rate: RateRatio, language: str = "en") -> str:
    """Return a rate in two runs, as a sentence without its full stop."""
    ratio, interval = format_ratio(rate.ratio)
    return phrase(
        "throughput.ratio_said",
        language,
        name=format_rate_name(rate, language),
        ratio=ratio,
        interval=interval,
        old=format_rate(rate.old, rate.unit, language),
        new=format_rate(rate.new, rate.unit, language),
    )


# --- numbers -------------------------------------------------------------------------------------


def format_number(number: float) -> str:
    """Return three significant digits.

    >>> format_number(0.000123456), format_number(12345.0), format_number(0.0)
    ('0.000123', '1.23e+04', '0')
    """
    return f"{number:.3g}"


def format_signed(number: float) -> str:
    """Return three significant digits with their sign.

    >>> format_signed(-0.5), format_signed(0.25), format_signed(0.0)
    ('−0.5', '+0.25', '0')
    """
    text = f"{number:+.3g}" if number else "0"
    return text.replace("-", "−", 1) if number < 0 else text


def format_value(value: JsonValue) -> str:
    """Return a value as text: a text in quotes, a number with up to six digits.

    >>> format_value("a"), format_value(0.123456789), format_value(None)
    ('"a"', '0.123457', 'null')
    """
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
