"""The page's own words, in each of its languages.

They stand in `texts/LANGUAGE/*.toml`, a table a part of the page, with the same keys in every
language. A page holds all languages at once; its style shows the one that is chosen.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from probes._util.files import PACKAGE
from probes._util.tomlfile import load_toml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LANGUAGES = {"en": "English", "ja": "日本語"}
"""Languages by their code, each named in itself; the first is shown where none is chosen."""


@cache
def texts(language: str) -> dict[str, str]:
    """All texts of one language, by key: `TABLE.KEY`.

    >>> texts("en")["page.skip"]
    'Skip to the content'
    """
    found: dict[str, str] = {}
    for file in sorted((PACKAGE / "report" / "texts" / language).glob("*.toml")):
        found |= _flat(load_toml(file))
    return found


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def phrase(key: str, language: str, **values: object) -> str:
    """A text in one language, with its values, as plain text.

    >>> phrase("count.check.many", "en", n=3)
    '3 checks'
    """
    return texts(language)[key].format(**values)


def spoken(key: str, language: str, **values: object) -> Markup:
    """A text in one language, with its values, as markup.

    >>> str(spoken("page.skip", "en"))
    'Skip to the content'
    """
    return escape(texts(language)[key]).format(**values)


def say(key: str, **values: object) -> Markup:
    """A text in every language, one beside the other.

    Args:
        key: `TABLE.KEY`.
        **values: what stands in the text's braces; escaped unless it is markup.

    >>> print(say("page.skip"))  # doctest: +ELLIPSIS
    <span lang="en">Skip to the content</span><span lang="ja">...</span>
    """
    return beside({code: spoken(key, code, **values) for code in LANGUAGES})


def beside(said: Mapping[str, str]) -> Markup:
    """What is said in each language, one beside the other; once, where it is the same in all.

    >>> print(beside({"en": "yes", "ja": "はい"}), beside({"en": "1 & 2", "ja": "1 & 2"}))
    <span lang="en">yes</span><span lang="ja">はい</span> 1 &amp; 2
    """
    if len(set(said.values())) == 1:
        return escape(next(iter(said.values())))
    span = Markup('<span lang="{}">{}</span>')
    return Markup("").join(span.format(code, text) for code, text in said.items())


def both(function: Callable[..., str]) -> Callable[..., Markup]:
    """A function that says something in one `language`, made to say it in all of them."""

    def said(*args: object, **values: object) -> Markup:
        return beside({code: function(*args, language=code, **values) for code in LANGUAGES})

    return said


def attributes(name: str, key: str, **values: object) -> Markup:
    """An attribute in the first language, and beside it what the page's script puts there.

    >>> print(attributes("aria-label", "page.skip"))  # doctest: +ELLIPSIS
    aria-label="Skip to the content" data-en-aria-label="Skip to the content" data-ja-...
    """
    said = {code: spoken(key, code, **values) for code in LANGUAGES}
    first = Markup('{}="{}"').format(name, next(iter(said.values())))
    others = [Markup('data-{}-{}="{}"').format(code, name, text) for code, text in said.items()]
    return Markup(" ").join([first, *others])
