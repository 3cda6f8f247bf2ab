"""The published outputs of Mistral-7B-v0.1: initial records, with their source, as data."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Stated(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PublishedText(_Stated):
    """A greedy text."""

    id: str
    """Its name here."""
    prompt: str
    """The prompt as it was given."""
    special_tokens: bool
    """Whether the tokenizer added its special tokens."""
    tokens: int
    """New tokens asked for."""
    text: str
    """What was added to the prompt, without spaces around it."""


class PublishedRow(_Stated):
    """The ends of an embedding row."""

    begins: tuple[float, float, float]
    """Its first components."""
    ends: tuple[float, float, float]
    """Its last components."""


class Published(_Stated):
    """All that was published."""

    source: str
    """Where it comes from: `published`."""
    made: str
    """What it was made with."""
    text: tuple[PublishedText, ...]
    """The greedy texts."""
    embedding_row_0: PublishedRow
    """Row 0 of the input embedding, in fp16."""


@cache
def outputs() -> Published:
    """All published outputs, from ``published.toml`` beside this module.

    >>> outputs().source
    'published'
    """
    text = Path(__file__).with_name("published.toml").read_text(encoding="utf-8")
    return Published.model_validate(tomllib.loads(text))


def text(name: str) -> PublishedText:
    """A published text by its id.

    Raises:
        KeyError: There is none.

    >>> text("default-text").text[:6]
    'Tokyo.'
    """
    return {each.id: each for each in outputs().text}[name]
