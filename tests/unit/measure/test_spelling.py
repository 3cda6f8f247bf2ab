"""How a text is spelled, and what comes back of it, by a tokenizer's own files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from probes.measure.spelling import Spelling, byte_letters, byte_piece, read_spelling
from probes.targets.tokenizer_files import read_tokenizer_files
from probes.targets.vocabulary import read_pieces

TEXTS = ("", "Hi", " Hi", "  Hi  there", "e\u0301", "日本", "\x16", "\n\tx", "▁a")
ALL_BYTES = list(byte_letters().values())


@pytest.fixture
def spelling(tmp_path: Path) -> Callable[..., Spelling]:
    def read(tokenizer: Tokenizer, **settings: Any) -> Spelling:
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        file = tmp_path / "tokenizer_config.json"
        file.write_text(json.dumps(settings), encoding="utf-8")
        files = read_tokenizer_files(tmp_path)
        checkpoint = SimpleNamespace(folder=tmp_path, pieces=read_pieces(tmp_path))
        model: Any = SimpleNamespace(checkpoint=checkpoint, tokenizer_files=files)
        return read_spelling(model)

    return read


def byte_level(letters: list[str], normalizer: Any = None, *, space: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab={x: i for i, x in enumerate(letters)}, merges=[]))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def metaspace(scheme: str, *pieces: str, spelled: Iterable[int] = range(256)) -> Tokenizer:
    vocab = {x: i for i, x in enumerate(["<unk>", *map(byte_piece, spelled), "▁", *pieces])}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
    strip = [decoders.Strip(" ", 1, 0)] if scheme != "never" else []
    replace = decoders.Replace("▁", " ")
    tokenizer.decoder = decoders.Sequence(
        [replace, decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": lambda: byte_level(ALL_BYTES),
    "bytes composed": lambda: byte_level(ALL_BYTES, normalizers.NFC()),
    "bytes with a space first": lambda: byte_level(ALL_BYTES, space=True),
    "bytes without some": lambda: byte_level([x for x in ALL_BYTES if x not in ("Ė", "æ")]),
    "pieces": lambda: metaspace("never", "H", "i"),
    "pieces with a space first": lambda: metaspace("first", "H", "i"),
    "pieces with a space always": lambda: metaspace("always"),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_expected_text_is_what_the_file_gives_back(
    name: str, spelling: Callable[..., Spelling]
) -> None:
    tokenizer = TOKENIZERS[name]()
    read = spelling(tokenizer)
    assert read.why_lossy == ""
    assert read.by_bytes is name.startswith("bytes")
    assert read.adds_space is ("with a space" in name)
    for text in TEXTS:
        back = tokenizer.decode(tokenizer.encode(text).ids)
        assert read.expected(text) == back, f"{name}: {text!a}"
        assert read.comes_back(text, back)
        assert not read.comes_back(text, f"{back}x")


def test_bytes_that_no_piece_spells_are_named(spelling: Callable[..., Spelling]) -> None:
    read = spelling(TOKENIZERS["bytes without some"]())
    assert read.unspelled_bytes == {0x16, 0xE6}
    assert read.find_lost("a\x16") == ["0x16"]
    assert read.find_lost("日本") == ["0xE6"]
    assert read.find_lost("plain") == []


def test_characters_with_a_byte_that_no_piece_spells_are_named(
    spelling: Callable[..., Spelling],
) -> None:
    spelled = [byte for byte in range(256) if byte not in (0x16, 0xE6)]
    tokenizer = metaspace("never", "a", spelled=spelled)
    tokenizer.add_special_tokens(["<unk>"])
    read = spelling(tokenizer)
    assert read.unspelled_bytes == {0x16, 0xE6}
    for text, lost in (("a\x16", ["\x16"]), ("日e", ["日"]), ("ae", [])):
        assert read.find_lost(text) == lost
        assert read.expected(text) == tokenizer.decode(tokenizer.encode(text).ids)


def test_characters_that_no_piece_spells_are_named(spelling: Callable[..., Spelling]) -> None:
    tokenizer = Tokenizer(models.Unigram([("▁", 0.0), ("a", 0.0)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="never")
    read = spelling(tokenizer)
    assert read.find_lost("a b") == ["b"]
    assert read.expected("a ba") == "a a"


def test_clean_up_is_allowed_where_the_configuration_asks(
    spelling: Callable[..., Spelling],
) -> None:
    text, clean = "Well , it 's fine .", "Well, it's fine."
    asks = spelling(byte_level(ALL_BYTES), clean_up_tokenization_spaces=True)
    assert asks.comes_back(text, clean)
    assert asks.comes_back(text, text)
    assert not spelling(byte_level(ALL_BYTES)).comes_back(text, clean)


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        (
            Tokenizer(models.WordLevel({"a": 0}, unk_token="a")),
            "its vocabulary is one of whole words (WordLevel): a text is not promised to come back",
        ),
        (Tokenizer(models.BPE({"a": 0}, [])), "its decoder does not say how spaces come back"),
    ],
)
def test_lossy_tokenizers_promise_no_text_back(
    tokenizer: Tokenizer, reason: str, spelling: Callable[..., Spelling]
) -> None:
    assert spelling(tokenizer).why_lossy == reason


def test_white_space_left_out_is_no_promise(spelling: Callable[..., Spelling]) -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert spelling(tokenizer).why_lossy == (
        "its pre-tokenizer (Whitespace) leaves out what lies between words"
    )
