from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from probes.report.files import write_report
from probes.report.html.page import render, render_index
from probes.report.locale import LANGUAGES
from probes.results.index import Run, list_runs
from probes.results.journal import Journal
from probes.schema.claim import catalogue
from probes.schema.record import ClaimRecord, Record, Verdict
from tests.support.samples import FINISHED, HOSTILE, check, header, mixed, planned, record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

WIDTHS = (360, 768, 1200)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

# For each visible text: its contrast with the first opaque background behind it.
CONTRASTS = """() => {
  const channels = css => css.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = channels(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const pair = [light(channels(getComputedStyle(node).color)), light(behind(node))];
    found.push([(Math.max(...pair) + .05) / (Math.min(...pair) + .05),
                walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""


def hostile() -> Record:
    texts = {"text": HOSTILE, "long": "<i>" * 33_334, "unbroken": "語" * 100_000}
    plan = header(
        planned("round-trip", title=HOSTILE, section=HOSTILE, differs=HOSTILE),
        target=header().target.model_copy(update={"name": HOSTILE}),
    )
    made = check(HOSTILE, Verdict.FAILS, reason=HOSTILE, values={**texts, HOSTILE: [HOSTILE]})
    return record([("round-trip", made)], plan, target=plan.target)


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens HTML from a file; at the end, nothing may have been complained of or asked for."""
    complaints: list[str] = []
    requests: list[str] = []
    file = tmp_path / "page.html"

    def show(
        html: str,
        width: int = 1200,
        theme: Literal["light", "dark"] = "light",
        language: str = "en-GB",
        script: bool = True,
    ) -> Page:
        file.write_text(html, encoding="utf-8")
        page = browser.new_page(
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            locale=language,
            java_script_enabled=script,
        )
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        return page

    yield show
    for context in browser.contexts:
        context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {file.as_uri()}


def whole_catalogue() -> Record:
    """Every claim there is, so that all of the page's words are there."""
    claims = [ClaimRecord(**claim.model_dump(), planned=1) for claim in catalogue().values()]
    return record(plan=header(*claims))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("one", "language"),
    [(mixed(), "en"), (hostile(), "en"), (whole_catalogue(), "en"), (whole_catalogue(), "ja")],
    ids=["mixed", "hostile", "catalogue", "catalogue in Japanese"],
)
def test_the_page_is_no_wider_than_the_window(
    open_page: Callable[..., Page], one: Record, width: int, language: str
) -> None:
    page = open_page(render(one), width, language=language)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_hostile_text_is_data_in_a_real_browser(open_page: Callable[..., Page]) -> None:
    page = open_page(render(hostile()))
    assert page.title() != "taken"
    assert page.locator("img, i, svg svg").count() == 0
    assert page.locator("script").count() == 1
    assert page.locator("h3").inner_text().count("{{ 7 * 7 }}") == 1
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    texts = page.locator("pre.text").all_text_contents()
    assert "<i>" * 33_334 in texts
    assert "語" * 100_000 in texts


def test_the_style_is_let_in_by_the_pages_own_policy(open_page: Callable[..., Page]) -> None:
    page = open_page(render(mixed()))
    assert page.locator(".chip.fails").first.evaluate("e => getComputedStyle(e).color") == (
        "rgb(168, 32, 26)"
    )


@pytest.mark.parametrize("theme", THEMES)
def test_every_text_has_contrast_enough(
    open_page: Callable[..., Page], theme: Literal["light", "dark"]
) -> None:
    page = open_page(render(mixed()), theme=theme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 100
    assert [pair for pair in contrasts if pair[0] < 4.5] == []


@pytest.mark.parametrize("theme", THEMES)
def test_the_list_of_runs_has_contrast_enough(
    open_page: Callable[..., Page], tmp_path: Path, theme: Literal["light", "dark"]
) -> None:
    page = open_page(render_index(two_runs(tmp_path)), theme=theme)
    assert [pair for pair in page.evaluate(CONTRASTS) if pair[0] < 4.5] == []


def test_themes_differ(open_page: Callable[..., Page]) -> None:
    colours = {
        open_page(render(mixed()), theme=theme).evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for theme in THEMES
    }
    assert len(colours) == 2


@pytest.mark.parametrize("theme", THEMES)
def test_paper_shows_what_the_screen_folds_dark_on_light(
    open_page: Callable[..., Page], theme: Literal["light", "dark"]
) -> None:
    page = open_page(render(mixed()), width=700, theme=theme)
    piece = page.locator(".pieces").first
    assert not piece.is_visible()
    page.emulate_media(media="print")
    assert piece.is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(30, 34, 38)"
    assert page.evaluate("document.documentElement.scrollWidth") == 700


def test_the_evidence_of_what_is_wrong_stands_in_one_line(open_page: Callable[..., Page]) -> None:
    values = {"ids": [1, 415], "pieces": ["<s>", "▁The"], "entries": 2}
    wrong = check(verdict=Verdict.FAILS, reason="wrong", values=values)
    page = open_page(render(record([("pad-token", wrong)])))
    line = page.locator(".glance")
    assert line.inner_text().split() == [
        *("Evidence", "ids", "1", "415", "·", "pieces", "<s>", "▁The", "·", "entries", "2")
    ]
    box = line.bounding_box()
    assert box is not None
    assert box["height"] < 40


def test_a_link_in_what_is_wrong_leads_to_the_claim(open_page: Callable[..., Page]) -> None:
    page = open_page(render(mixed()))
    page.locator(".broken a").first.click()
    page.wait_for_url("**#claim-default-length")


def test_evidence_opens_by_the_keyboard(open_page: Callable[..., Page]) -> None:
    page = open_page(render(mixed()))
    opened = page.locator("details.evidence[open]")
    before = opened.count()
    page.locator("details.evidence:not([open]) > summary").first.focus()
    page.keyboard.press("Enter")
    assert opened.count() == before + 1


# --- language and light --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("browsers", "shown"),
    [("en-GB", "en"), ("ja", "ja"), ("ja-JP", "ja"), ("de-DE", "en")],
)
def test_the_browsers_language_is_chosen(
    open_page: Callable[..., Page], browsers: str, shown: str
) -> None:
    page = open_page(render(mixed()), language=browsers)
    assert page.locator("html").get_attribute("lang") == shown
    headline = page.locator("h1").inner_text()
    assert headline.startswith({"en": "3 claims hold", "ja": "主張 3 件が成立"}[shown])


def test_a_language_is_switched_by_its_button_and_kept(open_page: Callable[..., Page]) -> None:
    page = open_page(render(mixed()))
    assert page.get_by_role("group", name="Language").get_by_role("button").count() == 2
    english, japanese = (page.locator(f"[data-language={code}]") for code in LANGUAGES)
    pressed = [english.get_attribute("aria-pressed"), japanese.get_attribute("aria-pressed")]
    assert pressed == ["true", "false"]
    japanese.focus()
    page.keyboard.press("Enter")
    assert japanese.get_attribute("aria-pressed") == "true"
    assert page.locator("h1").inner_text().startswith("主張 3 件が成立")
    assert page.get_by_role("group", name="言語").count() == 1
    assert page.locator(".contents").get_attribute("aria-label") == "セクション"
    page.reload()
    assert page.locator("html").get_attribute("lang") == "ja"


def test_only_one_language_is_seen(open_page: Callable[..., Page]) -> None:
    for language in LANGUAGES:
        page = open_page(render(whole_catalogue()), language=language)
        spoken = page.locator("span[lang]:visible")
        assert spoken.count() > 300
        assert set(spoken.evaluate_all("spans => spans.map(s => s.lang)")) == {language}


@pytest.mark.parametrize("theme", THEMES)
def test_dark_is_switched_by_its_button(
    open_page: Callable[..., Page], theme: Literal["light", "dark"]
) -> None:
    page = open_page(render(mixed()), theme=theme)
    button = page.get_by_role("button", name="Dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(colour)
    assert button.get_attribute("aria-pressed") == str(theme == "dark").lower()
    button.click()
    assert button.get_attribute("aria-pressed") == str(theme == "light").lower()
    assert page.evaluate(colour) != before
    button.click()
    assert page.evaluate(colour) == before


def test_dark_follows_the_system_until_it_is_chosen(open_page: Callable[..., Page]) -> None:
    page = open_page(render(mixed()))
    button = page.get_by_role("button", name="Dark")
    assert button.get_attribute("aria-pressed") == "false"
    page.emulate_media(color_scheme="dark")
    # The page learns of it when it is next drawn, which the browser does not wait for.
    page.get_by_role("button", name="Dark", pressed=True).wait_for()


def test_without_scripts_the_page_is_in_english_and_offers_no_choice(
    open_page: Callable[..., Page],
) -> None:
    page = open_page(render(mixed()), language="ja", script=False)
    assert page.locator("h1").inner_text().startswith("3 claims hold")
    assert not page.locator(".choices").is_visible()


# --- the list of runs ----------------------------------------------------------------------------


def two_runs(report_dir: Path) -> list[Run]:
    """A run where all holds, and one where a claim fails."""
    for hour, verdict in enumerate((Verdict.HOLDS, Verdict.FAILS)):
        journal = Journal.begin(report_dir, header(started=f"2026-11-23T0{hour}:00:00Z"))
        journal.write_check("bos-inserted", check())
        journal.write_check("pad-token", check(verdict=verdict))
        journal.finish(FINISHED, write_report)
    return list_runs(report_dir)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_verdict_that_changed_is_seen_at_once(
    open_page: Callable[..., Page], tmp_path: Path, width: int, language: str
) -> None:
    page = open_page(render_index(two_runs(tmp_path)), width, language=language)
    changed = page.locator(".cell.changed")
    assert changed.count() == 1
    box = changed.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= width
    assert box["y"] < 900
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_list_of_runs_opens_quietly(open_page: Callable[..., Page], tmp_path: Path) -> None:
    page = open_page(render_index(list_runs(tmp_path)), width=360)
    assert page.locator("h1").inner_text() == "Runs"
