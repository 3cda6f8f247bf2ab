"""Count the tokens that requests ask of an endpoint: as its server counts them, else as here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probes.errors import OverTokenBudgetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BYTES = 4
"""Bytes of a text that count as one token, where no server has counted it."""


def estimate_tokens(body: Mapping[str, Any]) -> int:
    """Return about how many tokens a request asks for: its prompt and the most new ones.

    >>> estimate_tokens({"prompt": [504, 3575], "max_tokens": 16})
    18
    >>> estimate_tokens({"messages": [{"role": "user", "content": "Once"}], "max_tokens": 16})
    17
    """
    return _size_of_prompt(body) + _most_new(body)


def count_tokens(body: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
    """Return how many tokens an answer took, prompt included: by its `usage` if it has one.

    >>> count_tokens({"prompt": "Once"}, {"usage": {"prompt_tokens": 2, "completion_tokens": 16}})
    18
    >>> count_tokens({"prompt": "Once", "max_tokens": 16}, {"choices": [{"text": "upon a time"}]})
    4
    """
    usage = answer.get("usage")
    if isinstance(usage, dict):
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        told = [count for count in counts if isinstance(count, int)]
        if len(told) == len(counts):
            return sum(told)
    choices = answer.get("choices")
    if not _most_new(body) and not choices:  # it was asked for no text
        return 0
    new = sum(map(_size_of_choice, choices)) if isinstance(choices, list) else _most_new(body)
    return _size_of_prompt(body) + new


class TokenAccount:
    """The tokens that one target's requests took, and the budget that they must keep to."""

    def __init__(self, budget: int | None) -> None:
        """Take the most tokens; None without a limit."""
        self.budget = budget
        self.spent = 0

    def refuse_too_many(self, bodies: Iterable[Mapping[str, Any]]) -> None:
        """Raise OverTokenBudgetError if requests would take more than is left."""
        if self.budget is None or not (asked := sum(map(estimate_tokens, bodies))):
            return
        if self.spent + asked > self.budget:
            raise OverTokenBudgetError(f"over the token budget ({self.budget:,} tokens)")


def _most_new(body: Mapping[str, Any]) -> int:
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or 0)


def _size_of_prompt(body: Mapping[str, Any]) -> int:
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        return len(prompt)
    messages = body.get("messages") or []
    texts = [each["content"] for each in messages] or [prompt if _most_new(body) else ""]
    return sum(map(_size_of_text, texts))


def _size_of_choice(choice: Any) -> int:
    if not isinstance(choice, dict):
        return 0
    ids, message = choice.get("token_ids"), choice.get("message")
    if isinstance(ids, list):
        return len(ids)
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    return _size_of_text(text)


def _size_of_text(text: Any) -> int:
    return -(-len(text.encode()) // BYTES) if isinstance(text, str) else 0
