"""Join the parts of a streamed answer to the answer that they make."""

from __future__ import annotations

import json
from typing import Any

from probes._util.redaction import quote_redacted
from probes.errors import EndpointFailedError

DONE = "[DONE]"
"""What ends a stream, as OpenAI's API documents."""

STREAMED = "streamed"
"""The key of a joined answer that tells how it came."""


def join_stream(content: bytes) -> dict[str, Any] | None:
    r"""Return the answer that the events of a stream make; None if there are no events.

    Bytes that are no UTF-8 become replacement characters.

    >>> parts = b'data: {"choices": [{"text": "To"}]}\n\ndata: {"choices": [{"text": "kyo"}]}\n'
    >>> join_stream(parts + b"data: [DONE]\n\n")["choices"][0]["text"]
    'Tokyo'
    """
    lines = content.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    events = [line[5:].strip() for line in lines if line.startswith("data:")]
    if not events:
        return None
    is_ended = events[-1] == DONE
    parts = [_read_event(event) for event in events if event != DONE]
    joined: dict[str, Any] = {
        key: value for part in parts for key, value in part.items() if value is not None
    }
    listed = [found for part in parts if isinstance(found := part.get("choices"), list)]
    choices = [each for found in listed for each in found if isinstance(each, dict)]
    choice: dict[str, Any] = {"finish_reason": None}
    for each in choices:
        choice["finish_reason"] = each.get("finish_reason") or choice["finish_reason"]
        if isinstance(delta := each.get("delta"), dict):
            message = choice.setdefault("message", {})
            for name, value in delta.items():
                is_text = isinstance(value, str) and name != "role"
                if is_text:
                    message[name] = (message.get(name) or "") + value  # some begin with null
                elif value is not None:
                    message[name] = value
        elif isinstance(text := each.get("text"), str):
            choice["text"] = choice.get("text", "") + text
    joined["choices"] = [choice] if choices else []
    joined[STREAMED] = {"parts": len(parts), "is_ended": is_ended}
    return joined


def _read_event(event: str) -> dict[str, Any]:
    try:
        part = json.loads(event)
    except (ValueError, RecursionError):
        part = None
    if not isinstance(part, dict):
        said = quote_redacted(event)
        raise EndpointFailedError(f"a part of a streamed answer is no JSON object: {said}")
    if part.get("error"):
        said = quote_redacted(part["error"], limit=200)
        raise EndpointFailedError(f"a streamed answer ends in an error: {said}")
    return part
