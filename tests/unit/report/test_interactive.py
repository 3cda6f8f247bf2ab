from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from probes.report import interactive
from probes.report.locale import LANGUAGES, texts
from probes.schema.sampling import LIBRARY_TOP_K
from tests.support.handled import PIECES, distribution, distributions, handled, hostile, packed
from tests.support.handled import step as step_of
from tests.support.handled import traced as trace_of
from tests.support.samples import HOSTILE, header, mixed, record

if TYPE_CHECKING:
    from probes.schema.record import Record

DISTRIBUTION = distributions()[0]


def data(record: Record) -> Any:
    explorer = interactive.explorer(record)
    assert explorer is not None
    return json.loads(explorer.json)


def test_a_distribution_is_kept_with_no_number_twice() -> None:
    first = data(handled())["prompts"][0]
    assert {name: first[name] for name in ("head", "step", "tail", "vocabulary")} == {
        name: DISTRIBUTION[name] for name in ("head", "step", "tail", "vocabulary")
    }
    assert first["tokens"][0] == [100, "Tokyo"]
    assert first["answer"] == {"id": 102, "rank": 2}


def test_an_answer_may_be_missing_or_not_among_the_listed_tokens() -> None:
    answers = [prompt["answer"] for prompt in data(handled())["prompts"]]
    assert answers[1:3] == [{"id": 31_000, "rank": None}, None]


def test_the_buttons_are_the_published_settings_with_the_librarys_top_k() -> None:
    explorer = interactive.explorer(handled())
    assert explorer is not None
    assert [(p.key, p.temperature, p.top_k, p.top_p) for p in explorer.presets] == [
        ("near_greedy", 0.2, LIBRARY_TOP_K, 0.2),
        ("narrow_hot", 1.4, LIBRARY_TOP_K, 0.2),
        ("wide_hot", 1.4, LIBRARY_TOP_K, 0.9),
    ]


def test_greedy_texts_come_first_and_drawn_ones_name_their_settings() -> None:
    greedy, drawn = interactive.traces(handled())
    assert (greedy.claim, greedy.settings) == ("greedy", ())
    assert drawn.settings == (("temperature", "1.4"), ("top_p", "0.9"))
    assert greedy.name != drawn.name
    assert [step.level for step in greedy.steps] == [0, 2, 4]
    assert [other.chosen for other in greedy.steps[1].alternatives][:3] == [False, True, False]


def test_a_vocabulary_is_passed_on_as_it_is() -> None:
    vocabulary = interactive.vocabulary(handled())
    assert vocabulary is not None
    assert vocabulary.size == len(PIECES)
    assert json.loads(vocabulary.json)["table"] == packed(PIECES)


def test_a_record_without_such_evidence_has_nothing_to_handle() -> None:
    for one in (mixed(), record(), header()):
        assert interactive.explorer(one) is None
        assert interactive.traces(one) == []
        assert interactive.vocabulary(one) is None


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": None},
        {"answer": "Tokyo"},
        {"answer": 10**400},
        {"vocabulary": 10**9},
        {"vocabulary": DISTRIBUTION["vocabulary"] + DISTRIBUTION["step"]},
        {"vocabulary": True},
        {"top": []},
        {"top": [{"id": "1", "text": "x"}]},
        {"head": []},
        {"head": [1.0, "NaN"]},
        {"head": [1.0, 10**400]},
        {"head": [float("inf"), 1.0]},
        {"head": DISTRIBUTION["head"][::-1]},
        {"step": 0},
        {"tail": DISTRIBUTION["tail"][:-1]},
        {"tail": [*DISTRIBUTION["tail"][:-1], 10**3]},
    ],
)
def test_a_distribution_that_is_not_whole_is_left_out(change: dict[str, Any]) -> None:
    kept = data(handled(distributions=[DISTRIBUTION | change, distributions()[3]]))
    assert [prompt["prompt"] for prompt in kept["prompts"]] == ["Small"]
    assert interactive.explorer(handled(distributions=[DISTRIBUTION | change])) is None


@pytest.mark.parametrize("value", [None, 3, "text", {}, [], [[]], [None], {"steps": []}])
def test_evidence_of_another_shape_is_left_out(value: Any) -> None:
    one = handled(distributions=value, trace=value, table=value)
    assert interactive.explorer(one) is None
    assert interactive.traces(one) == []
    assert interactive.vocabulary(one) is None


@pytest.mark.parametrize(
    "change",
    [{"probability": "NaN"}, {"rank": -1}, {"rank": 10**5000}, {"near_tie": 1}, {"text": None}],
)
def test_a_trace_with_a_step_of_another_shape_is_left_out(change: dict[str, Any]) -> None:
    trace = trace_of() | {"steps": [step_of("a"), step_of("b") | change]}
    assert interactive.traces(handled(trace=trace)) == []


@pytest.mark.parametrize(
    "table", ["", "!", "eJw=", "AAAA", packed([])[:-8], packed(["x"])[:-4] + "AAA="]
)
def test_a_damaged_vocabulary_is_left_out(table: str) -> None:
    assert interactive.vocabulary(handled(table=table)) is None


def test_a_vocabulary_that_unpacks_to_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "LARGEST_TABLE", 1000)
    assert interactive.vocabulary(handled()) is None


def test_what_is_not_a_list_of_texts_is_no_vocabulary() -> None:
    not_pieces: list[list[Any]] = [[1, 2], [[]], [None]]
    for pieces in not_pieces:
        table = packed(pieces)
        assert interactive.vocabulary(handled(table=table)) is None


def test_data_is_ascii_that_can_neither_end_nor_open_an_element() -> None:
    explorer, vocabulary = interactive.explorer(hostile()), interactive.vocabulary(hostile())
    assert explorer is not None
    assert vocabulary is not None
    for block in (explorer.json, vocabulary.json):
        assert block.isascii()
        assert not set(block) & set("<>&\n\0\x1b")
    assert json.loads(explorer.json)["prompts"][0]["prompt"] == HOSTILE


def test_long_tokens_are_cut() -> None:
    texts = ["語" * 1000]
    tokens = data(handled(distributions=[distribution(np.zeros(10), texts=texts)]))["prompts"][0]
    assert tokens["tokens"][0][1] == "語" * interactive.LONGEST_TOKEN + "…"
    trace = interactive.traces(handled(trace=trace_of("語" * 1000)))[0]
    assert len(trace.steps[-1].text) == interactive.LONGEST_TOKEN + 1


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (1.0, "100%"),
        (0.9999, "100%"),
        (0.9994, "99.9%"),
        (0.5, "50.0%"),
        (0.05, "5.00%"),
        (0.00123, "0.123%"),
        (0.0000123, "0.0012%"),
        (1e-9, "<0.0001%"),
        (0.0, "0%"),
    ],
)
def test_a_probability_has_as_many_digits_as_one_takes_in(probability: float, text: str) -> None:
    assert interactive.share(probability) == text


def test_every_language_says_the_same_things() -> None:
    keys = {
        language: {key for key in texts(language) if key.startswith("interactive.")}
        for language in LANGUAGES
    }
    assert len(keys["en"]) > 50
    assert keys["en"] == keys["ja"]


def test_texts_take_the_same_values_in_every_language() -> None:
    for key, text in texts("en").items():
        if key.startswith("interactive."):
            found = [sorted(set(re.findall(r"\{(\w+)\}", t))) for t in (text, texts("ja")[key])]
            assert found[0] == found[1], key
