"""Whether a text states an accepted answer: a pure function on strings.

Whole words are compared, so that a short answer never hits inside a longer word. Texts that were
drawn and texts whose probability is computed token by token are judged by the same rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache

from probes.errors import UserError

SHORT = 2
"""Letters in all up to which an answer needs its capitals: `Au` is gold, `au` is not."""

_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han: each character is a word, as no spaces stand between words there."""

_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)$")
_INITIALS = re.compile(r"\b[A-Z](?: [A-Z])+\b")
_ACCENTS = re.compile("[\u0300-\u036f]")
_SENTENCE_END = re.compile(r"(?<=\w)[^\w.!?。]*[!?。]|(?<=\w{4})\.")
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_ARTICLES = frozenset({"a", "an", "the"})
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]

Form = tuple[str, ...]
"""An accepted answer as a row of words."""


@lru_cache(maxsize=4096)
def accepted_forms(accepted: tuple[str, ...]) -> tuple[Form, ...]:
    """Rows of words, one of which a text must hold to state an accepted answer.

    A leading article is left out. Initials count written apart and together, and a date of day,
    month and year in the usual orders.

    Args:
        accepted: the answers.

    Raises:
        UserError: if there is none, or one has no letter and no digit: every text would state it.

    >>> accepted_forms(("the yen",))
    (('yen',),)
    >>> accepted_forms(("Washington, D.C.",))
    (('Washington', 'D', 'C'), ('Washington', 'DC'))
    >>> accepted_forms(("2 September 1945",))[2:4]
    (('2', 'of', 'September', '1945'), ('September', '2', '1945'))
    """
    forms: list[Form] = []
    for answer in accepted:
        row = tuple(_words(_plain(answer)))
        if len(row) > 1 and row[0].lower() in _ARTICLES:
            row = row[1:]
        if not row:
            raise UserError(f"an accepted answer needs a letter or a digit, not {answer!r}")
        forms += [row, _initials_together(row), _initials_apart(row), *_dates(row)]
    if not forms:
        raise UserError("a question needs an accepted answer")
    return tuple(dict.fromkeys(forms))


def states(text: str, forms: Sequence[Form]) -> bool:
    """Whether a text states an accepted answer.

    Its words are compared in their order: accents, punctuation and, beyond two letters, capitals
    make no difference.

    Args:
        text: what was written.
        forms: from `accepted_forms`.

    >>> states("It ended on September 2nd, 1945.", accepted_forms(("2 September 1945",)))
    True
    >>> states("Austria", accepted_forms(("Au",))), states("", accepted_forms(("0",)))
    (False, False)
    """
    return _hold(_words(_plain(text)), forms)


def first_sentence(text: str) -> tuple[str, bool]:
    """The first sentence of a text, and whether it has ended.

    A full stop after fewer than four letters or digits ends nothing: it may be an abbreviation,
    as in `St. Petersburg`, or a number in a list. An empty line ends nothing either.

    >>> first_sentence("It is Mt. Everest. What is")
    ('It is Mt. Everest.', True)
    >>> first_sentence("Leonardo da")
    ('Leonardo da', False)
    """
    end = _SENTENCE_END.search(text)
    return (text, False) if end is None else (text[: end.end()], True)


class Fate(Enum):
    """What is known of a text from its beginning."""

    RIGHT = "right"
    WRONG = "wrong"
    OPEN = "open"


READ = 1_000
"""Characters of a text that are read: its first sentence, even one that never ends."""


def judged(text: str, forms: Sequence[Form], *, ended: bool) -> Fate:
    """Whether the first sentence of a text states an accepted answer.

    What is right or wrong stays so, whatever follows: a last word that may still grow, as `Au`
    may into `Austria`, says nothing yet.

    Args:
        text: what was written so far.
        forms: from `accepted_forms`.
        ended: whether nothing follows.

    >>> tokyo = accepted_forms(("Tokyo",))
    >>> [judged(t, tokyo, ended=False).value for t in ("It is Tokyo", "It is Tokyo,", "Osaka.")]
    ['open', 'right', 'wrong']
    """
    ended = ended or len(text) > READ
    sentence, closed = first_sentence(_plain(text[:READ]))
    words = _words(sentence)
    if words and not ended and _may_grow(sentence):
        words.pop()
    if _hold(words, forms):
        return Fate.RIGHT
    return Fate.WRONG if closed or ended else Fate.OPEN


def _plain(text: str) -> str:
    """A text without accents and compatibility forms."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFKC", _ACCENTS.sub("", decomposed))


def _words(plain: str) -> list[str]:
    """The words of a text; ordinals as plain numbers, so that `2nd` is `2`."""
    return [_ORDINAL.sub("", word) for word in _WORD.findall(plain)]


def _may_grow(plain: str) -> bool:
    """Whether the last word may go on: nothing stands behind it, or half a character does."""
    return plain[-1] == _UNFINISHED or _WORD.fullmatch(plain[-1]) is not None


def _hold(words: Sequence[str], forms: Sequence[Form]) -> bool:
    return any(
        _same(words[start : start + len(form)], form)
        for form in forms
        for start in range(len(words) - len(form) + 1)
    )


def _same(words: Sequence[str], form: Form) -> bool:
    if sum(map(len, form)) <= SHORT:
        return (*words,) == form
    return all(a == b or a.casefold() == b.casefold() for a, b in zip(words, form, strict=True))


def _initials_together(row: Form) -> Form:
    """Runs of single letters as one word: `D`, `C` is `DC`."""
    return tuple(_INITIALS.sub(lambda run: run[0].replace(" ", ""), " ".join(row)).split())


def _initials_apart(row: Form) -> Form:
    """Short words of capitals letter by letter: `USA` is `U`, `S`, `A`."""
    spelled = ([*word] if word.isupper() and len(word) <= 4 else [word] for word in row)
    return tuple(letter for letters in spelled for letter in letters)


def _dates(row: Form) -> list[Form]:
    """The usual orders of a date of day, month and year; none if the row is no such date."""
    month = next((word for word in row if word.casefold() in _MONTHS), None)
    numbers = [word for word in row if word.isdecimal()]
    if len(row) != 3 or month is None or len(numbers) != 2:
        return []
    day, year = sorted(numbers, key=int)
    number = str(_MONTHS.index(month.casefold()) + 1)
    return [
        *((day, name, year) for name in (month, month[:3])),
        (day, "of", month, year),
        *((name, day, year) for name in (month, month[:3])),
        (year, number, day),
        (year, number.zfill(2), day.zfill(2)),
    ]
