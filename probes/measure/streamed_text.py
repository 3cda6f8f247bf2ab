"""Text as it is streamed, token by token, against the text decoded as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import transformers

from probes.measure.spelling import read_spelling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probes.engines.transformers.engine import TransformersEngine


@dataclass(frozen=True)
class Streamed:
    """A text, decoded as a whole and as it was streamed."""

    whole: str
    joined: str
    """The parts that were streamed, joined."""

    @property
    def is_same(self) -> bool:
        """Whether the parts give the whole."""
        return self.whole == self.joined


def stream_by_text_streamer(model: TransformersEngine, ids: Sequence[int]) -> Streamed:
    """Stream ids through transformers' TextStreamer, one at a time.

    >>> model = load("embedded")
    >>> stream_by_text_streamer(model, model.encode("Hello world")).joined
    'Hello world'
    """
    parts: list[str] = []

    class Collector(transformers.TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002
            parts.append(text)

    streamer: Any = Collector(model.tokenizer, skip_special_tokens=True)
    _put_all(streamer, ids)
    return Streamed(_decode(model, ids), "".join(parts))


def stream_by_iterator(model: TransformersEngine, ids: Sequence[int]) -> Streamed:
    """Stream ids through transformers' TextIteratorStreamer.

    >>> model = load("embedded")
    >>> stream_by_iterator(model, model.encode("Hello world")).joined
    'Hello world'
    """
    streamer: Any = transformers.TextIteratorStreamer(model.tokenizer, skip_special_tokens=True)
    _put_all(streamer, ids)
    return Streamed(_decode(model, ids), "".join(streamer))


def stream_by_decode_stream(model: TransformersEngine, ids: Sequence[int]) -> Streamed | None:
    """Stream ids through the package tokenizers' DecodeStream; None where it has none.

    >>> model = load("embedded")
    >>> streamed = stream_by_decode_stream(model, model.encode("Hello world"))
    >>> streamed is None or streamed.joined
    'Hello world'
    """
    from tokenizers import decoders

    backend: Any = getattr(model.tokenizer, "backend_tokenizer", None)
    if not hasattr(decoders, "DecodeStream") or backend is None:
        return None
    stream: Any = decoders.DecodeStream(skip_special_tokens=True)
    parts = [stream.step(backend, token) for token in ids]
    whole = str(backend.decode(list(ids), skip_special_tokens=True))
    return Streamed(whole, "".join(part for part in parts if part is not None))


STREAMS: dict[str, Callable[[TransformersEngine, Sequence[int]], Streamed | None]] = {
    "TextStreamer": stream_by_text_streamer,
    "TextIteratorStreamer": stream_by_iterator,
    "DecodeStream": stream_by_decode_stream,
}
"""The ways of streaming, by the name of their class."""


def forgets_indentation(model: TransformersEngine) -> bool:
    """Return whether a TextStreamer loses one space of a line's indentation.

    It decodes what comes after a line break as a text of its own, and this tokenizer's decoder
    removes the space that encoding puts before a text.

    >>> forgets_indentation(load("embedded"))
    True
    """
    return read_spelling(model).removes_space


def _put_all(streamer: Any, ids: Sequence[int]) -> None:
    for token in ids:
        streamer.put(np.array([token]))
    streamer.end()


def _decode(model: TransformersEngine, ids: Sequence[int]) -> str:
    return model.decode(ids, skip_special_tokens=True)
