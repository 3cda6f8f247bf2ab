"""The conversion of the SentencePiece model, compared with SentencePiece itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probes.data.tokenizer_texts import fuzz_texts

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

EMBEDDED = Path(__file__).parents[2] / "probes" / "embedded"


@pytest.fixture(scope="module")
def reference() -> SentencePieceProcessor:
    from probes.training.tokenizer import reference_processor

    return reference_processor()


@pytest.fixture(scope="module")
def shipped() -> Any:
    """The tokenizer of the embedded model, as users load it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(EMBEDDED))


def test_conversion_gives_the_shipped_files(tmp_path: Path) -> None:
    from probes.training.tokenizer import write_tokenizer

    write_tokenizer(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (EMBEDDED / name).read_bytes(), name


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [1]),
        ("The capital of Japan is", [1, 415, 5565, 302, 4720, 349]),
        ("Hello world", [1, 22557, 1526]),
        ("日本の首都は", [1, 28705, 29142, 29119, 28993, 29993, 29460, 29277]),
        (
            "<s> What is the capital of United States? ",
            [1, 1, 1824, 349, 272, 5565, 302, 2969, 3543, 28804, 28705],
        ),
    ],
)
def test_ids_are_those_of_mistral_7b(shipped: Any, text: str, ids: list[int]) -> None:
    assert shipped(text)["input_ids"] == ids
    assert shipped(text, add_special_tokens=False)["input_ids"] == ids[1:]


def test_no_pad_token_is_defined(shipped: Any) -> None:
    assert (shipped.pad_token, shipped.bos_token_id, shipped.eos_token_id) == (None, 1, 2)


def test_runs_of_spaces_are_encoded_like_the_reference(
    shipped: Any, reference: SentencePieceProcessor
) -> None:
    for count in range(130):
        for text in (
            " " * count,
            " " * count + "the",
            "a" + " " * count + "日",
            "\n" + " " * count,
        ):
            ids = shipped(text, add_special_tokens=False)["input_ids"]
            assert ids == reference.encode(text), repr(text)
            assert shipped.decode(ids) == text


def test_random_texts_are_encoded_like_the_reference(
    shipped: Any, reference: SentencePieceProcessor
) -> None:
    texts = list(fuzz_texts(3000, seed=5))
    for text, ids in zip(texts, shipped(texts, add_special_tokens=False)["input_ids"], strict=True):
        assert ids == reference.encode(text), repr(text)
        assert shipped.decode(ids) == text.replace("▁", " ")


def test_tokenizer_without_the_first_space_differs(
    reference: SentencePieceProcessor,
) -> None:
    from tokenizers import Tokenizer

    from probes.training.tokenizer import tokenizer_json

    document = json.loads(tokenizer_json(reference))
    document["pre_tokenizer"]["pretokenizers"][0]["prepend_scheme"] = "never"
    faulty = Tokenizer.from_str(json.dumps(document))
    assert faulty.encode("The").ids[1:] != reference.encode("The")
