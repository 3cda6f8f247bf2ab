"""Read the answers of endpoints: texts, token ids, log-probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

from probes._util.redaction import quote_redacted
from probes.engines.base import TopLogprobs, TopPieces
from probes.engines.endpoint.usage import read_count
from probes.errors import EndpointFailedError, UndecidableError

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVED_BY = "served_by"
"""The key of an answer with the headers that name who answered."""

_APART = ("reasoning_content", "reasoning", "tool_calls", "refusal")
"""Parts of a message that hold text of an answer beside its content."""

_ID = "token_id:"
"""What vLLM writes before an id where other servers write a token's text."""


@dataclass(frozen=True)
class Completion:
    """One text of an answer; `ids` are empty where the server does not tell all of them."""

    text: str
    finish_reason: str
    ids: list[int] = field(default_factory=list)
    top_logprobs: list[TopLogprobs] | None = None
    top_pieces: list[TopPieces] = field(default_factory=list)
    """Of a server that tells the texts of tokens, and no ids."""
    new_tokens: int | None = None
    """How many it has, as the server counts them; None if it tells none."""
    prompt_tokens: int | None = None
    """The same of its prompt."""
    served_by: str = ""
    """What the server says of who answered; empty if it says nothing."""


def read_completion(answer: Mapping[str, Any], top: int | None) -> Completion:
    """Read the only text of an answer, with the `top` most likely tokens at each step.

    >>> made = {"text": " Tokyo", "finish_reason": "length", "token_ids": [19081]}
    >>> read_completion({"choices": [made]}, None).ids
    [19081]
    """
    choice = _first_choice(answer)
    text = _read_message(choice) if "message" in choice else choice.get("text")
    if not isinstance(text, str):
        raise _misfit("no text", choice)
    logprobs = choice.get("logprobs") or {}
    try:
        pieces = _read_pieces(logprobs) if _tells_texts(logprobs) else []
        steps = (
            []
            if pieces
            else _read_content(logprobs)
            if "content" in logprobs
            else _read_lists(logprobs)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _misfit("log-probabilities that cannot be read", logprobs) from None
    ids = choice.get("token_ids")
    if ids is None:
        ids = [token for token, _ in steps]
    if not isinstance(ids, list) or not all(map(_is_id, ids)):
        raise _misfit("token ids of another form", ids)
    listed = None if top is None else [_cut(each, top) for _, each in steps]
    usage = answer.get("usage")
    count, in_prompt = (read_count(usage, name) for name in ("completion_tokens", "prompt_tokens"))
    if count is not None and len(steps) < count and len(ids) < count:
        # llama.cpp lists no token that ends inside a character: the rest would be another text.
        ids, listed = [], None if top is None else []
    reason = choice.get("finish_reason")
    said = "" if reason is None else str(reason)
    by = [answer.get("system_fingerprint"), answer.get(SERVED_BY)]
    served_by = ", ".join(
        quote_redacted(each, limit=80) for each in by if isinstance(each, str) and each
    )
    return Completion(text, said, list(ids), listed, pieces, count, in_prompt, served_by)


def has_choices(answer: Mapping[str, Any]) -> bool:
    """Return whether an answer has a text: some servers answer an unknown path with status 200."""
    choices = answer.get("choices")
    return isinstance(choices, list) and bool(choices) and isinstance(choices[0], dict)


def lists_logprobs(answer: Mapping[str, Any]) -> bool:
    """Return whether an answer has log-probabilities, or has no text that could have any.

    The only token may be the end, or belong to the reasoning.
    """
    choice = _first_choice(answer)
    listed, message = choice.get("logprobs"), choice.get("message")
    if not (isinstance(message, dict) and message.get("content")):
        return True
    return isinstance(listed, dict) and bool(listed.get("content"))


def read_prompt_logprobs(answer: Mapping[str, Any], top: int) -> list[TopLogprobs]:
    """Read the log-probabilities of a prompt's tokens, the first left out."""
    choice = _first_choice(answer)
    rows, prompt = choice.get("prompt_logprobs"), choice.get("prompt_token_ids")
    try:
        found = []
        for token, row in zip(prompt[1:], rows[1:], strict=True):  # type: ignore[index]
            chosen = float(row[str(token)]["logprob"])
            pairs = [(int(key), float(each["logprob"])) for key, each in row.items()]
            found.append(_cut(_sort(pairs, chosen), top))
        return found
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _misfit("log-probabilities of a prompt that cannot be read", rows) from None


def read_ids(answer: Mapping[str, Any]) -> list[int]:
    """Read the token ids of a text.

    >>> read_ids({"tokens": [{"id": 504}, {"id": 3575}]}), read_ids({"tokens": [504, 3575]})
    ([504, 3575], [504, 3575])
    """
    tokens = answer.get("tokens")
    if not isinstance(tokens, list):
        raise _misfit("no token ids", answer)
    ids = [each.get("id") if isinstance(each, dict) else each for each in tokens]
    found = [each for each in ids if _is_id(each)]
    if len(found) != len(ids):
        raise _misfit("token ids of another form", tokens)
    return found


def _is_id(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read_message(choice: Mapping[str, Any]) -> Any:
    """Return the content of a chat completion; a message without any is an empty text.

    Raises UndecidableError where a part of the text is in another field: the text as it was
    generated is not known then.
    """
    message = choice["message"]
    if not isinstance(message, dict):
        return None
    for name in _APART:
        if message.get(name):
            raise UndecidableError(
                f"its answers have a part of their text in a field of its own, {name}: "
                "how the text was generated is not known"
            )
    return message.get("content") or ""


def _first_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    if not has_choices(answer):
        raise _misfit("no text", answer)
    first: Mapping[str, Any] = answer["choices"][0]
    return first


def _read_content(logprobs: Mapping[str, Any]) -> list[tuple[int, TopLogprobs]]:
    """Read a list of steps, as llama.cpp and OpenAI's chat completions give it."""
    steps = []
    for step in logprobs["content"]:
        pairs = [(int(each["id"]), float(each["logprob"])) for each in step["top_logprobs"]]
        steps.append((int(step["id"]), _sort(pairs, float(step["logprob"]))))
    return steps


def _tells_texts(logprobs: Mapping[str, Any]) -> bool:
    """Return whether a list of steps tells the texts of tokens alone, as OpenAI's does."""
    content = logprobs.get("content") or []
    return any("id" not in step for step in content)


def _read_pieces(logprobs: Mapping[str, Any]) -> list[TopPieces]:
    """Read a list of steps without ids."""
    steps = []
    for step in logprobs["content"]:
        listed = [(_read_piece(each), float(each["logprob"])) for each in step["top_logprobs"]]
        chosen = float(step["logprob"])
        if not all(math.isfinite(value) for value in (chosen, *(value for _, value in listed))):
            raise ValueError("a log-probability is not finite")
        listed.sort(key=lambda pair: -pair[1])
        pieces, values = [piece for piece, _ in listed], [value for _, value in listed]
        steps.append(TopPieces(pieces, values, _read_piece(step), chosen))
    return steps


def _read_piece(token: Mapping[str, Any]) -> bytes:
    return bytes(token["bytes"]) if token.get("bytes") is not None else token["token"].encode()


def _read_lists(logprobs: Mapping[str, Any]) -> list[tuple[int, TopLogprobs]]:
    """Read parallel lists, as vLLM gives them; without ids there is nothing to read."""
    tokens = logprobs.get("tokens") or []
    if not tokens or not all(token.startswith(_ID) for token in tokens):
        return []
    steps = []
    rows = zip(tokens, logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    for token, chosen, row in rows:
        pairs = [(int(key.removeprefix(_ID)), float(value)) for key, value in row.items()]
        steps.append((int(token.removeprefix(_ID)), _sort(pairs, float(chosen))))
    return steps


def _sort(pairs: list[tuple[int, float]], chosen: float) -> TopLogprobs:
    if not all(math.isfinite(value) for value in (chosen, *(value for _, value in pairs))):
        raise ValueError("a log-probability is not finite")
    in_order = sorted(pairs, key=lambda pair: -pair[1])
    return TopLogprobs([i for i, _ in in_order], [value for _, value in in_order], chosen)


def _cut(step: TopLogprobs, top: int) -> TopLogprobs:
    return TopLogprobs(step.ids[:top], step.logprobs[:top], step.chosen)


def _misfit(what: str, value: Any) -> EndpointFailedError:
    return EndpointFailedError(
        f"the server's answer has {what}: {quote_redacted(value, limit=200)}"
    )
