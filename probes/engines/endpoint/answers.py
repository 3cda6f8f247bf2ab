"""Read the answers of endpoints: texts, token ids, log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from probes._util.text import quote
from probes.engines.base import TopLogprobs
from probes.errors import EndpointFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ID = "token_id:"
"""What vLLM writes before an id where other servers write a token's text."""


@dataclass(frozen=True)
class Completion:
    """One text of an answer; `ids` are empty where the server does not tell all of them."""

    text: str
    finish_reason: str
    ids: list[int] = field(default_factory=list)
    top_logprobs: list[TopLogprobs] | None = None


def read_completion(answer: Mapping[str, Any], top: int | None) -> Completion:
    """Read the only text of an answer, with the `top` most likely tokens at each step.

    >>> made = {"text": " Tokyo", "finish_reason": "length", "token_ids": [19081]}
    >>> read_completion({"choices": [made]}, None).ids
    [19081]
    """
    choice = _first_choice(answer)
    if not isinstance(choice.get("text"), str):
        raise _misfit("no text", choice)
    logprobs = choice.get("logprobs") or {}
    try:
        steps = _read_content(logprobs) if "content" in logprobs else _read_lists(logprobs)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _misfit("log-probabilities of another form", logprobs) from None
    ids = choice.get("token_ids")
    if ids is None:
        ids = [token for token, _ in steps]
    if not all(isinstance(each, int) for each in ids):
        raise _misfit("token ids of another form", ids)
    listed = None if top is None else [_cut(each, top) for _, each in steps]
    count = (answer.get("usage") or {}).get("completion_tokens")
    if isinstance(count, int) and len(steps) < count and len(ids) < count:
        # llama.cpp lists no token that ends inside a character: the rest would be another text.
        ids, listed = [], None if top is None else []
    reason = choice.get("finish_reason")
    return Completion(choice["text"], "" if reason is None else str(reason), list(ids), listed)


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
        raise _misfit("log-probabilities of a prompt of another form", rows) from None


def read_ids(answer: Mapping[str, Any]) -> list[int]:
    """Read the token ids of a text.

    >>> read_ids({"tokens": [{"id": 504}, {"id": 3575}]}), read_ids({"tokens": [504, 3575]})
    ([504, 3575], [504, 3575])
    """
    tokens = answer.get("tokens")
    if not isinstance(tokens, list):
        raise _misfit("no token ids", answer)
    ids = [each.get("id") if isinstance(each, dict) else each for each in tokens]
    found = [each for each in ids if isinstance(each, int)]
    if len(found) != len(ids):
        raise _misfit("token ids of another form", tokens)
    return found


def _first_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _misfit("no text", answer)
    return choices[0]


def _read_content(logprobs: Mapping[str, Any]) -> list[tuple[int, TopLogprobs]]:
    """Read a list of steps, as llama.cpp and OpenAI's chat completions give it."""
    steps = []
    for step in logprobs["content"]:
        pairs = [(int(each["id"]), float(each["logprob"])) for each in step["top_logprobs"]]
        steps.append((int(step["id"]), _sort(pairs, float(step["logprob"]))))
    return steps


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
    in_order = sorted(pairs, key=lambda pair: -pair[1])
    return TopLogprobs([i for i, _ in in_order], [value for _, value in in_order], chosen)


def _cut(step: TopLogprobs, top: int) -> TopLogprobs:
    return TopLogprobs(step.ids[:top], step.logprobs[:top], step.chosen)


def _misfit(what: str, value: object) -> EndpointFailedError:
    return EndpointFailedError(f"the server's answer has {what}: {quote(value, limit=200)}")
