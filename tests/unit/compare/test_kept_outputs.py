"""Conversations and ids that two records keep."""

from __future__ import annotations

import pytest

from probes.data.tokenizer_texts import corpus
from probes.report.text.comparison import describe_difference
from probes.schema.comparison import Difference, Outcome
from probes.schema.evidence.texts import KeptChats
from probes.schema.evidence.words import KeptIds
from probes.schema.recorded_chat import RecordedChat
from probes.schema.recorded_ids import RecordedIds
from tests.support.comparing import differences

CHATS = {
    "a question": RecordedChat(text="<s>[INST] Hi [/INST]", ids=(1, 7, 8)),
    "tools": RecordedChat(text=None),
}


def with_chats(chats: dict[str, RecordedChat]) -> list[Difference]:
    return differences(KeptChats(rendered_chats=CHATS), KeptChats(rendered_chats=CHATS | chats))


def test_same_chats_are_no_difference() -> None:
    assert with_chats({"another": RecordedChat(text="new")}) == []


@pytest.mark.parametrize(
    ("name", "chat", "said"),
    [
        (
            "a question",
            RecordedChat(text="<s>[INST]Hi [/INST]", ids=(1, 9)),
            "1 of 2 conversations changed, first “a question”, at character 9: "
            '"<s>[INST] Hi [/INST]" then, "<s>[INST]Hi [/INST]" now',
        ),
        (
            "a question",
            RecordedChat(text="<s>[INST] Hi [/INST]", ids=(1, 7, 9)),
            "1 of 2 conversations changed, first “a question”, in its ids alone: "
            '"… 8" then, "… 9" now',
        ),
        (
            "tools",
            RecordedChat(text="<s>[TOOLS]", ids=(1,)),
            "1 of 2 conversations changed, first “tools”, at character 0: "
            'refused then, "<s>[TOOLS]" now',
        ),
    ],
)
def test_changed_chat_is_shown_where_it_differs(name: str, chat: RecordedChat, said: str) -> None:
    (found,) = with_chats({name: chat})
    assert found.outcome is Outcome.CHANGED
    assert describe_difference(found) == said


def test_change_is_said_in_japanese() -> None:
    (found,) = with_chats({"tools": RecordedChat(text="<s>", ids=(1,))})
    assert describe_difference(found, "ja") == (
        '2 件の会話のうち 1 件が変わった。最初は「tools」の 0 文字の後：以前 拒否、今 "<s>"'
    )


# --- ids of a corpus -----------------------------------------------------------------------------


Ids = list[list[int]]


@pytest.fixture(scope="module")
def some_texts() -> tuple[str, ...]:
    return corpus()[::16]


@pytest.fixture
def some_ids(some_texts: tuple[str, ...]) -> Ids:
    return [[place % 7, place % 11] for place in range(len(some_texts))]


def kept(texts: tuple[str, ...], ids: Ids) -> KeptIds:
    return KeptIds(corpus_ids=RecordedIds.pack(texts, ids))


def test_equal_ids_are_no_difference(some_texts: tuple[str, ...], some_ids: Ids) -> None:
    assert differences(kept(some_texts, some_ids), kept(some_texts, some_ids)) == []


def test_changed_ids_name_the_text_and_both_ids(some_texts: tuple[str, ...], some_ids: Ids) -> None:
    place = RecordedIds.pack(some_texts, some_ids).kept[3]
    other = [*some_ids]
    other[place], other[place + 1] = [1, 2, 3], [9]
    (found,) = differences(kept(some_texts, some_ids), kept(some_texts, other))
    assert found.outcome is Outcome.CHANGED
    assert found.ids is not None
    assert (found.ids.changed, found.ids.texts, found.ids.text) == (2, 2000, some_texts[place])
    old = " ".join(map(str, some_ids[place]))
    said = describe_difference(found)
    assert said.startswith("ids changed of 2 of 2,000 texts; of ")
    assert said.endswith(f" they were {old}, are 1 2 3")
    assert "2,000 件のテキストのうち 2 件で ID が変わった" in describe_difference(found, "ja")


def test_changed_ids_that_are_not_kept_are_counted(
    some_texts: tuple[str, ...], some_ids: Ids
) -> None:
    other = [*some_ids]
    other[RecordedIds.pack(some_texts, some_ids).kept[3] + 1] = [9]
    (found,) = differences(kept(some_texts, some_ids), kept(some_texts, other))
    assert describe_difference(found) == "ids changed of 1 of 2,000 texts"


def test_ids_of_other_texts_are_not_compared(some_texts: tuple[str, ...], some_ids: Ids) -> None:
    other = kept(tuple(f"{text}!" for text in some_texts), [[9]] * len(some_texts))
    assert differences(kept(some_texts, some_ids), other) == []
