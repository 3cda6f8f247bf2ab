"""Records put into the templates: one self-contained HTML file, every text escaped, no request."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from inspect import signature
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from probes.report import interactive
from probes.report.html import claims, evidence, faults, history
from probes.report.locale import LANGUAGES
from probes.report.locale.markup import attributes, in_every_language, say, translate
from probes.report.pictures import draw, draw_throughput, list_missing_packages
from probes.report.pictures.pieces import draw_quantizations
from probes.report.pictures.side_by_side import SideBySide
from probes.report.text import comparison as compared
from probes.report.text import phrases, since
from probes.report.visible import SPECIAL, cut, make_visible, mark
from probes.results.index import Run
from probes.schema.comparison import Comparison, Drift
from probes.schema.record import BROKEN, ClaimRecord, Record, Verdict, count_verdicts
from probes.schema.sampling import LIBRARY_TOP_K

STYLES = ("style.css", "pictures.css", "interactive.css")
WAY = (
    *("double-bos", "ids-japanese", "cosine-groups"),
    *("temperature-shape", "collapse", "task-settings"),
)
"""Claims whose pictures answer a learner's questions, `way.CLAIM`, in this order."""

SCRIPTS = ("page.js", "interactive.js")
"""Files of `templates/` that every page holds, one after the other."""


def render(
    record: Record, baseline: Comparison | None = None, last: Comparison | None = None
) -> str:
    """Return one run as a page, compared with its baseline and with the last run, if any."""
    pictures = draw(record)
    views = {
        "pictures": pictures,
        "speed_pictures": draw_throughput(record),
        "charts_need": list_missing_packages(),
        "explorer": interactive.explorer(record),
        "traces": interactive.traces(record),
        "vocabulary": interactive.vocabulary(record),
    }
    record = interactive.without_interactive(record)
    sections: dict[str, list[ClaimRecord]] = {}
    for claim in record.claims:
        sections.setdefault(claim.section, []).append(claim)
    return fill(
        "report.html",
        **views,
        record=record,
        baseline=baseline,
        last=last,
        broken=[claim for claim in record.claims if claim.verdict in BROKEN],
        unobserved=[each for each in record.claims if each.verdict is Verdict.NOT_OBSERVED],
        sections=sections,
        way=[claim for claim in WAY if claim in {each.id for each in record.claims}],
        anchors=_anchors(record),
        faults=faults.faults_by_claim(),
    )


def render_index(runs: Sequence[Run], sides: SideBySide | None = None) -> str:
    """Return the list of runs as a page, in their order, which is by target."""
    targets = [(name, list(group)) for name, group in groupby(runs, key=lambda run: run.target)]
    return fill("index.html", targets=targets, sides=sides)


def render_comparison(comparison: Comparison) -> str:
    """Return a comparison of two runs as a page."""
    return fill("compare.html", comparison=comparison)


def fill(template: str, **values: object) -> str:
    """Return a page: a file of `templates/` with its values."""
    return _templates().get_template(template).render(**values, **_frame())


def _anchors(record: Record) -> dict[str, str]:
    """Return by claim id a unique name for links on the page; ids may hold any characters."""
    anchors: dict[str, str] = {}
    for number, claim in enumerate(record.claims, start=1):
        plain = claim.id.isascii() and claim.id.replace("-", "").isalnum()
        anchors[claim.id] = f"claim-{claim.id}" if plain else f"claim:{number}"
    return anchors


@cache
def _frame() -> dict[str, Markup]:
    """Return every page's style and script, the only ones its security policy allows."""
    environment, frame = _templates(), dict[str, Markup]()
    assert environment.loader is not None
    for kind, names in (("style", STYLES), ("script", SCRIPTS)):
        files = (environment.loader.get_source(environment, name)[0] for name in names)
        source = "\n".join(files).replace('"SPECIAL"', json.dumps(SPECIAL.pattern))
        digest = base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
        # These files are ours, not data; escaped, they would not match their digest.
        frame |= {kind: Markup(source), f"{kind}_digest": Markup(digest)}  # noqa: S704
    return frame


def _describe_drift(drift: Drift) -> list[Markup]:
    """Return the sentences about drift, each in every language."""
    written = {code: compared.describe_drift(drift, code) for code in LANGUAGES}
    return [
        in_every_language(dict(zip(written, map(mark, sentences), strict=True)).__getitem__)
        for sentences in zip(*written.values(), strict=True)
    ]


FUNCTIONS: tuple[Callable[..., Any], ...] = (
    *(mark, make_visible, say, attributes, count_verdicts, history.history),
    *(claims.statement, claims.heading, claims.introduction, claims.method),
    *(claims.list_dearest, phrases.format_cost),
    *(cut, interactive.format_share, interactive.level_of),
    *(evidence.show, evidence.tabulate, evidence.list_short_values, evidence.repeats_claim),
    *(phrases.verdict_key, phrases.format_verdict, phrases.format_counts, phrases.format_headline),
    *(phrases.format_incomplete, phrases.format_count, phrases.format_duration),
    *(phrases.format_bytes, phrases.format_time, phrases.format_rate_name, phrases.format_rate),
    *(phrases.format_rate_range, phrases.format_limit_share, phrases.format_ratio),
    *(phrases.format_key, phrases.shorten_test_name, phrases.format_source),
    *(phrases.format_loading, phrases.format_versions, phrases.format_command),
    *(compared.format_outcome, compared.format_outcomes, compared.format_run),
    *(compared.describe_difference, compared.describe_flip, compared.describe_speed),
    *(since.describe_since, since.has_changed),
    *(compared.format_place, compared.list_changed_claims, compared.list_drift_measures),
)
"""Functions that the templates use under their names; what writes one language writes all there."""


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("probes.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions: dict[str, Callable[..., Any]] = {
        each.__name__: translate(each) if "language" in signature(each).parameters else each
        for each in FUNCTIONS
    }
    functions["describe_drift"] = _describe_drift
    functions["draw_quantizations"] = draw_quantizations
    environment.filters |= functions
    environment.globals |= functions
    environment.globals |= {
        "counts_in_english": phrases.format_counts,
        "outcomes_in_english": compared.format_outcomes,
        "LANGUAGES": LANGUAGES,
        "BROKEN": BROKEN,
        "VERDICTS": [*Verdict],
        "PRESETS": interactive.PRESETS,
        "LIBRARY_TOP_K": LIBRARY_TOP_K,
        "LONGEST_TOKEN": interactive.LONGEST_TOKEN,
    }
    return environment
