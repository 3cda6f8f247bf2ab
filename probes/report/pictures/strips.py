"""Pictures made of text, which wrap as it does: pieces in boxes, a text with its repetitions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from probes.report.visible import make_visible, mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.report.pictures.measured import Encoded, Repetition

LONGEST_PIECE = 24
LONGEST_STRIP = 24
LONGEST_TEXT = 4000
"""Characters, pieces, characters: what is longer is cut, and says so."""

RUN = 4
"""Words in a row that count as a repetition."""

SPACE = "▁"


def strip(encoded: Encoded, *, titled: bool = False) -> Markup:
    """A text's pieces in boxes, each above its id; special tokens and ▁ stand out.

    >>> from probes.report.pictures.measured import Encoded
    >>> print(strip(Encoded(text="Hi", ids=[15359], pieces=["▁Hi"])))
    <ol class="strip"><li><bdi><i>▁</i>Hi</bdi><span>15359</span></li></ol>
    """
    pairs = list(zip(encoded.pieces, encoded.ids, strict=True))
    boxes = [_box(piece, number) for piece, number in pairs[:LONGEST_STRIP]]
    if len(pairs) > LONGEST_STRIP:
        boxes.append(Markup('<li class="more">+{}</li>').format(len(pairs) - LONGEST_STRIP))
    made = Markup('<ol class="strip">{}</ol>').format(Markup("").join(boxes))
    if not titled:
        return made
    return Markup("<dt>{}</dt><dd>{}</dd>").format(mark(_cut(encoded.text, 40)), made)


def strips(found: Sequence[Encoded]) -> Markup:
    """Several texts, each above its pieces."""
    inner = Markup("").join(strip(each, titled=True) for each in found)
    return Markup('<dl class="strips">{}</dl>').format(inner)


def repeated(found: Repetition) -> Markup:
    """A text whose words are marked where four in a row have come before."""
    words = re.findall(r"\s*\S+", found.greedy_text[:LONGEST_TEXT])
    parts = []
    for word, again in zip(words, repeats([word.strip() for word in words]), strict=True):
        shown = escape(make_visible(word.strip()))
        parts.append((shown, again))
    inner = Markup("").join(
        Markup("<mark>{}</mark> ").format(text) if again else text + " "
        for text, again in _runs(parts)
    )
    cut = "…" if len(found.greedy_text) > LONGEST_TEXT else ""
    return Markup('<p class="repeated"><bdi>{}{}</bdi></p>').format(inner, cut)


def repeats(words: Sequence[str]) -> list[bool]:
    """Of each word, whether it is in four words in a row that have come before.

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


def _runs(parts: Sequence[tuple[Markup, bool]]) -> list[tuple[Markup, bool]]:
    """Neighbours of one kind together."""
    together: list[tuple[Markup, bool]] = []
    for text, again in parts:
        if together and together[-1][1] == again:
            together[-1] = (together[-1][0] + " " + text, again)
        else:
            together.append((text, again))
    return together


def _box(piece: str, number: int) -> Markup:
    special = re.fullmatch(r"<[a-z/_|]+>", piece) is not None
    kind = Markup(' class="special"') if special else Markup("")
    shown = mark(_cut(piece, LONGEST_PIECE)).replace(SPACE, Markup("<i>▁</i>"))
    return Markup("<li{}>{}<span>{}</span></li>").format(kind, shown, number)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
