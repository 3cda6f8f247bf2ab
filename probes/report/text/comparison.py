"""A comparison of two records as sentences: for the terminal, for Markdown, for the page."""

from __future__ import annotations

import json

from pydantic import JsonValue

from probes._util.text import shorten
from probes.report.locale import phrase
from probes.report.text import phrases
from probes.schema import comparison as schema
from probes.schema.comparison import Outcome

MOST_LINES = 5
"""Differences of a claim, or flips, that are listed where space is short."""

MOST_PROMPTS = 3
"""Prompts with other token ids that are quoted."""

LONGEST_PROMPT = 60
"""Characters of a prompt in the sentence about an engine's texts."""


# --- the runs and their claims -------------------------------------------------------------------


def format_outcome(outcome: Outcome, language: str = "en") -> str:
    """Return an outcome as one or two words."""
    return phrase(f"outcome.{outcome.option}", language)


def format_outcomes(comparison: schema.Comparison, language: str = "en") -> str:
    """Return how many claims have each outcome, such as "1 newly failing, 2 drifted, 53 same."."""
    counts = comparison.counts
    if not set(counts) - {Outcome.SAME}:
        return phrase("compare.all_same", language, n=f"{counts.total():,}")
    parts = [
        phrase("compare.claims", language, n=f"{n:,}", outcome=format_outcome(outcome, language))
        for outcome in Outcome
        if (n := counts[outcome])
    ]
    return phrase("compare.changed", language, said=phrase("compare.joint", language).join(parts))


def format_run(run: schema.Run, which: str, language: str = "en") -> str:
    """Return when a run was made and by which suite; `which` is `old` or `new`."""
    which, when = phrase(f"compare.{which}", language), phrases.format_time(run.started, language)
    text = phrase("compare.run", language, which=which, when=when, suite=run.suite)
    return text if run.complete else f"{text} ({phrase('compare.stopped', language)})"


def list_changed_claims(comparison: schema.Comparison) -> list[schema.ClaimComparison]:
    """Return the claims that are not the same or near the line, what needs attention first."""
    differing = [
        claim
        for claim in comparison.claims
        if claim.outcome is not Outcome.SAME or claim.near_the_line
    ]
    return sorted(differing, key=lambda claim: [*Outcome].index(claim.outcome))


def format_verdicts(claim: schema.ClaimComparison) -> str:
    """Return a claim's two verdicts, or the one if they are the same."""
    old, new = phrases.format_verdict(claim.old), phrases.format_verdict(claim.new)
    if claim.old is claim.new or claim.outcome is Outcome.ADDED:
        return new
    if claim.outcome is Outcome.REMOVED:
        return old
    text = phrase("compare.was", old=old, new=new)
    return phrase("compare.near", said=text) if claim.near_the_line else text


def describe_claim(claim: schema.ClaimComparison) -> list[str]:
    """Return a changed claim's reasons and first differences, a line each."""
    lines = []
    if claim.old_reason != claim.new_reason:
        reasons = {"old": claim.old_reason, "new": claim.new_reason}
        lines = [f"{phrase(f'compare.reason_{k}')}: {why}" for k, why in reasons.items() if why]
    lines += [
        f"{format_place(difference)}: {describe_difference(difference)}"
        for difference in claim.differences[:MOST_LINES]
    ]
    if len(claim.differences) > MOST_LINES:
        lines.append(phrase("compare.more", n=len(claim.differences) - MOST_LINES))
    return lines


# --- evidence ------------------------------------------------------------------------------------


def format_place(difference: schema.Difference) -> str:
    """Return where a difference is: the check and the name in its evidence."""
    return f"{difference.check}: {difference.name}" if difference.check else difference.name


def describe_difference(difference: schema.Difference, language: str = "en") -> str:
    """Return what differs, as a sentence without its full stop."""
    values = {"old": format_value(difference.old), "new": format_value(difference.new)}
    if not difference.check:
        return phrase("difference.check", language, **values)
    if difference.ids is not None:
        return _describe_ids(difference, difference.ids, language)
    if difference.beam is not None:
        return _describe_beam(difference, difference.beam, language)
    if difference.setting is not None:
        sources = (difference.setting.old_source, difference.setting.new_source)
        old, new = (
            phrases.format_setting(value, source, language)
            for value, source in zip((difference.old, difference.new), sources, strict=True)
        )
        return phrase("difference.setting", language, old=old, new=new)
    if difference.chats is not None:
        return _describe_chats(difference, difference.chats, language)
    if difference.steps is not None:
        return _describe_steps(difference, difference.steps, language)
    effect = difference.effect
    if effect is None:
        text = phrase("difference.value", language, **values)
        token = difference.token
        parts = [text] if token is None else [text, _describe_token(token, language)]
        if difference.lengths is not None:
            then, now = difference.lengths
            length = phrases.format_count(now, "token", language)
            parts.append(phrase("difference.lengths", language, old=f"{then:,}", new=length))
        return "; ".join(parts)
    numbers = {
        "difference": effect.difference.value,
        "low": effect.difference.low,
        "high": effect.difference.high,
        "largest": effect.largest,
    }
    values |= {name: format_signed(number) for name, number in numbers.items()}
    if effect.numbers == 1:
        return phrase("difference.number", language, **values)
    values |= {"moved": f"{effect.moved:,}", "numbers": f"{effect.numbers:,}", "size": ""}
    if effect.size is not None:
        values["size"] = phrase("difference.size", language, size=format_signed(effect.size))
    return phrase("difference.numbers", language, **values)


def _describe_ids(difference: schema.Difference, ids: schema.ChangedIds, language: str) -> str:
    text = phrase("difference.ids", language, changed=f"{ids.changed:,}", texts=f"{ids.texts:,}")
    if ids.text is None or difference.old is None or difference.new is None:
        return text
    quoted = json.dumps(ids.text, ensure_ascii=False)
    values = {"text": quoted, "old": str(difference.old), "new": str(difference.new)}
    return text + phrase("difference.ids_of", language, **values)


def _describe_beam(difference: schema.Difference, beam: schema.ChangedBeam, language: str) -> str:
    key = "same_beam" if difference.old == difference.new else "beam"
    if key == "beam" and not beam.near_tie:
        key = "other_beam"
    return phrase(
        f"difference.{key}",
        language,
        old=format_value(difference.old),
        new=format_value(difference.new),
        old_score=format_value(beam.old_score),
        new_score=format_value(beam.new_score),
        explained=format_number(beam.explained),
    )


def _describe_chats(
    difference: schema.Difference, chats: schema.ChangedChats, language: str
) -> str:
    refused = phrase("difference.chat_refused", language)
    values = {
        name: refused if value is None else format_value(value)
        for name, value in (("old", difference.old), ("new", difference.new))
    }
    is_text = chats.place is not None
    place = phrase(f"difference.chat_{'text' if is_text else 'ids'}", language, place=chats.place)
    return phrase(
        "difference.chats",
        language,
        changed=f"{chats.changed:,}",
        chats=f"{chats.chats:,}",
        conversation=chats.conversation,
        place=place,
        **values,
    )


def _describe_steps(
    difference: schema.Difference, steps: schema.ChangedSteps, language: str
) -> str:
    divergences = {
        name: format_number(value) if isinstance(value, float) else format_value(value)
        for name, value in (("old", difference.old), ("new", difference.new))
    }
    parts = [phrase("difference.divergence", language, **divergences)]
    if steps.compared:
        moved = phrase(
            "difference.steps",
            language,
            compared=f"{steps.compared:,}",
            largest=format_number(steps.largest),
            explained=format_number(steps.explained),
            prompt=_quote(steps.prompt),
            position=steps.position,
        )
        parts.insert(0, moved)
    parts += [_describe_text(text, language) for text in steps.texts[:MOST_PROMPTS]]
    if len(steps.texts) > MOST_PROMPTS:
        parts.append(phrase("compare.more", language, n=len(steps.texts) - MOST_PROMPTS))
    return phrase("difference.joint", language).join(parts)


def _describe_text(text: schema.ChangedText, language: str) -> str:
    old, new = (
        phrase("difference.ended", language) if token is None else format_value(token)
        for token in (text.old, text.new)
    )
    tie = _format_tie(text, language)
    place = {"prompt": _quote(text.prompt), "position": text.position}
    return phrase("difference.text", language, old=old, new=new, tie=tie, **place)


def _quote(prompt: str) -> str:
    return format_value(shorten(prompt, LONGEST_PROMPT))


def _describe_token(token: schema.FirstToken, language: str) -> str:
    return phrase(
        "difference.token",
        language,
        step=token.step,
        at_least=phrase("difference.at_least", language) if token.at_least else "",
        margin=format_number(token.margin),
        noise=format_number(token.noise),
        tie=_format_tie(token, language),
    )


def _format_tie(token: schema.FirstToken | schema.Flip | schema.ChangedText, language: str) -> str:
    return phrase(f"compare.{'tie' if token.near_tie else 'no_tie'}", language)


# --- distributions and speed ---------------------------------------------------------------------


def describe_drift(drift: schema.Drift, language: str = "en") -> list[str]:
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
    is_explained = drift.largest_change <= drift.explained and all(
        flip.near_tie for flip in drift.flips
    )
    key = f"compare.drift_{'same' if is_explained else 'drifted'}"
    positions, prompts = f"{drift.positions:,}", f"{drift.prompts:,}"
    change, tolerance = format_number(drift.largest_change), format_number(drift.explained)
    return [
        *lines,
        phrase(key, language, positions=positions, prompts=prompts),
        phrase("compare.largest", language, change=change, tolerance=tolerance),
    ]


def list_drift_measures(drift: schema.Drift) -> list[tuple[str, str, str]]:
    """Return the measures of drift: the key of the name, the value and its interval."""
    measures = {"kl": drift.kl, "rms_dp": drift.rms_dp, "same_top": drift.same_top}
    found = []
    for name, estimate in measures.items():
        if estimate is not None:
            numbers = (estimate.value, estimate.low, estimate.high)
            shares = (f"{100 * number:.2f} %" for number in numbers)
            value, low, high = shares if name == "same_top" else map(format_number, numbers)
            found.append((name, value, f"{low} – {high}"))
    return found


def describe_flip(flip: schema.Flip, language: str = "en") -> str:
    """Return a position after which another token is the most likely, as a sentence."""
    return phrase(
        "compare.flip",
        language,
        prompt=flip.prompt,
        position=flip.position,
        old=json.dumps(flip.old, ensure_ascii=False),
        new=json.dumps(flip.new, ensure_ascii=False),
        margin=format_number(flip.margin),
        tie=_format_tie(flip, language),
    )


def describe_speed(speed: schema.Estimate, language: str = "en") -> str:
    """Return the ratio of times with its interval, as a sentence."""
    ratio, low, high = (f"{number:.2f}" for number in (speed.value, speed.low, speed.high))
    return phrase("compare.speed", language, ratio=ratio, low=low, high=high)


def list_ratio(rate: schema.RateRatio) -> dict[str, str]:
    """Return a rate in two runs: its name, the two rates, their ratio and its interval."""
    ratio, interval = phrases.format_ratio(rate.ratio)
    return {
        "name": phrases.format_rate_name(rate),
        "old": phrases.format_rate(rate.old, rate.unit),
        "new": phrases.format_rate(rate.new, rate.unit),
        "ratio": ratio,
        "interval": interval,
    }


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
