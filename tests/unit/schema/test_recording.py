"""The format of recorded outputs, and the rule they are judged by."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from probes._util.files import PACKAGE
from probes.data.published import load_outputs as published
from probes.errors import UserError
from probes.plugin.snapshots import orphans
from probes.schema.recorded_output import (
    Comparison,
    Outcome,
    Provenance,
    RecordedNumber,
    RecordedText,
    Recording,
    dump_recording,
    judge_number,
    judge_text,
    list_changes,
    parse_recording,
)

MADE = Provenance(
    target="org/model",
    device="cuda NVIDIA H100 80GB HBM3",
    dtype="float16",
    quantization="nf4",
    attention="sdpa",
    circumstances={"torch": "2.4.0", "threads": "1"},
)
TEXT = RecordedText(
    prompt_ids=(1,),
    ids=(7, 2),
    text='a "b", [\n  1,\n 2]',
    top_ids=((7, 8), (2, 5)),
    top_logits=((2.0, 1.5), (math.inf, -0.25)),
)
RECORDING = Recording(
    made=MADE,
    texts={"P": TEXT},
    numbers={"p": RecordedNumber(value=0.5, tolerance=0.01, origin="float16")},
)


def never() -> float:
    pytest.fail("the noise was measured where no text differs")


# --- files ---------------------------------------------------------------------------------------


def test_a_recording_comes_back_from_its_file() -> None:
    text = dump_recording(RECORDING)
    assert parse_recording(text, "it") == RECORDING
    assert '"ids": [7, 2]' in text


def test_every_part_of_the_environment_is_in_the_key_and_it_fits_a_file_name() -> None:
    assert MADE.key == "org-model--cuda-NVIDIA-H100-80GB-HBM3--float16--nf4--sdpa"


def test_versions_and_threads_part_no_recordings() -> None:
    other = MADE.model_copy(update={"circumstances": {"torch": "2.5.0", "batch": "4"}})
    assert other.key == MADE.key
    assert list_changes(MADE, other) == [
        "torch 2.4.0 then, 2.5.0 now",
        "batch absent then, 4 now",
        "threads 1 then, absent now",
    ]


def damaged(**changes: Any) -> str:
    return json.dumps(json.loads(dump_recording(RECORDING)) | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.json is truncated or not JSON: Expecting value"),
        (dump_recording(RECORDING)[:200], "f.json is truncated or not JSON"),
        ("[1]", "f.json should hold a JSON object, got list"),
        ("{}", "f.json has format None, this version reads 1"),
        (damaged(format=2), "f.json has format 2, this version reads 1"),
        (damaged(extra=1), "f.json is no recording: extra 1 Extra inputs"),
        (damaged(made={}), "f.json is no recording: made.target is missing"),
        (
            damaged(numbers={"p": {"value": 1, "tolerance": 0, "origin": ""}}),
            "f.json is no recording: numbers.p.tolerance 0 should be greater than 0",
        ),
        (
            damaged(texts={"P": TEXT.model_dump() | {"ids": [7], "top_logits": [[1], [2]]}}),
            "f.json is no recording: texts.P ids, top_ids and top_logits differ",
        ),
        ("[" * 100_000, "f.json is nested too deeply"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line_that_says_what_to_do(
    text: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        parse_recording(text, "f.json")
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(": --snapshot-update records it anew")


def test_a_recording_is_completed_and_never_replaced() -> None:
    newer = RecordedNumber(value=9.0, tolerance=1.0, origin="now")
    other = RECORDING.model_copy(update={"numbers": {"p": newer, "q": newer}})
    both = RECORDING.completed_by(other)
    assert both.numbers == {"p": RECORDING.numbers["p"], "q": newer}
    assert both.names == {"P", "p", "q"}


def test_no_recorded_output_of_this_repository_is_unused() -> None:
    tests = PACKAGE.parent / "tests" / "claims"
    assert orphans(tests) == []
    assert list(tests.glob("__snapshots__/test_recorded/*embedded*.json"))


# --- texts ---------------------------------------------------------------------------------------


def test_equal_tokens_hold_while_logits_move_within_the_tolerance() -> None:
    text = Comparison("P", ("a", "a"), drift=0.03)
    found = judge_text(text, tolerance=0.04, noise=never)
    assert (found.outcome, found.holds, found.reason) == (Outcome.SAME, True, "")
    assert found.share == pytest.approx(0.75)


def test_equal_tokens_fail_where_logits_move_by_more() -> None:
    found = judge_text(Comparison("P", ("a", "a"), drift=0.4), tolerance=0.04, noise=never)
    assert (found.outcome, found.holds) == (Outcome.DRIFTED, False)
    assert found.reason == (
        "after 'P' a logit moves by 0.4, 10 times what rounding explains (0.04)"
    )


@pytest.mark.parametrize("drift", [math.inf, math.nan])
def test_a_logit_that_is_no_number_is_a_drift(drift: float) -> None:
    text = Comparison("P", ("a", "a"), drift=drift)
    assert judge_text(text, tolerance=0.04, noise=never).outcome is Outcome.DRIFTED


FLIPPED = Comparison("P", ("a b", "a c"), drift=0.01, step=3, tokens=("b", "c"), margin=0.05)


def test_the_first_token_that_differs_is_named_with_its_margin_and_both_texts() -> None:
    tie = judge_text(FLIPPED, tolerance=0.04, noise=lambda: 0.03)
    assert (tie.outcome, tie.holds) == (Outcome.NEAR_TIE, True)
    assert tie.reason == (
        "after 'P' token 3 is 'c', recorded 'b': their logits lie 0.05 apart, a near-tie where "
        "noise moves each by 0.03\nrecorded: 'a b'\nnow:      'a c'"
    )
    change = judge_text(FLIPPED, tolerance=0.04, noise=lambda: 0.02)
    assert (change.outcome, change.holds) == (Outcome.CHANGED, False)
    assert "0.05 apart, no near-tie where noise moves each by 0.02" in change.reason


def test_noise_beyond_the_tolerance_explains_no_more_than_the_tolerance() -> None:
    assert judge_text(FLIPPED, tolerance=0.02, noise=lambda: 9.0).outcome is Outcome.CHANGED


def test_a_text_that_differs_by_a_drift_is_no_near_tie() -> None:
    found = judge_text(FLIPPED, tolerance=0.001, noise=never)
    assert found.outcome is Outcome.DRIFTED
    assert found.reason.startswith(
        "after 'P' a logit moves by 0.01, 10 times what rounding explains (0.001); "
        "after 'P' token 3 is 'c', recorded 'b', 0.05 apart\nrecorded: 'a b'"
    )


def test_a_prompt_of_other_tokens_is_named() -> None:
    text = Comparison("P", ("a", "a"), same_prompt=False)
    found = judge_text(text, tolerance=1.0, noise=never)
    assert (found.outcome, found.holds) == (Outcome.OTHER_PROMPT, False)
    assert found.reason.startswith("the prompt 'P' has other token ids than were recorded")


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "share", "outcome"),
    [
        (0.5, 0.0, Outcome.SAME),
        (0.509, 0.9, Outcome.SAME),
        (0.525, 2.5, Outcome.DRIFTED),
        (math.inf, math.inf, Outcome.DRIFTED),
    ],
)
def test_a_drift_is_a_share_of_what_is_tolerated(
    now: float, share: float, outcome: Outcome
) -> None:
    found = judge_number("p", RECORDING.numbers["p"], now)
    assert found.outcome is outcome
    assert found.share == pytest.approx(share)
    assert ("times the drift tolerated (float16)" in found.reason) is not found.holds


def test_a_number_that_is_none_any_more_is_a_drift() -> None:
    found = judge_number("p", RECORDING.numbers["p"], math.nan)
    assert (found.outcome, found.holds) == (Outcome.DRIFTED, False)


# --- published -----------------------------------------------------------------------------------


def test_published_texts_have_the_tokens_asked_for_or_lost_a_blank_line_in_print() -> None:
    """So the token that differs can be found by encoding them anew."""
    import probes

    model = probes.load("embedded")
    for text in published().text:
        start = model.encode(text.prompt, add_special_tokens=text.special_tokens)
        ids = model.encode(f"{text.prompt} {text.text}", add_special_tokens=text.special_tokens)
        assert ids[: len(start)] == start
        lost = text.tokens - (len(ids) - len(start))
        assert 0 <= lost <= text.text.count("\n"), text.id
