from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from probes.report import interactive
from probes.report.html.page import render
from probes.report.locale import LANGUAGES, texts
from probes.schema.evidence.words import VocabularyTable
from probes.schema.sampling import LIBRARY_TOP_K
from tests.support.interactive_evidence import (
    PIECES,
    hostile_record,
    interactive_record,
    make_distribution,
    make_distributions,
    make_trace,
)
from tests.support.samples import HOSTILE, header, mixed, record

if TYPE_CHECKING:
    from probes.schema.record import Record

DISTRIBUTION = make_distributions()[0]


def packed(pieces: list[Any]) -> str:
    return VocabularyTable.pack(pieces).table


def data(record: Record) -> Any:
    explorer = interactive.explorer(record)
    assert explorer is not None
    return json.loads(explorer.json)


def test_explorer_holds_each_number_once() -> None:
    first, *others = data(interactive_record())["prompts"]
    for name in ("head", "step", "tail", "vocabulary"):
        assert first[name] == DISTRIBUTION[name]
    assert first["tokens"][0] == [100, "Tokyo"]
    assert first["answer"] == {"id": 102, "rank": 2}
    # An answer may not be among the listed tokens, or not exist.
    assert [each["answer"] for each in others[:2]] == [{"id": 31_000, "rank": None}, None]


def test_presets_are_the_published_settings_with_default_top_k() -> None:
    explorer = interactive.explorer(interactive_record())
    assert explorer is not None
    assert [(p.key, p.temperature, p.top_k, p.top_p) for p in explorer.presets] == [
        ("near_greedy", 0.2, LIBRARY_TOP_K, 0.2),
        ("narrow_hot", 1.4, LIBRARY_TOP_K, 0.2),
        ("wide_hot", 1.4, LIBRARY_TOP_K, 0.9),
    ]


def test_traces_begin_with_greedy_texts() -> None:
    greedy, sampled = interactive.traces(interactive_record())
    assert (greedy.claim, greedy.settings) == ("greedy", ())
    assert sampled.settings == (("temperature", "1.4"), ("top_p", "0.9"))
    assert greedy.name != sampled.name


def test_vocabulary_is_the_recorded_table() -> None:
    vocabulary = interactive.vocabulary(interactive_record())
    assert vocabulary is not None
    assert vocabulary.size == len(PIECES)
    assert json.loads(vocabulary.json)["table"] == packed(PIECES)


def test_nothing_is_interactive_without_evidence() -> None:
    for one in (mixed(), record(), header()):
        assert interactive.explorer(one) is None
        assert interactive.traces(one) == []
        assert interactive.vocabulary(one) is None


def test_without_interactive_leaves_out_what_is_shown_elsewhere() -> None:
    one = interactive.without_interactive(interactive_record())
    names = {name for claim in one.claims for check in claim.evidence for name in check.values}
    assert names == {"settings"}


def is_plain(record: Record, name: str) -> bool:
    """Whether evidence is left among what is shown as it is."""
    claims = interactive.without_interactive(record).claims
    return any(name in check.values for claim in claims for check in claim.evidence)


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
def test_damaged_distribution_is_plain_evidence(change: dict[str, Any]) -> None:
    one = interactive_record(distributions=[DISTRIBUTION | change, make_distributions()[3]])
    assert interactive.explorer(one) is None
    assert is_plain(one, "distributions")


@pytest.mark.parametrize("value", [None, 3, "text", {}, [], [[]], [None], {"steps": []}])
def test_evidence_of_another_type_is_plain(value: Any) -> None:
    one = interactive_record(distributions=value, trace=value, table=value)
    assert interactive.explorer(one) is None
    assert interactive.traces(one) == []
    assert interactive.vocabulary(one) is None
    assert all(is_plain(one, name) for name in ("distributions", "trace", "table"))


@pytest.mark.parametrize(
    "change",
    [{"probability": "NaN"}, {"rank": -1}, {"rank": 10**5000}, {"near_tie": 1}, {"text": None}],
)
def test_damaged_trace_is_plain_evidence(change: dict[str, Any]) -> None:
    trace = make_trace("a", "b")
    trace["steps"][-1] |= change
    one = interactive_record(trace=trace)
    assert interactive.traces(one) == []
    assert is_plain(one, "trace")


NOT_PIECES: list[list[Any]] = [[1, 2], [[]], [None]]


@pytest.mark.parametrize(
    "table",
    [
        *("", "!", "eJw=", "AAAA", packed([])[:-8], packed(["x"])[:-4] + "AAA="),
        *map(packed, NOT_PIECES),
    ],
)
def test_damaged_vocabulary_is_plain_evidence(table: str) -> None:
    one = interactive_record(table=table)
    assert interactive.vocabulary(one) is None
    assert is_plain(one, "table")


def test_vocabulary_that_unpacks_to_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "LARGEST_TABLE", 1000)
    assert interactive.vocabulary(interactive_record()) is None


def test_data_is_ascii_that_cannot_end_or_open_an_element() -> None:
    explorer, vocabulary = (
        interactive.explorer(hostile_record()),
        interactive.vocabulary(hostile_record()),
    )
    assert explorer is not None
    assert vocabulary is not None
    for block in (explorer.json, vocabulary.json):
        assert block.isascii()
        assert not set(block) & set("<>&\n\0\x1b")
    assert json.loads(explorer.json)["prompts"][0]["prompt"] == HOSTILE


def test_long_tokens_are_cut() -> None:
    one = interactive_record(
        distributions=[make_distribution(np.zeros(10), texts=["語" * 1000])],
        trace=make_trace("語" * 1000),
    )
    assert data(one)["prompts"][0]["tokens"][0][1] == "語" * interactive.LONGEST_TOKEN + "…"
    assert "語" * (interactive.LONGEST_TOKEN + 1) not in render(one)


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.9999, "100%"),
        (0.9994, "99.9%"),
        (0.05, "5.00%"),
        (0.00123, "0.123%"),
        (0.0000123, "0.0012%"),
        (1e-9, "<0.0001%"),
    ],
)
def test_share_has_three_digits(probability: float, text: str) -> None:
    assert interactive.format_share(probability) == text


@pytest.mark.parametrize("part", ["interactive.", "pictures."])
def test_texts_have_the_same_keys_and_braces_in_every_language(part: str) -> None:
    found = [
        {
            key: sorted(re.findall(r"\{\w*\}", text))
            for key, text in texts(code).items()
            if key.startswith(part)
        }
        for code in LANGUAGES
    ]
    assert len(found[0]) > 50
    assert all(each == found[0] for each in found)
