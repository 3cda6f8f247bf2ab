from __future__ import annotations

import pytest

from probes.compare.evidence import Rounding, find_differences
from probes.report.text.comparison import describe_difference
from probes.schema.comparison import Difference, Outcome
from probes.schema.evidence.texts import KeptChats
from probes.schema.record import Check, ClaimRecord
from probes.schema.recorded_chat import RecordedChat
from tests.support.samples import check, planned

OLD = {
    "a question": RecordedChat(text="<s>[INST] Hi [/INST]", ids=(1, 7, 8)),
    "tools": RecordedChat(text=None),
}


def claim(chats: dict[str, RecordedChat]) -> ClaimRecord:
    values: Check = check(values=KeptChats(rendered_chats=chats).as_evidence())
    return planned("chat-recorded").model_copy(update={"verdict": "holds", "evidence": (values,)})


def differences(chats: dict[str, RecordedChat]) -> list[Difference]:
    return find_differences(claim(OLD), claim(OLD | chats), Rounding(noise=1e-6))


def test_same_chats_are_no_difference() -> None:
    assert differences({"another": RecordedChat(text="new")}) == []


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
    (found,) = differences({name: chat})
    assert found.outcome is Outcome.CHANGED
    assert describe_difference(found) == said


def test_change_is_said_in_japanese() -> None:
    (found,) = differences({"tools": RecordedChat(text="<s>", ids=(1,))})
    assert describe_difference(found, "ja") == (
        '2 件の会話のうち 1 件が変わった。最初は「tools」の 0 文字の後：以前 拒否、今 "<s>"'
    )
