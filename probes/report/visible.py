"""Show any text safely, with nothing in it unseen.

A model's text may hold markup, control characters, marks that turn the direction of what follows,
and spaces that matter. It is shown as text in any script; a character without a shape gets one.
"""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

# Emoji of several parts (flags of regions) and joiners, which shape the text around them, stay.
_SPECIAL = re.compile(
    r"(?P<whole>\U0001F3F4[\U000E0020-\U000E007F]+)"
    r"|(?P<newline>\r\n|\n)"
    r"|(?P<spaces>^[ ]+|[ ]+$|[ ]{2,}|[ ]+(?=\n)|(?<=\n)[ ]+)"
    r"|(?P<control>[\x00-\x1f\x7f-\x9f\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"
    r"\u200b\u200e\u200f\u2028-\u202f\u205f-\u206f\u3164\ud800-\udfff\ue000-\uf8ff\ufeff\uffa0"
    r"\ufff0-\ufffc\ufffe\uffff\U000E0000-\U000E0FFF\U000F0000-\U0010FFFF])"
)


def mark(text: str) -> Markup:
    r"""Return a text as HTML: escaped, isolated in its direction, unseen characters shown.

    >>> print(mark("<s>\u202e"))
    <bdi>&lt;s&gt;<span class="unseen" title="RIGHT-TO-LEFT OVERRIDE">U+202E</span></bdi>
    """
    parts: list[Markup] = []
    end = 0
    for match in _SPECIAL.finditer(text):
        parts += [escape(text[end : match.start()]), _mark_special(match)]
        end = match.end()
    parts.append(escape(text[end:]))
    return Markup("<bdi>{}</bdi>").format(Markup("").join(parts))


def make_visible(text: str) -> str:
    r"""Return a text with unseen characters spelled out, for places that take no markup.

    >>> make_visible("a\u202eb\n")
    'aU+202Eb↵'
    """
    return _SPECIAL.sub(_spell_special, text)


def _spell_special(match: re.Match[str]) -> str:
    if match.lastgroup == "control":
        return _sign(match.group())
    return "↵" if match.lastgroup == "newline" else match.group()


def _mark_special(match: re.Match[str]) -> Markup:
    text = match.group()
    if match.lastgroup == "newline":
        sign = "U+000D ↵" if text == "\r\n" else "↵"
        return Markup('<span class="unseen" title="line break">{}</span>\n').format(sign)
    if match.lastgroup == "spaces":
        return Markup('<span class="spaces">{}</span>').format(text)
    if match.lastgroup == "control":
        names = {"\t": "tab", "\0": "null"}
        name = unicodedata.name(text, names.get(text, "control character"))
        return Markup('<span class="unseen" title="{}">{}</span>').format(name, _sign(text))
    return escape(text)


def _sign(character: str) -> str:
    """Return a tab's key sign, or the code point of any other character."""
    return "⇥" if character == "\t" else f"U+{ord(character):04X}"
