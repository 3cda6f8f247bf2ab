"""Prompts as an engine is asked them: token ids, a text, or what a user says in a chat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from probes.engines.base import Generation, Prompt, TopLogprobs, TopPieces
from probes.engines.session_cache import once_per_session
from probes.errors import UndecidableError
from probes.measure.spelling import SPACE, byte_letters, read_spelling

CUT_CHARACTER = "\N{REPLACEMENT CHARACTER}"


def takes_ids(engine: Any) -> bool:
    """Return whether an engine takes token ids as a prompt, and tells those of its texts."""
    return "token-ids" in engine.capabilities


def word_prompts(engine: Any, reference: Any, prompts: Sequence[str]) -> list[Prompt]:
    """Return prompts as they are sent to an engine: the reference's ids where it takes ids.

    >>> model = load("embedded")
    >>> word_prompts(model, model, ["The capital"])
    [[1, 415, 5565]]
    """
    if takes_ids(engine):
        return [reference.encode_prompt(prompt) for prompt in prompts]
    return list(prompts)


def encode_prompts(engine: Any, reference: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return the ids that an engine's texts continue, by the reference's tokenizer and template."""
    if not asks_in_chat(engine):
        return [reference.encode_prompt(prompt) for prompt in prompts]
    texts = [_render(engine, reference, prompt) for prompt in prompts]
    return [reference.encode(text, add_special_tokens=False) for text in texts]


def asks_in_chat(engine: Any) -> bool:
    """Return whether an engine takes messages alone."""
    return bool(getattr(engine, "asks_in_chat", False))


def find_ids(engine: Any, reference: Any, prompt: str, text: Generation) -> Generation:
    """Encode the samples of an engine that tells no ids, with those of its prompt.

    A text that cannot be encoded as it was made gets none: one whose beginning is not the prompt's,
    or one that is cut inside a character. A text that the model ended gets the first of the ids
    that may end one: see `choose_end`.
    """
    [start] = encode_prompts(engine, reference, [prompt])
    in_chat = asks_in_chat(engine)
    before = _render(engine, reference, prompt) if in_chat else prompt
    found = []
    reasons = text.finish_reasons or [""] * len(text.texts)
    if (spelled := _from_pieces(reference, text)) is not None:
        return replace(spelled, prompt_ids=start)
    for sample, listed, reason in zip(text.texts, text.ids, reasons, strict=True):
        whole = reference.encode(before + sample, add_special_tokens=not in_chat)
        is_known = whole[: len(start)] == start and CUT_CHARACTER not in sample
        end = reference.eos_token_ids[:1] if reason == "stop" else []
        found.append(list(listed) or ([*whole[len(start) :], *end] if is_known else []))
    return replace(text, prompt_ids=start, ids=found)


def _from_pieces(reference: Any, text: Generation) -> Generation | None:
    """Return samples with the ids of the texts of their tokens; None where one is not known.

    Not all servers list the end of a text that the model ended. A likely token that is not known is
    left out of its list.
    """
    if not text.top_pieces or not all(text.top_pieces):
        return None
    known = ids_by_bytes(reference)
    named = {each for steps in text.top_pieces for step in steps for each in _read_token_ids(step)}
    known = known | {piece: n for piece, n in named if n < reference.token_count}
    ids, listed = [], []
    for steps in text.top_pieces:
        kept = steps[:-1] if steps[-1].chosen_piece == b"" else steps
        if not all(step.chosen_piece in known for step in kept):
            return None
        ids.append([known[step.chosen_piece] for step in kept])
        listed.append([_find_top(step, known) for step in kept])
    return replace(text, ids=ids, top_logprobs=listed)


def _read_token_ids(step: TopPieces) -> Iterator[tuple[bytes, int]]:
    """Yield pieces that name an id, as vLLM writes them if asked to, with that id."""
    for piece in (step.chosen_piece, *step.pieces):
        if found := re.fullmatch(rb"token_id:([0-9]+)", piece):
            yield piece, int(found[1])


def _find_top(step: TopPieces, known: Mapping[bytes, int]) -> TopLogprobs:
    pairs = zip(step.pieces, step.logprobs, strict=True)
    found = {known[piece]: value for piece, value in reversed([*pairs]) if piece in known}
    found.setdefault(known[step.chosen_piece], step.chosen)
    in_order = sorted(found, key=lambda token: -found[token])
    return TopLogprobs(in_order, [found[token] for token in in_order], step.chosen)


@once_per_session
def ids_by_bytes(reference: Any) -> dict[bytes, int]:
    """Return the reference's ids by the bytes of their texts; of several, a whole piece's.

    >>> ids_by_bytes(load("embedded"))[b" Tokyo"]
    19887
    """
    by_bytes = read_spelling(reference).by_bytes
    letters = {letter: byte for byte, letter in byte_letters().items()}
    special = {token: reference.tokens([token])[0] for token in reference.special_token_ids}
    found: dict[bytes, int] = {}
    single: dict[bytes, int] = {}
    for token, piece in enumerate(reference.tokens(range(reference.token_count))):
        if token in special or not piece:
            continue
        if by_bytes:
            is_spelled = all(letter in letters for letter in piece)
            text = bytes(map(letters.__getitem__, piece)) if is_spelled else piece.encode()
        elif re.fullmatch("<0x[0-9A-F]{2}>", piece):
            single.setdefault(bytes([int(piece[3:5], 16)]), token)
            continue
        else:
            text = piece.replace(SPACE, " ").encode()
        found.setdefault(text, token)
    return {piece.encode(): token for token, piece in special.items()} | single | found


def _render(engine: Any, reference: Any, prompt: str) -> str:
    """Return what the reference's chat template makes of a user's message.

    Raises UndecidableError where it has none.
    """
    if reason := reference.explain_missing("chat"):
        raise UndecidableError(
            f"{engine.target.name} takes messages alone, and its reference cannot render them: "
            f"{reason}"
        )
    text: str = reference.render_chat([{"role": "user", "content": prompt}])
    return text
