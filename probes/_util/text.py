"""Quote values and shorten texts for messages."""

from __future__ import annotations


def quote(value: object, *, limit: int = 60) -> str:
    r"""Return a value from a file or command line as text that fits one line of a message.

    >>> quote("a\x1b[2J"), quote(list(range(99)), limit=12)
    ("'a\\x1b[2J'", '[0, 1, 2, ...')
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or deep nesting
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]}..."


def shorten(text: str, length: int) -> str:
    """Return the text, or its beginning with the number of characters it had.

    >>> shorten("a text", 6), shorten("a longer text", 6)
    ('a text', 'a long… (cut: 13 characters)')
    """
    return text if len(text) <= length else f"{text[:length]}… (cut: {len(text):,} characters)"
