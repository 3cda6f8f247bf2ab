"""The claims on other architectures: each is decided, or not applicable for a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from probes.schema.claim import catalogue
from tests.support.project import Project

pytestmark = pytest.mark.usefixtures("in_brief")

OF_ANY_MODEL = {
    *("load-nf4", "load-to-device", "default-length", "pad-token"),
    *("embedding-shape", "embedding-lookup"),
    "special-tokens-flag",
    "round-trip",
    *("bos-inserted", "prefix-space", "decode-bos", "double-bos", "vocab-table"),
    *("own-ids", "tokenizer-reload", "streamed-text"),
}
OF_MISTRALS_TOKENIZER = {"ids-english", "ids-japanese", "vocab-size"}
HOLDS_AS_MISTRALS = OF_ANY_MODEL | OF_MISTRALS_TOKENIZER | {"reference-agreement"}
OF_THE_WEIGHTS = ("default-text", "embedding-row-0")
OTHER_TOKENIZER = "its tokenizer is not Mistral-7B-v0.1's: 0 of 32000 pieces at the same id"
NO_REFERENCE = "its folder has no SentencePiece model (tokenizer.model) to compare it with"
OTHER_WEIGHTS = (
    "its weights are not those of Mistral-7B-v0.1; if they are, declare "
    'provides = ["mistral-7b"] for it in a targets file'
)


def test_other_architectures_are_decided(warm_project: Project, tmp_path: Path) -> None:
    from tests.support import model_folders as folders

    makers = (folders.llama, folders.qwen2, folders.gpt2)
    llama, qwen2, gpt2 = (make(tmp_path / "targets" / make.__name__) for make in makers)
    # Answers of random weights take long to follow.
    claims = {each for each in catalogue() if not each.startswith(("knowledge", "task-settings"))}
    for targets, decided, left_out in (
        ((gpt2,), claims, "any_logits"),  # of the library alone
        (
            (llama, qwen2),
            HOLDS_AS_MISTRALS | {*OF_THE_WEIGHTS},
            "any_text and not corpus",
        ),
    ):
        records = warm_project.decide(targets, sorted(decided), "-k", f"not {left_out}")
    assert set(records) == {"llama", "qwen2", "gpt2"}
    for record in records.values():
        assert record["complete"] is True
        for claim in record["claims"]:
            failing = "fails" if claim["kind"] == "contract" else "not observed"
            assert claim["verdict"] in ("holds", failing, "not applicable"), claim["reason"]
            assert claim["verdict"] == "holds" or claim["reason"]
    decides_as_mistrals(records["llama"])
    assert verdicts(records["gpt2"])["recorded-ids"] == ("holds", "")
    decides_as_byte_level(records["gpt2"])
    decides_as_qwen2(records["qwen2"])


def decides_as_mistrals(record: dict[str, Any]) -> None:
    found = verdicts(record)
    for claim in HOLDS_AS_MISTRALS:
        assert found[claim] == ("holds", ""), claim
    for claim in OF_THE_WEIGHTS:
        assert found[claim] == ("not applicable", OTHER_WEIGHTS)


def decides_as_byte_level(record: dict[str, Any], but: tuple[str, ...] = ()) -> None:
    found = verdicts(record)
    for claim in OF_ANY_MODEL.difference(but):
        assert found[claim] == ("holds", ""), claim
    for claim in OF_MISTRALS_TOKENIZER:
        assert found[claim] == ("not applicable", OTHER_TOKENIZER)
    assert found["reference-agreement"] == ("not applicable", NO_REFERENCE)
    for claim in OF_THE_WEIGHTS:
        assert found[claim] == ("not applicable", OTHER_WEIGHTS)


def decides_as_qwen2(record: dict[str, Any]) -> None:
    """As any byte-level model, but that Qwen's tokenizer class may compose characters.

    The files do not ask for it, so the claims fail that compare the class with them.
    """
    decides_as_byte_level(record, but=("round-trip", "own-ids"))
    found = verdicts(record)
    verdict, reason = found["round-trip"]
    assert found["own-ids"][0] == verdict
    assert verdict == "holds" or reason == (
        "'e\\u0301 o\\u0308 n\\u0303 \\u0301' comes back as '\\xe9 \\xf6 \\xf1 \\u0301'"
    )
    if verdict == "fails":
        assert " of 4,000 texts get other ids than tokenizer.json gives" in found["own-ids"][1]


def verdicts(record: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {claim["id"]: (claim["verdict"], claim["reason"]) for claim in record["claims"]}
