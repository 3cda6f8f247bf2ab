"""Servers that have chat completions alone: how that is found out, and what they are asked."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from probes.engines.endpoint import answers
from probes.engines.endpoint.client import MISSING, REFUSED
from probes.engines.endpoint.completions import COMPLETIONS, refuses_logprobs
from probes.engines.endpoint.requests import build_body
from probes.errors import EndpointFailedError, OverTokenBudgetError, UnusableTargetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probes.engines.base import Prompt
    from probes.engines.endpoint.client import Client
    from probes.engines.endpoint.dialects import Dialect

CHAT = "chat/completions"
"""The path of chat completions."""

_MOST = (20, 5)
"""How many log-probabilities chat completions list at most, by OpenAI's API and by others."""

_ASKED_FIRST = "a"
"""The prompt by which it is found out what a server has."""


class ChatCompletions:
    """The chat completions of one server, and whether it has anything else."""

    def __init__(self, client: Client, dialect: Dialect, model: str) -> None:
        """Take a server's address, its kind and the model's name there; nothing is asked yet."""
        self._client = client
        self._dialect = dialect
        self._model = model
        self._length = "max_tokens"
        self.most_logprobs = max(_MOST)
        """How many log-probabilities it lists; 0 for none."""

    @cached_property
    def are_alone(self) -> bool:
        """Whether the server has chat completions alone.

        It is asked for one token to find that out. Raises UnusableTargetError if it refuses that.
        """
        refusal = None
        try:
            body = build_body(self._dialect, self._model, _ASKED_FIRST, 1, None)
            if answers.has_choices(self._client.post(COMPLETIONS, body)):
                return False
        except EndpointFailedError as error:
            may_be_missing = error.status in (*MISSING, *REFUSED, 400, 422)
            if not may_be_missing or ("logprobs" in body and refuses_logprobs(error)):
                return False
            refusal = error if error.status in REFUSED else None
        except OverTokenBudgetError:
            return False
        answered = self._learn()
        if refusal is not None and not answered:
            raise UnusableTargetError(str(refusal)) from None
        return answered

    def _learn(self) -> bool:
        """Ask for one token of a chat completion, and learn what the server takes.

        That is the name of the length, and how many log-probabilities it lists.
        """
        try:
            answer = self._client.post(CHAT, self.build_body(_ASKED_FIRST, 1, self.most_logprobs))
        except EndpointFailedError as error:
            if "max_completion_tokens" in error.said and self._length == "max_tokens":
                self._length = "max_completion_tokens"
            elif "logprobs" in error.said and self.most_logprobs:
                self.most_logprobs = next(n for n in (*_MOST, 0) if n < self.most_logprobs)
            else:
                return False
            return self._learn()
        except OverTokenBudgetError:
            return False
        if not answers.has_choices(answer):
            return False
        if not answers.lists_logprobs(answer):
            self.most_logprobs = 0
        return True

    def build_body(self, prompt: Prompt, length: int, top_logprobs: int | None) -> dict[str, Any]:
        """Return the body of a request in which a prompt is what a user says."""
        body = self.build_body_of([{"role": "user", "content": prompt}], length)
        if self.most_logprobs:
            most = min(top_logprobs or 1, self.most_logprobs)
            body |= {"logprobs": True, "top_logprobs": most}
        return body

    def build_body_of(self, messages: Sequence[Mapping[str, Any]], length: int) -> dict[str, Any]:
        """Return the body of a request that answers messages, without log-probabilities."""
        return {
            "model": self._model,
            self._length: length,
            **self._dialect.always,
            "messages": list(messages),
        }
