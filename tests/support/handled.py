"""Evidence to handle on a page: distributions, traced texts, a vocabulary, made without a model."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.support.samples import HOSTILE, check, header, planned, record

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from probes.schema.record import Record

PIECES = ["<unk>", "<s>", "</s>", "▁", "日", "▁the", "the", "▁The", "\u202e", HOSTILE, "▁▁"]
PIECES += [f"piece{number}" for number in range(len(PIECES), 1000)]

LONG = "語" * 100_000


def distribution(
    logits: npt.NDArray[np.float64],
    prompt: str = "The capital of Japan is",
    answer: int | None = None,
    *,
    texts: Sequence[str] = (),
    head: int = 500,
    step: int = 7,
) -> dict[str, Any]:
    """What is kept of a distribution; its tokens' ids are their ranks plus 100."""
    kept = np.round(np.sort(logits)[::-1], 4)
    size = len(kept)
    ranks = sorted({*range(head, size, step), size - 1}) if size > head else []
    top = [
        {"id": 100 + rank, "text": f"token{rank}", "logit": float(logit)}
        for rank, logit in enumerate(kept[:200])
    ]
    for token, text in zip(top, texts, strict=False):
        token["text"] = text
    return {
        "prompt": prompt,
        "answer": answer,
        "vocabulary": size,
        "top": top,
        "head": kept[:head].tolist(),
        "step": step,
        "tail": kept[ranks].tolist(),
    }


def distributions() -> list[dict[str, Any]]:
    """Steep, flat, with ties, and so small that all of it is kept."""
    rng = np.random.default_rng(5)
    steep = np.concatenate([rng.normal(-2, 2, 31_990), rng.normal(9, 3, 10)])
    ties = np.repeat(rng.normal(0, 2, 160), 25)
    return [
        distribution(steep, answer=102, step=63, texts=["Tokyo", "", " Kyoto", "日本"]),
        distribution(rng.normal(0, 2, 32_000), "Once upon a time", answer=31_000, step=63),
        distribution(ties, "日本の首都は"),
        distribution(rng.normal(0, 3, 40), "Small", answer=101),
        distribution(np.zeros(60), "All alike"),
    ]


def step(text: str, probability: float = 0.9, rank: int = 1, **more: Any) -> dict[str, Any]:
    """One token of a text."""
    alternatives = [{"text": f"{text}{n}", "probability": probability / n} for n in range(1, 6)]
    return {
        "id": 415,
        "text": text,
        "probability": probability,
        "rank": rank,
        "margin": 0.5,
        "near_tie": False,
        "entropy": 1.25,
        "kept": 12,
        "alternatives": alternatives,
        **more,
    }


def traced(*texts: str) -> dict[str, Any]:
    """A text of a likely token, a less likely one, one by a hair's breadth, and those given."""
    return {
        "prompt": "Once upon a time",
        "steps": [
            step(" there", 0.97),
            step(" was", 0.3, rank=2),
            step("\n", 0.02, near_tie=True, kept=31_000),
            *(step(text) for text in texts),
        ],
    }


def packed(pieces: Sequence[str]) -> str:
    """A vocabulary as a record holds it."""
    return base64.b64encode(zlib.compress(json.dumps(list(pieces)).encode())).decode()


def handled(**evidence: Any) -> Record:
    """A run whose evidence can be handled; what is named here replaces the usual."""
    usual: dict[str, Any] = {
        "distributions": distributions(),
        "table": packed(PIECES),
        "trace": traced(),
    }
    values = usual | evidence
    plan = header(
        planned("vocab-table"), planned("next-token"), planned("filter-order"), planned("greedy")
    )
    drawn = {"temperature": 1.4, "top_p": 0.9}
    return record(
        [
            ("vocab-table", check(values={"table": values["table"]})),
            ("next-token", check(values={"distributions": values["distributions"]})),
            ("filter-order", check(values={"settings": drawn, "trace": values["trace"]})),
            ("greedy", check(values={"trace": values["trace"]})),
        ],
        plan,
    )


def hostile() -> Record:
    """The same, with texts a careless page would obey."""
    texts = [HOSTILE, LONG, "<!--<script>", "\u2028\u2029", "&lt;b&gt;", '"', "\\ud800"]
    logits = np.random.default_rng(1).normal(0, 1, 300)
    return handled(
        distributions=[
            distribution(logits, prompt, answer=100, texts=texts, head=200)
            for prompt in (HOSTILE, LONG, "<!--<script>")
        ],
        trace=traced(*texts) | {"prompt": HOSTILE},
        table=packed([*texts, *PIECES, "\ud800"]),
    )
