"""Records made by hand, for tests that write, read or show them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from probes.results.folding import fold_record
from probes.schema.claim import Kind, Status
from probes.schema.record import (
    Check,
    ClaimRecord,
    Cost,
    Environment,
    Rate,
    Record,
    TargetFacts,
    Verdict,
)

STARTED = "2026-11-23T07:51:20Z"
FINISHED = "2026-11-23T07:51:52Z"

TARGET = TargetFacts(name="embedded", source="embedded")
ENVIRONMENT = Environment(
    python="3.11.7", platform="Linux x86_64", packages={"transformers": "5.23.0", "torch": "2.13.0"}
)
LOADED = TARGET.model_copy(
    update={
        "dtype": "float32",
        "device": "cpu",
        "attention": "sdpa",
        "architecture": "MistralForCausalLM",
        "vocabulary": 32000,
        "parameters": 3_512_345,
        "weight_bytes": 14_049_380,
    }
)

# Everything a model may utter that a careless page would obey, hide or choke on.
HOSTILE = (
    "</script></style><img src=x onerror=\"document.title='taken'\"><svg onload='alert(1)'>"
    "{{ 7 * 7 }}{% raw %}\" ' & \x00\x07\x1b[31m\u202ereversed\u2066 \u200b\ufeff end  "
)


def check(name: str = "test_it", verdict: Verdict = Verdict.HOLDS, **more: Any) -> Check:
    """A check that took 10 ms and one forward pass."""
    cost = Cost(seconds=0.01, forward_passes=1, rows=1, tokens=6)
    return Check(**{"name": name, "verdict": verdict, "cost": cost, **more})


def planned(claim_id: str, checks: int = 1, **more: Any) -> ClaimRecord:
    """A claim about to be decided."""
    claim = {
        "id": claim_id,
        "section": "Tokenizer",
        "title": f"What {claim_id} states.",
        "status": Status.AS_PUBLISHED,
        "needs": ("tokenizer",),
        "planned": checks,
    }
    return ClaimRecord.model_validate({**claim, **more})


def header(*claims: ClaimRecord, **more: Any) -> Record:
    claims = claims or (planned("bos-inserted"), planned("pad-token"))
    return Record.model_validate(
        {
            "suite": "0.1.0",
            "started": STARTED,
            "target": TARGET,
            "environment": ENVIRONMENT,
            "claims": claims,
            **more,
        }
    )


def record(
    checks: Iterable[tuple[str, Check]] = (), plan: Record | None = None, **more: Any
) -> Record:
    """A finished run of one check a claim, unless other checks are given."""
    plan = plan or header()
    checks = list(checks) or [(claim.id, check()) for claim in plan.claims]
    finished = more.pop("finished", FINISHED)
    return fold_record(plan, [(LOADED, ENVIRONMENT)], checks, finished).model_copy(update=more)


def rates(faster: float = 1.0) -> tuple[Rate, ...]:
    """Throughput of every kind: measured, with a limit, and not measured with a reason."""
    copied = Rate(what="copy", unit="bytes", per_second=18e9, low=17e9, high=19e9, repetitions=7)
    found = [copied]
    for batch in (1, 8, 32):
        for cache in ("dynamic", "static"):
            sizes = {"batch": batch, "cache": cache, "prompt_tokens": 32, "new_tokens": 17}
            for what, rate, limit in (("prefill", 3000.0, 31000.0), ("decode", 130.0, 950.0)):
                middle = rate * batch**0.6 * faster
                measured = {"per_second": middle, "low": 0.9 * middle, "high": 1.1 * middle}
                bound = {"limit": limit * batch, "share": middle / (limit * batch)}
                about = {"what": what, "unit": "tokens", "repetitions": 7, **sizes}
                found.append(Rate.model_validate({**about, **measured, **bound}))
    reason = "transformers compiles on a CUDA device alone, and this is cpu"
    found.append(Rate(what="decode", unit="tokens", cache="static", compiled=True, reason=reason))
    found.append(
        Rate(
            what="continuous batching",
            unit="samples",
            batch=8,
            cache="paged",
            per_second=31.8 * faster,
            low=26.1 * faster,
            high=33.2 * faster,
            repetitions=7,
            peak_bytes=2_000_000_000,
        )
    )
    return tuple(found)


EVERY_SHAPE: dict[str, Any] = {
    "pieces": ["<s>", "▁", "日", "本"],
    "table": [{"id": 28705, "piece": "▁"}, {"id": 29142, "alone": True}],
    "by_name": {"first": 0.1, "second": None},
    "grid": [[1, 2], [3]],
    "ratio": 0.1234567890123,
    "loss": float("nan"),
    "ceiling": float("inf"),
    "long": "once upon a time\n" * 100,
    "many": list(range(200)),
    "odd": [1, {"two": [3]}],
    "nothing": [],
    "no_text": "",
}
"""Evidence of every shape that a report shows."""


def mixed() -> Record:
    """A run with every verdict, and evidence of every shape."""
    plan = header(
        planned("load-nf4", section="Loading", status=Status.REFINED, differs="Adds the numbers."),
        planned("default-length", section="Loading"),
        planned("bos-inserted", checks=3),
        planned("ids-japanese"),
        planned("round-trip", deselected=2),
        planned("vocab-size", section="Vocabulary"),
        planned("embedding-shape", section="Vocabulary"),
        planned("heat-varies", section="Vocabulary", kind=Kind.OBSERVATION, expected=False),
    )
    texts = {"English": "The capital", "Japanese": "日本の首都は", "Arabic": "عاصمة اليابان"}
    return record(
        [
            (
                "load-nf4",
                check(verdict=Verdict.NOT_APPLICABLE, reason="the target is not quantized"),
            ),
            (
                "default-length",
                check(
                    "test_default_length",
                    Verdict.FAILS,
                    reason="expected 20 new tokens, got 14\nassert 14 == 20",
                    values={"prompt_tokens": 6, "new_tokens": 14},
                ),
            ),
            *(
                ("bos-inserted", check(f"test_bos[{name}]", values={"text": text, "ids": [1, 2]}))
                for name, text in texts.items()
            ),
            ("ids-japanese", check(values=EVERY_SHAPE)),
            ("round-trip", check(values={"text": HOSTILE})),
            ("heat-varies", check(verdict=Verdict.NOT_OBSERVED, reason="five runs are the same")),
            ("vocab-size", check(verdict=Verdict.ERROR, reason="ModuleNotFoundError: none")),
        ],
        plan,
        finished=None,
    )
