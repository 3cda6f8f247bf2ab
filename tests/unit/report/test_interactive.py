from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from probes.report import interactive
from probes.report.html.page import render
from probes.schema.evidence.words import VocabularyTable
from probes.schema.record import Record
from tests.support.interactive_evidence import (
    PIECES,
    hostile_record,
    interactive_record,
    make_distribution,
    make_distributions,
    make_trace,
)
from tests.support.samples import HOSTILE, header, mixed, record

DISTRIBUTION, _, _, SMALL, _ = make_distributions()


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
    page = render(interactive_record())
    for preset in ("0.2 50 0.2 0", "1.4 50 0.2 0", "1.4 50 0.9 0"):
        assert f'data-preset="{preset}"' in page


def test_traces_begin_with_greedy_texts() -> None:
    greedy, sampled = interactive.traces(interactive_record())
    assert greedy.settings == {}
    assert sampled.settings == {"temperature": 1.4, "top_p": 0.9}
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


CHANGES: list[dict[str, Any]] = [
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
]
NOT_PIECES: list[list[Any]] = [[1, 2], [[]], [None]]
OTHER: list[Any] = [None, 3, "text", {}, [], [[]], [None], {"steps": []}]
DAMAGED: dict[str, list[Any]] = {
    "distributions": [[DISTRIBUTION | change, SMALL] for change in CHANGES],
    "trace": [
        {"prompt": "Once", "steps": [make_trace()["steps"][0] | change]}
        for change in (
            *({"probability": "NaN"}, {"rank": -1}, {"rank": 10**5000}),
            *({"near_tie": 1}, {"text": None}),
        )
    ],
    "table": [
        *("", "!", "eJw=", "AAAA", packed([])[:-8], packed(["x"])[:-4] + "AAA="),
        *map(packed, NOT_PIECES),
    ],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, several in DAMAGED.items() for value in several]
    + [(name, value) for name in DAMAGED for value in OTHER],
)
def test_damaged_evidence_is_shown_as_it_is(name: str, value: Any) -> None:
    one = interactive_record(**{name: value})
    parts = {
        "distributions": interactive.explorer(one),
        "trace": interactive.traces(one),
        "table": interactive.vocabulary(one),
    }
    assert not parts[name]
    claims = interactive.without_interactive(one).claims
    assert any(name in check.values for claim in claims for check in claim.evidence)


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
    assert data(one)["prompts"][0]["tokens"][0][1] == "語" * (interactive.LONGEST_TOKEN - 1) + "…"
    assert "語" * interactive.LONGEST_TOKEN not in render(one)
