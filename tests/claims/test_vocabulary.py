"""Claims: vocabulary and embedding matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from probes import measure
from probes.data import published
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, CAPITAL_OF_JAPAN_JA
from probes.schema.evidence.words import VocabularyTable

if TYPE_CHECKING:
    from probes import Model

Evidence = dict[str, Any]

PUBLISHED_PIECES = {
    0: "<unk>",
    1: "<s>",
    2: "</s>",
    3: "<0x00>",
    4: "<0x01>",
    31995: "အ",
    31996: "執",
    31997: "벨",
    31998: "ゼ",
    31999: "梦",
}


@pytest.mark.claim("vocab-size")
def test_vocabulary_has_32000_entries(model: Model, evidence: Evidence) -> None:
    evidence["entries"] = entries = model.token_count
    pieces = model.tokenizer.vocab_size
    assert entries == 32000, f"the tokenizer has {entries} entries, not 32000"
    assert pieces == 32000, f"the tokenizer's model has {pieces} pieces, not 32000"


@pytest.mark.claim("vocab-table")
@pytest.mark.needs("mistral-tokenizer")
def test_published_ids_stand_for_their_pieces(model: Model, evidence: Evidence) -> None:
    found = dict(zip(PUBLISHED_PIECES, model.tokens([*PUBLISHED_PIECES]), strict=True))
    evidence["pieces"] = [{"id": i, "piece": piece} for i, piece in found.items()]
    other = [
        f"{i} for {piece!r}, not {PUBLISHED_PIECES[i]!r}"
        for i, piece in found.items()
        if piece != PUBLISHED_PIECES[i]
    ]
    assert not other, f"ids stand for other pieces: {'; '.join(other)}"


@pytest.mark.claim("vocab-table")
def test_every_piece_is_found_under_its_own_id(model: Model, evidence: Evidence) -> None:
    table = measure.tokenizer.list_pieces(model)
    evidence["entries"] = len(table)
    wrong = measure.tokenizer.find_misplaced_pieces(model)
    assert not wrong, (
        f"{len(wrong)} of {len(table)} pieces are not under the id that its file gives: "
        f"{'; '.join(wrong[:3])}"
    )


@pytest.mark.claim("vocab-table")
@pytest.mark.needs("mistral-tokenizer")
def test_whole_table_is_the_recorded_one(
    model: Model, evidence: Evidence, recorded_table: str
) -> None:
    table = measure.tokenizer.vocabulary(model)
    evidence["entries"] = len(table)
    evidence.update(VocabularyTable.pack(table).as_evidence())
    reference = measure.sentencepiece_reference.Reference(
        measure.sentencepiece_reference.MISTRAL_V1
    ).pieces()
    other = [i for i, (a, b) in enumerate(zip(table, reference, strict=False)) if a != b]
    evidence["ids_of_other_pieces"] = other[:100]
    assert not other, (
        f"{len(other)} ids stand for other pieces: {other[0]} for {table[other[0]]!r}, "
        f"not {reference[other[0]]!r}"
    )
    written = "".join(f"{i} {piece!r}\n" for i, piece in enumerate(table))
    assert written == recorded_table, "the table is not the recorded one"


@pytest.mark.claim("embedding-shape")
def test_embedding_has_a_row_a_token_and_a_column_a_dimension(
    model: Model, evidence: Evidence
) -> None:
    shape = measure.embeddings.embedding_shape(model.config)
    evidence["shape"] = list(shape)
    evidence["vocabulary_in_the_configuration"] = model.vocab_size
    expected = model.vocab_size, model.hidden_size
    assert shape == expected, f"the embedding's shape is {shape}, not {expected}"
    assert shape[0] >= model.token_count, "a token has no row"


@pytest.mark.claim("embedding-shape")
@pytest.mark.needs("weights")
def test_loaded_embedding_has_the_shape_its_configuration_says(
    model: Model, evidence: Evidence
) -> None:
    evidence["shape"] = shape = list(model.embedding().shape)
    expected = [model.vocab_size, model.hidden_size]
    assert shape == expected, f"the embedding's shape is {shape}, its configuration says {expected}"


@pytest.mark.claim("embedding-shape")
def test_embedding_of_mistral_7b_is_32000_by_4096(evidence: Evidence) -> None:
    shape = measure.embeddings.mistral_7b_shape()
    evidence["shape"] = list(shape)
    assert shape == (32000, 4096), f"the embedding of Mistral-7B has the shape {shape}"


@pytest.mark.claim("embedding-lookup")
@pytest.mark.parametrize(
    "text", [CAPITAL_OF_JAPAN, CAPITAL_OF_JAPAN_JA], ids=["English", "Japanese"]
)
def test_a_token_id_is_a_row_index(model: Model, evidence: Evidence, text: str) -> None:
    ids = model.encode(text)
    found = measure.embeddings.look_up(model, ids)
    evidence["ids"] = ids
    evidence["rows"] = list(found.shape)
    evidence["scaled_by"] = measure.embeddings.lookup_scale(model)
    expected = measure.embeddings.expected_lookup(model, ids)
    wrong = measure.embeddings.find_different_rows(found, expected)
    assert not wrong, f"ids {[ids[i] for i in wrong]} do not find their rows"


@pytest.mark.claim("embedding-lookup")
def test_every_id_finds_its_own_row(model: Model, evidence: Evidence) -> None:
    evidence["rows"] = rows = len(model.embedding())
    evidence["scaled_by"] = measure.embeddings.lookup_scale(model)
    wrong = measure.embeddings.find_lost_rows(model)
    assert not wrong, f"{len(wrong)} of {rows} ids do not find their row, first {wrong[0]}"


@pytest.mark.claim("embedding-row-0")
def test_row_0_is_the_published_one(model: Model, evidence: Evidence) -> None:
    expected = published.load_outputs().embedding_row_0
    row = model.embedding([0])[0].half().tolist()
    evidence["begins"], evidence["ends"] = row[:3], row[-3:]
    for where, found, known in (
        ("begins", row[:3], expected.begins),
        ("ends", row[-3:], expected.ends),
    ):
        assert found == pytest.approx(known, rel=1e-4), f"row 0 {where} with {found}, not {known}"
