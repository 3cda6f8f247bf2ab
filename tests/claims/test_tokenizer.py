"""Claims: tokenizer."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from probes import measure
from probes.data.tokenizer_texts import (
    AWKWARD,
    CAPITAL_OF_JAPAN,
    CAPITAL_OF_JAPAN_JA,
    HELLO,
    NO_SPACE_PIECE,
    SCRIPTS,
    SINGLE_WORD_PIECES,
    SPELLED_BOS,
    fuzz_texts,
    fuzz_texts_with_special_tokens,
)
from probes.schema.evidence.words import DoubleBos, Encoding

if TYPE_CHECKING:
    from probes import Model

Evidence = dict[str, Any]

TEXTS = {"empty": "", **SCRIPTS, **AWKWARD}
FUZZED_TEXTS = 20_000
FUZZED_TEXTS_WITH_SPECIAL_TOKENS = 2_000

each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
each_script = pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS.keys())

# The model fixture is the same for every example, and a first example loads the tokenizer.
any_text = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

valid_unicode = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def is_an_exception(model: Model, text: str) -> bool:
    """Whether a text spells a special token, or ▁, which stands for a space in the pieces."""
    return any(token in text for token in (*model.tokenizer.all_special_tokens, "▁"))


def got_other_ids(found: Encoding, expected: list[int]) -> str:
    """What an encoding is and what it should be."""
    return f"{found.text!r} gives {found.ids} ({' '.join(found.pieces)}), not {expected}"


def spelled_otherwise(found: Encoding, expected: list[str]) -> str:
    """What the pieces are and what they should be."""
    return f"{found.text!r} has the pieces {found.pieces}, not {expected}"


def flag_does_more(text: str, flagged: list[int], cut: list[int]) -> str:
    """What the flag gives and what is left where special tokens are cut off by hand."""
    return f"add_special_tokens=False gives {flagged} for {text!r}, not {cut}"


def no_space_first(text: str, ordinary: list[str]) -> str:
    """How a text begins that should have begun with a space."""
    return f"{text!r} begins with {ordinary[:1]}: it was not encoded as if a space came before it"


def came_back_otherwise(text: str, back: str) -> str:
    """What a round trip did, spelled in ASCII: texts that look alike may differ."""
    normal = unicodedata.normalize("NFC", text) == back
    how = ": the tokenizer composes characters (Unicode normal form C)" if normal else ""
    return f"{text!a} comes back as {back!a}{how}"


@pytest.mark.claim("bos-inserted")
@each_text
def test_bos_is_inserted_once_and_first(model: Model, evidence: Evidence, text: str) -> None:
    found = measure.tokenizer.encode_to_pieces(model, text)
    evidence.update(found.as_evidence())
    bos = model.tokenizer.bos_token_id
    assert found.ids[:1] == [bos], f"{text!r} begins with {found.pieces[:1]}, not with BOS"
    assert found.ids.count(bos) == 1, f"{text!r} has BOS {found.ids.count(bos)} times"


@pytest.mark.claim("bos-inserted")
@pytest.mark.needs("mistral-tokenizer")
def test_bos_is_id_1(model: Model, evidence: Evidence) -> None:
    bos, piece = model.tokenizer.bos_token_id, model.tokenizer.bos_token
    evidence["id"], evidence["piece"] = bos, piece
    empty = model.encode("")
    assert (bos, piece) == (1, "<s>"), f"BOS is {piece!r}, id {bos}"
    assert empty == [1], f"the empty text gives {empty}, not BOS alone"


@pytest.mark.claim("ids-english")
def test_english_prompt_has_its_ids(model: Model, evidence: Evidence) -> None:
    found = measure.tokenizer.encode_to_pieces(model, CAPITAL_OF_JAPAN)
    evidence.update(found.as_evidence())
    expected = [1, 415, 5565, 302, 4720, 349]
    assert found.ids == expected, got_other_ids(found, expected)
    pieces = ["<s>", "▁The", "▁capital", "▁of", "▁Japan", "▁is"]
    assert found.pieces == pieces, spelled_otherwise(found, pieces)


@pytest.mark.claim("ids-japanese")
def test_japanese_prompt_has_its_ids(model: Model, evidence: Evidence) -> None:
    found = measure.tokenizer.encode_to_pieces(model, CAPITAL_OF_JAPAN_JA)
    evidence.update(found.as_evidence())
    expected = [1, 28705, 29142, 29119, 28993, 29993, 29460, 29277]
    assert found.ids == expected, got_other_ids(found, expected)
    pieces = ["<s>", "▁", "日", "本", "の", "首", "都", "は"]
    assert found.pieces == pieces, spelled_otherwise(found, pieces)


@pytest.mark.claim("special-tokens-flag")
@pytest.mark.needs("mistral-tokenizer")
def test_flag_removes_bos_from_the_published_example(model: Model, evidence: Evidence) -> None:
    evidence["with_special_tokens"] = flagged = model.encode(HELLO, add_special_tokens=True)
    evidence["without"] = without = model.encode(HELLO, add_special_tokens=False)
    evidence["default"] = default = model.tokenizer.encode(HELLO)
    with_bos, plain = [1, 22557, 1526], [22557, 1526]
    assert default == with_bos, f"{HELLO!r} gives {default} by default, not {with_bos}"
    assert flagged == with_bos, f"{HELLO!r} gives {flagged} with special tokens, not {with_bos}"
    assert without == plain, f"{HELLO!r} gives {without} without special tokens, not {plain}"


@pytest.mark.claim("special-tokens-flag")
@each_text
def test_flag_removes_special_tokens_and_nothing_else(
    model: Model, evidence: Evidence, text: str
) -> None:
    flagged, cut = measure.tokenizer.without_special_tokens(model, text)
    evidence["text"], evidence["flag"], evidence["cut_off_by_hand"] = text, flagged, cut
    assert flagged == cut, flag_does_more(text, flagged, cut)


@pytest.mark.claim("special-tokens-flag")
@any_text
@given(text=valid_unicode)
@example(text=" ")
def test_flag_removes_special_tokens_and_nothing_else_from_any_text(
    model: Model, text: str
) -> None:
    flagged, cut = measure.tokenizer.without_special_tokens(model, text)
    assert flagged == cut, flag_does_more(text, flagged, cut)


@pytest.mark.claim("prefix-space")
@pytest.mark.parametrize("word", SINGLE_WORD_PIECES)
def test_english_merges_the_space(model: Model, evidence: Evidence, word: str) -> None:
    found = measure.tokenizer.encode_to_pieces(model, word)
    evidence.update(found.as_evidence())
    ordinary = measure.tokenizer.ordinary_pieces(model, word)
    assert ordinary == ["▁" + word], no_space_first(word, ordinary)


@pytest.mark.claim("prefix-space")
@pytest.mark.parametrize("text", NO_SPACE_PIECE.values(), ids=NO_SPACE_PIECE.keys())
def test_text_without_such_a_piece_gets_the_space_alone(
    model: Model, evidence: Evidence, text: str
) -> None:
    found = measure.tokenizer.encode_to_pieces(model, text)
    evidence.update(found.as_evidence())
    ordinary = measure.tokenizer.ordinary_pieces(model, text)
    assert ordinary[0] == "▁", no_space_first(text, ordinary)
    assert 28705 in found.ids, f"{text!r} gives {found.ids}, without id 28705"


@pytest.mark.claim("prefix-space")
@any_text
@given(text=valid_unicode.filter(bool))
@example(text="日本の首都は")
@example(text="\n")
def test_first_ordinary_piece_of_any_text_begins_with_a_space(model: Model, text: str) -> None:
    assume(not is_an_exception(model, text))
    ordinary = measure.tokenizer.ordinary_pieces(model, text)
    assert ordinary[0].startswith("▁"), no_space_first(text, ordinary)


@pytest.mark.claim("prefix-space")
def test_the_lone_space_is_an_ordinary_piece(model: Model, evidence: Evidence) -> None:
    evidence["special_ids"] = special = sorted(model.special_token_ids)
    evidence["piece_of_id_28705"] = piece = model.tokens([28705])[0]
    assert piece == "▁", f"id 28705 is the piece {piece!r}"
    assert 28705 not in special, f"id 28705 is among the special tokens: {special}"


@pytest.mark.claim("prefix-space")
def test_no_japanese_or_chinese_piece_begins_with_a_space(model: Model, evidence: Evidence) -> None:
    east_asian = measure.tokenizer.han_and_kana_pieces(model)
    with_space = [piece for piece in east_asian if piece.startswith("▁")]
    evidence["han_and_kana_pieces"] = len(east_asian)
    evidence["of_them_with_a_space_first"] = with_space
    count = len(east_asian)
    assert count == pytest.approx(1590, abs=10), f"{count} pieces have Han or kana, not about 1590"
    assert not with_space, f"pieces begin with a space: {with_space}"


@pytest.mark.claim("decode-bos")
@each_script
def test_decoding_shows_bos_and_skips_it_when_asked(
    model: Model, evidence: Evidence, text: str
) -> None:
    ids = model.encode(text)
    evidence["decoded"] = shown = model.decode(ids)
    evidence["special_tokens_skipped"] = skipped = model.decode(ids, skip_special_tokens=True)
    assert shown == f"<s> {text}", f"decoding shows {shown!r}, not {'<s> ' + text!r}"
    assert skipped == text, f"decoding that skips special tokens shows {skipped!r}, not {text!r}"


@pytest.mark.claim("round-trip")
@pytest.mark.parametrize(
    "text",
    [t for t in TEXTS.values() if "▁" not in t],
    ids=[k for k, t in TEXTS.items() if "▁" not in t],
)
def test_text_comes_back(model: Model, evidence: Evidence, text: str) -> None:
    evidence["text"] = text
    evidence["came_back"] = back = measure.tokenizer.round_trip(model, text)
    assert back == text, came_back_otherwise(text, back)


@pytest.mark.claim("round-trip")
@any_text
@given(text=valid_unicode)
@example(text="  leading and trailing  ")
@example(text="\n\n\t\r\n")
def test_any_text_comes_back(model: Model, text: str) -> None:
    assume(not is_an_exception(model, text))
    back = measure.tokenizer.round_trip(model, text)
    assert back == text, came_back_otherwise(text, back)


@pytest.mark.claim("round-trip")
@pytest.mark.needs("mistral-tokenizer")
def test_256_byte_pieces_spell_what_has_no_piece(model: Model, evidence: Evidence) -> None:
    evidence["pieces"] = spelled = measure.tokenizer.encode_to_pieces(model, "𠮷").pieces[-4:]
    all_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    own_bytes = [f"<0x{byte:02X}>" for byte in "𠮷".encode()]
    at_their_ids = model.tokens(list(range(3, 259)))
    assert at_their_ids == all_bytes, "ids 3 to 258 are not the pieces of the bytes in order"
    assert spelled == own_bytes, f"'𠮷' ends with {spelled}, not with its bytes {own_bytes}"


@pytest.mark.claim("round-trip")
@pytest.mark.needs("mistral-tokenizer")
@pytest.mark.parametrize(("text", "expected"), [("a<s>b", "ab"), ("a▁b", "a b")])
def test_a_spelled_special_token_and_a_spelled_space_are_the_exceptions(
    model: Model, evidence: Evidence, text: str, expected: str
) -> None:
    evidence["text"] = text
    evidence["came_back"] = back = measure.tokenizer.round_trip(model, text)
    assert back == expected, f"{text!r} comes back as {back!r}, not {expected!r}"


@pytest.mark.claim("double-bos")
def test_a_spelled_bos_is_a_second_one(model: Model, evidence: Evidence) -> None:
    found = measure.tokenizer.encode_to_pieces(model, SPELLED_BOS)
    decoded = model.decode(found.ids)
    evidence.update(DoubleBos(**found.as_evidence(), decoded=decoded).as_evidence())
    expected = [1, 1, 1824, 349, 272, 5565, 302, 2969, 3543, 28804, 28705]
    assert found.ids == expected, got_other_ids(found, expected)
    assert decoded.count("<s>") == 2, f"BOS is {decoded.count('<s>')} times in {decoded!r}"


@pytest.mark.claim("reference-agreement")
@pytest.mark.parametrize(
    ("texts", "count"),
    [
        (fuzz_texts, FUZZED_TEXTS),
        (fuzz_texts_with_special_tokens, FUZZED_TEXTS_WITH_SPECIAL_TOKENS),
    ],
    ids=["fuzzed", "with special tokens"],
)
def test_ids_are_those_of_the_sentencepiece_model(
    model: Model, evidence: Evidence, texts: Any, count: int
) -> None:
    reference = measure.sentencepiece_reference.find_reference(model)
    differing = measure.sentencepiece_reference.find_disagreements(
        model, reference, [*texts(count, seed=20231010)]
    )
    evidence["texts"], evidence["disagreements"] = count, len(differing)
    evidence["examples"] = differing[:5]
    assert not differing, (
        f"{len(differing)} of {count} texts get other ids than the reference: "
        f"{differing[0].describe()}"
    )


@pytest.mark.claim("reference-agreement")
@each_text
def test_ids_of_awkward_texts_are_those_of_the_sentencepiece_model(
    model: Model, evidence: Evidence, text: str
) -> None:
    reference = measure.sentencepiece_reference.find_reference(model)
    evidence["text"], evidence["ids"] = text, model.encode(text)
    differing = measure.sentencepiece_reference.find_disagreements(model, reference, [text])
    assert not differing, differing[0].describe()
