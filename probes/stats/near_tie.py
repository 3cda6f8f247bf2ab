"""Judge an output against the recorded one: rounding may flip tokens that nearly tie.

Pure functions on plain data: nothing here reads a model, a file or an option.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from probes.schema.recorded_output import RecordedBeams, RecordedNumber


class OutputStatus(str, Enum):
    """The result of comparing an output with the recorded one."""

    SAME = "same"
    NEAR_TIE = "near-tie"
    CHANGED = "changed"
    DRIFTED = "drifted"
    OTHER_PROMPT = "other prompt"


@dataclass(frozen=True)
class TextComparison:
    """A greedy text and the recorded one."""

    prompt: str
    texts: tuple[str, str]  # the recorded text and the present one
    same_prompt: bool = True  # whether the prompt has the recorded token ids
    drift: float = 0.0  # largest change of a recorded logit, up to `step`; 0 if none is recorded
    step: int | None = None  # number of the first token that differs, from 0; None if none does
    tokens: tuple[str, str] = ("", "")  # the recorded and the present one there, decoded
    margin: float = 0.0  # distance of those two tokens' present logits


@dataclass(frozen=True)
class Finding:
    """The judgement of one output."""

    name: str  # the prompt, or the number's name
    outcome: OutputStatus
    share: float  # drift of its logits, or of the number, as a share of the tolerance
    recorded: str | float
    now: str | float
    reason: str = ""  # a description of the difference; empty where there is none

    @property
    def holds(self) -> bool:
        """Whether rounding explains every difference."""
        return self.outcome in (OutputStatus.SAME, OutputStatus.NEAR_TIE)


def judge_text(text: TextComparison, *, tolerance: float, noise: Callable[[], float]) -> Finding:
    """Judge a text by the margin between the tokens that differ.

    A logit that moves by more than the tolerance is a drift, even if the text is the same.
    Otherwise equal tokens hold, and a first difference holds where the two tokens nearly tie: two
    logits that each move by the noise can close a gap of twice that. The noise is measured only
    where a text differs, and capped by the tolerance.

    >>> text = TextComparison("P", ("a b", "a c"), step=1, tokens=("b", "c"), margin=0.5)
    >>> [judge_text(text, tolerance=0.3, noise=lambda: n).outcome.value for n in (0.3, 0.1)]
    ['near-tie', 'changed']
    """
    recorded, now = text.texts
    share = text.drift / tolerance
    finding = Finding(text.prompt, OutputStatus.SAME, share, recorded, now)
    both = f"\nrecorded: {recorded!r}\nnow:      {now!r}"
    if not text.same_prompt:
        reason = f"the prompt {text.prompt!r} has other token ids than were recorded{both}"
        return replace(finding, outcome=OutputStatus.OTHER_PROMPT, reason=reason)
    first, second = text.tokens
    change = f"after {text.prompt!r} token {text.step} is {second!r}, recorded {first!r}"
    if text.step is not None and not (first and second) and math.isinf(text.margin):
        ended = f"ends after {text.step} tokens, where the recorded one goes on with {first!r}"
        went_on = f"goes on with {second!r} after {text.step} tokens, where the recorded one ends"
        change = f"the text after {text.prompt!r} {went_on if second else ended}"
    if not share <= 1:
        reason = (
            f"after {text.prompt!r} a logit moves by {text.drift:.2g}, {_format(share)} times "
            f"what rounding explains ({tolerance:.2g})"
        )
        if text.step is not None:
            reason += f"; {change}, {text.margin:.2g} apart{both}"
        return replace(finding, outcome=OutputStatus.DRIFTED, reason=reason)
    if text.step is None:
        return finding
    if math.isinf(text.margin):
        return replace(finding, outcome=OutputStatus.CHANGED, reason=f"{change}{both}")
    explained = min(noise(), tolerance)
    tie = text.margin <= 2 * explained
    reason = (
        f"{change}: their logits lie {text.margin:.2g} apart, "
        f"{'a near-tie' if tie else 'no near-tie'} where noise moves each by {explained:.2g}{both}"
    )
    outcome = OutputStatus.NEAR_TIE if tie else OutputStatus.CHANGED
    return replace(finding, outcome=outcome, reason=reason)


def judge_beams(
    prompt: str,
    recorded: RecordedBeams,
    now: RecordedBeams,
    *,
    closest: float,
    scores_of_recorded: Sequence[float],
    explained: float,
) -> list[Finding]:
    """Judge the texts of a beam search, rank by rank, by their scores.

    `scores_of_recorded` are what the recorded texts score now, without a search; rounding moves a
    score by up to `explained`. A recorded text whose score moves further is a drift, whatever the
    search found: no tie excuses it. Otherwise another text is a near-tie where its score is within
    twice that of the recorded text's, or where `closest`, the smallest distance of sums by which a
    candidate was kept or dropped, is within that for each token.
    """
    if recorded.prompt_ids != now.prompt_ids or len(recorded.beams) != len(now.beams):
        reason = f"after {prompt!r} the prompt's ids, or the number of beams, are not as recorded"
        texts = recorded.beams[0].text, now.beams[0].text
        return [Finding(prompt, OutputStatus.OTHER_PROMPT, 0.0, *texts, reason)]
    findings = []
    for rank, (old, new, again) in enumerate(
        zip(recorded.beams, now.beams, scores_of_recorded, strict=True), start=1
    ):
        name = f"beam {rank} after {prompt!r}"
        is_same = old.ids == new.ids
        score = new.score if is_same else again
        moved = abs(old.score - score)
        share = math.inf if math.isnan(moved) else moved / explained
        finding = Finding(name, OutputStatus.SAME, share, old.text, new.text)
        both = "" if is_same else f"\nrecorded: {old.text!r}\nnow:      {new.text!r}"
        if not share <= 1:
            whose = "has" if is_same else "is another text; the recorded one has"
            reason = (
                f"{name} {whose} a score of {score:.6g}, recorded {old.score:.6g}: "
                f"{_format(share)} times what rounding explains ({explained:.2g}){both}"
            )
            finding = replace(finding, outcome=OutputStatus.DRIFTED, reason=reason)
        elif not is_same:
            apart = abs(again - new.score)
            tie = apart <= 2 * explained or closest <= 2 * explained * len(new.ids)
            reason = (
                f"{name} is another text with a score of {new.score:.6g}, the recorded one has "
                f"{again:.6g}: {'a near-tie' if tie else 'no near-tie'} where rounding moves the "
                f"distance of two scores by {2 * explained:.2g} and the nearest candidate was "
                f"{closest:.2g} away{both}"
            )
            outcome = OutputStatus.NEAR_TIE if tie else OutputStatus.CHANGED
            finding = replace(finding, outcome=outcome, reason=reason)
        findings.append(finding)
    return findings


def judge_number(name: str, recorded: RecordedNumber, now: float) -> Finding:
    """Judge a number by the tolerance recorded with it.

    >>> from probes.schema.recorded_output import RecordedNumber
    >>> old = RecordedNumber(value=0.5, tolerance=0.01, origin="float32")
    >>> judge_number("p", old, 0.52).reason
    'p is 0.52, recorded 0.5: 2 times the drift tolerated (float32)'
    """
    equal = recorded.value == now or (math.isnan(recorded.value) and math.isnan(now))
    share = 0.0 if equal else abs(now - recorded.value) / recorded.tolerance
    if share <= 1:
        return Finding(name, OutputStatus.SAME, share, recorded.value, now)
    reason = (
        f"{name} is {now:.6g}, recorded {recorded.value:.6g}: {_format(share)} times the drift "
        f"tolerated ({recorded.origin})"
    )
    return Finding(name, OutputStatus.DRIFTED, share, recorded.value, now, reason)


def _format(share: float) -> str:
    """Format three digits or more, with a separator for thousands."""
    return f"{share:,.0f}" if share >= 1000 else f"{share:.3g}"
