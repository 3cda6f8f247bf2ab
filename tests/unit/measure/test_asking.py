"""How a target is asked: the form follows from its tokenizer and its chat template."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import probes
from probes.data.questions import Question
from probes.data.tokenizer_texts import PROMPTS, QUESTION, SPELLED_BOS
from probes.engines.toy import ToyEngine
from probes.measure.asking import ask, ask_in_all_forms, list_forms, list_prompts, spell_prompt
from probes.targets.target import EMBEDDED_FOLDER

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}"
    "{% endfor %}{% if add_generation_prompt %} [assistant]{% endif %}"
)
WHO = Question(text="Who?", accepted=("x",), origin="ours")
WORDED = Question(text="Who?", prompt="Q: Who? A:", accepted=("x",), origin="ours")


@pytest.fixture(scope="module")
def with_template(tmp_path_factory: pytest.TempPathFactory) -> probes.Model:
    folder: Path = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return probes.load(str(folder))


def test_forms_follow_from_tokenizer_and_template(with_template: probes.Model) -> None:
    assert list_forms(with_template) == ("published", "chat", "plain")
    assert list_forms(ToyEngine()) == ("chat", "plain")
    assert list_forms(ToyEngine(["chat"])) == ("plain",)


def test_chat_has_the_special_tokens_of_its_template(with_template: probes.Model) -> None:
    (asked,) = ask(with_template, [WHO], "chat")
    text = with_template.decode(with_template.encode_prompt(asked.prompt))
    assert text.replace(" ", "") == "<s>[user]Who?[assistant]"


def test_claims_ask_in_the_first_form() -> None:
    embedded, toy = probes.load("embedded"), ToyEngine(["chat"])
    assert ask(embedded, [WHO])[0].prompt == "<s> Who? "
    assert ask(toy, [WHO])[0].prompt == "Question: Who?\nAnswer:"


def test_wording_of_a_file_comes_first() -> None:
    model = probes.load("embedded")
    chat = tuple(model.encode_chat([{"role": "user", "content": "Who?"}]))
    forms = ask_in_all_forms(model, [WORDED])
    assert [(asked.form, asked.prompt) for (asked,) in forms] == [
        ("file", "Q: Who? A:"),
        ("published", "<s> Who? "),
        ("chat", chat),
        ("plain", "Question: Who?\nAnswer:"),
    ]
    assert [each.form for each in ask(probes.load("embedded"), [WORDED, WHO])] == [
        "file",
        "published",
    ]


def test_bos_is_spelled_for_mistrals_tokenizer_alone() -> None:
    assert list_prompts(probes.load("embedded")) == PROMPTS
    toy = ToyEngine()
    assert spell_prompt(toy, SPELLED_BOS) == QUESTION
    assert not any("<s>" in prompt for prompt in list_prompts(toy))
