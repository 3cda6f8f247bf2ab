"""Measure where generation stops: at one of several end ids, or at a string."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from probes.measure.determinism import generate_texts
from probes.measure.token_trace import text_of_last
from probes.schema.evidence.texts import StoppedText

if TYPE_CHECKING:
    from probes.engines.base import Generation
    from probes.engines.transformers.engine import TransformersEngine

KINDS = ("one character", "part of a piece", "across pieces")
"""Strings to stop at, by what they are."""


@dataclass(frozen=True)
class Stop:
    """Where a greedy text ended that was told to stop, and where it should have."""

    prompt: str
    at: str  # what it was told to stop at
    kind: str  # of that
    expected: int  # tokens of the greedy text up to and with the stop
    found: int  # tokens that came before the text ended
    same: bool  # whether those are the greedy text's


def stop_at_ids(model: TransformersEngine, texts: Sequence[Generation]) -> list[Stop]:
    """Stop greedy texts at any of several end ids: all in one batch, and the first alone.

    The ids are taken from the texts: of each, the token in its middle.

    >>> from probes.measure.greedy import generate_greedy
    >>> texts = generate_greedy(load("embedded"), ["The capital of Japan is"], 8)
    >>> {stop.expected == stop.found for stop in stop_at_ids(load("embedded"), texts)}
    {True}
    """
    texts = _generate_again(model, texts)
    ends = sorted({text.ids[0][len(text.ids[0]) // 2] for text in texts})
    together = _generate(model, texts, eos_token_id=ends)
    single = _generate_again(model, texts[:1])
    alone = _generate(model, single, eos_token_id=ends)
    at = ", ".join(repr(model.decode([end])) for end in ends)
    return [
        _compare(model, text, made, at, kind, _first(text.ids[0], ends))
        for kind, plain, batch in (
            ("ids, in a batch", texts, together),
            ("ids, alone", single, alone),
        )
        for text, made in zip(plain, batch, strict=True)
    ]


def stop_at_strings(
    model: TransformersEngine, texts: Sequence[Generation]
) -> tuple[list[Stop], list[StoppedText]]:
    """Stop greedy texts at one character, at part of a piece and at a string across pieces.

    Each string is one of a text's own, and a batch of all texts is told to stop at it. The shortest
    text that each of them stops is returned too, to show it.

    >>> from probes.measure.greedy import generate_greedy
    >>> texts = generate_greedy(load("embedded"), ["The capital of Japan is"], 8)
    >>> stops, shown = stop_at_strings(load("embedded"), texts)
    >>> {stop.expected == stop.found for stop in stops}, shown[0].stop, shown[0].pieces
    ({True}, '.', [' Tokyo', '.'])
    """
    texts = _generate_again(model, texts)
    strings: dict[str, str] = {}
    for place in range(len(texts)):  # each kind from another text, where that has it
        for kind, string in choose_strings(model, texts[place]).items():
            if kind not in strings or KINDS.index(kind) % len(texts) == place:
                strings[kind] = string
    found, shown = [], []
    for kind, string in strings.items():
        batch = _generate(model, texts, stop_strings=[string], tokenizer=model.tokenizer)
        found += [
            _compare(model, text, made, repr(string), kind, _first_with(model, text, string))
            for text, made in zip(texts, batch, strict=True)
        ]
        stopped = [_show(model, *each, string, kind) for each in zip(texts, batch, strict=True)]
        holding = [each for each in stopped if string in "".join(each.pieces)]
        shown += sorted(holding, key=lambda each: len(each.pieces))[:1]
    return found, shown


def _show(
    model: TransformersEngine, text: Generation, ids: Sequence[int], string: str, kind: str
) -> StoppedText:
    pieces = [
        text_of_last(model, [*text.prompt_ids, *ids[: count + 1]]) for count in range(len(ids))
    ]
    prompt = model.decode(text.prompt_ids)
    return StoppedText(prompt=prompt, stop=string, kind=kind, pieces=pieces)


def choose_strings(model: TransformersEngine, text: Generation) -> dict[str, str]:
    """Choose strings of a greedy text, by what they are; those it does not have are left out."""
    new = text.ids[0]
    ends = [len(_decode_new(model, text, count)) for count in range(len(new) + 1)]
    whole = _decode_new(model, text, len(new))
    strings: dict[str, str] = {}
    for begin, end, after in zip(ends[1:], ends[2:], ends[3:], strict=False):
        piece, following = whole[begin:end], whole[end:after]
        candidates = (piece.strip()[-1:], piece.strip()[1:-1], piece[-2:] + following[:2])
        for kind, string in zip(KINDS, candidates, strict=True):
            is_whole = "\N{REPLACEMENT CHARACTER}" not in whole[:after]
            if string.strip() and is_whole:
                strings.setdefault(kind, string)
    return strings


def _decode_new(model: TransformersEngine, text: Generation, count: int) -> str:
    """Return the text of the first new tokens, as it continues the prompt."""
    start = model.decode(text.prompt_ids)
    return model.decode([*text.prompt_ids, *text.ids[0][:count]])[len(start) :]


def _first(ids: Sequence[int], ends: Sequence[int]) -> int:
    return next((n + 1 for n, token in enumerate(ids) if token in ends), len(ids))


def _first_with(model: TransformersEngine, text: Generation, string: str) -> int:
    """Return how many new tokens there are when one of them first completes the string.

    It may begin in the prompt; in the prompt alone it stops nothing.
    """
    before = len(model.decode(text.prompt_ids))
    for count in range(1, len(text.ids[0]) + 1):
        whole = model.decode([*text.prompt_ids, *text.ids[0][:count]])
        if whole.find(string, max(0, before - len(string) + 1)) >= 0:
            return count
        before = len(whole)
    return len(text.ids[0])


def _generate_again(model: TransformersEngine, texts: Sequence[Generation]) -> list[Generation]:
    """Make texts in a batch of their own, without a stop: another batch may round otherwise."""
    return [
        replace(text, ids=[ids]) for text, ids in zip(texts, _generate(model, texts), strict=True)
    ]


def _generate(
    model: TransformersEngine, texts: Sequence[Generation], **arguments: Any
) -> list[list[int]]:
    """Generate the texts again in one batch; return what each has up to where it ended."""
    used = {token for text in texts for token in text.ids[0]}
    filler = next(token for token in range(model.vocab_size) if token not in used)
    length = max(len(text.ids[0]) for text in texts)
    prompts = [text.prompt_ids for text in texts]
    made = generate_texts(model, prompts, length, pad_token_id=filler, **arguments)
    return [_cut_padding(each.ids[0], filler) for each in made]


def _cut_padding(ids: list[int], filler: int) -> list[int]:
    """Cut the padding off the end of a row: it alone may follow where the text has ended."""
    while ids and ids[-1] == filler:
        ids = ids[:-1]
    return ids


def _compare(
    model: TransformersEngine, text: Generation, ids: list[int], at: str, kind: str, expected: int
) -> Stop:
    same = ids[:expected] == text.ids[0][:expected]
    return Stop(model.decode(text.prompt_ids), at, kind, expected, len(ids), same)
