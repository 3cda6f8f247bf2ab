"""The claims on other architectures: each is decided, or not applicable for a reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.schema.claim import catalogue

if TYPE_CHECKING:
    from tests.integration.conftest import Project

CLAIMS = Path(__file__).parents[1] / "claims"

OF_A_NETWORK = {
    *("load-nf4", "load-to-device", "default-length", "pad-token"),
    *("embedding-shape", "embedding-lookup"),
}
OF_ANY_MODEL = OF_A_NETWORK | {
    "special-tokens-flag",
    "round-trip",
    *("bos-inserted", "prefix-space", "decode-bos", "double-bos", "vocab-table"),
    *("own-ids", "recorded-ids", "tokenizer-reload", "streamed-text"),
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

    makers = (folders.llama, folders.mistral, folders.qwen2, folders.gpt2)
    llama, mistral, qwen2, gpt2 = (
        str(make(tmp_path / "targets" / make.__name__)) for make in makers
    )
    arguments = ["--target", gpt2, "-k", "not any_logits"]  # not those of the library alone
    for claim in catalogue():
        if not claim.startswith("knowledge"):  # answers of random weights take long to follow
            arguments += ["--claim", claim]
    warm_project.run(str(CLAIMS), "-q", "--tb=no", *arguments)
    wanted = {
        (llama, qwen2): (*HOLDS_AS_MISTRALS, *OF_THE_WEIGHTS),
        (mistral,): (*OF_A_NETWORK, *OF_THE_WEIGHTS),  # its tokenizer is the first one's
    }
    for targets, claims in wanted.items():
        arguments = [word for folder in targets for word in ("--target", folder)]
        arguments += [word for claim in claims for word in ("--claim", claim)]
        arguments += ["-k", "not fuzzed and not any_text and not corpus"]
        warm_project.run(str(CLAIMS), "-q", "--tb=no", *arguments)
    records = {record["target"]["name"]: record for record in warm_project.records()}
    assert set(records) == {"llama", "mistral", "qwen2", "gpt2"}
    for record in records.values():
        assert record["complete"] is True
        for claim in record["claims"]:
            failing = "fails" if claim["kind"] == "contract" else "not observed"
            assert claim["verdict"] in ("holds", failing, "not applicable"), claim["reason"]
            assert claim["verdict"] == "holds" or claim["reason"]
    decides_as_mistrals(records["llama"], HOLDS_AS_MISTRALS)
    decides_as_mistrals(records["mistral"], OF_A_NETWORK)
    decides_as_byte_level(records["gpt2"])
    decides_as_qwen2(records["qwen2"])


def decides_as_mistrals(record: dict[str, Any], holding: set[str]) -> None:
    found = verdicts(record)
    for claim in holding:
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
        assert " of 32,000 texts get other ids than tokenizer.json gives" in found["own-ids"][1]


def verdicts(record: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {claim["id"]: (claim["verdict"], claim["reason"]) for claim in record["claims"]}
