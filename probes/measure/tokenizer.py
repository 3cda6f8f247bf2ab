"""Measure a tokenizer: what encoding inserts, and what decoding gives back.

What is promised is what the tokenizer's own files say; see `probes.targets.tokenizer_files`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unicodedata import name

import transformers

from probes.data.tokenizer_texts import QUESTION, SCRIPTS
from probes.measure.spelling import read_spelling
from probes.schema.evidence.words import Encoding, ScriptTokens, TokensByScript
from probes.targets.tokenizer_files import Around, Promise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.base import Tokenization
    from probes.engines.transformers.engine import TransformersEngine

MISTRAL = Promise(Around(("<s>",)), "the tokenizer of Mistral-7B-v0.1 does so", ())
"""What Mistral's tokenizer inserts, whatever its files say: one that lost it is damaged."""

_EAST_ASIAN = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA")


def encode_to_pieces(model: Tokenization, text: str) -> Encoding:
    """Encode a text and name the pieces.

    >>> encode_to_pieces(load("embedded"), "日本").pieces
    ['<s>', '▁', '日', '本']
    """
    ids = model.encode(text)
    return Encoding(text=text, ids=ids, pieces=model.tokens(ids))


def ordinary_pieces(model: Tokenization, text: str) -> list[str]:
    """Return a text's pieces without special tokens."""
    special = set(model.special_token_ids)
    return model.tokens([i for i in model.encode(text) if i not in special])


def count_tokens_by_script(model: Tokenization) -> TokensByScript:
    """Count the tokens of one sentence in each script, special tokens left out.

    >>> found = count_tokens_by_script(load("embedded")).tokens_by_script
    >>> [(each.script, each.characters, each.tokens) for each in found[:2]]
    [('Latin', 30, 7), ('Japanese', 11, 12)]
    """
    return TokensByScript(
        tokens_by_script=[
            ScriptTokens(
                script=script,
                characters=len(text),
                tokens=len(model.encode(text, add_special_tokens=False)),
            )
            for script, text in SCRIPTS.items()
        ]
    )


def read_promise(model: TransformersEngine) -> Promise:
    """Return the special tokens that a target's tokenizer is to put around a text.

    A target can declare that BOS is one of them: ``provides = ["bos"]``.

    >>> read_promise(load("embedded")).around.before
    ('<s>',)
    """
    if model.explain_missing("mistral-tokenizer") is None:
        return MISTRAL
    promise = model.tokenizer_files.promise
    bos = model.tokenizer.bos_token
    if "bos" in model.target.provides and bos and bos not in promise.around.before:
        around = Around((str(bos), *promise.around.before), promise.around.after)
        return Promise(around, "its target declares it", promise.contradictions)
    return promise


def find_wrong_insertion(model: TransformersEngine, found: Encoding) -> str:
    """Describe where an encoding has other special tokens around it than promised; else empty.

    The text may spell none of them itself.

    >>> model = load("embedded")
    >>> find_wrong_insertion(model, Encoding(text="Hi", ids=[15359], pieces=["▁Hi"]))
    "'Hi' begins with ['▁Hi'], not with BOS"
    """
    promise = read_promise(model)
    before, after = promise.around
    pieces, text, bos = found.pieces, found.text, model.tokenizer.bos_token
    inserted = [piece for piece in pieces if piece in _special_pieces(model)]
    why = _explain_contradiction(promise, inserted)
    if [*before] != pieces[: len(before)]:
        wanted = "BOS" if before == (bos,) else " ".join(before)
        return f"{text!r} begins with {pieces[: len(before)]}, not with {wanted}{why}"
    if after and [*after] != pieces[-len(after) :]:
        return f"{text!r} ends with {pieces[-len(after) :]}, not with {' '.join(after)}{why}"
    if inserted == [*before, *after]:
        return ""
    if bos in before and inserted.count(bos) != before.count(bos):
        return f"{text!r} has BOS {inserted.count(bos)} times"
    return (
        f"{text!r} has the special tokens {inserted} around it, "
        f"not {[*before, *after]}: {promise.source}{why}"
    )


def _explain_contradiction(promise: Promise, inserted: Sequence[str]) -> str:
    if not promise.contradictions:
        return ""
    does = f"transformers {transformers.__version__} inserts {' '.join(inserted) or 'none'}"
    return f": {'; '.join(promise.contradictions)}; {does}"


def _special_pieces(model: TransformersEngine) -> set[str]:
    """Return the special tokens that can be put around a text, never for what has no piece."""
    tokenizer = model.tokenizer
    around = read_promise(model).around
    names = ("bos_token", "eos_token", "cls_token", "sep_token")
    tokens = {str(token) for name in names if (token := getattr(tokenizer, name, None))}
    parts = model.tokenizer_files.parts or {"model": {"unk_token": tokenizer.unk_token}}
    return (tokens - {parts["model"]["unk_token"]}) | {*around.before, *around.after}


@dataclass(frozen=True)
class Padding:
    """How a tokenizer pads a batch, and what its files say of it."""

    pad_token: str | None
    in_its_files: str | None
    side: str
    row: list[int]
    """The ids of the shortest text in a batch; empty where nothing pads."""
    problem: str
    """What is not as the files say; empty where all is."""


def read_padding(model: TransformersEngine, texts: Sequence[str]) -> Padding:
    """Pad a batch of texts, of which the first is the shortest, and compare with the files.

    >>> read_padding(load("embedded"), ["a", "a longer one"]).problem
    ''
    """
    tokenizer, files = model.tokenizer, model.tokenizer_files
    pad, side = tokenizer.pad_token, str(tokenizer.padding_side)
    said, said_side = files.special_token("pad"), files.settings.get("padding_side")
    row: list[int] = []
    problem = ""
    if said is not None and pad != said:
        problem = f"the tokenizer pads with {pad!r}, its files say {said!r}"
    elif said_side in ("left", "right") and side != said_side:
        problem = f"the tokenizer pads on the {side}, its files say {said_side}"
    elif pad is not None:
        batch: Any = tokenizer(list(texts), padding=True)
        row, alone = [int(i) for i in batch["input_ids"][0]], model.encode(texts[0])
        filler = [_find_id(model, str(pad))] * (len(row) - len(alone))
        expected = [*filler, *alone] if side == "left" else [*alone, *filler]
        if row != expected:
            problem = f"{texts[0]!r} is padded to {row}, not to {expected}"
    return Padding(pad, said, side, row, problem)


def find_special_token(model: TransformersEngine) -> str | None:
    """Return the BOS token, of a tokenizer without one the EOS token; None where it has neither.

    >>> find_special_token(load("embedded"))
    '<s>'
    """
    token = model.tokenizer.bos_token or model.tokenizer.eos_token
    return None if token is None else str(token)


def _find_id(model: TransformersEngine, token: str) -> int:
    found: Any = model.tokenizer.convert_tokens_to_ids(token)
    return int(found)


def surround(model: TransformersEngine, text: str) -> tuple[list[int], Around]:
    """Return a text's ids with special tokens around them, and which.

    They are the promised ones; where none is, BOS first, or EOS last where there is no BOS.

    >>> surround(load("embedded"), "Hello world")
    ([1, 22557, 1526], Around(before=('<s>',), after=()))
    """
    tokenizer = model.tokenizer
    around = read_promise(model).around
    if not any(around) and (token := find_special_token(model)) is not None:
        around = Around((token,)) if tokenizer.bos_token else Around((), (token,))
    before, after = ([_find_id(model, token) for token in tokens] for tokens in around)
    return [*before, *model.encode(text, add_special_tokens=False), *after], around


def shows_around(shown: str, around: Around, text: str) -> bool:
    """Return whether a decoded text shows the special tokens, with a space or none between.

    >>> shows_around("<s> Hello", Around(("<s>",)), "Hello")
    True
    """
    for token in around.before:
        if not shown.startswith(token):
            return False
        shown = shown.removeprefix(token)
    for token in reversed(around.after):
        if not shown.endswith(token):
            return False
        shown = shown.removesuffix(token)
    return shown in {f"{first}{text}{last}" for first in ("", " ") for last in ("", " ")}


def spell_special_token(model: TransformersEngine, token: str) -> tuple[str, Encoding, int]:
    """Encode a text that spells a special token.

    Returns the text, its encoding, and how often the token should be in it: as often as in the text
    without it, and once more unless the tokenizer's files ask for such text to be split.
    """
    text = f"{token} {QUESTION}"
    without = model.encode(QUESTION).count(_find_id(model, token))
    read = not model.tokenizer_files.splits_special_tokens
    return text, encode_to_pieces(model, text), without + int(read)


def find_wrong_beginning(model: TransformersEngine, text: str) -> str:
    """Describe a first piece that is not as the files promise about a space first; else empty.

    >>> find_wrong_beginning(load("embedded"), "日本")
    ''
    """
    spelling = read_spelling(model)
    expected = spelling.expected(text)
    pieces = model.tokens(model.encode(text, add_special_tokens=False))
    if not expected:
        return ""
    if not pieces:
        return f"{text!r} has no piece"
    added = spelling.adds_space and not spelling.by_bytes
    begins = pieces[0].startswith((spelling.space, " "))
    if begins is (added or expected.startswith(" ")):
        return ""
    if begins:
        return (
            f"{text!r} begins with {pieces[:1]}: as if a space came before it, "
            "and no file of its tokenizer adds one"
        )
    return f"{text!r} begins with {pieces[:1]}: it was not encoded as if a space came before it"


def list_pieces(model: TransformersEngine) -> dict[int, str]:
    """Return the piece of each id, as the tokenizer's own file has them."""
    return {token_id: piece for piece, token_id in model.checkpoint.pieces.items()}


def find_misplaced_pieces(model: TransformersEngine) -> list[str]:
    """Describe each id that stands for another piece than in the file, or is not found by it.

    >>> find_misplaced_pieces(load("embedded"))
    []
    """
    table = list_pieces(model)
    ids = sorted(table)
    found = model.tokens(ids)
    back: Any = model.tokenizer.convert_tokens_to_ids([table[i] for i in ids])
    other = [
        f"{i} for {piece!r}, not {table[i]!r}"
        for i, piece in zip(ids, found, strict=True)
        if piece != table[i]
    ]
    lost = [
        f"{table[i]!r}, {i}, under {place}"
        for i, place in zip(ids, back, strict=True)
        if place != i
    ]
    return other or lost


def without_special_tokens(model: Tokenization, text: str) -> tuple[list[int], list[int]]:
    """Return the ids of a text without special tokens, by flag and by removing them.

    The two are equal where `add_special_tokens=False` does only what it says.

    >>> without_special_tokens(load("embedded"), "Hello world")
    ([22557, 1526], [22557, 1526])
    """
    around = model.encode("")
    ids = model.encode(text)
    before = len(os.path.commonprefix([around, ids]))  # noqa: RUF071 - of ids, not of paths
    after = len(around) - before
    return model.encode(text, add_special_tokens=False), ids[before : len(ids) - after]


def round_trip(model: Tokenization, text: str) -> str:
    r"""Encode a text and decode it without special tokens.

    >>> round_trip(load("embedded"), "  two spaces,\n日本")
    '  two spaces,\n日本'
    """
    return model.decode(model.encode(text), skip_special_tokens=True)


def vocabulary(model: Tokenization) -> list[str]:
    """Return every piece, in the order of ids."""
    return model.tokens(range(model.token_count))


def han_and_kana_pieces(model: Tokenization) -> list[str]:
    """Return every piece with a Han, Hiragana or Katakana character, in the order of ids.

    >>> "日" in han_and_kana_pieces(load("embedded"))
    True
    """
    return [
        piece
        for piece in vocabulary(model)
        if any(name(c, "").startswith(_EAST_ASIAN) for c in piece)
    ]
