"""Send completions to a server that may list fewer log-probabilities than its kind does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probes.engines.endpoint.requests import build_body
from probes.errors import EndpointFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probes.engines.endpoint.client import Client
    from probes.engines.endpoint.dialects import Dialect

COMPLETIONS = "completions"
"""The path of completions."""

_LISTS = ("logprobs", "prompt_logprobs")
"""Fields that say how many log-probabilities are listed."""


class Completions:
    """The completions of one server, and how many log-probabilities it lists."""

    def __init__(self, client: Client, dialect: Dialect, model: str) -> None:
        """Take a server's address, its kind and the model's name there; nothing is asked yet."""
        self._client = client
        self._dialect = dialect
        self._model = model
        self.most_logprobs = dialect.most_logprobs
        """How many it lists at one position; fewer than its kind does once it refused so many."""

    def post_all(self, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers to several requests, sent at once, in their order.

        If the server refuses to list so many log-probabilities, the most that it lists is found
        out by requests of one token, and all are sent again.
        """
        try:
            return self._client.post_all(COMPLETIONS, self._limit(bodies))
        except EndpointFailedError as error:
            if not refuses_logprobs(error) or not self.most_logprobs:
                raise
        self._find_most()
        return self._client.post_all(COMPLETIONS, self._limit(bodies))

    def _limit(self, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                name: min(value, self.most_logprobs) if name in _LISTS else value
                for name, value in body.items()
            }
            for body in bodies
        ]

    def _find_most(self) -> None:
        """Find the largest number below that which was refused, by halving."""
        least, most = 0, self.most_logprobs - 1
        while least < most:
            middle = (least + most + 1) // 2
            body = build_body(self._dialect, self._model, "a", 1, None) | {"logprobs": middle}
            try:
                self._client.post(COMPLETIONS, body)
                least = middle
            except EndpointFailedError as error:
                if not refuses_logprobs(error):
                    raise
                most = middle - 1
        self.most_logprobs = least


def refuses_logprobs(error: EndpointFailedError) -> bool:
    """Return whether an answer refuses a request for its number of log-probabilities.

    >>> said = "Requested sample logprobs of 20, which is greater than max allowed: 5"
    >>> refuses_logprobs(EndpointFailedError("it answers 400", 400, said))
    True
    """
    return error.status in (400, 422) and "logprobs" in error.said
