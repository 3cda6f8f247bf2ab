"""Pictures made of text, which wrap like text: pieces in boxes, a text with its repetitions."""

from __future__ import annotations

import re
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from probes.report.locale.markup import attributes, in_every_language
from probes.report.text.quantization import COLUMNS, format_cells, format_header
from probes.report.visible import cut, make_visible, mark, show_unseen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from probes.schema.evidence.quantization import QuantizationCost
    from probes.schema.evidence.words import Encoding

LONGEST_PIECE = 24
LONGEST_STRIP = 24
LONGEST_TEXT = 4000
"""Characters, pieces, characters: a longer one is cut, and marked as cut."""

LONGEST_CHAT = 600
"""Characters of a conversation."""

RUN = 4
"""Words in a row that count as a repetition."""

SPACE = "▁"


def draw_pieces(encoding: Encoding) -> Markup:
    """Draw a text's pieces in boxes, each above its id; special tokens and ▁ are marked.

    >>> from probes.schema.evidence.words import Encoding
    >>> print(draw_pieces(Encoding(text="Hi", ids=[15359], pieces=["▁Hi"])))
    <ol class="strip"><li><bdi><i>▁</i>Hi</bdi><span>15359</span></li></ol>
    """
    pairs = list(zip(encoding.pieces, encoding.ids, strict=True))
    boxes = [_box(piece, number) for piece, number in pairs[:LONGEST_STRIP]]
    if len(pairs) > LONGEST_STRIP:
        boxes.append(Markup('<li class="more">+{}</li>').format(len(pairs) - LONGEST_STRIP))
    return Markup('<ol class="strip">{}</ol>').format(Markup("").join(boxes))


def draw_texts(encodings: Sequence[Encoding]) -> Markup:
    """Draw several texts, each above its pieces."""
    titled = Markup("<dt>{}</dt><dd>{}</dd>")
    inner = (titled.format(mark(cut(each.text, 40)), draw_pieces(each)) for each in encodings)
    return Markup('<dl class="strips">{}</dl>').format(Markup("").join(inner))


def draw_chats(chats: Mapping[str, str]) -> Markup:
    """Draw conversations, each beside its name; of a long one the beginning.

    >>> print(draw_chats({"a question": "<s>Hi"}))
    <dl class="strips"><dt>a question</dt><dd class="chat">&lt;s&gt;Hi</dd></dl>
    """
    titled = Markup('<dt>{}</dt><dd class="chat">{}</dd>')
    inner = (titled.format(name, mark(cut(text, LONGEST_CHAT))) for name, text in chats.items())
    return Markup('<dl class="strips">{}</dl>').format(Markup("").join(inner))


def draw_repetitions(text: str) -> Markup:
    """Draw a text in which words are marked where four in a row have come before."""
    words = text[:LONGEST_TEXT].split()
    marked = zip(words, repeats(words), strict=True)
    inner = Markup("")
    for again, run in groupby(marked, key=lambda pair: pair[1]):
        shown = Markup(" ").join(escape(make_visible(each)) for each, _ in run)
        inner += Markup("<mark>{}</mark> ").format(shown) if again else shown + " "
    cut = "…" if len(text) > LONGEST_TEXT else ""
    return Markup('<p class="repeated"><bdi>{}{}</bdi></p>').format(inner, cut)


def draw_quantizations(costs: Sequence[QuantizationCost]) -> Markup:
    """Draw quantizations as a table: one a row. It scrolls where a page is narrow."""

    def row(write: Callable[[str], list[str]], tag: str) -> Markup:
        cells = (
            in_every_language(lambda code, at=at: make_visible(write(code)[at]))  # type: ignore[misc]
            for at in range(len(COLUMNS))
        )
        inner = Markup("").join(Markup("<{0}>{1}</{0}>").format(tag, each) for each in cells)
        return Markup("<tr>{}</tr>").format(inner)

    rows = (row(partial(format_cells, cost), "td") for cost in costs)
    table = Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(
        row(format_header, "th"), Markup("").join(rows)
    )
    named = attributes("aria-label", "pictures.quantization-table.title")
    return Markup('<div class="scroll" tabindex="0" role="group" {}>{}</div>').format(named, table)


def repeats(words: Sequence[str]) -> list[bool]:
    """Return for each word whether it is one of four in a row that have come before.

    >>> repeats("a b c d a b c d e".split())
    [False, False, False, False, True, True, True, True, False]
    """
    again = [False] * len(words)
    seen: set[tuple[str, ...]] = set()
    for start in range(len(words) - RUN + 1):
        run = tuple(words[start : start + RUN])
        if run in seen:
            again[start : start + RUN] = [True] * RUN
        seen.add(run)
    return again


def _box(piece: str, number: int) -> Markup:
    special = re.fullmatch(r"<[a-z/_|]+>", piece) is not None
    kind = Markup(' class="special"') if special else Markup("")
    shown = show_unseen(cut(piece, LONGEST_PIECE)).replace(SPACE, Markup("<i>▁</i>"))
    return Markup("<li{}><bdi>{}</bdi><span>{}</span></li>").format(kind, shown, number)
