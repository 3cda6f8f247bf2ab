"""Count the tokens that requests ask of an endpoint: as its server counts them, else as here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probes.errors import OverTokenBudgetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BYTES = 4
"""Bytes of a text that count as one token, where no server has counted it."""


_TEXTS = ("content", "reasoning_content", "reasoning")
"""Parts of a message that hold text."""


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
    prompt, text = (read_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    if prompt is not None and text is not None:
        return prompt + text
    choices = answer.get("choices")
    if not _most_new(body) and not choices:  # it was asked for no text
        return 0
    new = sum(map(_size_of_choice, choices)) if isinstance(choices, list) else _most_new(body)
    return _size_of_prompt(body) + new


def read_count(usage: Any, name: str) -> int | None:
    """Return a count of a server's `usage`; None if it is missing or no count.

    >>> read_count({"prompt_tokens": 2}, "prompt_tokens"), read_count({"n": -1}, "n")
    (2, None)
    """
    count = usage.get(name) if isinstance(usage, dict) else None
    is_count = isinstance(count, int) and not isinstance(count, bool) and count >= 0
    return count if is_count else None


class TokenAccount:
    """The tokens that one target's requests took, and the budget that they must keep to."""

    def __init__(self, budget: int | None) -> None:
        """Take the most tokens; None without a limit."""
        self.budget = budget
        self.spent = 0
        self.unforeseen = 0
        """Tokens by which a prompt exceeded its estimate at most: a chat template adds some."""

    def add(self, body: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Count what an answer took, and by how much its prompt was estimated too low."""
        self.spent += count_tokens(body, answer)
        counted = read_count(answer.get("usage"), "prompt_tokens") or 0
        self.unforeseen = max(self.unforeseen, counted - _size_of_prompt(body))

    def refuse_overspent(self) -> None:
        """Raise OverTokenBudgetError if answers took more than the budget."""
        if self.budget is not None and self.spent > self.budget:
            raise OverTokenBudgetError(f"over the token budget ({self.budget:,} tokens)")

    def refuse_too_many(self, bodies: Iterable[Mapping[str, Any]]) -> None:
        """Raise OverTokenBudgetError if requests would take more than is left."""
        sizes = [size for body in bodies if (size := estimate_tokens(body))]
        if self.budget is None or not sizes:
            return
        if self.spent + sum(sizes) + self.unforeseen * len(sizes) > self.budget:
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
    if isinstance(message, dict):
        return sum(_size_of_text(message.get(name)) for name in _TEXTS)
    return _size_of_text(choice.get("text"))


def _size_of_text(text: Any) -> int:
    return -(-len(text.encode()) // BYTES) if isinstance(text, str) else 0
