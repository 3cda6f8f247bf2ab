"""Compare streamed texts of an engine with the same texts as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probes.engines.base import Generation, StreamedText
from probes.errors import UndecidableError
from probes.measure.engine_prompts import CUT_CHARACTER

TRIES = 3
"""How often a text is made again whose whole differs from the streamed one."""


@dataclass(frozen=True)
class StreamPair:
    """A greedy text as it was streamed, and as a whole."""

    prompt: str
    whole: str
    streamed: str
    parts: int
    problem: str
    """What is wrong with the stream, as text; empty if nothing is."""


def stream_texts(engine: Any, prompts: Sequence[str], length: int) -> list[StreamPair]:
    """Make an engine's greedy texts as a whole and in parts, one request at a time.

    A server may compute a prompt that it has seen before in another way than a new one, and so
    decide a near-tie otherwise: one stream that is the same as one whole is enough. If none is, and
    requests of one form differ among themselves, the text is left out. Raises UndecidableError if
    that leaves none.
    """
    settings: dict[str, Any] = {"max_new_tokens": length, "do_sample": False}
    found = []
    for prompt in prompts:
        wholes: list[Generation] = []
        streams: list[StreamedText] = []
        same = None
        while same is None and len(wholes) < TRIES:
            wholes.append(engine.generate(prompt, **settings))
            streams.append(engine.stream(prompt, **settings))
            pairs = ((s, w) for s in reversed(streams) for w in reversed(wholes))
            same = next((pair for pair in pairs if _is_same(*pair)), None)
        is_steady = all(len({each.text for each in made}) == 1 for made in (wholes, streams))
        if same is not None or is_steady:
            streamed, whole = same or (streams[-1], wholes[-1])
            problem = _find_problem(streamed, whole)
            found.append(StreamPair(prompt, whole.text, streamed.text, streamed.parts, problem))
    if not found:
        raise UndecidableError("each of its greedy texts is another when it is asked for again")
    return found


def _is_same(streamed: StreamedText, whole: Generation) -> bool:
    """Compare two texts, but for a character that the last token cuts: servers may leave it out."""
    return streamed.text.rstrip(CUT_CHARACTER) == whole.text.rstrip(CUT_CHARACTER)


def _find_problem(streamed: StreamedText, whole: Generation) -> str:
    if not _is_same(streamed, whole):
        return "the text is another"
    if not streamed.is_ended:
        return "no [DONE] comes last"
    reason = whole.finish_reasons[0] if whole.finish_reasons else ""
    if streamed.finish_reason != reason:
        return f"its finish_reason is {streamed.finish_reason!r}, that of the whole {reason!r}"
    count = whole.new_tokens[0] if whole.new_tokens else None
    if None not in (streamed.new_tokens, count) and streamed.new_tokens != count:
        return f"its usage counts {streamed.new_tokens} new tokens, that of the whole {count}"
    return ""
