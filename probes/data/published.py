"""The published outputs of Mistral-7B-v0.1: initial records, with their source, as data."""

from __future__ import annotations

from functools import cache

from probes._util.files import DATA
from probes._util.tomlfile import load_toml
from probes.schema.base import Stored


class PublishedText(Stored):
    """A greedy text."""

    id: str
    """Its name here."""
    prompt: str
    """The prompt, spelled as published."""
    special_tokens: bool
    """Whether the tokenizer added its special tokens."""
    tokens: int
    """Maximum number of new tokens."""
    text: str
    """The continuation, without spaces around it."""


class PublishedRow(Stored):
    """The ends of an embedding row."""

    begins: tuple[float, float, float]
    """Its first components."""
    ends: tuple[float, float, float]
    """Its last components."""


class Published(Stored):
    """All published outputs."""

    source: str
    """Where they come from: `published`."""
    made: str
    """What they were made with."""
    text: tuple[PublishedText, ...]
    """The greedy texts."""
    embedding_row_0: PublishedRow
    """Row 0 of the input embedding, in fp16."""


@cache
def load_outputs() -> Published:
    """Read all published outputs."""
    return Published.model_validate(load_toml(DATA / "published.toml"))


def find_text(name: str) -> PublishedText:
    """Return a published text by its id."""
    return {each.id: each for each in load_outputs().text}[name]
