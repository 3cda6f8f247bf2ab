"""Lists of words in groups, for the claims about meaning.

The built-in ones are in ``words.toml``; a target or ``--words`` names another file.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from probes._util.files import DATA
from probes._util.text import quote
from probes._util.tomlfile import read_toml, refuse_unknown
from probes.errors import UserError
from probes.schema.base import format_validation_error

MOST_WORDS = 200
"""Words a list may have: every pair of them is part of the evidence."""

LEAST_ARRANGEMENTS = 2000
"""Ways to assign the words to the groups that a list needs: with fewer, even the clearest groups
could be chance (their p-value cannot fall below one over this)."""


def _check_word(word: str) -> str:
    if len(word) > 100 or not re.fullmatch(r" ?[^\s\x00-\x1f\x7f].*", word):
        raise ValueError("should be a word: text on one line, at most 100 characters")
    return word


Word = Annotated[str, AfterValidator(_check_word)]
"""One word or a few; one space before it is kept: byte-level tokenizers give it another token."""


class WordList(BaseModel):
    """Words in groups, and words that belong to none.

    >>> words = built_in_word_lists()["english"]
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
    def _refuse_undecidable(self) -> WordList:
        for word, count in Counter(self.all).items():
            if count > 1:
                raise ValueError(f"has the word {quote(word)} {count} times")
        if len(self.groups) < 2:
            raise ValueError(f"needs two groups or more, has {len(self.groups)}")
        for name, words in self.groups.items():
            if not name.strip():
                raise ValueError("has a group without a name")
            if len(words) < 2:
                raise ValueError(f"group {quote(name)} needs two words or more, has {len(words)}")
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
        """Number of ways to assign the words to groups of these sizes."""
        sizes = [len(words) for words in self.groups.values()]
        ways = math.factorial(sum(sizes))
        for size, groups in Counter(sizes).items():
            ways //= math.factorial(size) ** groups * math.factorial(groups)
        return ways


@cache
def built_in_word_lists() -> Mapping[str, WordList]:
    """Return the lists of the package by name.

    >>> [*built_in_word_lists()], built_in_word_lists()["japanese"].groups["royalty"]
    (['english', 'japanese'], ['王', '女王', '王子', '王女'])
    """
    return {words.name: words for words in read_word_lists(DATA / "words.toml")}


def load_word_lists(file: Path | None = None) -> tuple[WordList, ...]:
    """Return the lists of a target's own file, or the built-in ones; claims use the first."""
    return tuple(built_in_word_lists().values()) if file is None else read_word_lists(file)


def read_word_lists(file: Path) -> tuple[WordList, ...]:
    """Read the lists of a file, in its order; refuse one that repeats words or has too few."""
    tables = read_toml(file)
    if not tables:
        raise UserError(f"{file} holds no list of words: it needs a table, such as [english]")
    return tuple(_read_list(name, table, file) for name, table in tables.items())


def _read_list(name: str, table: Any, file: Path) -> WordList:
    where = f"{file}: [{name}]"
    if not isinstance(table, dict) or "groups" not in table:
        raise UserError(f"{where} should be a table with [{name}.groups], got {quote(table)}")
    refuse_unknown(table, ["groups", "unrelated"], where)
    try:
        return WordList(name=name, **table)
    except ValidationError as error:
        raise UserError(f"{where} {format_validation_error(error)}") from None
