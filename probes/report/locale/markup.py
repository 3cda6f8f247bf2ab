"""Texts as HTML in every language at once: the page's style shows the chosen one alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from markupsafe import Markup, escape

from probes.report.locale import LANGUAGES, texts
from probes.report.visible import mark


class Spoken(Markup):
    """A text in every language, of which a text around it takes the one that it needs."""

    written: Mapping[str, str]
    """By the language's code."""


def in_every_language(write: Callable[[str], str]) -> Markup:
    """Return what `write` gives for each language code, a span each; one text if all are equal.

    >>> print(in_every_language(lambda code: {"en": "yes", "ja": "はい"}[code]))
    <span lang="en">yes</span><span lang="ja">はい</span>
    """
    written = {code: write(code) for code in LANGUAGES}
    if len(set(written.values())) == 1:
        return escape(next(iter(written.values())))
    span = Markup('<span lang="{}">{}</span>')
    spoken = Spoken(Markup("").join(span.format(code, text) for code, text in written.items()))
    spoken.written = written
    return spoken


def say(key: str, **values: object) -> Markup:
    """Return a text in every language; values that are not markup are escaped.

    >>> print(say("evidence.summary", checks=say("page.skip"), time=1))  # doctest: +ELLIPSIS
    <span lang="en">Evidence: Skip to the content, 1</span><span lang="ja">...</span>
    >>> print(say("page.skip"))  # doctest: +ELLIPSIS
    <span lang="en">Skip to the content</span><span lang="ja">...</span>
    """
    return in_every_language(lambda code: _fill(key, code, values))


def translate(function: Callable[..., str]) -> Callable[..., Markup]:
    """Return a template filter that gives a phrase function's text in every language."""

    def fill(*args: object, **values: object) -> Markup:
        return in_every_language(lambda code: mark(function(*args, language=code, **values)))

    return fill


def attributes(name: str, key: str, **values: object) -> Markup:
    """Return an attribute in the first language, with the others for the page's script.

    >>> print(attributes("title", "page.skip"))  # doctest: +ELLIPSIS
    title="Skip to the content" data-en-title="Skip to the content" data-ja-title="..."
    """
    written = {code: _fill(key, code, values) for code in LANGUAGES}
    first = Markup('{}="{}"').format(name, next(iter(written.values())))
    others = [Markup('data-{}-{}="{}"').format(code, name, text) for code, text in written.items()]
    return Markup(" ").join([first, *others])


def _fill(key: str, language: str, values: dict[str, object]) -> Markup:
    chosen = {
        name: escape(value.written[language]) if isinstance(value, Spoken) else value
        for name, value in values.items()
    }
    return escape(texts(language)[key]).format(**chosen)
