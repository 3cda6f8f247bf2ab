"""Claims: tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from probes import measure
from probes.data.tokenizer_texts import (
    AWKWARD,
    CAPITAL_OF_JAPAN,
    CAPITAL_OF_JAPAN_JA,
    CODE,
    HELLO,
    NO_SPACE_PIECE,
    SCRIPTS,
    SINGLE_WORD_PIECES,
    SPELLED_BOS,
    fuzz_texts_with_special_tokens,
)
from probes.schema.evidence.words import DoubleBos, Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes import Model
    from probes.measure.sentencepiece_reference import Disagreement

Evidence = dict[str, Any]

TEXTS = {"empty": "", **SCRIPTS, **AWKWARD}
FUZZED_TEXTS = 2_000

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


def spells_a_token(model: Model, text: str) -> bool:
    """Whether a text spells a special token."""
    return any(token in text for token in model.tokenizer.all_special_tokens)


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


def came_back_otherwise(text: str, back: str, expected: str) -> str:
    """What a round trip did, spelled in ASCII: texts that look alike may differ."""
    if expected == text:
        return f"{text!a} comes back as {back!a}"
    return f"{text!a} comes back as {back!a}, by its tokenizer's files as {expected!a}"


@pytest.fixture
def spelling(model: Model) -> measure.spelling.Spelling:
    """How the tokenizer's own files spell a text that is promised to come back."""
    found = measure.spelling.read_spelling(model)
    if found.why_lossy:
        pytest.skip(found.why_lossy)
    return found


@pytest.mark.claim("bos-inserted")
@each_text
def test_special_tokens_are_inserted_as_promised(
    model: Model, evidence: Evidence, text: str
) -> None:
    found = measure.tokenizer.encode_to_pieces(model, text)
    promise = measure.tokenizer.read_promise(model)
    evidence.update(found.as_evidence())
    evidence["promised"], evidence["promised_by"] = promise.around, promise.source
    evidence["contradictions"] = promise.contradictions
    wrong = measure.tokenizer.find_wrong_insertion(model, found)
    assert not wrong, wrong


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
@pytest.mark.needs("mistral-tokenizer")
@pytest.mark.parametrize("word", SINGLE_WORD_PIECES)
def test_english_merges_the_space(model: Model, evidence: Evidence, word: str) -> None:
    found = measure.tokenizer.encode_to_pieces(model, word)
    evidence.update(found.as_evidence())
    ordinary = measure.tokenizer.ordinary_pieces(model, word)
    assert ordinary == ["▁" + word], no_space_first(word, ordinary)


@pytest.mark.claim("prefix-space")
@pytest.mark.needs("mistral-tokenizer")
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
@pytest.mark.parametrize("text", [*SINGLE_WORD_PIECES, *NO_SPACE_PIECE.values(), " one space"])
def test_first_piece_begins_as_promised(
    model: Model, spelling: measure.spelling.Spelling, evidence: Evidence, text: str
) -> None:
    evidence.update(measure.tokenizer.encode_to_pieces(model, text).as_evidence())
    evidence["a_space_is_added"] = spelling.adds_space
    wrong = measure.tokenizer.find_wrong_beginning(model, text)
    assert not wrong, wrong


@pytest.mark.claim("prefix-space")
@any_text
@given(text=valid_unicode.filter(bool))
@example(text="日本の首都は")
@example(text="\n")
@example(text=" ")
def test_first_piece_of_any_text_begins_as_promised(
    model: Model, spelling: measure.spelling.Spelling, text: str
) -> None:
    assume(not spells_a_token(model, text))
    wrong = measure.tokenizer.find_wrong_beginning(model, text)
    assert not wrong, wrong


@pytest.mark.claim("prefix-space")
@pytest.mark.needs("mistral-tokenizer")
def test_the_lone_space_is_an_ordinary_piece(model: Model, evidence: Evidence) -> None:
    evidence["special_ids"] = special = sorted(model.special_token_ids)
    evidence["piece_of_id_28705"] = piece = model.tokens([28705])[0]
    assert piece == "▁", f"id 28705 is the piece {piece!r}"
    assert 28705 not in special, f"id 28705 is among the special tokens: {special}"


@pytest.mark.claim("prefix-space")
@pytest.mark.needs("mistral-tokenizer")
def test_no_japanese_or_chinese_piece_begins_with_a_space(model: Model, evidence: Evidence) -> None:
    east_asian = measure.tokenizer.han_and_kana_pieces(model)
    with_space = [piece for piece in east_asian if piece.startswith("▁")]
    evidence["han_and_kana_pieces"] = len(east_asian)
    evidence["of_them_with_a_space_first"] = with_space
    count = len(east_asian)
    assert count == pytest.approx(1590, abs=10), f"{count} pieces have Han or kana, not about 1590"
    assert not with_space, f"pieces begin with a space: {with_space}"


@pytest.mark.claim("decode-bos")
@pytest.mark.needs("mistral-tokenizer")
@each_script
def test_decoding_shows_bos_and_a_space(model: Model, evidence: Evidence, text: str) -> None:
    ids = model.encode(text)
    evidence["decoded"] = shown = model.decode(ids)
    evidence["special_tokens_skipped"] = skipped = model.decode(ids, skip_special_tokens=True)
    assert shown == f"<s> {text}", f"decoding shows {shown!r}, not {'<s> ' + text!r}"
    assert skipped == text, f"decoding that skips special tokens shows {skipped!r}, not {text!r}"


@pytest.mark.claim("decode-bos")
@each_script
def test_decoding_shows_special_tokens_and_skips_them_when_asked(
    model: Model, spelling: measure.spelling.Spelling, evidence: Evidence, text: str
) -> None:
    ids, around = measure.tokenizer.surround(model, text)
    if not any(around):
        pytest.skip("its tokenizer has neither BOS nor EOS")
    expected = spelling.expected(text)
    evidence["ids"], evidence["special_tokens"] = ids, around
    evidence["decoded"] = shown = model.decode(ids)
    evidence["special_tokens_skipped"] = skipped = model.decode(ids, skip_special_tokens=True)
    names = " and ".join((*around.before, *around.after))
    assert measure.tokenizer.shows_around(shown, around, expected), (
        f"decoding shows {shown!r}, not {expected!r} with {names}"
    )
    assert spelling.comes_back(text, skipped), (
        f"decoding that skips special tokens shows {skipped!r}, not {expected!r}"
    )


@pytest.mark.claim("round-trip")
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_text_comes_back(
    model: Model, spelling: measure.spelling.Spelling, evidence: Evidence, text: str
) -> None:
    evidence["text"], evidence["no_piece_spells"] = text, spelling.find_lost(text)
    evidence["came_back"] = back = measure.tokenizer.round_trip(model, text)
    assert spelling.comes_back(text, back), came_back_otherwise(text, back, spelling.expected(text))


@pytest.mark.claim("round-trip")
@any_text
@given(text=valid_unicode)
@example(text="  leading and trailing  ")
@example(text="\n\n\t\r\n")
def test_any_text_comes_back(model: Model, spelling: measure.spelling.Spelling, text: str) -> None:
    assume(not spells_a_token(model, text))
    back = measure.tokenizer.round_trip(model, text)
    assert spelling.comes_back(text, back), came_back_otherwise(text, back, spelling.expected(text))


@pytest.mark.claim("round-trip")
def test_corpus_comes_back(
    model: Model, spelling: measure.spelling.Spelling, evidence: Evidence
) -> None:
    evidence.update(measure.tokenizer.count_tokens_by_script(model).as_evidence())
    encoding = measure.tokenizer_corpus.encode_corpus(model)
    came = model.tokenizer.batch_decode(encoding.ids[::4], skip_special_tokens=True)
    pairs = [*zip(encoding.texts[::4], came, strict=True)]
    evidence["texts"] = len(pairs)
    evidence["bytes_that_no_piece_spells"] = (
        [f"0x{byte:02X}" for byte in sorted(spelling.unspelled_bytes)] if spelling.by_bytes else []
    )
    evidence["texts_that_lose_some"] = sum(bool(spelling.find_lost(text)) for text, _ in pairs)
    wrong = [(text, back) for text, back in pairs if not spelling.comes_back(text, back)]
    assert not wrong, (
        f"{len(wrong):,} of {len(pairs):,} texts do not come back: "
        f"{came_back_otherwise(*wrong[0], spelling.expected(wrong[0][0]))}"
    )


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
@pytest.mark.needs("mistral-tokenizer")
def test_a_spelled_bos_is_a_second_one(model: Model, evidence: Evidence) -> None:
    found = measure.tokenizer.encode_to_pieces(model, SPELLED_BOS)
    decoded = model.decode(found.ids)
    evidence.update(DoubleBos(**found.as_evidence(), decoded=decoded).as_evidence())
    expected = [1, 1, 1824, 349, 272, 5565, 302, 2969, 3543, 28804, 28705]
    assert found.ids == expected, got_other_ids(found, expected)
    assert decoded.count("<s>") == 2, f"BOS is {decoded.count('<s>')} times in {decoded!r}"


@pytest.mark.claim("double-bos")
def test_a_spelled_special_token_is_one_more(model: Model, evidence: Evidence) -> None:
    token = measure.tokenizer.find_special_token(model)
    if token is None:
        pytest.skip("its tokenizer has neither BOS nor EOS")
    text, found, expected = measure.tokenizer.spell_special_token(model, token)
    decoded = model.decode(found.ids)
    evidence.update(DoubleBos(**found.as_evidence(), decoded=decoded).as_evidence())
    evidence["special_token"], evidence["times"] = token, expected
    times = found.pieces.count(token)
    assert times == expected, f"{text!r} has {token} {times} times, not {expected}"
    shown = decoded.count(token)
    assert shown == expected, f"{token} is {shown} times in {decoded!r}, not {expected}"


@pytest.mark.claim("reference-agreement")
def test_ids_of_the_corpus_are_those_of_the_sentencepiece_model(
    model: Model, evidence: Evidence
) -> None:
    reference = measure.sentencepiece_reference.find_reference(model)
    count, differing = measure.tokenizer_corpus.compare_with_sentencepiece(model, reference)
    expect_no_disagreement(evidence, count, differing)


@pytest.mark.claim("reference-agreement")
def test_ids_of_spelled_special_tokens_are_those_of_the_sentencepiece_model(
    model: Model, evidence: Evidence
) -> None:
    reference = measure.sentencepiece_reference.find_reference(model)
    texts = [*fuzz_texts_with_special_tokens(FUZZED_TEXTS, seed=20231010)]
    differing = measure.sentencepiece_reference.find_disagreements(model, reference, texts)
    expect_no_disagreement(evidence, len(texts), differing)


def expect_no_disagreement(
    evidence: Evidence, count: int, differing: Sequence[Disagreement]
) -> None:
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


# --- what the library makes of the files ---------------------------------------------------------


@pytest.mark.claim("own-ids")
def test_ids_are_those_of_its_own_file(model: Model, evidence: Evidence) -> None:
    if measure.spelling.load_own_tokenizer(model) is None:
        pytest.skip("its folder has no tokenizer.json to compare it with")
    found = measure.tokenizer_corpus.compare_with_own_file(model)
    evidence["texts"], evidence["differing"] = found.texts, found.by_kind
    evidence["examples"] = found.differing
    if model.tokenizer_files.written_by_transformers:
        evidence["note"] = "transformers wrote this tokenizer.json: that they agree proves little"
    assert not found.count, found.describe()


@pytest.mark.claim("tokenizer-reload")
def test_saved_tokenizer_is_the_same_when_loaded_again(model: Model, evidence: Evidence) -> None:
    again = measure.tokenizer_reload.save_and_reload(model)
    evidence["texts"], evidence["differing"] = again.texts, again.differing[:5]
    evidence["changed"], evidence["warnings"] = again.changed, again.warnings
    assert not again.differing, (
        f"{len(again.differing)} texts get other ids when it is saved and loaded again: "
        f"{again.differing[0].describe()}"
    )
    changes = [f"{name} is {now!r}, not {old!r}" for name, (old, now) in again.changed.items()]
    assert not changes, f"saved and loaded again, its {'; its '.join(changes)}"
    assert not again.foreign, f"loading it again warns of another model family: {again.foreign[0]}"


@pytest.mark.claim("streamed-text")
@pytest.mark.parametrize("way", ["TextStreamer", "TextIteratorStreamer", "DecodeStream"])
@pytest.mark.parametrize("text", [*SCRIPTS.values(), HELLO, *CODE])
def test_streamed_parts_give_the_decoded_text(
    model: Model, evidence: Evidence, text: str, way: str
) -> None:
    ids = model.encode(text, add_special_tokens=False)
    streamed = measure.streamed_text.STREAMS[way](model, ids)
    if streamed is None:
        pytest.skip(f"its tokenizer cannot be read by {way}")
    evidence["decoded"], evidence["streamed"] = streamed.whole, streamed.joined
    if way != "DecodeStream" and measure.streamed_text.forgets_indentation(model):
        evidence["note"] = "the space that indents a line is taken for the one before a text"
        assert streamed.joined in (streamed.whole, streamed.whole.replace("\n ", "\n")), (
            f"{way} gives {streamed.joined!r}, not {streamed.whole!r}"
        )
        return
    assert streamed.is_same, f"{way} gives {streamed.joined!r}, not {streamed.whole!r}"
