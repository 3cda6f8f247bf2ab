from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    Theme = Literal["light", "dark"]
    OpenPage = Callable[..., Page]

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
    if (!walker.currentNode.data.trim() || node.closest("svg") || !node.checkVisibility()) continue;
    const pair = [light(channels(getComputedStyle(node).color)), light(behind(node))];
    found.push([(Math.max(...pair) + .05) / (Math.min(...pair) + .05),
                walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""


def open_details(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")


def low_contrasts(page: Page) -> list[Any]:
    """The texts whose contrast is below that of WCAG's level AA."""
    contrasts = page.evaluate(CONTRASTS)
    assert contrasts
    return [pair for pair in contrasts if pair[0] < 4.5]


def misfits(page: Page, languages: tuple[str, ...] = ("en", "ja")) -> list[tuple[str, int]]:
    """The languages and widths of the window in which the page is wider than it."""
    found = []
    for language in languages:
        page.locator(f"[data-language={language}]").click()
        assert page.locator("html").get_attribute("lang") == language
        for width in (360, 768, 1200):
            page.set_viewport_size({"width": width, "height": 900})
            if page.evaluate("document.documentElement.scrollWidth") != width:
                found.append((language, width))
    return found
