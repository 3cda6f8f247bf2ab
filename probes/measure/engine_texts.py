"""Compare an engine's greedy texts: alone, among others, again, and with a reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from probes.engines.base import Generation
from probes.measure import served_texts
from probes.measure.engine_answers import add_ids, logits_along, make_greedy
from probes.measure.engine_prompts import (
    CUT_CHARACTER,
    asks_in_chat,
    encode_prompts,
    takes_ids,
    word_prompts,
)
from probes.measure.greedy import generate_greedy
from probes.measure.greedy_differences import count_common_start

REFERENCE = "the reference"
"""The way of a text that the reference made."""


@dataclass(frozen=True)
class TextPair:
    """A greedy text of an engine, and the same text made in another way."""

    way: str
    prompt: str
    text: str
    other: str
    step: int | None  # number of the first token that differs; None if none does
    margin: float  # distance there of the reference's logits for the two tokens, in nats

    @property
    def is_garbled(self) -> bool:
        """Whether a text has a replacement character where the other has none.

        One at the end may be a character that the last token cuts.
        """
        text, other = (
            CUT_CHARACTER in each.rstrip(CUT_CHARACTER) for each in (self.text, self.other)
        )
        return (text and not other) or (other and not text and self.way != REFERENCE)

    def is_explained(self, tolerance: float) -> bool:
        """Return whether rounding explains the difference, by two logits that move this far."""
        return not self.is_garbled and (self.step is None or self.margin <= 2 * tolerance)


def vary_requests(
    engine: Any, reference: Any, prompts: Sequence[str], length: int
) -> list[TextPair]:
    """Make an engine's greedy texts again: one request at a time, all at once, after one another.

    The first time all are sent at once to a server that may not know them; then each alone, when it
    does.

    >>> model = load("embedded")
    >>> pairs = vary_requests(model, model, ["The capital of Japan is", "Once"], 4)
    >>> sorted({pair.way for pair in pairs if pair.step is None})
    ['all at once, again', 'one at a time']
    """
    asked = word_prompts(engine, reference, prompts)
    settings: dict[str, Any] = {"max_new_tokens": length, "do_sample": False}
    first = make_greedy(engine, reference, prompts, length)
    ways = {
        "one at a time": [engine.generate(each, **settings) for each in asked],
        "all at once, again": engine.generate_batch(asked, **settings),
    }
    return [
        pair
        for way, made in ways.items()
        for prompt, one, other in zip(
            prompts, first, add_ids(engine, reference, prompts, made), strict=True
        )
        if _can_be_judged(pair := compare_texts(reference, way, prompt, one, other), one, other)
    ]


def compare_with_reference(
    engine: Any, reference: Any, prompts: Sequence[str], length: int
) -> list[TextPair]:
    """Compare an engine's greedy texts with those that the reference makes of the same prompts."""
    in_chat = asks_in_chat(engine)
    asked = encode_prompts(engine, reference, prompts) if in_chat else prompts
    own = generate_greedy(reference, asked, length)
    made = make_greedy(engine, reference, prompts, length)
    if not takes_ids(engine):
        as_served = [join_as_server(reference, text) for text in own]
        own = add_ids(engine, reference, prompts, as_served)
        made = [
            _restore_space(engine, reference, *each)
            for each in zip(prompts, made, own, strict=True)
        ]
    pairs = [
        pair
        for prompt, one, other in zip(prompts, made, own, strict=True)
        if _can_be_judged(
            pair := compare_texts(reference, REFERENCE, prompt, one, other), one, other
        )
    ]
    if takes_ids(engine):
        return pairs
    # Some servers strip their texts.
    is_same = [pair.text.strip() == pair.other.strip() for pair in pairs]
    return [
        replace(pair, step=None, margin=0.0) if same else pair
        for pair, same in zip(pairs, is_same, strict=True)
    ]


def _restore_space(
    engine: Any, reference: Any, prompt: str, text: Generation, own: Generation
) -> Generation:
    """Put the white space back that a server strips from a text's beginning.

    Without it the text would be encoded as a part of the prompt's last word.
    """
    space = own.text[: len(own.text) - len(own.text.lstrip())]
    if not space or text.text[:1].isspace() or any(text.top_logprobs or []):
        return text
    restored = replace(text, texts=[space + text.text], ids=[[]])
    return add_ids(engine, reference, [prompt], [restored])[0]


def _can_be_judged(pair: TextPair, one: Generation, other: Generation) -> bool:
    """Return whether two texts are the same or clearly not: a server may not tell all ids."""
    return pair.is_garbled or one.text == other.text or bool(one.ids[0] and other.ids[0])


def join_as_server(reference: Any, text: Generation) -> Generation:
    """Return a text of the reference as a server tells it: what follows its prompt, without ids."""
    before = reference.decode(text.prompt_ids, skip_special_tokens=True)
    whole = reference.decode([*text.prompt_ids, *text.ids[0]], skip_special_tokens=True)
    reason = "stop" if text.ids[0][-1:] and text.ids[0][-1] in reference.eos_token_ids else "length"
    return Generation([], [[]], [whole[len(before) :]], finish_reasons=[reason])


def compare_texts(
    reference: Any, way: str, prompt: str, one: Generation, other: Generation
) -> TextPair:
    """Compare two greedy texts after one prompt, made in two ways."""
    first, second = one.ids[0], other.ids[0]
    pair = TextPair(way, prompt, one.text, other.text, None, 0.0)
    if first == second or not (first and second):  # a server may not tell all ids
        return pair if one.text == other.text or first else replace(pair, step=0)
    step = count_common_start(first, second)
    if step in (len(first), len(second)):  # one ends where the other goes on
        ended, longer = (one, other) if step == len(first) else (other, one)
        return replace(pair, step=step, margin=_measure_end(reference, ended, longer, step))
    row = logits_along(reference, one.prompt_ids, [*first[:step], first[step]])[-1].double()
    return replace(pair, step=step, margin=float((row[first[step]] - row[second[step]]).abs()))


def _measure_end(reference: Any, ended: Generation, longer: Generation, step: int) -> float:
    """Return the distance of the logits of an end and of the token that came in its place.

    It is infinite if the text was cut: then the model did not end it.
    """
    ends = list(reference.eos_token_ids)
    if not ends or (ended.finish_reasons or [""])[0] != "stop":
        return float("inf")
    ids = longer.ids[0]
    row = logits_along(reference, longer.prompt_ids, ids[: step + 1])[-1].double()
    return float((row[ends].max() - row[ids[step]]).abs())


SHORT = 3
"""Tokens of a text that is to be short."""

SHORT_AT = f"{SHORT} tokens"


# --- stops ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EngineStop:
    """Where a text ended that was to stop, and where it should have."""

    prompt: str
    at: str
    expected: str
    found: str
    reason: str  # what the server says: `stop` or `length`
    expected_reason: str
    is_decided: bool = True
    """Whether it is known where it should have: not if it may be another text by rounding."""

    @property
    def is_wrong(self) -> bool:
        """Whether the text ends where it should not, or for another reason."""
        is_right = self.found == self.expected and self.reason in ("", self.expected_reason)
        return self.is_decided and not is_right

    @property
    def message(self) -> str:
        """How it ends, and how it should."""
        return (
            f"after {self.prompt!r}, told to stop at {self.at}, the text is {self.found!r} "
            f"({self.reason}), not {self.expected!r} ({self.expected_reason})"
        )

    @property
    def shows_string(self) -> bool:
        """Whether it tells that a string ends a text."""
        return self.is_decided and self.at != SHORT_AT


@dataclass(frozen=True)
class _StopRequest:
    """A text that was told to stop, the whole one, and the string; None for a few tokens."""

    prompt: str
    whole: Generation
    made: Generation
    string: str | None


def stop_engine(engine: Any, prompts: Sequence[Any], length: int) -> list[EngineStop]:
    """Stop an engine's greedy texts at strings of theirs, and after fewer tokens.

    Each request is alone, so that no other changes its text. Servers cut a text before the string,
    as OpenAI's API documents; transformers keeps it. Where a server strips its texts, white space
    around them is not compared. A text that differs from the whole one by a near-tie is judged by
    itself, and one where no list tells that is not decided. Tokens are compared where the server
    counts them.
    """
    settings: dict[str, Any] = {"do_sample": False}
    if "logprobs" in engine.capabilities:
        settings["top_logprobs"] = served_texts.TOP
    keeps = engine.name == "transformers"
    more = {"tokenizer": engine.tokenizer} if keeps else {}
    asked = []
    for prompt in prompts:
        whole = engine.generate(prompt, max_new_tokens=length, **settings)
        for string in choose_strings(whole.text):
            made = engine.generate(
                prompt, max_new_tokens=length, stop_strings=[string], **more, **settings
            )
            asked.append(_StopRequest(str(prompt), whole, made, string))
        short = engine.generate(prompt, max_new_tokens=SHORT, **settings)
        if _count_tokens(short) is not None:
            asked.append(_StopRequest(str(prompt), whole, short, None))
    if not asked:
        return []
    starts = served_texts.compare_starts(
        engine,
        [each.prompt for each in asked],
        [each.whole for each in asked],
        [each.made for each in asked],
    )
    texts = [text for each in asked for text in (each.whole.text, each.made.text)]
    strips = all(text == text.rstrip() for text in texts)  # or none happens to end in a space
    return [
        _judge_stop(each, start, keeps=keeps, strips=strips)
        for each, start in zip(asked, starts, strict=True)
    ]


def _judge_stop(
    asked: _StopRequest, start: served_texts.Repeated, *, keeps: bool, strips: bool
) -> EngineStop:
    tells = all(map(served_texts.list_tokens, (asked.whole, asked.made)))
    is_known = tells and start.is_decided
    is_near_tie = is_known and start.step is not None and start.is_explained
    differs = not asked.whole.text.startswith(asked.made.text)
    own = asked.made if differs and (is_near_tie or not is_known) else asked.whole
    if asked.string is None:
        return _judge_short(asked, own)
    found, reason, end = asked.made.text, _reason(asked.made), own.text.find(asked.string)
    expected = own.text[: end + len(asked.string) * keeps] if end >= 0 else own.text
    if keeps:
        found = found[: len(expected)]  # the last token may add more
    elif strips:
        expected = expected.rstrip()
    # Of a text without the string the reason tells whether it came to it.
    is_decided = end >= 0 or (is_near_tie and reason == "stop")
    return EngineStop(asked.prompt, repr(asked.string), expected, found, reason, "stop", is_decided)


def _judge_short(asked: _StopRequest, own: Generation) -> EngineStop:
    made, count = asked.made, _count_tokens(own)
    ended = _reason(own) == "stop" and count is not None and count <= SHORT
    return EngineStop(
        asked.prompt,
        SHORT_AT,
        f"{count if ended else SHORT} tokens: {own.text[: len(made.text)]}",
        f"{_count_tokens(made)} tokens: {made.text}",
        _reason(made),
        "stop" if ended else "length",
    )


def _count_tokens(text: Generation) -> int | None:
    """Return how many tokens a text has; None if the server does not count them."""
    return len(served_texts.list_tokens(text)) or (text.new_tokens or [None])[0]


def choose_strings(text: str) -> list[str]:
    """Return strings of a text to stop at: a character, part of a word, parts of two words.

    Of a text of few words, such as one in Chinese, they are characters from its middle.

    >>> choose_strings("Once upon a time"), choose_strings("東京です。"), choose_strings(" ")
    (['a', 'on a'], ['で', '京です'], [])
    """
    words, middle = text.split(), len(text) // 2
    if len(words) < 4:
        found = [text[middle : middle + 1], text[max(0, middle - 1) : middle + 2]]
    else:
        word = words[len(words) // 2]
        found = [word[-1:], word[1:3], f"{words[1][-2:]} {words[2][:2]}"]
    return [
        string
        for string in dict.fromkeys(map(str.strip, found))
        if string and string in text and CUT_CHARACTER not in string
    ]


def _reason(made: Generation) -> str:
    return made.finish_reasons[0] if made.finish_reasons else ""
