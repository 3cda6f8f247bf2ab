from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

from probes.report.locale import LANGUAGES

INLINE = {"a", "bdi", "code", "span", "strong"}
VOID = {"meta", "link", "br", "img", "rect", "hr"}


class Page(HTMLParser):
    """The tags and the text of a page in one language; refuses one whose tags do not match."""

    def __init__(self, html: str, language: str = "en") -> None:
        super().__init__()
        self.language = language
        self.spoken: list[str | None] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._space(tag)
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
            self.spoken.append(dict(attrs).get("lang") if tag == "span" else None)

    def handle_endtag(self, tag: str) -> None:
        self._space(tag)
        if tag not in VOID:
            assert self.open.pop() == tag
            self.spoken.pop()

    def handle_data(self, data: str) -> None:
        hidden = {*LANGUAGES} - {self.language}
        if not {"style", "script", "title"} & set(self.open) and not hidden & {*self.spoken}:
            self.words.append(data)

    def _space(self, tag: str) -> None:
        """Separate blocks, as they may adjoin in the source."""
        if tag not in INLINE:
            self.words.append(" ")

    def values(self, name: str) -> list[str]:
        return [value or "" for key, value in self.attributes if key == name]
