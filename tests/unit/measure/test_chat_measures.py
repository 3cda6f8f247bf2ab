"""Conversations under templates that are sound, however odd."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import probes
from probes.measure.chat import record_chats, render_chats
from probes.measure.chat_ids import compare_chat_ids
from probes.measure.chat_prompts import compare_prompts_with_answers
from probes.measure.chat_special_tokens import count_bos, find_special_tokens
from probes.schema.recorded_chat import RecordedChat
from probes.targets.target import EMBEDDED_FOLDER

TURN = "<{{ message.role }}>{{ message.content }}</s>"
EACH = "{% for message in messages %}"
PROMPT = "{% if add_generation_prompt %}<assistant>{% endif %}"

SOUND = {
    "no BOS": EACH + TURN + "{% endfor %}" + PROMPT,
    "BOS before each turn": EACH + "{{ bos_token }}" + TURN + "{% endfor %}" + PROMPT,
    "trimmed": EACH + "<{{ message.role }}>{{ message.content | trim }} </s>{% endfor %}" + PROMPT,
    "no prompt": EACH + TURN + "{% endfor %}",
    "an end without the prompt": EACH
    + TURN
    + "{% endfor %}{% if add_generation_prompt %}<assistant>{% else %}</s>{% endif %}",
    "reasoning in the prompt alone": EACH
    + TURN
    + "{% endfor %}{% if add_generation_prompt %}<assistant><think>\n{% endif %}",
    "an empty thought before the last answer": EACH
    + "<{{ message.role }}>{% if loop.last and message.role == 'assistant' %}<think></think>"
    + "{% endif %}{{ message.content }}</s>{% endfor %}"
    + PROMPT,
    "the system message in the last turn": "{% set system = messages[0].content %}"
    + EACH
    + "{% if message.role == 'user' and loop.last %}<user>{{ system }} {% endif %}"
    + TURN
    + "{% endfor %}"
    + PROMPT,
    "the date": "{{ strftime_now('%d %b %Y') }}" + EACH + TURN + "{% endfor %}" + PROMPT,
    "what the model is to write": EACH
    + "{% if message.role == 'assistant' %}{% generation %}<a>{{ message.content }}</s>"
    + "{% endgeneration %}{% else %}<{{ message.role }}>{{ message.content }}</s>{% endif %}"
    + "{% endfor %}"
    + PROMPT,
    "no system messages": EACH
    + "{% if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    + TURN
    + "{% endfor %}"
    + PROMPT,
    "answers in capitals": EACH
    + "<{{ message.role }}>{{ message.content | upper }}</s>{% endfor %}"
    + PROMPT,
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], probes.Model]:
    """Load the embedded model with another chat template."""

    def load_with(template: str) -> probes.Model:
        folder = tmp_path / "model"
        shutil.copytree(EMBEDDED_FOLDER, folder)
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        return probes.load(str(folder))

    return load_with


@pytest.mark.parametrize("name", SOUND)
def test_sound_template_has_no_complaint(name: str, load: Callable[[str], probes.Model]) -> None:
    model = load(SOUND[name])
    chats = render_chats(model)
    assert [each.complain() for each in chats if each.complain()] == []
    assert any(each.text is not None and each.own is not None for each in chats)
    assert [each for each in compare_chat_ids(model, chats) if each.complaint] == []
    assert [each.complain() for each in count_bos(model, chats) if each.complain()] == []
    assert [each.complain() for each in find_special_tokens(model, chats) if each.pieces] == []
    prompts = compare_prompts_with_answers(model, chats)
    assert [each for each in prompts if each.opens_answer is False] == []


def test_date_is_the_same_on_every_day(load: Callable[[str], probes.Model]) -> None:
    model = load(SOUND["the date"])
    text = record_chats(model, render_chats(model))["a question"].text
    assert text is not None
    assert text.startswith("26 Jul 2024<user>")
    prompt = model.decode(model.encode_chat([{"role": "user", "content": "Hi"}]))
    assert prompt == "26 Jul 2024<user>Hi</s><assistant>"


def test_refused_conversation_is_named_and_recorded(load: Callable[[str], probes.Model]) -> None:
    model = load(SOUND["no system messages"])
    chats = render_chats(model)
    refused = {each.conversation: each.refusal for each in chats if each.text is None}
    assert refused == dict.fromkeys(("a system message", "an answer"), "TemplateError: no system")
    assert record_chats(model, chats)["an answer"] == RecordedChat(text=None)


def test_begun_answer_whose_text_changes_is_left_out(load: Callable[[str], probes.Model]) -> None:
    model = load(SOUND["answers in capitals"])
    begun = {each.conversation: each for each in render_chats(model) if each.is_begun}
    assert (begun["a begun answer"].own, begun["a begun answer"].text) == (None, None)


def test_begun_answer_is_compared_where_a_tokenizer_renders_by_itself(
    load: Callable[[str], probes.Model],
) -> None:
    model = load(SOUND["no BOS"])

    class Own(type(model.tokenizer)):  # type: ignore[misc]
        def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
            text = super().apply_chat_template(*args, **kwargs)
            return f"{text}</s>" if kwargs["continue_final_message"] else text

    model.tokenizer.__class__ = Own
    chats = render_chats(model)
    begun = next(each for each in chats if each.is_begun)
    assert begun.complain().endswith("was</s>', not '…ssistant>The painter was'")
    others = [each for each in chats if not each.is_begun]
    assert {each.own for each in others} == {None}
    assert others[0].refusal == "its tokenizer, Own, renders in a way of its own"
