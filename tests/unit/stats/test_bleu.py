from __future__ import annotations

import pytest

from probes.stats.bleu import sentence_bleu

MEN = ("A king, and 1,000 men.", "The old king - alone.")


@pytest.mark.parametrize(
    ("text", "references", "by_sacrebleu"),
    [
        ("the king saw the old tower", ("the king saw the tall tower",), 0.537285),
        ("A king, old; and 1,000 men-at-arms.", MEN, 0.242746),
        ("日本の首都は東京です。", ("日本の首都は京都です。",), 0.0),
        ("a b", ("a b c d e",), 0.223130),
        ("a a a a a", ("a b c d e", "b a a c d"), 0.213644),
        ("", ("a b",), 0.0),
    ],
)
def test_sentence_bleu_is_that_of_sacrebleu(
    text: str, references: tuple[str, ...], by_sacrebleu: float
) -> None:
    assert sentence_bleu(text, references) == pytest.approx(by_sacrebleu, abs=1e-6)
