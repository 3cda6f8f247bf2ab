"""Evidence for the interactive parts of a page, made without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.schema.evidence.distributions import Distribution, Token, tail_ranks
from probes.schema.evidence.texts import Alternative, Trace, TraceStep
from probes.schema.evidence.words import VocabularyTable
from probes.schema.record import Record
from tests.support.samples import HOSTILE, check, header, planned, record

PIECES = ["<unk>", "<s>", "</s>", "▁", "日", "▁the", "the", "▁The", "\u202e", HOSTILE, "▁▁"]
PIECES += [f"piece{number}" for number in range(len(PIECES), 1000)]

LONG = "語" * 100_000


def make_distribution(
    logits: npt.NDArray[np.float64],
    prompt: str = "The capital of Japan is",
    answer: int | None = None,
    *,
    texts: Sequence[str] = (),
    head: int = 500,
    step: int = 7,
) -> dict[str, Any]:
    """Return a distribution as evidence; its tokens' ids are their ranks plus 100."""
    kept = np.round(np.sort(logits)[::-1], 4)
    names = [*texts, *(f"token{rank}" for rank in range(len(texts), 200))]
    return Distribution(
        prompt=prompt,
        answer=answer,
        vocabulary=len(kept),
        top=[
            Token(id=100 + rank, text=text, logit=float(logit))
            for rank, (text, logit) in enumerate(zip(names, kept[:200], strict=False))
        ],
        head=kept[:head].tolist(),
        step=step,
        tail=kept[tail_ranks(len(kept), head, step)].tolist(),
    ).as_evidence()


def make_distributions() -> list[dict[str, Any]]:
    """Return a steep one, a flat one, one with ties, and two of which every logit is kept."""
    rng = np.random.default_rng(5)
    steep = np.concatenate([rng.normal(-2, 2, 31_990), rng.normal(9, 3, 10)])
    ties = np.repeat(rng.normal(0, 2, 160), 25)
    return [
        make_distribution(steep, answer=102, step=63, texts=["Tokyo", "", " Kyoto", "日本"]),
        make_distribution(rng.normal(0, 2, 32_000), "Once upon a time", answer=31_000, step=63),
        make_distribution(ties, "日本の首都は"),
        make_distribution(rng.normal(0, 3, 40), "Small", answer=101),
        make_distribution(np.zeros(60), "All alike"),
    ]


def make_step(text: str, probability: float = 0.9, rank: int = 1, **more: Any) -> TraceStep:
    """Return one token of a text."""
    usual: dict[str, Any] = {"margin": 0.5, "near_tie": False, "entropy": 1.25, "kept": 12}
    return TraceStep(
        id=415,
        text=text,
        probability=probability,
        rank=rank,
        alternatives=[
            Alternative(text=f"{text}{n}", probability=probability / n) for n in range(1, 6)
        ],
        **usual | more,
    )


def make_trace(*texts: str, prompt: str = "Once upon a time") -> dict[str, Any]:
    """Return a trace of a likely token, a less likely one, a near-tie, and the given texts."""
    steps = [
        make_step(" there", 0.97),
        make_step(" was", 0.3, rank=2),
        make_step("\n", 0.02, near_tie=True, kept=31_000),
        *(make_step(text) for text in texts),
    ]
    return Trace(prompt=prompt, steps=steps).as_evidence()


def interactive_record(**evidence: Any) -> Record:
    """Return a run with evidence for every interactive part; `evidence` replaces some of it."""
    usual = {
        "distributions": make_distributions(),
        "table": VocabularyTable.pack(PIECES).table,
        "trace": make_trace(),
    }
    values = usual | evidence
    claims = ("vocab-table", "next-token", "filter-order", "greedy")
    settings = {"temperature": 1.4, "top_p": 0.9}
    return record(
        [
            ("vocab-table", check(values={"table": values["table"]})),
            ("next-token", check(values={"distributions": values["distributions"]})),
            ("filter-order", check(values={"settings": settings, "trace": values["trace"]})),
            ("greedy", check(values={"trace": values["trace"]})),
        ],
        header(*map(planned, claims)),
    )


def hostile_record() -> Record:
    """Return the same with texts that a careless page would obey."""
    texts = [HOSTILE, LONG, "<!--<script>", "\u2028\u2029", "&lt;b&gt;", '"', "\\ud800"]
    logits = np.random.default_rng(1).normal(0, 1, 300)
    return interactive_record(
        distributions=[
            make_distribution(logits, prompt, answer=100, texts=texts, head=200)
            for prompt in (HOSTILE, LONG, "<!--<script>")
        ],
        trace=make_trace(*texts, prompt=HOSTILE),
        table=VocabularyTable.pack([*texts, *PIECES, "\ud800"]).table,
    )
