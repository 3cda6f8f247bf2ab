"""The conversion of the SentencePiece model, compared with SentencePiece itself."""

from __future__ import annotations

from pathlib import Path

EMBEDDED = Path(__file__).parents[2] / "probes" / "embedded"


def test_conversion_gives_the_shipped_files(tmp_path: Path) -> None:
    from probes.training.tokenizer import write_tokenizer

    write_tokenizer(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (EMBEDDED / name).read_bytes(), name


def test_runs_of_spaces_are_encoded_like_the_reference() -> None:
    from transformers import AutoTokenizer

    from probes.training.tokenizer import reference_processor

    shipped, reference = AutoTokenizer.from_pretrained(str(EMBEDDED)), reference_processor()
    for count in range(130):
        spaces = " " * count
        for text in (spaces, f"{spaces}the", f"a{spaces}日", f"\n{spaces}"):
            ids = shipped(text, add_special_tokens=False)["input_ids"]
            assert ids == reference.encode(text), repr(text)
            assert shipped.decode(ids) == text
