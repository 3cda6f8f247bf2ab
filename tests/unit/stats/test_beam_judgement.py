"""Texts of beam search are judged by their scores, and by how nearly a candidate was dropped."""

from __future__ import annotations

import math

import pytest

from probes.report.text.comparison import describe_difference
from probes.schema.comparison import Difference
from probes.schema.evidence.texts import KeptBeams
from probes.schema.recorded_output import RecordedBeam, RecordedBeams
from probes.stats.near_tie import judge_beams
from tests.support.comparing import differences


def beams(*scores: float, texts: str = "abc") -> RecordedBeams:
    return RecordedBeams(
        prompt_ids=(1, 2),
        beams=tuple(
            RecordedBeam(ids=(ord(text), 3), text=text, score=score)
            for text, score in zip(texts, scores, strict=False)
        ),
    )


RECORDED = beams(-1.0, -1.5)


@pytest.mark.parametrize(
    ("now", "again", "closest", "expected"),
    [
        (beams(-1.0, -1.5), -1.5, 0.3, ["same", "same"]),
        (beams(-1.01, -1.5), -1.5, 0.3, ["same", "same"]),
        (beams(-1.0, -1.53), -1.53, 0.3, ["same", "drifted"]),
        (beams(-1.0, -1.51, texts="ad"), -1.5, 0.3, ["same", "near-tie"]),
        (beams(-1.0, -1.6, texts="ad"), -1.5, 0.5, ["same", "changed"]),
        (beams(-1.0, -1.6, texts="ad"), -1.5, 0.0, ["same", "near-tie"]),
        # No tie of the search excuses the recorded text's own score.
        (beams(-1.0, -1.6, texts="ad"), -1.7, 0.0, ["same", "drifted"]),
        (beams(-1.0, -1.5, texts="ad"), math.nan, 0.0, ["same", "drifted"]),
        (beams(-1.0), -1.5, 0.3, ["other prompt"]),
    ],
)
def test_beams_are_judged_by_their_scores(
    now: RecordedBeams, again: float, closest: float, expected: list[str]
) -> None:
    scores = [-1.0, again]
    found = judge_beams(
        "P", RECORDED, now, closest=closest, scores_of_recorded=scores, explained=0.02
    )
    assert [each.outcome.value for each in found] == expected
    assert all(bool(each.reason) is (each.outcome.value != "same") for each in found)


def changes(now: RecordedBeams, closest: float = 0.3) -> list[Difference]:
    """Compare beams with those recorded."""
    old, new = (KeptBeams.of({"P": each}, {"P": closest}) for each in (RECORDED, now))
    return differences(old, new, 0.001, "beams-recorded")


def test_comparison_names_changed_beams() -> None:
    assert changes(RECORDED) == []
    (tie,) = changes(beams(-1.0, -1.503, texts="ad"))
    assert (tie.name, tie.outcome.value) == ("beam 2 after 'P'", "drifted")
    assert describe_difference(tie) == '"b" (score -1.5) then, "d" (score -1.503) now: a near-tie'
    changed, moved = changes(beams(-1.1, -1.6, texts="ad"))
    assert changed.outcome.value == "changed"
    assert describe_difference(changed).endswith("now: no near-tie, rounding explains 0.004")
    assert moved.outcome.value == "drifted"
    assert describe_difference(moved) == (
        'the score of "a" was -1, is -1.1; rounding explains 0.004'
    )
    assert "僅差" in describe_difference(tie, "ja")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (beams(-1.0, -1.6, texts="ad"), ["drifted"]),
        (beams(-1.1, -1.6, texts="ad"), ["changed", "drifted"]),
        (beams(-1.4, -1.6, texts="cd"), ["changed", "changed"]),
    ],
    ids=["scores of common texts are equal", "a common text moved", "no text in common"],
)
def test_comparison_excuses_a_tie_only_where_scores_agree(
    now: RecordedBeams, expected: list[str]
) -> None:
    assert [each.outcome.value for each in changes(now, closest=0.0)] == expected
