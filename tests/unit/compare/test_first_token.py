"""Where two greedy texts differ first, and whether that is a near-tie."""

from __future__ import annotations

from typing import Any

import pytest

from probes.compare.logprobs import find_first_token
from probes.compare.records import compare
from probes.report.text.comparison import describe_difference
from probes.schema.comparison import Outcome
from probes.schema.recorded_output import RecordedText
from tests.support.comparing import differences
from tests.support.kept_prompts import prompt
from tests.support.samples import check, header, planned, record


def recorded(ids: tuple[int, ...] = (5, 7), text: str = "a b", **more: Any) -> RecordedText:
    """A greedy text in whose every step the logits of tokens 5, 7 and 8 are half a logit apart."""
    steps = {"top_ids": [[5, 7, 8]] * len(ids), "top_logits": [[3.0, 2.5, 2.0]] * len(ids)}
    return RecordedText(**{"prompt_ids": (1,), "ids": ids, "text": text, **steps, **more})


OLD, NEW = recorded(), recorded((5, 8), "a c")
NOT_KEPT: dict[str, Any] = {"top_ids": (), "top_logits": ()}


@pytest.mark.parametrize(
    ("old", "new", "ids", "margin", "at_least"),
    [
        (OLD, NEW, (7, 8), 1.0, False),
        # One text ends where the other goes on.
        (recorded((5,), "a"), NEW, (None, 8), 0.0, True),
        (OLD, recorded((5,), "a"), (7, None), 0.0, True),
        # A token that is not among the kept ones, in both and in one.
        (OLD, recorded((5, 9), "a c"), (7, 9), 2.0, True),
        (OLD, recorded((5, 8), "a c", top_ids=[[5, 6, 8]] * 2), (7, 8), 1.5, True),
        # No logits in one, in the other, and at this step alone.
        (recorded(**NOT_KEPT), NEW, (7, 8), 0.5, True),
        (OLD, recorded((5, 8), "a c", **NOT_KEPT), (7, 8), 0.5, True),
        (OLD, recorded((5, 8), "a c", top_ids=[[5], []], top_logits=[[3], []]), (7, 8), 0.5, True),
    ],
)
def test_first_token_has_the_margin_of_both_texts(
    old: RecordedText,
    new: RecordedText,
    ids: tuple[int | None, int | None],
    margin: float,
    at_least: bool,
) -> None:
    for noise in (0.5, 0.49):  # a margin of twice the noise is a near-tie
        found = find_first_token(f"{old.text} and on", f"{new.text} and so", ([old], [new]), noise)
        assert found is not None
        assert (found.step, found.ids, found.noise) == (1, ids, noise)
        assert (found.margin, found.at_least) == (margin, at_least)
        assert found.near_tie == (not at_least and noise == 0.5)


@pytest.mark.parametrize(
    ("others_before", "others_after"),
    [
        ([recorded(text="b")], []),
        ([recorded((), "")], []),
        ([], [recorded((5, 9), "d")]),
        ([], [recorded((), "")]),
        ([], [recorded((5, 9), "a c", prompt_ids=(2,))]),
    ],
    ids=["another old text", "none", "another new text", "an empty one", "another prompt's"],
)
def test_first_token_finds_texts_by_beginning_and_prompt(
    others_before: list[RecordedText], others_after: list[RecordedText]
) -> None:
    found = find_first_token("a b", "a c", ([*others_before, OLD], [*others_after, NEW]), 0.5)
    assert found is not None
    assert found.ids == (7, 8)
    assert find_first_token("a b", "a c", (others_before, [NEW]), 0.5) is None
    assert find_first_token("a b", "a c", ([OLD], others_after), 0.5) is None


def test_first_token_is_none_beyond_the_kept_logits() -> None:
    assert find_first_token("a b and on", "a b and so", ([OLD], [OLD]), 0.5) is None


def test_first_token_explains_texts_only() -> None:
    one, other = {"x": "a b on"}, {"x": ["a c so"]}
    for old, new in ((one, other), (other, one)):
        (found,) = differences(old, new, 0.5, texts=([OLD], [NEW]))
        assert found.token is None


def greedy(last: int, gap: float, text: str) -> dict[str, Any]:
    """A text of two tokens, the second of them `gap` above the other."""
    return {
        "prompt_ids": [1],
        "ids": [5, last],
        "text": text,
        "top_ids": [[5, 9], [last, 15 - last]],
        "top_logits": [[9.0, 1.0], [3.0, 3.0 - gap]],
    }


@pytest.mark.parametrize(
    ("old_gap", "new_gap", "expected"),
    [
        (0.009, 0.009, Outcome.DRIFTED),
        (0.011, 0.011, Outcome.CHANGED),
        (7.0, 0.001, Outcome.CHANGED),  # a tie now that was none before
    ],
)
def test_text_drifts_at_a_near_tie_only(old_gap: float, new_gap: float, expected: Outcome) -> None:
    prompts = {"kept_prompts": [prompt("P")], "noise": 0.01, "tolerance": 0.05}
    old, new = (
        record(
            [("c", check(values={"text": f"{kept['text']} on", "kept_texts": [kept]})),
             ("d", check(values=prompts))],
            header(planned("c"), planned("d")),
        )
        for kept in (greedy(7, old_gap, "a b"), greedy(8, new_gap, "a c"))
    )  # fmt: skip
    claim = compare(old, new).claims[0]
    token = claim.differences[0].token
    assert token is not None
    assert token.margin == pytest.approx(old_gap + new_gap)
    assert (claim.outcome, token.near_tie) == (expected, expected is Outcome.DRIFTED)


def ended(text: RecordedText) -> dict[str, Any]:
    """Evidence of a text that was generated to its end."""
    end = {"prompt": "P", "tokens": len(text.ids), "ended": True, "text": text.text}
    return {"kept_texts": [text.model_dump()], "ends": [end]}


@pytest.mark.parametrize(
    ("new", "noise", "outcome", "words"),
    [
        # After a near-tie the text may end elsewhere.
        (recorded((5, 8, 8), "a c c"), 0.5, "drifted", "a near-tie; the text ends after 3 tokens"),
        (recorded((5, 8, 8), "a c c"), 0.1, "changed", "no near-tie; the text ends after 3 tokens"),
        (recorded((5,), "a"), 0.5, "changed", "the text ends after 1 token, 2 then"),
        (recorded((5, 8), "a c"), 0.5, "drifted", "a near-tie"),
        (recorded(prompt_ids=(2,)), 0.5, "changed", '"a b" then, "a b" now'),
    ],
)
def test_end_of_text_is_judged_by_its_first_token(
    new: RecordedText, noise: float, outcome: str, words: str
) -> None:
    before, after = ended(OLD), ended(new)
    (found,) = differences(before, after, noise, "recorded-long")
    assert (found.name, found.outcome.value) == ("the text after 'P'", outcome)
    assert words in describe_difference(found)
    assert differences(before, before, noise, "recorded-long") == []


@pytest.mark.parametrize("claim", ["recorded-long", "recorded-texts"])
def test_near_tie_with_the_recorded_text_is_a_drift(claim: str) -> None:
    """One run is the same as what is recorded, the other a near-tie."""
    same, tie = (
        {
            **(ended(each) if claim == "recorded-long" else {"kept_texts": [each.model_dump()]}),
            "findings": [{"name": "P", "outcome": status, "now": each.text, "reason": reason}],
            "near_ties": [reason] if reason else [],
        }
        for each, status, reason in ((OLD, "same", ""), (NEW, "near-tie", "token 1 is 'c'"))
    )
    (found,) = differences(same, tie, 0.5, claim, texts=([OLD], [NEW]))
    assert found.outcome is Outcome.DRIFTED
