"""Records put into the templates."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from probes.report import (
    comparing,
    evidence,
    faults,
    history,
    interactive,
    language,
    rates,
    statements,
    words,
)
from probes.report.evidence import BROKEN
from probes.report.marking import mark, visible
from probes.report.pictures import draw, draw_throughput
from probes.schema.record import ClaimRecord, Record, Verdict, count_verdicts

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from probes.results.index import Run
    from probes.schema.comparison import Comparison, Drift


STYLES = ("style.css", "pictures.css", "interactive.css")
SCRIPTS = ("page.js", "interactive.js")
"""Files of `templates/` that every page holds, one after the other."""


@dataclass(frozen=True)
class Section:
    """Claims under one heading."""

    title: str
    anchor: str
    claims: tuple[ClaimRecord, ...]
    counts: Counter[Verdict | None]


def render(record: Record, comparison: Comparison | None = None) -> str:
    """One run as a self-contained HTML page: no request, every text escaped.

    Args:
        record: the run.
        comparison: the run against its baseline, if it had one.
    """
    handled = {
        "pictures": draw(record),
        "speed_pictures": draw_throughput(record),
        "explorer": interactive.explorer(record),
        "traces": interactive.traces(record),
        "vocabulary": interactive.vocabulary(record),
    }
    record = interactive.without_handled(record)
    return (
        _templates()
        .get_template("report.html")
        .render(
            **handled,
            record=record,
            comparison=comparison,
            counts=count_verdicts(record.claims),
            broken=[claim for claim in record.claims if claim.verdict in BROKEN],
            sections=_sections(record),
            anchors=_anchors(record),
            faults=faults.by_claim(),
            **_frame(),
        )
    )


def render_index(runs: Sequence[Run]) -> str:
    """The list of runs as an HTML page, in the order given, which is by target."""
    targets = [(name, list(group)) for name, group in groupby(runs, key=lambda run: run.target)]
    return _templates().get_template("index.html").render(targets=targets, **_frame())


def fill(template: str, **values: object) -> str:
    """Another page of the same make: a file of `templates/` with its values."""
    return _templates().get_template(template).render(**values, **_frame())


def render_comparison(comparison: Comparison) -> str:
    """A comparison of two runs as a self-contained HTML page."""
    return _templates().get_template("compare.html").render(comparison=comparison, **_frame())


def _sections(record: Record) -> list[Section]:
    """The claims by section, in the order the sections first appear."""
    titles = dict.fromkeys(claim.section for claim in record.claims)
    sections = []
    for number, title in enumerate(titles, start=1):
        claims = tuple(claim for claim in record.claims if claim.section == title)
        sections.append(Section(title, f"section-{number}", claims, count_verdicts(claims)))
    return sections


def _anchors(record: Record) -> dict[str, str]:
    """By claim id, the name a link on the page can lead to: no two alike, whatever the ids hold."""
    anchors: dict[str, str] = {}
    for number, claim in enumerate(record.claims, start=1):
        plain = claim.id.isascii() and claim.id.replace("-", "").isalnum()
        anchors[claim.id] = f"claim-{claim.id}" if plain else f"claim:{number}"
    return anchors


def _frame() -> dict[str, object]:
    """What every page has: its style and script, the only ones its security policy lets in."""
    frame: dict[str, object] = {}
    for kind, files in (("style", STYLES), ("script", SCRIPTS)):
        source = "\n".join(_source(file) for file in files)
        digest = base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
        # It is ours, not data: escaped, it would mean something else, and its digest not match.
        frame |= {kind: Markup(source), f"{kind}_digest": digest}  # noqa: S704
    return frame


@cache
def _source(name: str) -> str:
    environment = _templates()
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    return source


def _moment(iso: str, language: str) -> Markup:
    """A stored time, which may be any text."""
    return mark(words.moment(iso, language))


def _marked(function: Callable[..., str]) -> Callable[..., Markup]:
    """A function that puts data into words, made to say it in all languages, safe in HTML."""

    def said(*args: object, **values: object) -> Markup:
        return mark(function(*args, **values))

    return language.both(said)


def _drift_words(drift: Drift) -> list[Markup]:
    """The sentences about drift, each in all languages."""
    said = {code: comparing.drift_words(drift, code) for code in language.LANGUAGES}
    return [
        language.beside({code: mark(text) for code, text in zip(said, texts, strict=True)})
        for texts in zip(*said.values(), strict=True)
    ]


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("probes.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "mark": mark,
        "visible": visible,
        "show": evidence.show,
        "matrix": evidence.matrix,
        "glance": evidence.glance,
        "kind": words.kind,
        "label": words.label,
        "parameter": words.parameter,
        "in_english": words.counted,
        "moment": language.both(_moment),
        "compared_in_english": comparing.compared_headline,
        "in_order": comparing.in_order,
        "measures": comparing.measures,
        "place": comparing.place,
        "drift_words": _drift_words,
        "rate_name": _marked(rates.rate_name),
        **{
            name: _marked(getattr(comparing, name))
            for name in ("compared_headline", "difference_words", "flip_words", "speed_words")
        },
        **{
            name: language.both(getattr(words, name))
            for name in (
                "verdict_word",
                "counted",
                "headline",
                "incomplete",
                "plural",
                "duration",
                "byte_size",
            )
        },
    }
    environment.globals |= {
        "LANGUAGES": language.LANGUAGES,
        "say": language.say,
        "attributes": language.attributes,
        "statement": statements.statement,
        "heading": statements.heading,
        "introduction": statements.introduction,
        "method": statements.method,
        "history": history.history,
        "command": words.command,
        "compared_run": _marked(comparing.compared_run),
        "estimate_words": comparing.estimate_words,
        "amount": language.both(rates.amount),
        "spread": rates.spread,
        "of_limit": rates.of_limit,
        "ratio_figures": rates.ratio_figures,
        "loaded_as": words.loaded_as,
        "versions": words.versions,
        "BROKEN": BROKEN,
        "ORDER": words.ORDER,
        "is_told": evidence.is_told,
    }
    return environment
