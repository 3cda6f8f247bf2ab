"""Decide whether a text states an accepted answer. Pure functions on strings.

Whole words are compared, so that a short answer never matches inside a longer word. Sampled texts
and texts whose probability is computed token by token are judged by the same rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache

from probes.errors import UserError

CASE_SENSITIVE_LETTERS = 2  # answers this short need their capitals: `Au` is gold, `au` is not
MAX_CHARACTERS = 1_000  # characters read to find the first sentence, even one that never ends

_WORD_EACH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han: each character counts as a word, as there are no spaces between words."""

_WORD = re.compile(rf"[{_WORD_EACH}]|[^\W_{_WORD_EACH}]+")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)$")
_INITIALS = re.compile(r"\b[A-Z](?: [A-Z])+\b")
_ACCENTS = re.compile("[\u0300-\u036f]")
_SENTENCE_END = re.compile(
    r"(?<=\w)[^\w.!?。]*[!?。]|(?<=\w{4})\.|(?<=\w)[^\w\n]*\n\W*(?=(?:Question|Q):)"
)
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_ARTICLES = frozenset({"a", "an", "the"})
_MONTHS = re.findall(
    r"\w+", "january february march april may june july august september october november december"
)

Form = tuple[str, ...]  # an accepted answer as a sequence of words


class MatchState(Enum):
    """What the beginning of a text tells about its answer."""

    RIGHT = "right"
    WRONG = "wrong"
    OPEN = "open"


@lru_cache(maxsize=4096)
def accepted_forms(accepted: tuple[str, ...]) -> tuple[Form, ...]:
    """Return the sequences of words that state an accepted answer.

    A leading article is left out. Initials count written apart and together, and a date of day,
    month and year in the usual orders. Raises UserError if there is no answer, or one has no letter
    and no digit: every text would state it.

    >>> accepted_forms(("the yen", "Washington, D.C."))
    (('yen',), ('Washington', 'D', 'C'), ('Washington', 'DC'))
    """
    forms: list[Form] = []
    for answer in accepted:
        row = tuple(_words(_normalize(answer)))
        if len(row) > 1 and row[0].lower() in _ARTICLES:
            row = row[1:]
        if not row:
            raise UserError(f"an accepted answer needs a letter or a digit, not {answer!r}")
        forms += [row, _join_initials(row), _split_initials(row), *_date_orders(row)]
    if not forms:
        raise UserError("a question needs an accepted answer")
    return tuple(dict.fromkeys(forms))


def states_answer(text: str, forms: Sequence[Form]) -> bool:
    """Return whether a text states an accepted answer.

    Words are compared in order; accents, punctuation and, beyond two letters, capitals make no
    difference.

    >>> states_answer("It ended on September 2nd, 1945.", accepted_forms(("2 September 1945",)))
    True
    """
    return _contain(_words(_normalize(text)), forms)


def first_sentence(text: str) -> tuple[str, bool]:
    """Return the first sentence of a text, and whether it has ended.

    A full stop after fewer than four letters or digits does not end a sentence: it may be an
    abbreviation, as in `St. Petersburg`, or a number in a list. An empty line does not either, but
    one that begins with `Question:` or `Q:` does: a model that continues text may ask the next one.

    >>> first_sentence("It is Mt. Everest. What is")
    ('It is Mt. Everest.', True)
    """
    end = _SENTENCE_END.search(text)
    return (text, False) if end is None else (text[: end.end()], True)


def match_answer(text: str, forms: Sequence[Form], *, ended: bool) -> MatchState:
    """Decide whether the first sentence of a text states an accepted answer.

    A decision is final: a last word that may still grow, as `Au` into `Austria`, decides nothing.

    >>> tokyo, texts = accepted_forms(("Tokyo",)), ("It is Tokyo", "It is Tokyo,", "Osaka.")
    >>> [match_answer(text, tokyo, ended=False).value for text in texts]
    ['open', 'right', 'wrong']
    """
    ended = ended or len(text) > MAX_CHARACTERS
    sentence, closed = first_sentence(_normalize(text[:MAX_CHARACTERS]))
    words = _words(sentence)
    if words and not ended and _may_grow(sentence):
        words.pop()
    if _contain(words, forms):
        return MatchState.RIGHT
    return MatchState.WRONG if closed or ended else MatchState.OPEN


def _normalize(text: str) -> str:
    """Remove accents and compatibility forms."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFKC", _ACCENTS.sub("", decomposed))


def _words(text: str) -> list[str]:
    """Return the words of a text; ordinals as plain numbers, so that `2nd` is `2`."""
    return [_ORDINAL.sub("", w) if w[0].isdigit() else w for w in _WORD.findall(text)]


def _may_grow(text: str) -> bool:
    """Return whether the last word may continue: nothing or half a character follows it."""
    return text[-1] == _UNFINISHED or _WORD.fullmatch(text[-1]) is not None


def _contain(words: Sequence[str], forms: Sequence[Form]) -> bool:
    as_spelled, in_any_case = _as_texts(tuple(forms))
    text = f" {' '.join(words)} "
    folded = text.casefold()
    return any(form in text for form in as_spelled) or any(form in folded for form in in_any_case)


@lru_cache(maxsize=4096)
def _as_texts(forms: tuple[Form, ...]) -> tuple[list[str], list[str]]:
    """Return the forms that need their capitals, and the others in lower case."""
    short = [form for form in forms if sum(map(len, form)) <= CASE_SENSITIVE_LETTERS]
    as_spelled = [f" {' '.join(form)} " for form in short]
    return as_spelled, [f" {' '.join(form)} ".casefold() for form in {*forms} - {*short}]


def _join_initials(row: Form) -> Form:
    """Join single letters to one word: `D`, `C` is `DC`."""
    return tuple(_INITIALS.sub(lambda run: run[0].replace(" ", ""), " ".join(row)).split())


def _split_initials(row: Form) -> Form:
    """Split short words of capitals into letters: `USA` is `U`, `S`, `A`."""
    spelled = ([*word] if word.isupper() and len(word) <= 4 else [word] for word in row)
    return tuple(letter for letters in spelled for letter in letters)


def _date_orders(row: Form) -> list[Form]:
    """Return the usual orders of a date of day, month and year; none if the row is no date."""
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
