"""Faults of chat templates and of what is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import Patch, Wrapper, fault, result, swapped, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes import Model

MODULE = "transformers.tokenization_utils_base"
TOKENIZER = f"{MODULE}:PreTrainedTokenizerBase"


def templates_changed(model: Model, change: Callable[[str], str]) -> Patch:
    return swapped(model.tokenizer, "chat_template", change(str(model.tokenizer.chat_template)))


@fault(
    "BOS twice in a chat: special tokens are added to the rendered text",
    "chat-bos-once",
    "chat-ids",
)
def special_tokens_added_to_a_chat(model: Model) -> Patch:
    def with_special(original: Wrapper, tokenizer: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("add_special_tokens") is False and "padding" in kwargs:
            kwargs["add_special_tokens"] = True  # the call of apply_chat_template
        return original(tokenizer, *args, **kwargs)

    return wrapped(TOKENIZER, "__call__", with_special)


@fault(
    "a template from which BOS was removed, so that it never comes (llama.cpp 15086)",
    "chat-bos-once",
    "chat-recorded",
)
def bos_removed_from_template(model: Model) -> Patch:
    return templates_changed(model, lambda text: text.replace("bos_token", "''"))


@fault(
    "apply_chat_template returns a dict where ids are asked for (transformers 41626)", "chat-ids"
)
def dict_instead_of_ids(model: Model) -> Patch:
    def as_dict(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("tokenize", True):
            kwargs["return_dict"] = True
        return original(*args, **kwargs)

    return wrapped(TOKENIZER, "apply_chat_template", as_dict)


@fault("a batch of conversations of which each has the ids of the first", "chat-ids")
def batch_of_the_first(model: Model) -> Patch:
    def repeat(original: Wrapper, tokenizer: Any, chat: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("tokenize", True) and isinstance(chat[0], list):
            chat = [chat[0]] * len(chat)
        return original(tokenizer, chat, *args, **kwargs)

    return wrapped(TOKENIZER, "apply_chat_template", repeat)


def without(name: str) -> Patch:
    """Call apply_chat_template as if one of its arguments were not given."""

    def leave_out(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop(name, None)
        return original(*args, **kwargs)

    return wrapped(TOKENIZER, "apply_chat_template", leave_out)


@fault(
    "a begun answer whose turn is closed (transformers 45849)", "chat-prompt", checks="stays_open"
)
def begun_answer_is_closed(model: Model) -> Patch:
    return without("continue_final_message")


@fault(
    "a begun answer that ends at the last place of its text, which may be in what closes the turn "
    "(transformers before 4.57)",
    "chat-prompt",
    checks="letter",
)
def begun_answer_found_by_its_text(model: Model) -> Patch:
    def by_text(original: Wrapper, tokenizer: Any, chat: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("continue_final_message") or kwargs.get("tokenize", True):
            return original(tokenizer, chat, *args, **kwargs)
        answer = chat[-1]["content"]
        text = original(tokenizer, chat, *args, **{**kwargs, "continue_final_message": False})
        return text[: text.rindex(answer) + len(answer)]

    return wrapped(TOKENIZER, "apply_chat_template", by_text)


@fault("a prompt without the beginning of an answer", "chat-prompt", checks="answer_begins")
def prompt_without_answer(model: Model) -> Patch:
    return without("add_generation_prompt")


@fault("tools that do not reach the template", "chat-recorded")
def tools_are_lost(model: Model) -> Patch:
    return without("tools")


@fault("signs of HTML that are written as entities", "chat-recorded")
def conversations_are_escaped(model: Model) -> Patch:
    def escape(rendered: Any) -> Any:
        texts, *rest = rendered
        return [text.replace("&", "&amp;") for text in texts], *rest

    return wrapped(MODULE, "render_jinja_template", result(escape))
