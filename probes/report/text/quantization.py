"""Quantizations of a model as a table: quality against bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from probes.report.locale import phrase
from probes.report.text.phrases import format_bytes
from probes.schema.evidence.quantization import AnswerFlips, QuantizationCost, StoryEntropy
from probes.schema.evidence.shape import Interval

COLUMNS = (
    *("kind", "bytes", "mean_divergence", "percentile_50", "percentile_90", "percentile_99"),
    *("percentile_99.9", "rms_change", "same_top", "perplexity_ratio", "answers", "stories"),
)
"""Keys of the header, `quantization.KEY`."""

UNKNOWN = "–"


def format_header(language: str = "en") -> list[str]:
    """Return the names of the columns."""
    return [phrase(f"quantization.{key}", language) for key in COLUMNS]


def format_cells(cost: QuantizationCost, language: str = "en") -> list[str]:
    """Return a row of the table."""
    bound = "" if cost.whole else "≥ "
    percentiles = [
        _format_interval(cost.percentiles.get(percent), language, before=bound)
        for percent in ("50", "90", "99", "99.9")
    ]
    rms = _format_interval(cost.rms_change, language, before=bound, scale=100, unit=" %")
    ratio = _format_interval(cost.perplexity_ratio, language)
    return [
        cost.kind,
        format_bytes(cost.bytes, language) if cost.bytes else UNKNOWN,
        _format_interval(cost.mean_divergence, language, before=bound),
        *percentiles,
        rms if cost.whole or cost.rms_change else UNKNOWN,
        _format_interval(cost.same_top, language, scale=100, unit=" %"),
        ratio if cost.whole or cost.perplexity_ratio else UNKNOWN,
        _format_flips(cost.flips, language),
        _format_stories(cost.stories, language),
    ]


def describe_cost(cost: QuantizationCost, language: str = "en") -> str:
    """Return a row of the table as one line of text."""
    kind, *cells = format_cells(cost, language)
    names = format_header(language)[1:]
    known = (f"{name} {cell}" for name, cell in zip(names, cells, strict=True) if cell != UNKNOWN)
    return f"{kind}: {'; '.join(known)}"


def format_origin(reference: str, size: int, stored_as: str, language: str = "en") -> str:
    """Return what the rows are compared with, and how its weights were stored before.

    >>> format_origin("float32", 538_060_032, "Q4_1")
    'Compared with the model in float32 (538.1 MB), as stored in Q4_1.'
    """
    key = "quantization.against_stored" if stored_as else "quantization.against"
    values = {"dtype": reference, "size": format_bytes(size, language), "stored": stored_as}
    return phrase(key, language, **values)


def format_table(costs: Sequence[QuantizationCost], language: str = "en") -> str:
    """Return the table in Markdown."""
    header = format_header(language)
    rows: Iterable[list[str]] = (format_cells(cost, language) for cost in costs)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _format_interval(
    found: Interval | None, language: str, *, before: str = "", scale: float = 1, unit: str = ""
) -> str:
    """Return a value with its interval, rounded to where the interval says something.

    >>> from probes.schema.evidence.shape import Interval
    >>> _format_interval(Interval(value=0.04567, low=0.0412, high=0.0501), "en")
    '0.0457 (0.0412 to 0.0501)'
    >>> _format_interval(None, "en")
    'too few'
    """
    if found is None:
        return phrase("quantization.too_few", language)
    value, low, high = (f"{each * scale:.3g}" for each in (found.value, found.low, found.high))
    return phrase(
        "quantization.interval", language, value=f"{before}{value}{unit}", low=low, high=high
    )


def _format_flips(found: AnswerFlips | None, language: str) -> str:
    if found is None:
        return UNKNOWN
    return phrase(
        "quantization.flips", language, lost=found.lost, won=found.won, p=f"{found.p_value:.2g}"
    )


def _format_stories(found: StoryEntropy | None, language: str) -> str:
    if found is None:
        return UNKNOWN
    return _format_interval(found.difference, language)
