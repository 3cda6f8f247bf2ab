"""Show any text safely, with nothing in it unseen.

A model's text may hold markup, control characters, marks that turn the direction of what follows,
and spaces that matter. It is shown as text in any script; a character without a shape gets one.
"""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

SPECIAL = re.compile(
    "(\U0001f3f4[\U000e0020-\U000e007f]+)|(\r\n|\n)|(^ +| +$| {2,}| +(?=\n)|(?<=\n) +)"
    "|[\x00-\x1f\x7f-\x9f\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202f"
    "\u205f-\u206f\u3164\ud800-\udfff\ue000-\uf8ff\ufeff\uffa0\ufff0-\ufffc\ufffe\uffff"
    "\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)
"""Groups: a flag of a region, which is kept; a line break; spaces that matter. Else a character
without a shape; joiners, which shape the text around them, are not among these.

The pages' script reads the same pattern, so it holds the characters themselves, which both
languages take for themselves.
"""


RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001eeff]"
)
"""The characters that are written from right to left, and move what stands beside them."""


def mark(text: str) -> Markup:
    r"""Return a text as HTML: escaped, unseen characters shown, isolated if its direction matters.

    >>> print(mark("<s>\u202e"), mark("عاصمة 1"))
    &lt;s&gt;<span class="unseen" title="RIGHT-TO-LEFT OVERRIDE">U+202E</span> <bdi>عاصمة 1</bdi>
    """
    shown = show_unseen(text)
    return Markup("<bdi>{}</bdi>").format(shown) if RIGHT_TO_LEFT.search(text) else shown


def show_unseen(text: str) -> Markup:
    """Return a text as HTML: escaped, unseen characters shown, for a place that isolates it."""
    parts: list[Markup] = []
    end = 0
    for match in SPECIAL.finditer(text):
        parts += [escape(text[end : match.start()]), _mark_special(match)]
        end = match.end()
    parts.append(escape(text[end:]))
    return Markup("").join(parts)


def make_visible(text: str) -> str:
    r"""Return a text with unseen characters spelled out, for places that take no markup.

    >>> make_visible("a\u202eb\n")
    'aU+202Eb↵'
    """
    return SPECIAL.sub(_spell_special, text)


def cut(text: str, longest: int) -> str:
    """Return a text; of one that is longer, its beginning and an ellipsis, `longest` together.

    >>> cut("six", 3), cut("seven", 3)
    ('six', 'se…')
    """
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _spell_special(match: re.Match[str]) -> str:
    kept, line_break, spaces = match.groups()
    return kept or spaces or ("↵" if line_break else _sign(match.group()))


def _mark_special(match: re.Match[str]) -> Markup:
    text = match.group()
    kept, line_break, spaces = match.groups()
    if kept:
        return escape(kept)
    if spaces:
        return Markup('<span class="spaces">{}</span>').format(spaces)
    unseen = Markup('<span class="unseen" title="{}">{}</span>')
    if line_break:
        return unseen.format("line break", "↵" if text == "\n" else "U+000D ↵") + "\n"
    names = {"\t": "tab", "\0": "null"}
    return unseen.format(unicodedata.name(text, names.get(text, "control character")), _sign(text))


def _sign(character: str) -> str:
    """Return a tab's key sign, or the code point of any other character."""
    return "⇥" if character == "\t" else f"U+{ord(character):04X}"
