"""What is drawn of a claim's evidence, and the pictures made of text, which need no charts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from probes.report.locale.markup import in_every_language
from probes.report.pictures import Picture, pieces, setting_table, steps
from probes.report.pictures.labels import check_size, percent
from probes.report.text.phrases import shorten_test_name
from probes.report.text.quantization import format_origin
from probes.report.visible import mark
from probes.schema.evidence import read_shapes, texts, words
from probes.schema.evidence.quantization import QuantizationCosts
from probes.schema.evidence.settings import UsedSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from markupsafe import Markup

    from probes.schema.evidence.shape import Shape
    from probes.schema.record import ClaimRecord

_Shape = TypeVar("_Shape", bound="Shape")

Found: TypeAlias = list[tuple[str, _Shape]]
"""The checks of a claim with evidence of one shape: what each was made for, such as a prompt, and
the evidence."""

Shapes: TypeAlias = dict[type["Shape"], Found[Any]]
"""Evidence by its shape."""

Draw: TypeAlias = Callable[[Found[Any]], "Iterator[Picture]"]

MOST_TEXTS = 24
"""Texts whose pieces can be compared by eye; of more there is no picture."""


def find_shapes(claim: ClaimRecord) -> Shapes:
    """Return the evidence of a claim's checks by its shape."""
    found: Shapes = {}
    for check in claim.evidence:
        for shape in read_shapes(check.values):
            found.setdefault(type(shape), []).append((shorten_test_name(check.name), shape))
    return found


def draw_shapes(found: Shapes, known: Mapping[type[Shape], Draw]) -> tuple[Picture, ...]:
    """Draw the evidence whose shape is known to have a picture."""
    pictures: list[Picture] = []
    for kind, draw in known.items():
        if kind in found:
            try:
                pictures += draw(found[kind])
            except (ValueError, ArithmeticError):  # no chart can hold these numbers
                continue
    return tuple(pictures)


def _encodings(found: Found[words.Encoding]) -> Iterator[Picture]:
    encodings = [encoding for _, encoding in found]
    check_size(encodings, 1, MOST_TEXTS)
    if len(encodings) == 1:
        yield Picture("strip", pieces.draw_pieces(encodings[0]))
    else:
        alone = [each for each in encodings if pieces.SPACE in each.pieces]
        merged = [each for each in encodings if pieces.SPACE not in each.pieces]
        yield Picture("scripts", pieces.draw_texts(merged[:3] + alone[:7]))


def _double_bos(found: Found[words.DoubleBos]) -> Iterator[Picture]:
    text = found[0][1]
    yield Picture("double", pieces.draw_pieces(text), {"text": mark(text.text[:200])})


def _repetition(found: Found[texts.GreedyRepetition]) -> Iterator[Picture]:
    first = found[0][1]
    if first.greedy_text:
        greedy, sampled = percent(first.greedy_distinct), percent(first.sampled_distinct)
        drawing = pieces.draw_repetitions(first.greedy_text)
        yield Picture("repeated", drawing, {"greedy": greedy, "sampled": sampled})


def _chats(found: Found[texts.KeptChats]) -> Iterator[Picture]:
    rendered = {
        name: chat.text
        for name, chat in found[0][1].rendered_chats.items()
        if chat.text is not None
    }
    check_size([*rendered], 1, MOST_TEXTS)
    yield Picture("chats", pieces.draw_chats(rendered))


def _drafts(found: Found[texts.DraftedTexts]) -> Iterator[Picture]:
    several = [text for _, each in found for text in each.drafted_texts if text.steps]
    if several:
        yield Picture("drafts", steps.draw_drafts(several[:MOST_TEXTS]))


def _stops(found: Found[texts.StoppedTexts]) -> Iterator[Picture]:
    several = [text for _, each in found for text in each.stopped_texts]
    if several:
        yield Picture("stops", steps.draw_stops(several[:MOST_TEXTS]))


def _settings(found: Found[UsedSettings]) -> Iterator[Picture]:
    yield Picture("used-settings", setting_table.draw_settings(found[0][1]))


def _quantizations(found: Found[QuantizationCosts]) -> Iterator[Picture]:
    yield from map(draw_table, group_by_origin(found))


def group_by_origin(found: Found[QuantizationCosts]) -> list[list[QuantizationCosts]]:
    """Return quantizations that are compared with the same model together."""
    groups: dict[tuple[str, int, str], list[QuantizationCosts]] = {}
    for _, costs in found:
        groups.setdefault(_find_origin(costs), []).append(costs)
    return [*groups.values()]


def draw_table(several: list[QuantizationCosts]) -> Picture:
    """Draw the table of quantizations that are compared with the same model."""
    rows = [cost for costs in several for cost in costs.quantization_costs]
    check_size(rows, 1, MOST_TEXTS)
    values: dict[str, object] = {
        "positions": f"{max(row.positions for row in rows):,}",
        "windows": f"{max(row.windows for row in rows):,}",
        "context": f"{rows[0].context:,}",
        "against": describe_origin(several[0]),
    }
    return Picture("quantization-table", pieces.draw_quantizations(rows), values)


def describe_origin(costs: QuantizationCosts) -> Markup:
    """Return what quantizations are compared with, in every language."""
    origin = _find_origin(costs)
    return in_every_language(lambda code: mark(format_origin(*origin, code)))


def _find_origin(costs: QuantizationCosts) -> tuple[str, int, str]:
    return costs.reference, costs.reference_bytes, costs.stored_as


PICTURES: dict[type[Shape], Draw] = {
    words.Encoding: _encodings,
    words.DoubleBos: _double_bos,
    texts.KeptChats: _chats,
    texts.GreedyRepetition: _repetition,
    texts.DraftedTexts: _drafts,
    texts.StoppedTexts: _stops,
    UsedSettings: _settings,
    QuantizationCosts: _quantizations,
}
"""The pictures made of text, by the shape of a check's evidence."""
