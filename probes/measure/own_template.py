"""Conversations rendered by the chat template in a model's folder, without transformers."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import transformers
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from probes.engines.transformers.chat_dates import DATE
from probes.schema.recorded_chat import count_common
from probes.targets.chat_templates import choose_chat_template, read_chat_templates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import Template
    from jinja2.parser import Parser

    from probes.data.conversations import Conversation
    from probes.engines.transformers.engine import TransformersEngine

ENDINGS = ("X", "Y")
"""Two ends of an answer: what two texts share that differ in them comes before the end."""


class RefusedError(Exception):
    """A template refuses a conversation, or cannot render it."""


@dataclass(frozen=True)
class OwnTemplate:
    """The chat templates of a folder, and what they may use."""

    templates: Mapping[str, str]
    variables: Mapping[str, Any]
    """The special tokens by name: those of the files, else those of the tokenizer."""
    unused: str = ""
    """Why the tokenizer does not use them; empty where it does."""

    def render(self, conversation: Conversation, *, prompt: bool) -> str:
        """Return a conversation as text; a begun answer stays open.

        With `prompt` an answer is to begin at the end. Raises RefusedError.

        >>> from probes.data.conversations import CONVERSATIONS
        >>> own = read_own_template(load("embedded"))
        >>> own.render(CONVERSATIONS["a question"], prompt=True)
        '<s>[INST] Who painted the Mona Lisa? [/INST][ANSWER]'
        >>> own.render(CONVERSATIONS["a begun answer"], prompt=False)
        '<s>[INST] Who painted the Mona Lisa? [/INST][ANSWER] The painter was'
        """
        if conversation.is_begun:
            return leave_open(conversation, lambda whole: self.render(whole, prompt=prompt))
        text = choose_chat_template(self.templates, tools=bool(conversation.tools))
        if text is None or self.unused:
            raise RefusedError(self.unused or "no template of its folder is the default")
        try:
            return _compile(text).render(
                messages=deepcopy(list(conversation.messages)),
                tools=deepcopy(list(conversation.tools)) or None,
                documents=None,
                add_generation_prompt=prompt,
                **self.variables,
            )
        except Exception as error:  # a template may fail in any way
            raise RefusedError(f"{type(error).__name__}: {error}") from error


def read_own_template(model: TransformersEngine) -> OwnTemplate:
    """Read the chat templates of a target's folder, and its special tokens.

    >>> read_own_template(load("embedded")).variables["bos_token"]
    '<s>'
    """
    tokenizer, files = model.tokenizer, model.tokenizer_files
    tokens = {
        f"{which}_token": token
        for which in ("bos", "eos", "pad", "unk")
        if (token := files.special_token(which)) is not None
    }
    method = "apply_chat_template"
    general = getattr(transformers.PreTrainedTokenizerBase, method)
    unused = ""
    if getattr(type(tokenizer), method, None) is not general:
        unused = f"its tokenizer, {type(tokenizer).__name__}, renders in a way of its own"
    variables = {**tokenizer.special_tokens_map, **tokens}
    return OwnTemplate(read_chat_templates(model.checkpoint.folder), variables, unused)


def leave_open(conversation: Conversation, render: Callable[[Conversation], str]) -> str:
    """Return a conversation with a begun answer, up to the end of that answer.

    `render` renders one with a whole answer. Raises RefusedError where the answer's text is
    changed.

    >>> from probes.data.conversations import CONVERSATIONS
    >>> leave_open(CONVERSATIONS["a begun answer"], lambda whole: f"<a>{whole.answer}</a>")
    '<a>The painter was'
    >>> spaced = CONVERSATIONS["a begun answer and a space"]
    >>> leave_open(spaced, lambda whole: f"<a>{whole.answer}</a>")
    '<a>The painter was '
    >>> leave_open(spaced, lambda whole: f"<a>{whole.answer.strip()}</a>")
    '<a>The painter was'
    """
    written = conversation.answer
    answer, spaces = written.rstrip(), written[len(written.rstrip()) :]
    one, other = (render(conversation.with_answer(answer + end)) for end in ENDINGS)
    begun = one[: count_common(one, other)]
    if not begun.endswith(answer):
        raise RefusedError("the text of an answer is changed")
    closed = render(conversation.with_answer(answer))
    closed_spaced = render(conversation.with_answer(written))
    return begun + spaces if closed_spaced == begun + spaces + closed[len(begun) :] else begun


class _Generation(Extension):
    """What transformers knows besides jinja2: a block around what the model is to write."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


@lru_cache(maxsize=8)
def _compile(text: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _dump
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = DATE.strftime
    return environment.from_string(text)


def _dump(value: Any, *, ensure_ascii: bool = False, **settings: Any) -> str:
    """Return JSON as it is: jinja2's own filter writes signs of HTML in another way."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **settings)


def _refuse(message: str) -> None:
    raise TemplateError(message)
