"""What is drawn of each shape of evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probes.report.pictures import Picture, pieces, sampling, svg, tasks, vectors
from probes.report.pictures.charts import check_size, label, percent
from probes.report.text.phrases import format_bytes, shorten_test_name
from probes.report.visible import mark
from probes.schema.evidence import read_shapes
from probes.schema.evidence.distributions import (
    Distributions,
    EntropyCurve,
    HiddenTopK,
    MostLikely,
    NucleusSizes,
)
from probes.schema.evidence.texts import (
    AnswerBounds,
    BeamComparison,
    Collapse,
    GreedyRepetition,
    HotSamples,
    SampledText,
    TaskSettings,
    WeightMemory,
)
from probes.schema.evidence.words import (
    DoubleBos,
    EmbeddingPlane,
    EmbeddingSimilarities,
    Encoding,
    HeadSimilarities,
    LayerSimilarities,
    SharedPieces,
    WordPlane,
    WordSimilarities,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probes.report.pictures.charts import Chart
    from probes.schema.evidence.shape import Shape
    from probes.schema.record import ClaimRecord

MOST_NUMBERS = 60
"""Marks whose numbers are listed beside the picture; of more, the evidence has them."""

SEVERAL = 4
"""Checks, or other lists, of one picture at most."""

MOST_TEXTS = 24
"""Texts whose pieces can be compared by eye; of more there is no picture."""


def draw_claim(claim: ClaimRecord) -> tuple[Picture, ...]:
    """Draw the evidence of a claim's checks that has a shape with a picture."""
    found: dict[type[Shape], list[tuple[str, Any]]] = {}
    for check in claim.evidence:
        for shape in read_shapes(check.values):
            found.setdefault(type(shape), []).append((shorten_test_name(check.name), shape))
    pictures: list[Picture] = []
    for kind, draw in PICTURES.items():
        if kind in found:
            try:
                pictures += draw(found[kind])
            except (ValueError, ArithmeticError):  # no chart can hold these numbers
                continue
    return tuple(pictures)


def _chart(key: str, chart: Chart, **values: object) -> Picture:
    drawing, numbers = svg.draw(chart, key)
    return Picture(key, drawing, values, numbers if len(numbers) <= MOST_NUMBERS else ())


def _encodings(found: list[tuple[str, Encoding]]) -> Iterator[Picture]:
    texts = [text for _, text in found]
    check_size(texts, 1, MOST_TEXTS)
    if len(texts) == 1:
        yield Picture("strip", pieces.draw_pieces(texts[0]))
    else:
        alone = [text for text in texts if pieces.SPACE in text.pieces]
        merged = [text for text in texts if pieces.SPACE not in text.pieces]
        yield Picture("scripts", pieces.draw_texts(merged[:3] + alone[:7]))


def _double_bos(found: list[tuple[str, DoubleBos]]) -> Iterator[Picture]:
    text = found[0][1]
    yield Picture("double", pieces.draw_pieces(text), {"text": mark(text.text[:200])})


def _heat_map(key: str, found: WordSimilarities, **values: object) -> Picture:
    chart = vectors.similarities(found)
    return _chart(key, chart, low=f"{vectors.faintest(found.cosine_matrix):.2f}", **values)


def _embedding(found: list[tuple[str, EmbeddingSimilarities]]) -> Iterator[Picture]:
    yield _heat_map("cosine", found[0][1])
    for name, other in [*found[0][1].other_lists.items()][:SEVERAL]:
        yield _heat_map("cosine-other", other, list=mark(name))


def _head(found: list[tuple[str, HeadSimilarities]]) -> Iterator[Picture]:
    if not found[0][1].tied_to_the_embedding:  # else they are the embedding's rows
        yield _heat_map("cosine-head", found[0][1])


def _layer(found: list[tuple[str, LayerSimilarities]]) -> Iterator[Picture]:
    yield _heat_map("cosine-layer", found[0][1], layer=found[0][1].layer)


def _plane(key: str, found: WordPlane, **values: object) -> Picture:
    chart = vectors.plane(found)
    return _chart(key, chart, kept=percent(sum(found.explained_variance[:2])), **values)


def _planes(found: list[tuple[str, EmbeddingPlane]]) -> Iterator[Picture]:
    yield _plane("plane", found[0][1])
    for name, other in [*found[0][1].other_lists.items()][:SEVERAL]:
        yield _plane("plane-other", other, list=mark(name))


def _shared_pieces(found: list[tuple[str, SharedPieces]]) -> Iterator[Picture]:
    yield _chart("shared-pieces", vectors.shared_pieces(found[0][1]))


def _most_likely(found: list[tuple[str, MostLikely]]) -> Iterator[Picture]:
    yield _chart("top-ten", sampling.top_ten(found[0][1]))


def _distributions(found: list[tuple[str, Distributions]]) -> Iterator[Picture]:
    several = found[0][1].distributions
    check_size([each for each in several if each.head], max(1, len(several)), len(several))
    flattest = min(several, key=sampling.lead)
    for each in (several[0], flattest) if flattest is not several[0] else (flattest,):
        chart = sampling.temperatures(each)
        yield _chart("temperatures", chart, prompt=mark(each.prompt[:200]))


def _entropies(found: list[tuple[str, EntropyCurve]]) -> Iterator[Picture]:
    yield _chart("entropies", sampling.entropy_by_temperature(found[:SEVERAL]))


def _nuclei(found: list[tuple[str, NucleusSizes]]) -> Iterator[Picture]:
    yield _chart("nuclei", sampling.nuclei(found[0][1]), p=f"{found[0][1].p:g}")


def _kept_along(found: list[tuple[str, SampledText]]) -> Iterator[Picture]:
    texts = [text for _, text in found][:3]
    prompt = mark(texts[0].trace.prompt[:200])
    yield _chart("kept-along", sampling.kept_along(texts), prompt=prompt)


def _hidden_top_k(found: list[tuple[str, HiddenTopK]]) -> Iterator[Picture]:
    yield _chart("hidden", sampling.hidden_top_k(found[:SEVERAL]))


def _collapse(found: list[tuple[str, Collapse]]) -> Iterator[Picture]:
    name, first = found[0]
    values = {"name": mark(label(name, 40)), "text": mark(first.greedy[:200])}
    yield _chart("collapse", sampling.collapse(first), **values)


def _beams(found: list[tuple[str, BeamComparison]]) -> Iterator[Picture]:
    yield _chart("beams", sampling.beams(found[:SEVERAL]))


def _hot_samples(found: list[tuple[str, HotSamples]]) -> Iterator[Picture]:
    yield _chart("coherence", sampling.hot_samples(found[:SEVERAL]))


def _repetition(found: list[tuple[str, GreedyRepetition]]) -> Iterator[Picture]:
    first = found[0][1]
    values: dict[str, object] = {
        "greedy": percent(first.greedy_distinct),
        "sampled": percent(first.sampled_distinct),
    }
    yield Picture("repeated", pieces.draw_repetitions(first.greedy_text), values)


def _answers(found: list[tuple[str, AnswerBounds]]) -> Iterator[Picture]:
    named = [(label(f"top_p {name}"), bounds) for name, bounds in found[:SEVERAL]]
    yield _chart("doses", tasks.answers(named))


def _settings(found: list[tuple[str, TaskSettings]]) -> Iterator[Picture]:
    yield _chart("settings", tasks.settings(found[0][1]))


def _memory(found: list[tuple[str, WeightMemory]]) -> Iterator[Picture]:
    # The target comes first, then Mistral-7B by arithmetic.
    for key, (_, each) in zip(("memory", "memory-mistral"), found, strict=False):
        sizes = {"before": format_bytes(each.fp16_bytes), "after": format_bytes(each.total_bytes)}
        yield _chart(key, tasks.memory(each), **sizes)


PICTURES: dict[type[Shape], Callable[[list[tuple[str, Any]]], Iterator[Picture]]] = {
    WeightMemory: _memory,
    Encoding: _encodings,
    DoubleBos: _double_bos,
    EmbeddingSimilarities: _embedding,
    HeadSimilarities: _head,
    LayerSimilarities: _layer,
    SharedPieces: _shared_pieces,
    EmbeddingPlane: _planes,
    MostLikely: _most_likely,
    Distributions: _distributions,
    EntropyCurve: _entropies,
    NucleusSizes: _nuclei,
    SampledText: _kept_along,
    HiddenTopK: _hidden_top_k,
    Collapse: _collapse,
    HotSamples: _hot_samples,
    GreedyRepetition: _repetition,
    BeamComparison: _beams,
    AnswerBounds: _answers,
    TaskSettings: _settings,
}
"""The pictures of a claim by the shape of its checks' evidence, in this order.

Each function takes the evidence of that shape with what its check was made for, such as a prompt.
"""
