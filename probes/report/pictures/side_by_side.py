"""What the list of runs shows of all targets together: a picture a subject, from the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from probes.report.pictures import Picture, list_missing_packages
from probes.report.text.phrases import shorten_test_name
from probes.schema.evidence import distributions, texts, words
from probes.schema.evidence.quantization import QuantizationCosts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probes.results.newest import Evidence
    from probes.schema.evidence.shape import Shape
    from probes.schema.record import Check

Measured: TypeAlias = "Mapping[str, Mapping[str, Sequence[Evidence | Check]]]"
"""Checks by target, then by claim."""

MOST_TARGETS = 8
"""Targets of a picture: as many as there are colours."""


@dataclass(frozen=True)
class Subject:
    """One picture: the claim and the shape of evidence that it is drawn from."""

    key: str
    claim: str
    shape: type[Shape]
    parameter: str = ""
    """What the check was made for begins with it."""

    def find(self, checks: Sequence[Evidence | Check]) -> dict[str, Any]:
        """Return what was measured, by what each check was made for."""
        names = [(shorten_test_name(check.name), check) for check in checks]
        found = {
            name: self.shape.read(check.values)
            for name, check in names
            if name.startswith(self.parameter)
        }
        return {name: shape for name, shape in found.items() if shape is not None}


SUBJECTS = (
    # At a smaller top_p the nucleus can hold the right answer alone at any temperature.
    Subject("sides-accuracy", "knowledge-dose", texts.AnswerBounds, "0.9"),
    Subject("sides-entropy", "temperature-shape", distributions.EntropyCurve),
    Subject("sides-repetition", "greedy-repeats", texts.GreedyRepetition),
    Subject("sides-groups", "cosine-groups", words.EmbeddingSimilarities),
    Subject("sides-tokens", "round-trip", words.TokensByScript),
    Subject("sides-quantization", "quantization-cost", QuantizationCosts),
)

CLAIMS = tuple(subject.claim for subject in SUBJECTS)


@dataclass(frozen=True)
class SideBySide:
    """The pictures of all targets."""

    pictures: tuple[Picture, ...]
    left_out: tuple[str, ...] = ()
    """Names of the targets that no colour is left for: those that ran longest ago."""


def lay_side_by_side(measured: Measured) -> SideBySide | None:
    """Draw each subject for all targets that have it; None without charts, or if no target has any.

    `measured` has the target first that ran last.
    """
    found = {
        subject.key: {
            target: several
            for target, checks in measured.items()
            if (several := subject.find(checks.get(subject.claim, ())))
        }
        for subject in SUBJECTS
    }
    able = [target for target in measured if any(target in each for each in found.values())]
    if not able or list_missing_packages():
        return None
    from probes.report.pictures import targets  # it imports Vega, which takes a second

    left_out = able[MOST_TARGETS:]
    present = sorted(set(measured) - set(left_out))
    colours = targets.choose_colours(sorted(able[:MOST_TARGETS]))
    pictures = []
    for key, by_target in found.items():
        shown = {target: by_target[target] for target in colours if target in by_target}
        missing = tuple(target for target in present if target not in shown)
        if shown and (picture := targets.draw(key, shown, colours, missing)):
            pictures.append(picture)
    return SideBySide(tuple(pictures), tuple(sorted(left_out))) if pictures else None
