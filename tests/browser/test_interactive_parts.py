from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from probes.report.html.page import render
from tests.support.browser_page import low_contrasts, misfits, open_details
from tests.support.interactive_evidence import (
    LONG,
    PIECES,
    hostile_record,
    interactive_record,
    make_distributions,
)
from tests.support.samples import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from playwright.sync_api import Page

    from probes import Sampling
    from probes.schema.record import Record
    from tests.support.browser_page import OpenPage, Theme

# What the page says of each setting, set as a reader's typing would.
FIGURES = """settings => settings.map(one => {
  for (const [name, value] of Object.entries(one)) {
    const field = document.querySelector(`[data-field=${name}]`);
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
  const figure = name => Number(document.querySelector(`[data-figure=${name}]`).dataset.value);
  return {
    ...Object.fromEntries(["kept", "mass", "entropy", "greedy", "answer"].map(n => [n, figure(n)])),
    bars: [...document.querySelectorAll(".bars tbody tr")].map(row => Number(row.dataset.value)),
  };
})"""


ENTER_TOKENS = """() => document.querySelectorAll("button.token").forEach(
  token => token.dispatchEvent(new PointerEvent("pointerenter")))"""


@pytest.fixture(scope="module")
def whole() -> str:
    """A page with every interactive part."""
    return render(interactive_record())


@pytest.fixture
def page(open_page: OpenPage, whole: str) -> Page:
    return open_page(whole)


# --- the decoding explorer -----------------------------------------------------------------------


def some_settings(number: int) -> list[Sampling]:
    """Settings of every filter alone and together, the same ones every time."""
    from probes import Sampling

    rng = random.Random(17)
    return [
        Sampling(
            temperature=round(rng.uniform(0.05, 3), 3),
            top_k=rng.choice([0, 1, 5, 50, rng.randint(1, 300), 40_000]),
            top_p=rng.choice([1.0, 0.2, 0.9, 0.98, round(rng.uniform(0.01, 1), 4)]),
            min_p=rng.choice([0.0, 0.0, 0.02, 1.0, round(rng.uniform(0, 1), 4)]),
        )
        for _ in range(number)
    ]


def expected(logits: torch.Tensor, answer: int | None, sampling: Sampling) -> dict[str, Any]:
    """The same figures by the suite's own filters."""
    from probes.stats import sampling_reference as filters

    now = filters.log_probabilities(logits, sampling)
    before = filters.log_probabilities(filters.temperature(logits, sampling.temperature))
    probabilities = now.exp()
    figures = {
        "kept": int(filters.count_kept(now)),
        "mass": float(before.exp()[now.isfinite()].sum()),
        "entropy": float(filters.entropy(now)),
        "greedy": float(probabilities[0]),
        "bars": probabilities[:25].tolist(),
    }
    return figures if answer is None else {**figures, "answer": float(probabilities[answer])}


def test_explorer_computes_what_python_computes(page: Page) -> None:
    import torch

    from probes.schema.evidence.distributions import Distribution

    settings = some_settings(25)
    for number, stored in enumerate(make_distributions()):
        whole = Distribution.model_validate(stored)
        values = whole.logits() if whole.tail else whole.head
        logits = torch.as_tensor(values, dtype=torch.float64)
        rank = None if whole.answer is None else whole.answer - 100
        page.locator("#explorer-prompt").select_option(str(number))
        found = page.evaluate(FIGURES, [vars(sampling) for sampling in settings])
        for sampling, figures in zip(settings, found, strict=True):
            wanted = expected(logits, rank if rank is not None and rank < 200 else None, sampling)
            for name, value in wanted.items():  # both compute in float64
                assert figures[name] == pytest.approx(value, abs=1e-9), (number, name, sampling)


def test_preset_sets_all_four_fields(page: Page) -> None:
    names = ("temperature", "top_k", "top_p", "min_p")
    for label, values in {
        "near-greedy": ["0.2", "50", "0.2", "0"],
        "narrow-hot": ["1.4", "50", "0.2", "0"],
        "wide-hot": ["1.4", "50", "0.9", "0"],
        "unfiltered": ["1", "0", "1", "0"],
    }.items():
        page.get_by_role("button", name=label, exact=True).click()
        assert [page.locator(f"[data-field={n}]").input_value() for n in names] == values
        assert page.locator("[data-preset][aria-current]").inner_text() == label
        assert page.get_by_role("switch").is_checked() == (values[1] == "50")


def test_switch_applies_the_hidden_top_k(page: Page) -> None:
    kept = page.locator("[data-figure=kept]")
    page.get_by_role("switch").check()
    assert kept.inner_text() == "50 of 32,000"
    assert page.locator("[data-left=top_k]").inner_text() == "50 left"
    page.get_by_role("switch").uncheck()
    assert kept.inner_text() == "32,000 of 32,000"


def test_sliders_move_by_keyboard(page: Page) -> None:
    page.get_by_role("slider", name="Temperature").focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert page.locator("[data-field=temperature]").input_value() == "0.5"
    slider = page.get_by_role("slider", name="Top-k")
    slider.focus()
    for key, kept, text in (("Home", "1", "1"), ("End", "32,000", "off")):
        page.keyboard.press(key)
        assert page.locator("[data-figure=kept]").inner_text() == f"{kept} of 32,000"
        assert slider.get_attribute("aria-valuetext") == text


def test_dropped_tokens_name_their_filter(page: Page) -> None:
    page.evaluate(FIGURES, [{"temperature": 3, "top_k": 20, "top_p": 0.9, "min_p": 0.5}])
    words = page.locator(".bars tbody td.figure:not(.own)").all_inner_texts()
    kept = int(page.locator("[data-figure=kept]").get_attribute("data-value") or "")
    assert all(word.endswith("%") for word in words[:kept])
    reasons = words[kept:]
    assert reasons[-5:] == ["out: top-k"] * 5
    assert list(dict.fromkeys(reasons)) == ["out: min-p", "out: top-p", "out: top-k"]
    assert page.locator(".bars tr.dropped.first td").first.inner_text() == str(kept + 1)


def test_invalid_numbers_are_ignored_and_removed(page: Page) -> None:
    field = page.locator("[data-field=temperature]")
    for text in ("", "0", "-1", "1e9"):
        field.fill(text)
        assert page.locator("[data-figure=kept]").inner_text() == "32,000 of 32,000"
        field.blur()
        assert field.input_value() == "1"


def test_answer_may_be_unlikely_or_missing(page: Page) -> None:
    seen = []
    for number in range(3):
        page.locator("#explorer-prompt").select_option(str(number))
        seen.append(page.locator("[data-figure=answer]").inner_text())
    assert seen[0].endswith("Kyoto")
    assert seen[1].startswith("below ")
    assert seen[2] == "none: no answer is right or wrong here"


def test_changes_are_announced_after_a_pause(open_page: OpenPage, whole: str) -> None:
    page = open_page(whole, own=True)  # a clock cannot be taken out again
    announced = page.locator(".explorer output")
    # The page's first state is announced after a pause, too.
    announced.filter(has_text="tokens kept").wait_for(state="attached")
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    before = announced.inner_text()
    page.get_by_role("button", name="wide-hot").click()
    page.clock.run_for(600)
    assert announced.inner_text() == before
    page.clock.run_for(200)
    assert "tokens kept. Entropy" in announced.inner_text()
    assert announced.inner_text() != before


# --- texts, token by token -----------------------------------------------------------------------


def test_token_details_appear_on_hover(page: Page) -> None:
    trace = page.locator(".trace").first
    cells = {number: trace.locator(f".step [data-cell='{number}']") for number in range(1, 9)}
    trace.locator("button.token").nth(1).hover()
    assert [cells[n].inner_text().strip() for n in (1, 3, 4)] == ["was", "30.0%", "2"]
    assert trace.locator(".step .alternatives li").count() == 5
    assert "was2" in trace.locator(".step .chosen").inner_text()
    trace.locator("button.token").nth(2).hover()
    assert [cells[n].inner_text() for n in (6, 8)] == ["yes", "31,000"]


def test_token_details_appear_on_tap(open_page: OpenPage, whole: str) -> None:
    trace = open_page(whole, width=360, has_touch=True).locator(".trace").first
    trace.locator("button.token").nth(1).tap()
    assert trace.locator(".step [data-cell='1']").inner_text().strip() == "was"


def test_arrow_keys_move_among_the_tokens(page: Page) -> None:
    trace = page.locator(".trace").first
    trace.locator("button.token").first.focus()
    for key, text in {"ArrowRight": "was", "End": "↵", "ArrowLeft": "was", "Home": "there"}.items():
        page.keyboard.press(key)
        assert trace.locator(".step [data-cell='1']").inner_text().strip() == text
        assert trace.locator("[aria-current][tabindex='0']").inner_text().strip() == text


def test_tokens_differ_by_more_than_colour(page: Page) -> None:
    tokens = page.locator(".trace").first.locator("button.token")
    style = "e => [getComputedStyle(e).textDecorationLine, getComputedStyle(e).borderTopStyle]"
    styles = [tokens.nth(number).evaluate(style) for number in range(3)]
    assert styles == [["none", "solid"], ["underline", "solid"], ["none", "dotted"]]


def test_without_script_a_text_has_its_table(open_page: OpenPage, whole: str) -> None:
    page = open_page(whole, java_script_enabled=False)
    for hidden in (".explorer", ".lookup", ".step"):
        assert not page.locator(hidden).first.is_visible()
    page.locator(".all-steps summary").first.click()
    assert page.locator(".all-steps tbody tr").nth(1).is_visible()
    assert page.locator("noscript").first.is_visible()


# --- the vocabulary ------------------------------------------------------------------------------


ROWS = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"


def look_up(page: Page, text: str) -> tuple[list[list[str]], str]:
    """The rows that are found, and the sentence about them."""
    output = page.locator(".lookup output")
    output.evaluate("e => e.textContent = ''")
    page.get_by_role("searchbox").fill(text)
    page.locator(".lookup output:not(:empty)").wait_for()
    rows = page.locator(".lookup tbody tr").evaluate_all(ROWS)
    return rows, output.inner_text()


def test_vocabulary_finds_pieces_by_id_and_text(page: Page) -> None:
    pieces = {"4": "日", "999": "piece999", "8": "U+202E", "3": "▁", "</s>": "</s>"}
    for searched, piece in pieces.items():
        assert look_up(page, searched)[0][0][1] == piece
    assert look_up(page, "99999") == ([], "No piece of 1,000 fits.")
    assert look_up(page, "the") == ([["6", "the"], ["5", "▁the"]], "2 of 1,000 pieces fit.")
    assert look_up(page, " the")[0] == [["5", "▁the"]]
    rows, said = look_up(page, "piece")
    assert len(rows) == 50
    assert said == "989 of 1,000 pieces fit; the first 50 are listed."


# --- the page as a whole -------------------------------------------------------------------------


def test_language_changes_what_is_shown(page: Page) -> None:
    look_up(page, "the")
    page.get_by_role("button", name="wide-hot").click()
    page.locator("[data-language=ja]").click()
    assert page.locator("[data-figure=kept]").inner_text().startswith("32,000 個中")
    assert page.locator("[data-left=min_p]").inner_text() == "オフ"
    assert page.get_by_role("slider", name="温度").is_visible()
    assert page.locator(".trace figcaption").first.inner_text().startswith("貪欲法")
    page.locator(".lookup output", has_text="該当").wait_for()
    assert page.locator("[data-field=temperature]").input_value() == "1.4"


@pytest.mark.parametrize("make", [interactive_record, hostile_record])
def test_interactive_parts_fit_the_window(open_page: OpenPage, make: Callable[[], Record]) -> None:
    page = open_page(render(make()))
    look_up(page, "")
    open_details(page)
    assert misfits(page) == []


def test_hostile_evidence_stays_text(open_page: OpenPage) -> None:
    page = open_page(render(hostile_record()))
    title = page.title()
    open_details(page)
    for number in range(3):
        page.locator("#explorer-prompt").select_option(str(number))
        page.get_by_role("button", name="wide-hot").click()
    page.evaluate(ENTER_TOKENS)
    assert all(page.locator(".step").all_inner_texts())
    look_up(page, "")
    page.locator("[data-language=ja]").click()
    assert page.title() == title
    assert page.locator("img, main i, svg svg, [onerror], [onload]").count() == 0
    assert page.locator("script").count() == 3
    assert "{{ 7 * 7 }}" in page.locator(".prompt").first.inner_text()
    seen = page.locator("main").inner_text()
    assert not set(seen) & set("\0\x07\x1b\u202e\u2066\u200b\ufeff")
    assert LONG not in seen
    page.get_by_role("searchbox").fill(HOSTILE[:9])
    assert look_up(page, "U+D800")[0] == []
    assert look_up(page, str(7 + len(PIECES)))[0][0][1] == "U+D800"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_interactive_parts_have_enough_contrast(
    open_page: OpenPage, whole: str, theme: Theme
) -> None:
    page = open_page(whole, theme=theme)
    look_up(page, "the")
    page.get_by_role("button", name="near-greedy").click()
    open_details(page)
    assert low_contrasts(page) == []


def test_every_control_has_a_name(page: Page) -> None:
    settings = ("Temperature", "Top-k", "Top-p", "Min-p")
    names = {
        "slider": settings,
        "spinbutton": [f"{name} as a number" for name in settings],
        "switch": ["The library’s hidden top-k"],
        "combobox": ["Prompt"],
        "searchbox": ["An id, or part of a piece"],
    }
    snapshot = page.locator("main").aria_snapshot()
    for role, expected_names in names.items():
        assert snapshot.count(f"- {role} ") == len(expected_names)
        assert all(f'- {role} "{name}"' in snapshot for name in expected_names)


def test_paper_has_the_bars_and_no_controls(open_page: OpenPage, whole: str) -> None:
    page = open_page(whole, width=700)
    page.emulate_media(media="print")
    assert page.locator(".bars").is_visible()
    assert not page.get_by_role("button", name="wide-hot").is_visible()
    assert not page.locator(".lookup").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 700
