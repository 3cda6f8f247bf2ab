"""Token ids as a server tells them, of texts and of chats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.engines.endpoint import answers
from probes.engines.endpoint.dialects import LLAMA_CPP
from probes.errors import EndpointFailedError, UndecidableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probes.engines.endpoint.client import Client
    from probes.engines.endpoint.dialects import Dialect


def encode_texts(
    client: Client, dialect: Dialect, model: str, texts: Sequence[str], *, add_special_tokens: bool
) -> list[list[int]]:
    """Return the token ids of several texts; the kind of server must have a path for that."""
    bodies = [
        {
            "model": model,
            dialect.text_field: text,
            dialect.special_field: add_special_tokens,
        }
        for text in texts
    ]
    return [answers.read_ids(each) for each in client.post_all(dialect.tokenize, bodies)]


def encode_messages(
    client: Client, dialect: Dialect, model: str, messages: Sequence[Mapping[str, str]]
) -> list[int]:
    """Return the ids that a chat completion continues, as the server renders messages.

    Raises UndecidableError where it does not tell them.
    """
    if not dialect.render:
        raise UndecidableError(f"its engine, {dialect.name}, does not tell how it renders a chat")
    try:
        found = client.post(dialect.render, {"model": model, "messages": list(messages)})
    except EndpointFailedError as error:
        if error.status is None:
            raise
        raise UndecidableError(f"its server renders no chat: {error}") from None
    if dialect is not LLAMA_CPP:
        return answers.read_ids(found)
    if not isinstance(text := found.get("prompt"), str):
        raise UndecidableError("its server renders no chat: its answer has no prompt")
    return encode_texts(client, dialect, model, [text], add_special_tokens=True)[0]
