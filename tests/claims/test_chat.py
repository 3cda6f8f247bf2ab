"""Claims: what a chat template makes of a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from probes import measure
from probes.data.conversations import CONVERSATIONS, SPACED

if TYPE_CHECKING:
    from probes import Model
    from probes.measure.chat import RenderedChat

Evidence = dict[str, Any]

BEGUN = [name for name, each in CONVERSATIONS.items() if each.is_begun]

SHOWN = 60
"""Characters of a rendered conversation in the evidence."""


@pytest.fixture
def chats(model: Model, evidence: Evidence) -> list[RenderedChat]:
    """The conversations that the template renders; those that it refuses are evidence."""
    try:
        found = measure.chat.render_chats(model)
    except ImportError as error:
        pytest.skip(str(error))
    refused = {each.name: each.refusal for each in found if each.text is None and each.own is None}
    if refused:
        evidence["refused_conversations"] = refused
    unknown = {each.name: each.refusal for each in found if each.text and each.own is None}
    if unknown:
        evidence["not_rendered_by_its_own_template"] = unknown
    if len(refused) == len(found):
        name, reason = next(iter(refused.items()))
        pytest.skip(f"its template refuses every conversation: {name}, {reason}")
    return found


def need_template(model: Model) -> None:
    """Skip where ids are made without the template's text, or without its special tokens."""
    if reason := measure.own_template.read_own_template(model).unused:
        pytest.skip(reason)
    if model.tokenizer_files.splits_special_tokens:
        pytest.skip("its tokenizer is to encode special tokens that a text spells as plain text")


@pytest.mark.claim("chat-bos-once")
def test_bos_comes_as_often_as_the_template_writes_it(
    model: Model, chats: list[RenderedChat], evidence: Evidence
) -> None:
    need_template(model)
    if model.tokenizer.bos_token is None:
        pytest.skip("its tokenizer has no beginning-of-sequence token")
    evidence["bos_by_conversation"] = found = measure.chat_special_tokens.count_bos(model, chats)
    for each in found:
        complaint = each.complain()
        assert not complaint, complaint


@pytest.mark.claim("chat-ids")
def test_ids_are_those_of_the_rendered_text(
    model: Model, chats: list[RenderedChat], evidence: Evidence
) -> None:
    need_template(model)
    found = measure.chat_ids.compare_chat_ids(model, chats)
    evidence["types"] = measure.chat_ids.list_types(found)
    evidence["forms_compared"] = len(found)
    for each in found:
        assert not each.complaint, each.complaint


@pytest.mark.claim("chat-ids")
def test_special_tokens_of_the_template_have_their_ids(
    model: Model, chats: list[RenderedChat], evidence: Evidence
) -> None:
    need_template(model)
    found = measure.chat_special_tokens.find_special_tokens(model, chats)
    evidence["special_tokens"] = {each.token: each.id for each in found}
    if not found:
        pytest.skip("what its template writes has no special token of a tokenizer.json")
    for each in found:
        complaint = each.complain()
        assert not complaint, complaint


@pytest.mark.claim("chat-prompt")
def test_prompt_ends_where_the_answer_begins(
    model: Model, chats: list[RenderedChat], evidence: Evidence
) -> None:
    evidence["prompts"] = found = measure.chat_prompts.compare_prompts_with_answers(model, chats)
    prompted = [each for each in chats if each.prompt]
    if all(each.own is None for each in prompted):
        pytest.skip(f"there is no prompt to compare with its own template: {prompted[0].refusal}")
    for each in prompted:
        complaint = each.complain()
        assert not complaint, complaint
    for prompt in found:
        assert prompt.opens_answer is not False, (
            f"{prompt.conversation}: the prompt for an answer adds {prompt.prompt!r}, which is not "
            f"how an answer begins: {prompt.answer!r}"
        )


@pytest.mark.claim("chat-prompt")
@pytest.mark.parametrize("conversation", BEGUN)
def test_begun_answer_stays_open(
    chats: list[RenderedChat], evidence: Evidence, conversation: str
) -> None:
    (chat,) = (each for each in chats if each.conversation == conversation)
    if conversation == SPACED and (reason := measure.chat.explain_lost_spaces()):
        pytest.skip(reason)
    if chat.own is None:
        pytest.skip(f"its template renders no begun answer: {chat.refusal}")
    evidence["end"] = None if chat.text is None else chat.text[-SHOWN:]
    complaint = chat.complain()
    assert not complaint, complaint
