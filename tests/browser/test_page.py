from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from probes.report.files import INDEX_FILE, refresh_index, write_report
from probes.report.html.page import render, render_index
from probes.results.index import list_runs
from probes.results.journal import Journal
from probes.schema.claim import catalogue
from probes.schema.record import ClaimRecord, Record, Verdict
from tests.support.browser_page import low_contrasts, misfits, open_details
from tests.support.measured_runs import measured, write_measured
from tests.support.samples import FINISHED, HOSTILE, check, header, mixed, planned, record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.browser_page import OpenPage, Theme

THEMES: tuple[Theme, ...] = ("light", "dark")


def hostile() -> Record:
    texts = {"text": HOSTILE, "long": "<i>" * 33_334, "unbroken": "語" * 100_000}
    plan = header(
        planned("round-trip", title=HOSTILE, section=HOSTILE, differs=HOSTILE),
        target=header().target.model_copy(update={"name": HOSTILE}),
    )
    made = check(HOSTILE, Verdict.FAILS, reason=HOSTILE, values={**texts, HOSTILE: [HOSTILE]})
    return record([("round-trip", made)], plan, target=plan.target)


def whole_catalogue() -> Record:
    """Every claim there is, so that all of the page's words are there."""
    claims = [ClaimRecord(**claim.model_dump(), planned=1) for claim in catalogue().values()]
    return record(plan=header(*claims))


@pytest.fixture(scope="module")
def whole() -> str:
    """A page with every verdict, and evidence of every shape."""
    return render(mixed())


@pytest.fixture
def index(tmp_path: Path) -> str:
    """The list of a run where all holds, and one where a claim fails."""
    for hour, verdict in enumerate((Verdict.HOLDS, Verdict.FAILS)):
        journal = Journal.begin(tmp_path, header(started=f"2026-11-23T0{hour}:00:00Z"))
        journal.write_check("bos-inserted", check())
        journal.write_check("pad-token", check(verdict=verdict))
        journal.finish(FINISHED, write_report)
    return render_index(list_runs(tmp_path))


# --- how it looks --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [mixed, hostile, whole_catalogue])
def test_page_fits_the_window(open_page: OpenPage, make: Callable[[], Record]) -> None:
    page = open_page(render(make()))
    open_details(page)
    assert misfits(page) == []


def test_hostile_text_stays_text(open_page: OpenPage) -> None:
    page = open_page(render(hostile()))
    assert page.title() != "taken"
    assert page.locator("img, i, svg svg").count() == 0
    assert page.locator("script").count() == 1
    assert page.locator("h3").inner_text().count("{{ 7 * 7 }}") == 1
    open_details(page)
    texts = page.locator("pre.text").all_text_contents()
    assert "<i>" * 33_334 in texts
    assert "語" * 100_000 in texts


@pytest.mark.parametrize("theme", THEMES)
def test_text_has_enough_contrast(
    open_page: OpenPage, whole: str, index: str, theme: Theme
) -> None:
    page = open_page(whole, theme=theme)
    open_details(page)
    assert low_contrasts(page) == []
    assert low_contrasts(open_page(index, theme=theme)) == []


@pytest.mark.parametrize("theme", THEMES)
def test_paper_unfolds_evidence_dark_on_light(
    open_page: OpenPage, whole: str, theme: Theme
) -> None:
    page = open_page(whole, width=700, theme=theme)
    piece = page.locator(".pieces").first
    assert not piece.is_visible()
    page.emulate_media(media="print")
    assert piece.is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(30, 34, 38)"
    assert page.evaluate("document.documentElement.scrollWidth") == 700


def test_broken_claims_evidence_is_one_line(open_page: OpenPage) -> None:
    values = {"ids": [1, 415], "pieces": ["<s>", "▁The"], "entries": 2}
    wrong = check(verdict=Verdict.FAILS, reason="wrong", values=values)
    line = open_page(render(record([("pad-token", wrong)]))).locator(".glance")
    words = "Evidence ids 1 415 · pieces <s> ▁The · entries 2"
    assert line.inner_text().split() == words.split()
    assert line.evaluate("e => e.offsetHeight") < 40


def test_index_shows_a_changed_verdict_at_once(open_page: OpenPage, index: str) -> None:
    page = open_page(index)
    assert misfits(page) == []
    page.set_viewport_size({"width": 360, "height": 900})
    (changed,) = page.locator(".cell.changed").all()
    box = changed.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 360
    assert box["y"] < 900


def test_models_side_by_side_fit_the_window(open_page: OpenPage, tmp_path: Path) -> None:
    for number, name in enumerate(("ours", "a-name-that-is-too-long-for-a-chart", "語" * 40)):
        write_measured(tmp_path, name, 1, measured(0.2 + number / 5))
    refresh_index(tmp_path)
    page = open_page((tmp_path / INDEX_FILE).read_text(encoding="utf-8"))
    assert page.locator(".picture svg").count() == 6
    assert misfits(page) == []
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        assert low_contrasts(page) == []


# --- what a reader does --------------------------------------------------------------------------


def test_claims_open_by_link_and_keyboard(open_page: OpenPage, whole: str) -> None:
    page = open_page(whole)
    page.locator(".broken a").first.click()
    page.wait_for_url("**#claim-default-length")
    opened = page.locator("details.evidence[open]")
    before = opened.count()
    page.locator("details.evidence:not([open]) > summary").first.focus()
    page.keyboard.press("Enter")
    assert opened.count() == before + 1


@pytest.mark.parametrize(
    ("browsers", "headline"), [("ja-JP", "主張 3 件が成立"), ("de-DE", "3 claims hold")]
)
def test_language_is_the_browsers(
    open_page: OpenPage, whole: str, browsers: str, headline: str
) -> None:
    page = open_page(whole, locale=browsers)
    assert page.locator("h1").inner_text().startswith(headline)


def test_language_is_switched_by_its_button_and_kept(open_page: OpenPage) -> None:
    page = open_page(render(whole_catalogue()), own=True)  # what is kept is no other test's
    for language, name in (("ja", "言語"), ("en", "Language"), ("ja", "言語")):
        page.locator(f"[data-language={language}][aria-pressed=false]").focus()
        page.keyboard.press("Enter")
        assert page.locator(f"[data-language={language}][aria-pressed=true]").count() == 1
        assert page.get_by_role("group", name=name).get_by_role("button").count() == 2
        spoken = page.locator("span[lang]:visible")
        assert spoken.count() > 300
        assert set(spoken.evaluate_all("spans => spans.map(s => s.lang)")) == {language}
    page.reload()
    assert page.locator("html").get_attribute("lang") == "ja"


@pytest.mark.parametrize("theme", THEMES)
def test_dark_follows_the_system_until_it_is_chosen(
    open_page: OpenPage, whole: str, theme: Theme
) -> None:
    page = open_page(whole, theme=theme)
    other: Theme = "light" if theme == "dark" else "dark"
    button = {
        name: page.get_by_role("button", name="Dark", pressed=name == "dark") for name in THEMES
    }
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(colour)
    page.emulate_media(color_scheme=other)
    # The page hears of it when it is next drawn, which the browser does not wait for.
    button[other].wait_for()
    assert page.evaluate(colour) != before
    button[other].click()
    button[theme].wait_for()
    assert page.evaluate(colour) == before


def test_claims_of_one_kind_are_shown(open_page: OpenPage, whole: str) -> None:
    page = open_page(whole)
    everything = page.locator("article.claim:visible").count()
    page.get_by_role("button", name="observations").click()
    assert page.locator("article.claim:visible code").first.inner_text() == "heat-varies"
    observations = page.locator("article.claim:visible").count()
    page.get_by_role("button", name="contracts").click()
    assert page.locator("article.claim:visible").count() == everything - observations
    page.get_by_role("button", name="all claims").click()
    assert page.locator("article.claim:visible").count() == everything


def test_page_without_scripts_is_english(open_page: OpenPage, whole: str) -> None:
    page = open_page(whole, locale="ja", java_script_enabled=False)
    assert page.locator("h1").inner_text().startswith("3 claims hold")
    assert not page.locator(".choices").is_visible()
