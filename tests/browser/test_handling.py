from __future__ import annotations

import base64
import hashlib
import random
from typing import TYPE_CHECKING, Any, Literal

import pytest
from markupsafe import Markup

from probes.report import interactive
from probes.report.html import page
from tests.support.handled import LONG, PIECES, distributions, handled, hostile
from tests.support.samples import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import torch
    from playwright.sync_api import Browser, Page

    from probes import Sampling
    from probes.schema.record import Record

    Show = Callable[..., Page]

TEMPLATE = """
{% extends "frame.html" %}
{% import "interactive.html" as interactive with context %}
{% block title %}Handled{% endblock %}
{% block body %}
<header class="masthead"><h1>Handled</h1></header>
<main id="content">
{% if explorer %}{{ interactive.explorer(explorer) }}{% endif %}
{{ interactive.legend() }}
{% for trace in traces %}{{ interactive.trace(trace) }}{% endfor %}
{% if vocabulary %}{{ interactive.vocabulary(vocabulary) }}{% endif %}
</main>
{% endblock %}
"""

# What the page says of a setting, set as a reader's typing would.
FIGURES = """settings => {
  for (const [name, value] of Object.entries(settings)) {
    const field = document.querySelector(`[data-field=${name}]`);
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
  const value = node => Number(node.dataset.value);
  return {
    kept: value(document.querySelector("[data-figure=kept]")),
    mass: value(document.querySelector("[data-figure=mass]")),
    entropy: value(document.querySelector("[data-figure=entropy]")),
    greedy: value(document.querySelector("[data-figure=greedy]")),
    answer: value(document.querySelector("[data-figure=answer]")),
    bars: [...document.querySelectorAll(".bars tbody tr")].map(value),
  };
}"""

CONTRASTS = """selector => {
  const light = css => css.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const pair = [light(getComputedStyle(node).color), light(behind(node))];
    found.push([(Math.max(...pair) + .05) / (Math.min(...pair) + .05),
                walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""


def rendered(record: Record) -> str:
    frame: dict[str, Any] = {}
    for kind, files in {
        "style": ("style.css", "interactive.css"),
        "script": ("page.js", "interactive.js"),
    }.items():
        source = "".join(page._source(file) for file in files)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        frame |= {kind: Markup(source), f"{kind}_digest": digest}  # noqa: S704
    return (
        page._templates()
        .from_string(TEMPLATE)
        .render(
            explorer=interactive.explorer(record),
            traces=interactive.traces(record),
            vocabulary=interactive.vocabulary(record),
            **frame,
        )
    )


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Opens a record's page; at the end, nothing may have been complained of or asked for."""
    complaints: list[str] = []
    requests: list[str] = []
    file = tmp_path / "page.html"

    def open_page(
        record: Record,
        width: int = 1200,
        theme: Literal["light", "dark"] = "light",
        **more: Any,
    ) -> Page:
        file.write_text(rendered(record), encoding="utf-8")
        opened = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=theme, **more
        )
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda request: requests.append(request.url))
        opened.goto(file.as_uri())
        return opened

    yield open_page
    for context in browser.contexts:
        context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} <= {file.as_uri()}


# --- the decoding explorer -----------------------------------------------------------------------


def some_settings(number: int) -> list[Sampling]:
    """Settings of every filter alone and together, the same ones every time."""
    from probes import Sampling

    rng = random.Random(17)
    return [
        Sampling(
            temperature=round(rng.uniform(0.05, 3), 3),
            top_k=rng.choice([0, 1, 5, 50, rng.randint(1, 300), 40_000]),
            top_p=rng.choice([1.0, 0.2, 0.9, round(rng.uniform(0.01, 1), 4)]),
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
    return {
        "kept": int(filters.count_kept(now)),
        "mass": float(before.exp()[now.isfinite()].sum()),
        "entropy": float(filters.entropy(now)),
        "greedy": float(probabilities[0]),
        "answer": None if answer is None else float(probabilities[answer]),
        "bars": probabilities[:25].tolist(),
    }


def test_the_page_computes_what_python_computes(show: Show) -> None:
    import torch

    from probes.schema.evidence.distributions import Distribution

    opened = show(handled())
    apart = 0.0
    for number, kept in enumerate(distributions()):
        whole = Distribution.model_validate(kept)
        values = whole.logits() if whole.tail else whole.head
        logits = torch.as_tensor(values, dtype=torch.float64)
        listed = kept["answer"] is not None and kept["answer"] - 100 < 200
        opened.locator("#explorer-prompt").select_option(str(number))
        for sampling in some_settings(50):
            found = opened.evaluate(FIGURES, vars(sampling))
            wanted = expected(logits, kept["answer"] - 100 if listed else None, sampling)
            assert found["kept"] == wanted["kept"], (number, sampling)
            for name in ("mass", "entropy", "greedy", *(["answer"] if listed else [])):
                assert found[name] == pytest.approx(wanted[name], abs=1e-3), (name, sampling)
                apart = max(apart, abs(found[name] - wanted[name]))
            assert found["bars"] == pytest.approx(wanted["bars"], abs=1e-3), sampling
            pairs = zip(found["bars"], wanted["bars"], strict=True)
            apart = max(apart, *(abs(a - b) for a, b in pairs))
    assert apart < 1e-9  # both compute in float64


def test_a_button_sets_all_four_and_says_so(show: Show) -> None:
    opened = show(handled())
    names = ("temperature", "top_k", "top_p", "min_p")
    for label, values in {
        "near-greedy": ["0.2", "50", "0.2", "0"],
        "narrow-hot": ["1.4", "50", "0.2", "0"],
        "wide-hot": ["1.4", "50", "0.9", "0"],
        "unfiltered": ["1", "0", "1", "0"],
    }.items():
        button = opened.get_by_role("button", name=label, exact=True)
        button.click()
        assert [opened.locator(f"[data-field={n}]").input_value() for n in names] == values
        assert opened.locator("[data-preset][aria-current]").inner_text() == label
        assert opened.get_by_role("switch").is_checked() == (values[1] == "50")


def test_the_hidden_top_k_can_be_switched(show: Show) -> None:
    opened = show(handled())
    kept = opened.locator("[data-figure=kept]")
    assert kept.inner_text() == "32,000 of 32,000"
    opened.get_by_role("switch").check()
    assert kept.inner_text() == "50 of 32,000"
    assert opened.locator("[data-left=top_k]").inner_text() == "50 left"
    opened.get_by_role("switch").uncheck()
    assert kept.inner_text() == "32,000 of 32,000"
    opened.locator("[data-field=top_k]").fill("50")
    assert opened.get_by_role("switch").is_checked()


def test_a_slider_is_moved_by_the_keyboard_and_all_changes_at_once(show: Show) -> None:
    opened = show(handled())
    greedy = opened.locator("[data-figure=greedy]")
    before = float(greedy.get_attribute("data-value") or "")
    slider = opened.get_by_role("slider", name="Temperature")
    slider.focus()
    for _ in range(10):
        opened.keyboard.press("ArrowLeft")
    assert opened.locator("[data-field=temperature]").input_value() == "0.5"
    assert float(greedy.get_attribute("data-value") or "") > before


def test_the_right_end_of_top_k_keeps_all(show: Show) -> None:
    opened = show(handled())
    slider = opened.get_by_role("slider", name="Top-k")
    slider.focus()
    opened.keyboard.press("Home")
    assert opened.locator("[data-figure=kept]").inner_text() == "1 of 32,000"
    assert slider.get_attribute("aria-valuetext") == "1"
    opened.keyboard.press("End")
    assert opened.locator("[data-figure=kept]").inner_text() == "32,000 of 32,000"
    assert slider.get_attribute("aria-valuetext") == "off"


def test_dropped_tokens_say_which_filter_dropped_them(show: Show) -> None:
    opened = show(handled())
    opened.evaluate(FIGURES, {"temperature": 3, "top_k": 20, "top_p": 0.9, "min_p": 0.5})
    words = opened.locator(".bars tbody td.figure:not(.own)").all_inner_texts()
    kept = int(opened.locator("[data-figure=kept]").get_attribute("data-value") or "")
    assert all(word.endswith("%") for word in words[:kept])
    reasons = words[kept:]
    assert reasons[-5:] == ["out: top-k"] * 5
    assert list(dict.fromkeys(reasons)) == ["out: min-p", "out: top-p", "out: top-k"]
    assert opened.locator(".bars tr.dropped.first td").first.inner_text() == str(kept + 1)


def test_numbers_that_are_none_change_nothing_and_go_away(show: Show) -> None:
    opened = show(handled())
    field = opened.locator("[data-field=temperature]")
    for text in ("", "0", "-1", "1e9"):
        field.fill(text)
        assert opened.locator("[data-figure=kept]").inner_text() == "32,000 of 32,000"
        field.blur()
        assert field.input_value() == "1"


def test_a_prompt_may_have_no_right_answer_or_a_very_unlikely_one(show: Show) -> None:
    opened = show(handled())
    answer = opened.locator("[data-figure=answer]")
    seen = []
    for number in range(3):
        opened.locator("#explorer-prompt").select_option(str(number))
        seen.append(answer.inner_text())
    assert seen[0].endswith("Kyoto")
    assert seen[1].startswith("below ")
    assert seen[2] == "none: no answer is right or wrong here"


def test_what_changed_is_said_once_the_hand_rests(show: Show) -> None:
    opened = show(handled())
    opened.clock.install()
    opened.clock.pause_at(opened.evaluate("Date.now()") + 1000)
    opened.get_by_role("button", name="wide-hot").click()
    said = opened.locator(".explorer output")
    opened.clock.run_for(600)
    assert said.inner_text() == ""
    opened.clock.run_for(200)
    assert said.inner_text().startswith("1")
    assert "tokens kept. Entropy" in said.inner_text()


# --- the trace view ------------------------------------------------------------------------------


def test_a_token_is_told_of_when_it_is_pointed_at(show: Show) -> None:
    opened = show(handled())
    trace = opened.locator(".trace").first
    cell = trace.locator(".step [data-cell='1']")
    assert cell.inner_text().strip() == "there"
    trace.locator("button.token").nth(1).hover()
    assert cell.inner_text().strip() == "was"
    assert trace.locator(".step [data-cell='3']").inner_text() == "30.0%"
    assert trace.locator(".step [data-cell='4']").inner_text() == "2"
    assert trace.locator(".step .alternatives li").count() == 5
    assert "was2" in trace.locator(".step .chosen").inner_text()
    trace.locator("button.token").nth(2).hover()
    assert trace.locator(".step [data-cell='6']").inner_text() == "yes"
    assert trace.locator(".step [data-cell='8']").inner_text() == "31,000"


def test_a_token_is_told_of_when_it_is_tapped(show: Show) -> None:
    opened = show(handled(), width=360, has_touch=True)
    trace = opened.locator(".trace").first
    trace.locator("button.token").nth(1).tap()
    assert trace.locator(".step [data-cell='1']").inner_text().strip() == "was"


def test_arrow_keys_move_among_the_tokens(show: Show) -> None:
    opened = show(handled())
    trace = opened.locator(".trace").first
    tokens = trace.locator("button.token")
    cell = trace.locator(".step [data-cell='1']")
    tokens.first.focus()
    for key, text in {"ArrowRight": "was", "End": "↵", "ArrowLeft": "was", "Home": "there"}.items():
        opened.keyboard.press(key)
        assert cell.inner_text().strip() == text
        assert trace.locator("[aria-current]").inner_text().strip() == text
    assert [tokens.nth(n).get_attribute("tabindex") for n in range(3)] == ["0", "-1", "-1"]


def test_colour_is_not_all_that_tells_tokens_apart(show: Show) -> None:
    tokens = show(handled()).locator(".trace").first.locator("button.token")
    style = "e => [getComputedStyle(e).textDecorationLine, getComputedStyle(e).borderTopStyle]"
    assert [tokens.nth(n).evaluate(style) for n in range(3)] == [
        ["none", "solid"],
        ["underline", "solid"],
        ["none", "dotted"],
    ]


def test_without_script_a_text_stands_beside_its_table(show: Show) -> None:
    opened = show(handled(), java_script_enabled=False)
    assert not opened.locator(".explorer").is_visible()
    assert not opened.locator(".lookup").is_visible()
    assert not opened.locator(".step").first.is_visible()
    opened.locator(".all-steps summary").first.click()
    assert opened.locator(".all-steps tbody tr").nth(1).is_visible()
    assert opened.locator("noscript").first.is_visible()


# --- the vocabulary ------------------------------------------------------------------------------


def look_up(opened: Page, text: str) -> list[list[str]]:
    opened.locator(".lookup output").evaluate("e => e.textContent = ''")
    opened.get_by_role("searchbox").fill(text)
    opened.locator(".lookup output:not(:empty)").wait_for()
    rows = opened.locator(".lookup tbody tr")
    return [row.locator("td").all_inner_texts() for row in rows.all()]


def test_a_piece_is_found_by_its_id(show: Show) -> None:
    opened = show(handled())
    assert look_up(opened, "4")[0] == ["4", "日"]
    assert look_up(opened, "999")[0] == ["999", "piece999"]
    assert look_up(opened, "99999") == []
    assert opened.locator(".lookup output").inner_text() == "No piece of 1,000 fits."


def test_a_piece_is_found_by_its_text(show: Show) -> None:
    opened = show(handled())
    assert look_up(opened, "the") == [["6", "the"], ["5", "▁the"]]
    assert opened.locator(".lookup output").inner_text() == "2 of 1,000 pieces fit."
    assert look_up(opened, " the") == [["5", "▁the"]]
    assert look_up(opened, "日") == [["4", "日"]]


def test_of_many_pieces_the_first_are_listed(show: Show) -> None:
    opened = show(handled())
    assert len(look_up(opened, "piece")) == 50
    said = opened.locator(".lookup output").inner_text()
    assert said == "989 of 1,000 pieces fit; the first 50 are listed."


def test_a_piece_that_has_no_shape_is_spelled_out(show: Show) -> None:
    opened = show(handled())
    assert look_up(opened, "8")[0] == ["8", "U+202E"]
    assert look_up(opened, "3")[0] == ["3", "▁"]
    assert look_up(opened, "</s>")[0] == ["2", "</s>"]


# --- the page as a whole -------------------------------------------------------------------------


def test_another_language_is_one_click_away(show: Show) -> None:
    opened = show(handled())
    look_up(opened, "the")
    opened.get_by_role("button", name="wide-hot").click()
    opened.locator("[data-language=ja]").click()
    assert opened.locator("[data-figure=kept]").inner_text().startswith("32,000 個中")
    assert opened.locator("[data-left=min_p]").inner_text() == "オフ"
    assert opened.get_by_role("slider", name="温度").is_visible()
    assert opened.locator(".trace figcaption").first.inner_text().startswith("貪欲法")
    opened.locator(".lookup output", has_text="該当").wait_for()
    assert opened.locator("[data-field=temperature]").input_value() == "1.4"


@pytest.mark.parametrize("width", [360, 768, 1200])
@pytest.mark.parametrize("one", [handled(), hostile()], ids=["handled", "hostile"])
def test_it_is_no_wider_than_the_window(show: Show, one: Record, width: int) -> None:
    opened = show(one, width)
    look_up(opened, "")
    opened.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for language in ("en", "ja"):
        opened.locator(f"[data-language={language}]").click()
        assert opened.evaluate("document.documentElement.lang") == language
        assert opened.evaluate("document.documentElement.scrollWidth") == width


def test_hostile_text_stays_text(show: Show) -> None:
    opened = show(hostile())
    opened.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for number in range(3):
        opened.locator("#explorer-prompt").select_option(str(number))
        opened.get_by_role("button", name="wide-hot").click()
    for token in opened.locator("button.token").all():
        token.hover()
    look_up(opened, "")
    opened.locator("[data-language=ja]").click()
    assert opened.title() == "Handled"
    assert opened.locator("img, main i, svg svg, [onerror], [onload]").count() == 0
    assert opened.locator("script").count() == 3
    assert "{{ 7 * 7 }}" in opened.locator(".prompt").first.inner_text()
    seen = opened.locator("main").inner_text()
    assert not set(seen) & set("\0\x07\x1b\u202e\u2066\u200b\ufeff")
    assert LONG not in seen
    opened.get_by_role("searchbox").fill(HOSTILE[:9])
    assert len(look_up(opened, "U+D800")) == 0
    assert look_up(opened, str(7 + len(PIECES)))[0][1] == "U+D800"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_has_contrast_enough(show: Show, theme: Literal["light", "dark"]) -> None:
    opened = show(handled(), theme=theme)
    look_up(opened, "the")
    opened.get_by_role("button", name="near-greedy").click()
    opened.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    contrasts = opened.evaluate(CONTRASTS)
    assert len(contrasts) > 150
    assert [pair for pair in contrasts if pair[0] < 4.5] == []


def test_every_control_has_a_name(show: Show) -> None:
    opened = show(handled())
    names = {
        "slider": ["Temperature", "Top-k", "Top-p", "Min-p"],
        "spinbutton": [
            f"{name} as a number" for name in ("Temperature", "Top-k", "Top-p", "Min-p")
        ],
        "switch": ["The library’s hidden top-k"],
        "combobox": ["Prompt"],
        "searchbox": ["An id, or part of a piece"],
    }
    snapshot = opened.locator("main").aria_snapshot()
    for role, expected_names in names.items():
        assert snapshot.count(f"- {role} ") == len(expected_names)
        for name in expected_names:
            assert f'- {role} "{name}"' in snapshot
    ids = opened.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_paper_has_the_bars_and_no_controls(show: Show) -> None:
    opened = show(handled(), width=700)
    opened.emulate_media(media="print")
    assert opened.locator(".bars").is_visible()
    assert not opened.get_by_role("button", name="wide-hot").is_visible()
    assert not opened.locator(".lookup").is_visible()
    assert opened.evaluate("document.documentElement.scrollWidth") == 700
