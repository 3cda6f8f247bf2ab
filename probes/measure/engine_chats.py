"""Compare a server's answers in chats with what follows the reference's rendering of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from probes.engines.base import Generation
from probes.errors import UndecidableError
from probes.measure.engine_answers import make_greedy
from probes.measure.engine_prompts import CUT_CHARACTER, asks_in_chat, takes_ids
from probes.measure.engine_texts import TextPair, compare_texts, join_as_server
from probes.measure.greedy import generate_greedy
from probes.measure.greedy_differences import count_common_start

Chats = Sequence[Sequence[Mapping[str, str]]]

TEMPLATES = {
    "the message without a chat template": "{}",
    "the template of ChatML": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "the template of Llama 2": "[INST] {} [/INST]",
    "the template of Llama 3": "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "the template of Gemma": "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
    "the template of Zephyr": "<|user|>\n{}</s>\n<|assistant|>\n",
    "the template of Alpaca": "### Instruction:\n{}\n\n### Response:\n",
    "the template of Vicuna": "USER: {} ASSISTANT:",
}
"""What servers render a user's message with where they do not use the model's own template."""

UNOPENED = "the reference's chat template without the opening of an answer"


def compare_answers(engine: Any, reference: Any, chats: Chats, length: int) -> list[TextPair]:
    """Compare greedy answers in chats with texts that continue the rendered chats.

    Those are the engine's own where it takes token ids as a prompt, else the reference's. Left out
    are answers that differ, and of which it is not known which tokens they are. Raises
    UndecidableError where none is left, or the server has no chat completions.
    """
    rendered = [reference.render_chat(chat) for chat in chats]
    ids = [reference.encode(text, add_special_tokens=False) for text in rendered]
    settings: dict[str, Any] = {"max_new_tokens": length, "do_sample": False}
    continued = (
        engine.generate_batch(ids, **settings)
        if takes_ids(engine)
        else [
            replace(text, texts=[join_as_server(reference, text).text])
            for text in generate_greedy(reference, ids, length)
        ]
    )
    answers = [engine.answer_messages(chat, **settings) for chat in chats]
    pairs = [
        _compare(reference, chat[-1]["content"], text, replace(own, prompt_ids=start), answer)
        for chat, text, start, own, answer in zip(
            chats, rendered, ids, continued, answers, strict=True
        )
        if CUT_CHARACTER not in answer.text
    ]
    if not any(pairs):
        raise UndecidableError("no answer in a chat can be compared: its tokens are not known")
    return [pair for pair in pairs if pair is not None]


def _compare(
    reference: Any, prompt: str, rendered: str, own: Generation, answer: Generation
) -> TextPair | None:
    """Compare an answer with a text; None if they differ and the answer's tokens are not known."""
    way = "answered in a chat"
    # Some servers strip their answers.
    if own.text.strip() == answer.text.strip():
        return TextPair(way, prompt, own.text, answer.text, None, 0.0)
    if answer.ids[0]:
        answer = replace(answer, prompt_ids=own.prompt_ids)
        return compare_texts(reference, way, prompt, own, answer)
    space = own.text[: len(own.text) - len(own.text.lstrip())]
    text = answer.text if answer.text[:1].isspace() else space + answer.text
    ids, again = (
        _encode_behind(reference, rendered, each, own.prompt_ids) for each in (text, own.text)
    )
    if ids is None or again is None:
        return None
    compared = count_common_start(own.ids[0], ids) + 1
    if again[:compared] != own.ids[0][: min(compared, len(again))]:
        return None  # one text has several encodings: the answer may have been made by another
    ended = (answer.finish_reasons or [""])[0] == "stop"
    end = reference.eos_token_ids[:1] if ended else []
    answer = replace(answer, prompt_ids=own.prompt_ids, ids=[[*ids, *end]])
    return compare_texts(reference, way, prompt, own, answer)


def _encode_behind(
    reference: Any, rendered: str, text: str, start: Sequence[int]
) -> list[int] | None:
    """Encode a text behind a rendered chat; None if the two are encoded as one."""
    whole: list[int] = reference.encode(rendered + text, add_special_tokens=False)
    return whole[len(start) :] if whole[: len(start)] == list(start) else None


def name_template(engine: Any, reference: Any, prompts: Sequence[str], length: int) -> str:
    """Name the template by which a server's answers to users' messages can be explained.

    The reference continues the messages under each of `TEMPLATES`: the one that gives most of the
    texts is named, if it gives at least half of them and more than its own. Empty if there is none.

    >>> from probes import load
    >>> model = load("embedded")  # it continues texts as they are
    >>> name_template(model, model, ["Who painted the Mona Lisa?"], 4)
    'its texts are those of the message without a chat template'
    """
    made = _answer_all(engine, reference, prompts, length)
    own = [reference.render_chat([{"role": "user", "content": prompt}]) for prompt in prompts]
    plain = [
        reference.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=False
        )
        for prompt in prompts
    ]
    rendered = {"": (own, False), UNOPENED: (plain, False)} | {
        name: ([template.format(prompt) for prompt in prompts], True)
        for name, template in TEMPLATES.items()
    }
    same = {
        name: _count_same(reference, texts, made, length, special=special)
        for name, (texts, special) in rendered.items()
    }
    best = max(same, key=lambda name: same[name])
    is_clear = same[best] * 2 >= len(prompts) and same[best] > same[""]
    return f"its texts are those of {best}" if best and is_clear else ""


def _answer_all(engine: Any, reference: Any, prompts: Sequence[str], length: int) -> list[str]:
    if asks_in_chat(engine) or not hasattr(engine, "answer_messages"):
        return [text.text for text in make_greedy(engine, reference, prompts, length)]
    return [
        engine.answer_messages(
            [{"role": "user", "content": prompt}], max_new_tokens=length, do_sample=False
        ).text
        for prompt in prompts
    ]


def _count_same(
    reference: Any, texts: Sequence[str], made: Sequence[str], length: int, *, special: bool
) -> int:
    """Count the texts that the reference gives after prompts: white space around is left out."""
    ids = [reference.encode(text, add_special_tokens=special) for text in texts]
    own = generate_greedy(reference, ids, length)
    pairs = zip(own, made, strict=True)
    return sum(text.text.strip() == other.strip() for text, other in pairs)
