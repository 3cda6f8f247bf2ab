"""What is drawn of each shape of evidence, where charts can be drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from probes.report.pictures import (
    Picture,
    boxes,
    engines,
    quantization,
    sampling,
    svg,
    tasks,
    vectors,
)
from probes.report.pictures.boxes import MOST_TEXTS, Draw, Found
from probes.report.pictures.labels import check_size, label, percent
from probes.report.text.phrases import format_bytes
from probes.report.visible import mark
from probes.schema.evidence import distributions, texts, words
from probes.schema.evidence import engines as shapes
from probes.schema.evidence.quantization import QuantizationCosts
from probes.schema.evidence.settings import UsedSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.report.pictures.charts import Chart
    from probes.schema.evidence.shape import Shape

MOST_NUMBERS = 60
"""Marks whose numbers are listed beside the picture; of more, the evidence has them."""

SEVERAL = 4
"""Checks, or other lists, of one picture at most."""


def _chart(key: str, chart: Chart, **values: object) -> Picture:
    drawing, numbers = svg.draw(chart, key)
    return Picture(key, drawing, values, numbers if len(numbers) <= MOST_NUMBERS else ())


def _chart_first(key: str, draw: Callable[[Any], Chart]) -> Draw:
    """Return a function that draws the evidence of the first check."""
    return lambda found: iter([_chart(key, draw(found[0][1]))])


def _chart_several(key: str, draw: Callable[[Any], Chart]) -> Draw:
    """Return a function that draws the evidence of several checks in one picture."""
    return lambda found: iter([_chart(key, draw(found[:SEVERAL]))])


def _heat_map(key: str, found: words.WordSimilarities, **values: object) -> Picture:
    chart = vectors.similarities(found)
    return _chart(key, chart, low=f"{vectors.faintest(found.cosine_matrix):.2f}", **values)


def _chart_lists(key: str, draw: Callable[..., Picture]) -> Draw:
    """Return a function that draws the first check's evidence, and that of its other lists."""

    def draw_lists(found: Found[Any]) -> Iterator[Picture]:
        yield draw(key, found[0][1])
        for name, other in [*found[0][1].other_lists.items()][:SEVERAL]:
            yield draw(f"{key}-other", other, list=mark(name))

    return draw_lists


def _head(found: Found[words.HeadSimilarities]) -> Iterator[Picture]:
    if not found[0][1].tied_to_the_embedding:  # else they are the embedding's rows
        yield _heat_map("cosine-head", found[0][1])


def _layer(found: Found[words.LayerSimilarities]) -> Iterator[Picture]:
    yield _heat_map("cosine-layer", found[0][1], layer=found[0][1].layer)


def _plane(key: str, found: words.WordPlane, **values: object) -> Picture:
    chart = vectors.plane(found)
    return _chart(key, chart, kept=percent(sum(found.explained_variance[:2])), **values)


def _distributions(found: Found[distributions.Distributions]) -> Iterator[Picture]:
    several = found[0][1].distributions
    check_size(several, 1, MOST_TEXTS)
    flattest = min(several, key=sampling.lead)
    for each in (several[0], flattest) if flattest is not several[0] else (flattest,):
        chart = sampling.temperatures(each)
        yield _chart("temperatures", chart, prompt=mark(each.prompt[:200]))


def _nuclei(found: Found[distributions.NucleusSizes]) -> Iterator[Picture]:
    yield _chart("nuclei", sampling.nuclei(found[0][1]), p=f"{found[0][1].p:g}")


def _kept_along(found: Found[texts.SampledText]) -> Iterator[Picture]:
    several = [text for _, text in found][:3]
    prompt = mark(several[0].trace.prompt[:200])
    yield _chart("kept-along", sampling.kept_along(several), prompt=prompt)


def _collapse(found: Found[texts.Collapse]) -> Iterator[Picture]:
    name, first = found[0]
    values = {"name": mark(label(name, 40)), "text": mark(first.greedy[:200])}
    yield _chart("collapse", sampling.collapse(first), **values)


def _answers(found: Found[texts.AnswerBounds]) -> Iterator[Picture]:
    named = [(label(f"top_p {name}"), bounds) for name, bounds in found[:SEVERAL]]
    yield _chart("doses", tasks.answers(named))


def _memory(found: Found[texts.WeightMemory]) -> Iterator[Picture]:
    # The target comes first, then Mistral-7B by arithmetic.
    for key, (_, each) in zip(("memory", "memory-mistral"), found, strict=False):
        sizes = {"before": format_bytes(each.fp16_bytes), "after": format_bytes(each.total_bytes)}
        yield _chart(key, tasks.memory(each), **sizes)


def _engine_steps(found: Found[shapes.EngineSteps]) -> Iterator[Picture]:
    each = found[0][1]
    beyond = sum(step.change > each.tolerance for step in each.engine_steps)
    counts = {"tokens": f"{len(each.engine_steps):,}", "beyond": f"{beyond:,}"}
    yield _chart("engine-steps", engines.steps(each), **counts)


def _quantizations(found: Found[QuantizationCosts]) -> Iterator[Picture]:
    for several in boxes.group_by_origin(found):
        against = boxes.describe_origin(several[0])
        yield _chart("quantization", quantization.quality(several), against=against)
        yield boxes.draw_table(several)


PICTURES: dict[type[Shape], Draw] = {
    texts.WeightMemory: _memory,
    words.Encoding: boxes.PICTURES[words.Encoding],
    words.DoubleBos: boxes.PICTURES[words.DoubleBos],
    texts.KeptChats: boxes.PICTURES[texts.KeptChats],
    words.EmbeddingSimilarities: _chart_lists("cosine", _heat_map),
    words.HeadSimilarities: _head,
    words.LayerSimilarities: _layer,
    words.SharedPieces: _chart_first("shared-pieces", vectors.shared_pieces),
    words.EmbeddingPlane: _chart_lists("plane", _plane),
    distributions.MostLikely: _chart_first("top-ten", sampling.top_ten),
    distributions.Distributions: _distributions,
    distributions.EntropyCurve: _chart_several("entropies", sampling.entropy_by_temperature),
    distributions.NucleusSizes: _nuclei,
    texts.SampledText: _kept_along,
    distributions.HiddenTopK: _chart_several("hidden", sampling.hidden_top_k),
    texts.Collapse: _collapse,
    texts.HotSamples: _chart_several("coherence", sampling.hot_samples),
    texts.GreedyRepetition: boxes.PICTURES[texts.GreedyRepetition],
    texts.DraftedTexts: boxes.PICTURES[texts.DraftedTexts],
    texts.StoppedTexts: boxes.PICTURES[texts.StoppedTexts],
    UsedSettings: boxes.PICTURES[UsedSettings],
    texts.BeamComparison: _chart_several("beams", sampling.beams),
    texts.AnswerBounds: _answers,
    texts.TaskSettings: _chart_first("settings", tasks.settings),
    shapes.EngineSteps: _engine_steps,
    shapes.EngineDistance: _chart_first("engine-distance", engines.distance),
    shapes.SettingsInForce: _chart_several("engine-settings", engines.settings),
    shapes.EnginePower: _chart_first("engine-power", engines.power),
    QuantizationCosts: _quantizations,
}
"""The pictures of a claim by the shape of its checks' evidence, in this order."""
