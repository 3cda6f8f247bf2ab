"""Lists of words in groups: what the claims about meaning are decided on.

The built-in lists stand in ``words.toml`` beside this module; an author names a file of their own
with ``--words`` or with the key ``words`` of a target.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from probes._util.jsonfile import shown
from probes._util.tomlfile import read_toml, refuse_unknown
from probes.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILT_IN = Path(__file__).with_name("words.toml")

MOST_WORDS = 200
"""Words a list may have: every pair of them stands in the evidence."""

LEAST_ARRANGEMENTS = 2000
"""Ways to share the words out among the groups that a list needs: with fewer, even the clearest
groups could be chance (their p-value cannot fall below one over this)."""

Word = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^ ?[^\s\x00-\x1f\x7f].*$")]
"""A word or a few; one space before it is kept, as byte-level tokenizers tell ``king`` from it."""


class WordList(BaseModel):
    """Words in groups, and words that belong to none.

    >>> words = built_in()["english"]
    >>> len(words.all), words.labels[:5], words.arrangements
    (20, (0, 0, 0, 0, 1), 2627625)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$")
    """The table's name in the file."""
    groups: dict[str, list[Word]]
    """Words that belong together, by the group's name."""
    unrelated: list[Word] = []
    """Words that belong neither to a group nor to each other."""

    @model_validator(mode="after")
    def _can_be_decided(self) -> WordList:
        self._refuse_repeated()
        if len(self.groups) < 2:
            raise ValueError(f"needs two groups or more, has {len(self.groups)}")
        for name, words in self.groups.items():
            if not name.strip():
                raise ValueError("has a group without a name")
            if len(words) < 2:
                raise ValueError(f"group {shown(name)} needs two words or more, has {len(words)}")
        if len(self.unrelated) == 1:
            raise ValueError("needs two unrelated words or more, or none at all, has 1")
        if len(self.all) > MOST_WORDS:
            raise ValueError(f"has {len(self.all)} words, more than {MOST_WORDS}")
        if self.arrangements < LEAST_ARRANGEMENTS:
            raise ValueError(
                f"has so few words that chance could group them ({self.arrangements} "
                f"arrangements, {LEAST_ARRANGEMENTS} are needed): give more words or groups, "
                "such as three groups of four words"
            )
        return self

    def _refuse_repeated(self) -> None:
        for word, count in Counter(self.all).items():
            if count > 1:
                raise ValueError(f"has the word {shown(word)} {count} times")

    @property
    def grouped(self) -> tuple[str, ...]:
        """The words of all groups, group after group."""
        return tuple(word for words in self.groups.values() for word in words)

    @property
    def all(self) -> tuple[str, ...]:
        """The words of all groups, then the unrelated ones."""
        return (*self.grouped, *self.unrelated)

    @property
    def labels(self) -> tuple[int, ...]:
        """For each word of `grouped` the number of its group, from 0."""
        return tuple(i for i, words in enumerate(self.groups.values()) for _ in words)

    @property
    def group_names(self) -> tuple[str, ...]:
        """For each word of `all` the name of its group, "" for an unrelated one."""
        names = [name for name, words in self.groups.items() for _ in words]
        return (*names, *[""] * len(self.unrelated))

    @property
    def arrangements(self) -> int:
        """In how many ways the words can be shared out among groups of these sizes."""
        sizes = [len(words) for words in self.groups.values()]
        ways = math.factorial(sum(sizes))
        for size, groups in Counter(sizes).items():
            ways //= math.factorial(size) ** groups * math.factorial(groups)
        return ways


@cache
def built_in() -> Mapping[str, WordList]:
    """The lists that come with the package, by name.

    >>> [*built_in()], built_in()["japanese"].groups["royalty"]
    (['english', 'japanese'], ['王', '女王', '王子', '王女'])
    """
    return {words.name: words for words in read_words(BUILT_IN)}


def lists(file: Path | None = None) -> tuple[WordList, ...]:
    """The lists of a target's own file, or the built-in ones; claims are decided on the first.

    Raises:
        UserError: The file cannot be used.

    >>> lists()[0].name
    'english'
    """
    return tuple(built_in().values()) if file is None else read_words(file)


def read_words(file: Path) -> tuple[WordList, ...]:
    """The lists a file holds, in its order.

    Raises:
        UserError: The file cannot be read, is not TOML, holds no list, or one that cannot be
            decided on: an unknown key, a repeated word, too few words.
    """
    tables = read_toml(file, "words", "lists of words")
    if not tables:
        raise UserError(f"{file} holds no list of words: it needs a table, such as [english]")
    return tuple(_list_in(name, table, file) for name, table in tables.items())


def _list_in(name: str, table: Any, file: Path) -> WordList:
    where = f"{file}: [{name}]"
    if not isinstance(table, dict) or "groups" not in table:
        raise UserError(f"{where} should be a table with [{name}.groups], got {shown(table)}")
    refuse_unknown(table, ["groups", "unrelated"], where)
    try:
        return WordList(name=name, **table)
    except ValidationError as error:
        raise UserError(f"{where} {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return first["msg"].removeprefix("Value error, ")
    place = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    if first["type"].startswith("string_"):
        problem = "should be a word: text on one line, at most 100 characters"
    else:
        problem = first["msg"].replace("Input should be", "should be")
    return f"{place}: {shown(first['input'])} {problem}"
