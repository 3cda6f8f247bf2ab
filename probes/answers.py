"""Questions of fact, and whether a text states an accepted answer to one.

Matching is a pure function on strings. It compares whole words, so that a short answer never hits
inside a longer word, and it is the same for texts that were drawn and texts that were computed.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property, lru_cache
from pathlib import Path

from probes.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHORT = 2
"""Letters up to which an answer must be spelled with its capitals: `Au` is gold, `au` is not."""

LEAD_IN = frozenset(
    [
        "a",
        "an",
        "and",
        "answer",
        "are",
        "as",
        "at",
        "born",
        "by",
        "called",
        "city",
        "composed",
        "composer",
        "correct",
        "country",
        "currency",
        "date",
        "discovered",
        "first",
        "found",
        "happened",
        "he",
        "in",
        "invented",
        "is",
        "it",
        "its",
        "known",
        "language",
        "led",
        "made",
        "main",
        "name",
        "named",
        "of",
        "on",
        "or",
        "our",
        "painted",
        "painter",
        "place",
        "s",
        "she",
        "sir",
        "that",
        "the",
        "there",
        "they",
        "this",
        "took",
        "was",
        "were",
        "which",
        "with",
        "wrote",
        "written",
        "year",
    ]
)
"""Words that lead up to an answer in any question, and name nothing themselves."""

_ENDINGS = ("s", "d", "ed", "ing")
_DAY = re.compile(r"0?[1-9]|[12][0-9]|3[01]")
_DAY_START = re.compile(r"(?:0?[1-9]?|[12][0-9]|3[01])(?:s|st|n|nd|r|rd|t|th)?")
_WORD = re.compile(r"[^\W_]+")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)$")
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


@dataclass(frozen=True)
class Question:
    """A question of fact.

    Attributes:
        prompt: what the model continues, spelled exactly; a spelled `<s>` gets a second one.
        accepted: answers that count as right, in any spelling `states` takes for the same.
        origin: where question and answers come from.
    """

    prompt: str
    accepted: tuple[str, ...]
    origin: str

    @cached_property
    def forms(self) -> tuple[Form, ...]:
        """The accepted answers as rows of words, to match with."""
        return accepted_forms(self.accepted)

    @cached_property
    def _lead(self) -> frozenset[str]:
        own = {word.casefold() for word in _words(self.prompt)}
        return frozenset(own | LEAD_IN | (set(_MONTHS) if self._asks_year else set()))

    @cached_property
    def _lead_starts(self) -> frozenset[str]:
        words = [word + ending for word in self._lead for ending in ("", *_ENDINGS)]
        return frozenset(word[:end] for word in words for end in range(1, len(word) + 1))

    @cached_property
    def _asks_year(self) -> bool:
        return any(len(form[-1]) >= 3 and form[-1].isdecimal() for form in self.forms)

    def leads_up(self, word: str) -> bool:
        """Whether a word leads up to an answer, rather than being one.

        >>> asked = Question("When did World War II end?", ("1945",), "an example")
        >>> [asked.leads_up(word) for word in ("ended", "September", "2", "1946", "Paris")]
        [True, True, True, False, False]
        """
        word = word.casefold()
        if word in self._lead or (self._asks_year and _DAY.fullmatch(word)):
            return True
        stems = (word[: len(word) - len(ending)] for ending in _ENDINGS if word.endswith(ending))
        return any(len(stem) > SHORT and stem in self._lead for stem in stems)

    def may_lead_up(self, start: str) -> bool:
        """Whether a word that begins so may lead up to an answer."""
        start = start.casefold()
        if self._asks_year and _DAY_START.fullmatch(start):
            return True
        return start in self._lead_starts


@cache
def questions() -> tuple[Question, ...]:
    """The questions that come with the suite, the published ones first.

    >>> questions()[0].prompt, questions()[0].accepted
    ('<s> What is the capital of United States? ', ('Washington',))
    """
    text = Path(__file__).with_name("questions.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return tuple(
        Question(f"{group['before']}{question}{group['after']}", tuple(accepted), group["origin"])
        for group in data["group"]
        for question, accepted in group["questions"].items()
    )


@lru_cache(maxsize=4096)
def accepted_forms(accepted: tuple[str, ...]) -> tuple[Form, ...]:
    """Rows of words, one of which a text must hold to state an accepted answer.

    A leading article is left out. Initials also count when written together, and a date of day,
    month and year also in the other usual orders.

    Args:
        accepted: the answers.

    Raises:
        UserError: if there is none, or one has no letter and no digit: every text would state it.

    >>> accepted_forms(("the yen",))
    (('yen',),)
    >>> accepted_forms(("Washington, D.C.",))
    (('Washington', 'D', 'C'), ('Washington', 'DC'))
    >>> accepted_forms(("2 September 1945",))[1:3]
    (('2', 'of', 'September', '1945'), ('September', '2', '1945'))
    """
    forms: list[Form] = []
    for answer in accepted:
        row = tuple(_words(answer))
        while len(row) > 1 and row[0].lower() in _ARTICLES:
            row = row[1:]
        if not row:
            raise UserError(f"an accepted answer needs a letter or a digit, not {answer!r}")
        forms += [row, _initials_together(row), *_dates(row)]
    if not forms:
        raise UserError("a question needs an accepted answer")
    return tuple(dict.fromkeys(forms))


def states(text: str, forms: Sequence[Form]) -> bool:
    """Whether a text states an accepted answer.

    Whole words are compared, in their order: accents, punctuation and, beyond two letters,
    capitals make no difference. Scripts that put no space between words are not taken apart.

    Args:
        text: what was written.
        forms: from `accepted_forms`.

    >>> states("It ended on September 2nd, 1945.", accepted_forms(("1945",)))
    True
    >>> states("Austria", accepted_forms(("Au",))), states("", accepted_forms(("0",)))
    (False, False)
    """
    return _holds(_words(text), forms)


class Fate(Enum):
    """What is known of the beginning of a text."""

    RIGHT = "right"
    WRONG = "wrong"
    OPEN = "open"


def judged(text: str, question: Question, *, ended: bool) -> Fate:
    """Whether the first thing a text names is an accepted answer.

    Words that lead up to an answer are passed over: those of the question, with their endings,
    and a closed list (`it`, `is`, `by`, `answer`, ...); before a year also months and days. The
    next words must be an accepted answer. What is right or wrong stays so, whatever follows: a
    last word that may still grow (`Au` into `Austria`) is only wrong where it cannot grow into
    one that would do.

    Args:
        text: what was written so far.
        question: what was asked.
        ended: whether nothing follows.

    >>> asked = Question("What is the capital of Japan?", ("Tokyo",), "an example")
    >>> [judged(text, asked, ended=False).value for text in ("The cap", "It is Tokyo.", "Osaka")]
    ['open', 'right', 'wrong']
    """
    words = _words(text)
    growing = "" if ended or not words or not _grows(text) else words.pop()
    place = 0
    while place < len(words):
        rest = words[place:]
        if any(_begins(rest, form) for form in question.forms):
            return Fate.RIGHT
        if any(_may_become(rest, growing, form) for form in question.forms):
            return Fate.WRONG if ended else Fate.OPEN
        if not question.leads_up(rest[0]):
            return Fate.WRONG
        place += 1
    if ended:
        return Fate.WRONG
    possible = not growing or question.may_lead_up(growing)
    possible = possible or any(_may_become([], growing, form) for form in question.forms)
    return Fate.OPEN if possible else Fate.WRONG


def _grows(text: str) -> bool:
    """Whether a text's last word may go on: nothing stands behind it, or half a character does."""
    return _WORD.fullmatch(text[-1]) is not None or text[-1] == _UNFINISHED


def _same(word: str, wanted: str) -> bool:
    return word == wanted or (len(wanted) > SHORT and word.casefold() == wanted.casefold())


def _begins(words: Sequence[str], form: Form) -> bool:
    return len(words) >= len(form) and all(map(_same, words, form))


def _may_become(words: Sequence[str], growing: str, form: Form) -> bool:
    """Whether words with one that grows can still become a form."""
    if len(words) >= len(form) or not all(map(_same, words, form)):
        return False
    wanted = form[len(words)][: len(growing)]
    short = len(form[len(words)]) <= SHORT
    return growing == wanted or (not short and growing.casefold() == wanted.casefold())


def _words(text: str) -> list[str]:
    """The words of a text without accents; ordinals as plain numbers (`2nd` is `2`)."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in decomposed if not unicodedata.combining(c))
    return [_ORDINAL.sub("", word) if word[0].isdigit() else word for word in _WORD.findall(text)]


def _holds(words: Sequence[str], forms: Sequence[Form]) -> bool:
    return any(_begins(words[start:], form) for form in forms for start in range(len(words)))


def _initials_together(row: Form) -> Form:
    """Runs of single letters as one word: `D`, `C` is `DC`."""
    together: list[str] = []
    after_initial = False
    for word in row:
        initial = len(word) == 1 and word.isalpha()
        if initial and after_initial:
            together[-1] += word
        else:
            together.append(word)
        after_initial = initial
    return tuple(together)


def _dates(row: Form) -> list[Form]:
    """The usual orders of a date of day, month and year; none if the row is no such date."""
    if len(row) != 3:
        return []
    month = next((word for word in row if word.casefold() in _MONTHS), None)
    numbers = [word for word in row if word.isdecimal()]
    if month is None or len(numbers) != 2:
        return []
    day, year = sorted(numbers, key=int)
    number = str(_MONTHS.index(month.casefold()) + 1)
    return [
        (day, month, year),
        (day, "of", month, year),
        (month, day, year),
        (year, number, day),
        (year, number.zfill(2), day.zfill(2)),
    ]
