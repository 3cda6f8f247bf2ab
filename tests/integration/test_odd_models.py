"""The claims on odd models: each holds, fails, or is not applicable, for a clear reason.

A claim about a network that gives no distribution fails.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support.project import Project

OF_THE_NETWORK = (
    "default-length",
    "next-token",
    "temperature-shape",
    "hidden-top-k",
    "greedy-argmax",
    "collapse",
    "heat-wide-varies-more",
    "seeded",
    "greedy-repeats",
    "beam-one",
    "beam-likelihood",
    "stories-greedy",
    "stories-sampled",
    "recorded-texts",
    "recorded-numbers",
)
OF_THE_EMBEDDING = ("embedding-lookup", "word-vectors", "cosine-groups", "pca-groups", "pca-loss")
WITH_ODD_ROWS = ("not_a_number", "partly_not_a_number", "two_tokens")
AFTER_JAPAN = "the logits after 'The capital of Japan is' are no distribution: "
NO_NUMBER = "the vector of 'king' is not finite: 64 of its 64 numbers are NaN, 0 infinite"
ONE_VECTOR = "all words have one and the same vector"
TOO_SHORT = ("not applicable", "its context of 8 tokens is too short to decide this")

OF_MORE = "France or Germany or Italy or Spain or Egypt or Canada or Peru or upon or United or 60"
"""Checks of more prompts and longer texts, of which one shows what an odd model does."""

FOUND: dict[str, dict[str, tuple[str, str]]] = {
    "not_a_number": {
        "default-length": ("fails", AFTER_JAPAN + "377 of 377 are NaN"),
        "beam-one": ("fails", AFTER_JAPAN + "377 of 377 are NaN"),
        "word-vectors": ("fails", NO_NUMBER),
        "pca-groups": ("fails", NO_NUMBER),
    },
    "partly_not_a_number": {
        "greedy-argmax": ("fails", AFTER_JAPAN + "1 of 377 is NaN"),
        "word-vectors": ("holds", ""),
    },
    "infinite": {"next-token": ("fails", AFTER_JAPAN + "1 of 377 is Infinity")},
    "all_equal": {
        "temperature-shape": (
            "not applicable",
            "to it all tokens are equally likely, at any temperature",
        ),
        "greedy-argmax": ("holds", ""),
        "heat-wide-varies-more": ("fails", "wide-hot texts are as likely: p = …"),
    },
    "ends_at_once": {
        "default-length": ("holds", ""),
        "temperature-shape": (
            "not applicable",
            "at these temperatures its entropy rises by less than rounding in float64: one token "
            "has nearly all the probability, or all have nearly the same",
        ),
        "heat-wide-varies-more": ("fails", "wide-hot texts are drawn from no flatter a law: p = …"),
        "greedy-repeats": (
            "not applicable",
            "none of its greedy texts is longer than 1: too short to repeat itself",
        ),
    },
    "no_bos_and_no_end": {"default-length": ("holds", ""), "beam-one": ("holds", "")},
    "padding_without_row": {
        "pad-token": ("fails", "the padding id 377 has no row in the embedding, which has 377"),
        "default-length": ("holds", ""),
        "seeded": ("fails", "the padding id 377 has no row in the embedding, which has 377"),
    },
    "end_without_row": {
        "pad-token": ("fails", "the end id 1,377 has no row in the embedding, which has 377"),
        "default-length": ("holds", ""),
        "greedy-argmax": (
            "fails",
            "the padding id 1,377 has no row in the embedding, which has 377",
        ),
    },
    "short_context": dict.fromkeys(OF_THE_NETWORK, TOO_SHORT),
    "two_tokens": {
        "greedy-argmax": ("holds", ""),
        "pca-groups": ("fails", ONE_VECTOR),
        "pca-loss": ("fails", ONE_VECTOR),
    },
    "undecodable": {
        "next-token": (
            "fails",
            "the tokenizer cannot decode the ids [910]: ValueError: bytes must be in range(0, 256)",
        )
    },
}
"""What becomes of some of the claims, and why, by the odd model's name."""


def test_odd_model_is_decided_in_one_line_each(warm_project: Project, tmp_path: Path) -> None:
    from tests.support import odd_model_folders as odd_folders

    folders = {n: getattr(odd_folders, n)(tmp_path / "targets" / n) for n in FOUND}
    rows = [folders.pop(name) for name in WITH_ODD_ROWS]
    claims = (*OF_THE_NETWORK, "pad-token")
    decided(warm_project, rows, (*claims, *OF_THE_EMBEDDING))
    records = decided(warm_project, [*folders.values()], claims)
    assert set(records) == set(FOUND)
    for name, expected in FOUND.items():
        found = verdicts(records[name])
        for claim, outcome in expected.items():
            verdict, reason = found[claim]
            known = re.sub(r"p = [\d.e-]+$", "p = …", reason.partition(" (attention")[0])
            assert (verdict, known) == outcome, f"{claim} on {name}"
    for name in ("not_a_number", "partly_not_a_number", "infinite"):
        found = verdicts(records[name])
        assert {found[claim][0] for claim in OF_THE_NETWORK} == {"fails"}


def test_text_of_megabytes_keeps_the_report_usable(warm_project: Project, tmp_path: Path) -> None:
    from tests.support import odd_model_folders as odd_folders

    folder = odd_folders.huge_text(tmp_path / "huge_text")
    claims = ("default-length", "next-token", "stories-greedy")
    record = decided(warm_project, [folder], claims)["huge_text"]
    found = verdicts(record)
    assert found["default-length"] == ("holds", "")
    assert found["next-token"][0] == "fails"
    assert found["next-token"][1].endswith(" characters)")
    (text, *_) = [claim["evidence"][0]["values"]["text"] for claim in record["claims"][:1]]
    assert text.endswith("… (cut: 10,000,000 characters)")
    (report,) = (warm_project.folder / "reports").glob("*/*/report.html")
    assert report.stat().st_size < 4 * 2**20
    assert "(cut: 10,000,000 characters)" in report.read_text(encoding="utf-8")


def decided(
    project: Project, folders: list[Path], claims: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """The records of a run on several folders, in each of which every claim came to an end."""
    tables = [
        f'[targets.{folder.name}]\nfolder = "{folder.as_posix()}"\nexpects = "all"\n'
        for folder in folders
    ]
    known = project.folder / "targets.toml"
    known.write_text("".join(tables), encoding="utf-8")
    options = ("--targets-file", str(known), "-k", f"not ({OF_MORE})")
    records = project.decide((folder.name for folder in folders), claims, *options)
    for name, record in records.items():
        assert record["complete"] is True
        for claim in record["claims"]:
            said = f"{claim['id']} on {name}: {claim['reason']}"
            assert claim["verdict"] in ("holds", "fails", "not applicable"), said
            assert claim["verdict"] == "holds" or claim["reason"], said
    return records


def verdicts(record: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {claim["id"]: (claim["verdict"], claim["reason"]) for claim in record["claims"]}
