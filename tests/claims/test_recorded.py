"""Claims: recorded outputs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

import probes
from probes.texts import PROMPTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes import Model
    from probes.model import Generation
    from probes.recording import Finding, Recording
    from probes.snapshots import Recorded

    Greedy = Callable[[int], list[Generation]]

Evidence = dict[str, Any]

LENGTH = 20


@pytest.mark.claim("recorded-texts")
def test_greedy_texts_are_the_recorded_ones(
    model: Model, greedy: Greedy, recorded: Recorded, evidence: Evidence
) -> None:
    texts = dict(zip(PROMPTS, greedy(LENGTH), strict=True))
    old = recorded.baseline.texts if recorded.baseline else {}
    evidence["tolerance"] = tolerance = probes.determinism.tolerance(
        [*texts.values()], model.network.dtype
    )

    def noise() -> float:
        evidence["noise"] = measured = probes.outputs.noise(model, PROMPTS, LENGTH)
        return measured

    findings = probes.recording.compare_texts(
        old,
        {name: probes.outputs.present(text, old.get(name)) for name, text in texts.items()},
        tolerance=tolerance,
        noise=noise,
    )
    now = probes.recording.Recording(
        made=recorded.made,
        texts={name: probes.outputs.recorded_text(text) for name, text in texts.items()},
    )
    decide(recorded, now, findings, evidence)


@pytest.mark.claim("recorded-numbers")
def test_numbers_are_the_recorded_ones(
    model: Model, greedy: Greedy, recorded: Recorded, evidence: Evidence
) -> None:
    texts = dict(zip(PROMPTS, greedy(LENGTH), strict=True))
    now = probes.recording.Recording(
        made=recorded.made, numbers=probes.outputs.recorded_numbers(model, texts)
    )
    old = recorded.baseline.numbers if recorded.baseline else {}
    findings = probes.recording.compare_numbers(old, now.numbers)
    decide(recorded, now, findings, evidence)


def decide(recorded: Recorded, now: Recording, findings: list[Finding], evidence: Evidence) -> None:
    """Hold where rounding explains all there is; never where nothing was compared."""
    uncompared = recorded.settle(now, findings)
    evidence["made"] = recorded.made.model_dump()
    if uncompared is not None:
        pytest.skip(uncompared)
    assert recorded.baseline is not None
    evidence["changed_since"] = changed = probes.recording.changes(
        recorded.baseline.made, recorded.made
    )
    evidence["findings"] = [asdict(finding) for finding in findings]
    evidence["near_ties"] = [f.reason for f in findings if f.outcome == "near-tie"]
    evidence["largest_share_of_tolerance"] = max((f.share or 0.0 for f in findings), default=0.0)
    wrong = [finding.reason for finding in findings if not finding.outcome.holds]
    since = f"\nsince it was recorded: {'; '.join(changed)}" if changed else ""
    assert not wrong, "\n".join(wrong) + since
