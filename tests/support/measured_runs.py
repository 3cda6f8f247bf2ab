"""Runs whose checks attached what the list of runs draws of all targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from tests.support.samples import TARGET, check, header, planned, record

Found: TypeAlias = dict[str, list[tuple[str, dict[str, Any]]]]
"""By claim: the names of checks, and what they attached."""

PROMPTS = ("The capital of Japan is", "Once upon a time,")
WORDS = {
    "words": ["king", "queen", "dog", "cat", "sea"],
    "groups": ["royalty", "royalty", "animals", "animals", ""],
    "cosine_matrix": [[1.0 if x == y else 0.1 * (x + y) for x in range(5)] for y in range(5)],
    "other_lists": {},
}

COSTS: dict[str, Any] = {
    "quantization_costs": [
        {
            "kind": "nf4",
            "computes_in": "float32",
            "bytes": 4_000_000,
            "context": 512,
            "windows": 4,
            "positions": 1020,
            "whole": True,
            "mean_divergence": {"value": 0.05, "low": 0.04, "high": 0.06},
            "percentiles": {"50": {"value": 0.02, "low": 0.01, "high": 0.03}, "99.9": None},
            "rms_change": {"value": 0.03, "low": 0.02, "high": 0.04},
            "same_top": {"value": 0.9, "low": 0.88, "high": 0.92},
            "perplexity_ratio": {"value": 1.05, "low": 1.04, "high": 1.06},
            "errors_over_positions": {"mean_divergence": 0.002},
            "by_text": {"english": 0.05},
            "flips": {
                "questions": 66,
                "right_before": 60,
                "lost": 4,
                "won": 1,
                "p_value": 0.375,
                "would_show": 0.15,
            },
            "stories": None,
        }
    ],
    "reference": "float32",
    "reference_bytes": 16_000_000,
    "stored_as": "Q4_1",
    "corpus": "built-in",
}


def measured(number: float = 0.5) -> Found:
    """What a target's run attached, by claim: names of checks and evidence."""
    curve = {"temperatures": [0.2, 1.0, 4.0], "entropies": [0.1, number, 8.0]}
    answers = {"temperatures": [0.2, 1.8], "at_least": [1.0, number], "at_most": [1.0, 0.9]}
    repeats = {"greedy_distinct": number, "sampled_distinct": 0.99, "greedy_text": "a b"}
    counts = [("Latin", 30, 7), ("Japanese", 11, 12), ("Runic", 10, 20)]
    names = ("script", "characters", "tokens")
    scripts = [dict(zip(names, row, strict=True)) for row in counts]
    return {
        "knowledge-dose": [(f"test_it[{p}]", answers) for p in ("0.2", "0.9")],
        "temperature-shape": [(f"test_it[{prompt}]", curve) for prompt in PROMPTS],
        "greedy-repeats": [("test_it", repeats)],
        "cosine-groups": [("test_it", WORDS)],
        "round-trip": [("test_it", {"tokens_by_script": scripts})],
        "quantization-cost": [("test_it[nf4]", COSTS)],
    }


def write_measured(report_dir: Path, target: str, day: int, found: Found) -> None:
    """Write the record of a target's run of one day in November 2026."""
    started = f"2026-11-{day:02}T00:00:00Z"
    claims = [planned(claim, len(checks)) for claim, checks in found.items()]
    plan = header(*claims, target=TARGET.model_copy(update={"name": target}), started=started)
    checks = [
        (claim, check(name, values=values))
        for claim, several in found.items()
        for name, values in several
    ]
    folder = report_dir / target / f"202611{day:02}T000000Z"
    folder.mkdir(parents=True)
    text = record(checks, plan, target=plan.target).model_dump_json()
    (folder / "record.json").write_text(text, encoding="utf-8")
