from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.usefixtures("in_brief")

TOKENIZER_CLAIMS = Path(__file__).parents[1] / "claims" / "test_tokenizer.py"

JAPAN = "'The capital of Japan is' gives"

DAMAGED = {
    "swap_two_ids": {
        "ids-english": f"{JAPAN} [1, 29142, 5565, 302, 4720, 349] (<s> ▁The ▁capital ▁of ▁Japan "
        "▁is), not [1, 415, 5565, 302, 4720, 349]",
        "ids-japanese": "'日本の首都は' gives [1, 28705, 415, 29119, ",
        "reference-agreement": " of 2000 texts get other ids than the reference: ",
    },
    "lose_bos": {
        "bos-inserted": "'' begins with [], not with BOS",
        "ids-english": f"{JAPAN} [415, 5565, 302, 4720, 349] (▁The ▁capital ▁of ▁Japan ▁is), not "
        "[1, 415, 5565, 302, 4720, 349]",
        "ids-japanese": "'日本の首都は' gives [28705, ",
        "special-tokens-flag": "'Hello world' gives [22557, 1526] by default, not [1, 22557, 1526]",
        "decode-bos": "decoding shows 'The capital of Japan is Tokyo.', not '<s> The capital of "
        "Japan is Tokyo.'",
        "double-bos": " gives [1, 1824, 349, ",
        "reference-agreement": " of 2000 texts get other ids than the reference: ",
    },
    "double_bos": {
        "bos-inserted": "'' has BOS 2 times",
        "ids-english": f"{JAPAN} [1, 1, 415, 5565, 302, 4720, 349] (<s> <s> ▁The ",
        "ids-japanese": "'日本の首都は' gives [1, 1, 28705, ",
        "special-tokens-flag": "'Hello world' gives [1, 1, 22557, 1526] by default, not [1, ",
        "decode-bos": "decoding shows '<s><s> The capital of Japan is Tokyo.', not ",
        "double-bos": " gives [1, 1, 1, 1824, 349, ",
        "reference-agreement": " of 2000 texts get other ids than the reference: ",
    },
    "lose_prefix_space": {
        "ids-english": f"{JAPAN} [1, 1014, 5565, 302, 4720, 349] (<s> The ▁capital ▁of ▁Japan "
        "▁is), not [1, 415, 5565, 302, 4720, 349]",
        "ids-japanese": "'日本の首都は' gives [1, 29142, ",
        "special-tokens-flag": "'Hello world' gives [1, 16230, 1526] by default, not [1, ",
        "prefix-space": "'The' begins with ['The']: it was not encoded as if a space came before "
        "it",
        "decode-bos": "decoding shows '<s>The capital of Japan is Tokyo.', not ",
        "round-trip": "' ' comes back as ''",
        "reference-agreement": " of 2000 texts get other ids than the reference: ",
    },
}


FEW = ("-k", "not any_text and not corpus and not streamed and not awkward")
"""Each fault shows in the first texts: hundreds more show no other."""

NO_FILE = ("own-ids", "not applicable", "its folder has no tokenizer.json to compare it with")


def failures(record: dict[str, object]) -> dict[str, str]:
    """The claims that fail, with their reasons; no claim may be left out or end otherwise."""
    claims: list[dict[str, str]] = record["claims"]  # type: ignore[assignment]
    for claim in claims:
        outcome = (claim["id"], claim["verdict"], claim["reason"])
        assert claim["verdict"] in ("holds", "fails") or outcome == NO_FILE
    assert len(claims) >= 9
    return {claim["id"]: claim["reason"] for claim in claims if claim["verdict"] == "fails"}


def test_damaged_tokenizer_fails_the_claims_it_touches(
    warm_project: Project, tmp_path: Path
) -> None:
    from tests.support import model_folders as folders

    targets = []
    for name in DAMAGED:
        folder = folders.with_tokenizer_json(tmp_path / "targets" / name, getattr(folders, name))
        targets += ["--target", str(folder)]
    result = warm_project.run(str(TOKENIZER_CLAIMS), "-q", "--tb=no", *FEW, *targets)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    records = {record["target"]["name"]: record for record in warm_project.records()}
    for name, expected in DAMAGED.items():
        found = failures(records[name])
        assert found.keys() == expected.keys(), name
        for claim, reason in expected.items():
            assert reason in found[claim]


def test_sentencepiece_alone_fails_what_transformers_breaks(
    warm_project: Project, tmp_path: Path
) -> None:
    from packaging.version import Version
    from transformers import __version__

    from tests.support import model_folders as folders

    if Version(__version__) < Version("5"):
        pytest.skip("before version 5, transformers converts it correctly")
    pytest.importorskip("google.protobuf", reason="transformers converts it by protobuf")
    folder = folders.with_sentencepiece_alone(tmp_path / "alone")
    result = warm_project.run(str(TOKENIZER_CLAIMS), "-q", *FEW, "--target", str(folder))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = failures(warm_project.record())
    assert found.pop("ids-english") == (
        f"{JAPAN} [1014, 5565, 302, 4720, 349] (The ▁capital ▁of ▁Japan ▁is), not "
        "[1, 415, 5565, 302, 4720, 349]"
    )
    assert found.pop("prefix-space") == (
        "'The' begins with ['The']: it was not encoded as if a space came before it"
    )
    assert found.pop("bos-inserted") == "'' begins with [], not with BOS"
    assert found.keys() == {
        "ids-japanese",
        "special-tokens-flag",
        "decode-bos",
        "double-bos",
        "reference-agreement",
    }


def test_class_that_makes_the_tokenizer_again_fails_own_ids(
    warm_project: Project, tmp_path: Path
) -> None:
    """As Granite 4.0 from transformers 4.57 to 5: numbers get other ids (mellea 947)."""
    from packaging.version import Version
    from transformers import __version__

    from tests.support import model_folders as folders

    classes = {"right": "PreTrainedTokenizerFast", "wrong": "GPT2Tokenizer"}
    targets = []
    for name, tokenizer_class in classes.items():
        folder = folders.that_splits_digits(tmp_path / "targets" / name, tokenizer_class)
        targets += ["--target", str(folder)]
    warm_project.run(str(TOKENIZER_CLAIMS), "-q", "--tb=no", "--claim", "own-ids", *targets)
    found = {record["target"]["name"]: record["claims"][0] for record in warm_project.records()}
    assert found["right"]["verdict"] == "holds"
    if Version(__version__) < Version("5"):  # it read tokenizer.json
        assert found["wrong"]["verdict"] == "holds"
        return
    assert found["wrong"]["verdict"] == "fails"
    assert "texts get other ids than tokenizer.json gives" in found["wrong"]["reason"]
