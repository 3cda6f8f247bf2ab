"""Which claim has which pictures, and from which of its checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from probes.report.pictures import Picture, choosing, meaning, measured, strips, svg, tasks
from probes.report.pictures.charts import label, percent
from probes.report.text.phrases import format_bytes, shorten_test_name
from probes.report.visible import mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probes.report.pictures.charts import Chart
    from probes.schema.record import Check, ClaimRecord

_Evidence = TypeVar("_Evidence", bound=BaseModel)

MOST_NUMBERS = 60
"""Marks; what more of them say is not repeated beside the picture, the evidence has it."""

SEVERAL = 4
"""Series or panels of one picture, at most."""


def pictures(claim: ClaimRecord) -> tuple[Picture, ...]:
    """A claim's pictures: those that its evidence can be drawn as, none if it has another shape."""
    made: list[Picture] = []
    for make in GALLERY.get(claim.id, ()):
        try:
            made += make(claim)
        except (ValueError, ArithmeticError):
            # Numbers no chart can hold. The evidence itself stands on the page all the same.
            continue
    return tuple(made)


def _found(claim: ClaimRecord, kind: type[_Evidence]) -> list[tuple[Check, _Evidence]]:
    """The checks whose evidence is of a kind, with it."""
    found = []
    for check in claim.evidence:
        try:
            found.append((check, kind.model_validate(check.values)))
        except ValidationError:
            continue
    return found


def _charted(key: str, chart: Chart, **values: object) -> Picture:
    drawing, numbers = svg.draw(chart, key)
    return Picture(key, drawing, values, numbers if len(numbers) <= MOST_NUMBERS else ())


def _strip(claim: ClaimRecord) -> Iterator[Picture]:
    for _, found in _found(claim, measured.Encoded)[:1]:
        yield Picture("strip", strips.strip(found))


def _double(claim: ClaimRecord) -> Iterator[Picture]:
    for _, found in _found(claim, measured.Encoded)[:1]:
        yield Picture("double", strips.strip(found), {"text": mark(found.text[:200])})


def _scripts(claim: ClaimRecord) -> Iterator[Picture]:
    texts = [found for _, found in _found(claim, measured.Encoded)]
    alone = [text for text in texts if strips.SPACE in text.pieces]
    merged = [text for text in texts if strips.SPACE not in text.pieces]
    if texts:
        yield Picture("scripts", strips.strips(merged[:3] + alone[:7]))


def _similarities(claim: ClaimRecord) -> Iterator[Picture]:
    for _, found in _found(claim, measured.SimilarityLists)[:1]:
        yield _heat("cosine", found)
        for name, other in found.other_lists.items():
            yield _heat("cosine-other", other, list=mark(name))


def _other_vectors(claim: ClaimRecord) -> Iterator[Picture]:
    for check, found in _found(claim, measured.Similarities)[:2]:
        layer = check.values.get("layer")
        if check.values.get("tied_to_the_embedding") is True:
            continue  # they are the rows that stand under cosine-groups
        if isinstance(layer, int):
            yield _heat("cosine-layer", found, layer=layer)
        else:
            yield _heat("cosine-head", found)


def _heat(key: str, found: measured.Similarities, **values: object) -> Picture:
    low = meaning.faintest(found.cosine_matrix)
    return _charted(key, meaning.similarities(found), low=f"{low:.2f}", **values)


def _shared_pieces(claim: ClaimRecord) -> Iterator[Picture]:
    for _, found in _found(claim, measured.Shared)[:1]:
        yield _charted("shared-pieces", meaning.shared_pieces(found))


def _planes(claim: ClaimRecord) -> Iterator[Picture]:
    for _, found in _found(claim, measured.Planes)[:1]:
        yield _plane("plane", found)
        for name, other in found.other_lists.items():
            yield _plane("plane-other", other, list=mark(name))


def _plane(key: str, found: measured.Plane, **values: object) -> Picture:
    kept = percent(sum(found.explained_variance[:2]))
    return _charted(key, meaning.plane(found), kept=kept, **values)


def _top_ten(claim: ClaimRecord) -> Iterator[Picture]:
    for _, found in _found(claim, measured.TopTen)[:1]:
        yield _charted("top-ten", choosing.top_ten(found))


def _temperatures(claim: ClaimRecord) -> Iterator[Picture]:
    for _, found in _found(claim, measured.Distributions)[:1]:
        first = found.distributions[0]
        flattest = min(found.distributions, key=choosing.lead)
        for each in (first, flattest) if flattest is not first else (first,):
            drawn = choosing.temperatures(each)
            yield _charted("temperatures", drawn, prompt=mark(each.prompt[:200]))


def _entropies(claim: ClaimRecord) -> Iterator[Picture]:
    heated = _named(claim, measured.Heated)
    if heated:
        yield _charted("entropies", choosing.entropy_by_temperature(heated))


def _nuclei(claim: ClaimRecord) -> Iterator[Picture]:
    for _, found in _found(claim, measured.Nuclei)[:1]:
        yield _charted("nuclei", choosing.nuclei(found), p=f"{found.p:g}")


def _kept_along(claim: ClaimRecord) -> Iterator[Picture]:
    traced = [found for _, found in _found(claim, measured.Traced)][:3]
    if traced:
        prompt = mark(traced[0].trace.prompt[:200])
        yield _charted("kept-along", choosing.kept_along(traced), prompt=prompt)


def _hidden(claim: ClaimRecord) -> Iterator[Picture]:
    kept = _named(claim, measured.Kept)
    if kept:
        yield _charted("hidden", choosing.hidden(kept))


def _collapse(claim: ClaimRecord) -> Iterator[Picture]:
    for check, found in _found(claim, measured.Collapse)[:1]:
        drawn = choosing.collapse(found)
        name, text = label(shorten_test_name(check.name), 40), mark(found.greedy[:200])
        yield _charted("collapse", drawn, name=mark(name), text=text)


def _beams(claim: ClaimRecord) -> Iterator[Picture]:
    pairs = _named(claim, measured.BeamPair)
    if pairs:
        yield _charted("beams", choosing.beams(pairs))


def _coherence(claim: ClaimRecord) -> Iterator[Picture]:
    pairs = _named(claim, measured.Coherence)
    if pairs:
        yield _charted("coherence", choosing.coherence(pairs))


def _repeated(claim: ClaimRecord) -> Iterator[Picture]:
    for _, found in _found(claim, measured.Repetition)[:1]:
        yield Picture(
            "repeated",
            strips.repeated(found),
            {"greedy": percent(found.greedy_distinct), "sampled": percent(found.sampled_distinct)},
        )


def _doses(claim: ClaimRecord) -> Iterator[Picture]:
    doses = [(label(f"top_p {name}"), dose) for name, dose in _named(claim, measured.Dose)]
    if doses:
        yield _charted("doses", tasks.doses(doses))


def _settings(claim: ClaimRecord) -> Iterator[Picture]:
    for _, found in _found(claim, measured.Settings)[:1]:
        yield _charted("settings", tasks.settings(found))


def _memory(claim: ClaimRecord) -> Iterator[Picture]:
    found = [each for _, each in _found(claim, measured.Memory)]
    for key, each in zip(("memory", "memory-mistral"), found, strict=False):
        values = {"before": format_bytes(each.fp16_bytes), "after": format_bytes(each.total_bytes)}
        yield _charted(key, tasks.memory(each), **values)


def _named(claim: ClaimRecord, kind: type[_Evidence]) -> list[tuple[str, _Evidence]]:
    """Evidence of a kind by what its check was made for, such as a prompt."""
    found = _found(claim, kind)[:SEVERAL]
    return [(shorten_test_name(check.name), evidence) for check, evidence in found]


GALLERY: dict[str, tuple[Callable[[ClaimRecord], Iterator[Picture]], ...]] = {
    "load-nf4": (_memory,),
    "ids-english": (_strip,),
    "ids-japanese": (_strip,),
    "prefix-space": (_scripts,),
    "double-bos": (_double,),
    "cosine-groups": (_similarities,),
    "other-vectors": (_other_vectors,),
    "shared-pieces": (_shared_pieces,),
    "pca-groups": (_planes,),
    "next-token": (_top_ten, _temperatures),
    "temperature-shape": (_entropies,),
    "nucleus-adapts": (_nuclei,),
    "filter-order": (_kept_along,),
    "hidden-top-k": (_hidden,),
    "collapse": (_collapse,),
    "heat-wide-varies-more": (_coherence,),
    "greedy-repeats": (_repeated,),
    "beam-likelihood": (_beams,),
    "knowledge-dose": (_doses,),
    "task-settings": (_settings,),
}
"""By claim, what is drawn of it, in this order."""
