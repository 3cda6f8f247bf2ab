"""Texts over which quantized models are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from probes.data.corpus import built_in_corpus, load_corpus, read_corpus
from probes.errors import UndecidableError, UserError
from probes.measure.scored_windows import cut_windows


class Letters:
    """A tokenizer of letters that inserts BOS, id 0."""

    special_token_ids = (0,)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [0] * add_special_tokens + [ord(letter) for letter in text]


def test_built_in_texts_are_prose_in_two_languages() -> None:
    texts = built_in_corpus().texts
    assert len(texts["english"].split()) > 2000
    assert sum("\u3040" <= letter <= "\u9fff" for letter in texts["japanese"]) > 2000
    assert load_corpus() is built_in_corpus()


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "cannot read the corpus .*: No such file"),
        (b"caf\xe9", "is no UTF-8 text: byte 3"),
        (b" \n", "has no text"),
    ],
)
def test_bad_corpus_gets_one_line(tmp_path: Path, content: bytes | None, wrong: str) -> None:
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=wrong) as caught:
        read_corpus(file)
    assert "\n" not in str(caught.value)


def test_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(b"\xef\xbb\xbfone")
    assert read_corpus(file).texts == {"text": "one"}


def test_windows_do_not_overlap_and_begin_with_bos(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("abcdefghij", encoding="utf-8")
    (text,) = cut_windows(Letters(), read_corpus(file), context_length=4, most=None)  # type: ignore[arg-type]
    windows = ["".join(map(chr, window)) for window in text.windows]
    assert windows == ["\0abc", "\0efg"]  # the first token of the second, d, is replaced by BOS
    with pytest.raises(UndecidableError, match=r"text\.txt is too short: 11 tokens, and an interv"):
        cut_windows(Letters(), read_corpus(file), context_length=8, most=None)  # type: ignore[arg-type]
