from __future__ import annotations

import json
import math
from typing import Any

import pytest

from probes._util.files import PACKAGE
from probes.data.published import load_outputs as published
from probes.errors import UserError
from probes.plugin.recordings import list_orphans
from probes.schema.recorded_output import (
    Provenance,
    RecordedNumber,
    RecordedText,
    Recording,
    dump_recording,
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


def test_recording_is_read_back_unchanged() -> None:
    text = dump_recording(RECORDING)
    assert parse_recording(text, "it") == RECORDING
    assert '"ids": [7, 2]' in text


def test_key_holds_the_environment_without_versions() -> None:
    assert MADE.key == "org-model--cuda-NVIDIA-H100-80GB-HBM3--float16--nf4--sdpa"
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
def test_damaged_file_is_refused_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_recording(text, "f.json")
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(": --snapshot-update records it again")


def test_recording_is_completed_and_never_replaced() -> None:
    newer = RecordedNumber(value=9.0, tolerance=1.0, origin="now")
    other = RECORDING.model_copy(update={"numbers": {"p": newer, "q": newer}})
    both = RECORDING.completed_by(other)
    assert both.numbers == {"p": RECORDING.numbers["p"], "q": newer}
    assert both.names == {"P", "p", "q"}


def test_no_recorded_output_is_unused() -> None:
    tests = PACKAGE.parent / "tests" / "claims"
    assert list_orphans(tests / "recorded") == []
    assert list(tests.glob("recorded/test_recorded/*embedded*.json"))


def test_published_texts_have_their_tokens_but_for_blank_lines() -> None:
    """So the token that differs can be found by encoding the texts."""
    import probes

    model = probes.load("embedded")
    for text in published().text:
        start = model.encode(text.prompt, add_special_tokens=text.special_tokens)
        ids = model.encode(f"{text.prompt} {text.text}", add_special_tokens=text.special_tokens)
        assert ids[: len(start)] == start
        lost = text.tokens - (len(ids) - len(start))
        assert 0 <= lost <= text.text.count("\n"), text.id
