"""Shapes of evidence that the report or a comparison reads back.

A check attaches a shape: ``evidence.update(shape.as_evidence())``. Each field becomes evidence of
its own name, so the field names are keys of the stored record: they do not change. A reader asks
for the shape by `Shape.read`. Evidence that no shape names is shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from pydantic import ValidationError

from probes.schema.evidence import distributions, engines, quantization, settings, texts, words
from probes.schema.evidence.shape import Measured, Shape

COMPARED_APART = ("corpus_ids", "kept_prompts", "kept_texts", "rendered_chats")
"""Evidence that has a comparison of its own: logits and ids by the thousand, and conversations."""

SHAPES: tuple[type[Shape], ...] = (
    words.Encoding,
    words.DoubleBos,
    words.TokensByScript,
    words.KeptIds,
    words.VocabularyTable,
    words.EmbeddingSimilarities,
    words.HeadSimilarities,
    words.LayerSimilarities,
    words.EmbeddingPlane,
    words.SharedPieces,
    distributions.MostLikely,
    distributions.Distributions,
    distributions.EntropyCurve,
    distributions.NucleusSizes,
    distributions.HiddenTopK,
    distributions.KeptPrompts,
    settings.UsedSettings,
    texts.TracedText,
    texts.SampledText,
    texts.Collapse,
    texts.HotSamples,
    texts.GreedyRepetition,
    texts.DraftedTexts,
    texts.StoppedTexts,
    texts.BeamComparison,
    texts.AnswerBounds,
    texts.TaskSettings,
    texts.WeightMemory,
    texts.KeptTexts,
    texts.KeptBeams,
    texts.KeptChats,
    engines.EngineSteps,
    engines.EngineDistance,
    engines.EnginePairs,
    engines.SettingsInForce,
    engines.EnginePower,
    quantization.QuantizationCosts,
    Measured,
)
"""What a check can attach for the report or a comparison to read."""


def read_shapes(values: Mapping[str, object]) -> list[Shape]:
    """Return the shapes that the evidence of a check has; of related ones the most specific.

    >>> found = read_shapes({"text": "Hi", "ids": [15359], "pieces": ["▁Hi"], "decoded": "Hi"})
    >>> [type(shape).__name__ for shape in found]
    ['DoubleBos']
    """
    read = (shape.read(values) for shape in SHAPES if _names(shape) <= values.keys())
    found = [shape for shape in read if shape is not None]
    return [
        shape
        for shape in found
        if not any(isinstance(other, type(shape)) for other in found if other is not shape)
    ]


def find_misfits(values: Mapping[str, object]) -> list[str]:
    """Describe evidence that has the names of a shape, and fits neither it nor another.

    >>> find_misfits({"greedy": "Tokyo.", "grid": 3})
    ["evidence 'grid' does not fit Collapse: Input should be a valid list"]
    >>> find_misfits({"greedy": "Tokyo.", "answer": 3})
    []
    """
    problems: dict[str, str] = {}
    fitting: set[str] = set()
    for shape in SHAPES:
        if not _names(shape) <= values.keys():
            continue
        try:
            shape.model_validate(values)
            fitting |= _names(shape)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(next(iter(first["loc"]), min(_names(shape))))
            problems[name] = f"evidence {name!r} does not fit {shape.__name__}: {first['msg']}"
    return [problem for name, problem in problems.items() if name not in fitting]


@cache
def _names(shape: type[Shape]) -> frozenset[str]:
    """Return the evidence that a shape needs."""
    return frozenset(name for name, field in shape.model_fields.items() if field.is_required())
