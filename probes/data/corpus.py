"""The texts over which quantized models are compared: the built-in ones, or a file of the user's.

The built-in ones, English and Japanese prose in ``corpus/``, were written for this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from probes._util.files import DATA
from probes.errors import UserError

MOST_BYTES = 2**25
"""Bytes of a file: it is read and encoded as a whole."""


@dataclass(frozen=True)
class Corpus:
    """Texts by name."""

    name: str  # `built-in`, or the name of its file
    texts: dict[str, str]


@cache
def built_in_corpus() -> Corpus:
    """Return the texts of the package.

    >>> [*built_in_corpus().texts]
    ['english', 'japanese']
    """
    files = sorted((DATA / "corpus").glob("*.txt"))
    return Corpus("built-in", {file.stem: file.read_text(encoding="utf-8") for file in files})


def load_corpus(file: Path | None = None) -> Corpus:
    """Return the text of a target's own file, or the built-in ones."""
    return built_in_corpus() if file is None else read_corpus(file)


def read_corpus(file: Path) -> Corpus:
    """Read a file of UTF-8 text; refuse what is none, or is empty or too large."""
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise UserError(f"{file} is too large for a corpus: {size:,} bytes, of {MOST_BYTES:,}")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the corpus {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the corpus {file} is no UTF-8 text: byte {error.start:,}") from error
    if not text.strip():
        raise UserError(f"the corpus {file} has no text")
    return Corpus(file.name, {file.stem: text})
