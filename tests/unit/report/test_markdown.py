from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from probes.report.text.markdown import LONGEST, escape, summarize_run
from probes.schema.claim import Status
from probes.schema.record import ClaimRecord, Record, Verdict
from tests.support.samples import ENVIRONMENT, HOSTILE, TARGET, check, header, mixed, record

MARKUP = "# *a* _b_ ~~c~~ `d` [e](http://e.example) ![f](g) <b>h</b> &lt; $i$ @user #1 :smile: a|b"


def parsed(text: str) -> list[str]:
    """Every kind of thing that Markdown makes of a text."""
    blocks = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    return [token.type for block in blocks for token in (block, *(block.children or ()))]


def read_back(text: str) -> str:
    """What a reader sees of it."""
    blocks = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    return "".join(t.content for b in blocks for t in b.children or () if t.type.startswith("text"))


def test_summary_has_verdict_table_and_reasons() -> None:
    text = summarize_run(mixed(), "reports/embedded/20261123T075120Z/report.html")
    assert text.splitlines()[0] == (
        "## embedded: 3 claims hold, 1 fails, 1 ended in an error, 1 not observed, "
        "1 not applicable, 1 not decided."
    )
    for line in (
        "Incomplete: the run did not reach its end. 9 of 10 checks were made.",
        "| section | claims | holds | fails | error | not observed | not applicable "
        "| not decided |",
        "| Tokenizer | 3 | 3 | · | · | · | · | · |",
        "Not observed: heat-varies: five runs are the same",
        "### What is wrong",
        "| default-length | fails | What default-length states. | expected 20 new tokens, got 14 |",
        "Not applicable: load-nf4: the target is not quantized",
        "Tested: MistralForCausalLM · float32 · cpu · transformers 5.23.0 · torch 2.13.0 · "
        "Python 3.11.7 · Linux x86\\_64",
        "Report: reports/embedded/20261123T075120Z/report.html",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("text", [MARKUP, HOSTILE.replace("  ", " ").strip(), "▁The 日本の首都は"])
def test_escape_shows_text_character_by_character(text: str) -> None:
    paragraph = {"paragraph_open", "paragraph_close", "inline", "text"}
    assert set(parsed(f"x {escape(text)}")) == paragraph
    if text == MARKUP:
        assert read_back(f"x {escape(text)}") == f"x {MARKUP}"


def test_escape_breaks_links_and_mentions() -> None:
    assert escape("http://example.com") == "http\\://example.com"
    assert "www." not in escape("WWW.example.com www.example.com").lower()
    assert escape("@user") == "\\@user"
    assert escape("of: this") == "of: this"


def test_escape_cuts_a_long_text_first() -> None:
    assert escape("|" * 1000) == "\\|" * (LONGEST - 1) + "…"


def hostile() -> Record:
    claim = ClaimRecord(
        id=HOSTILE, section=HOSTILE, title=HOSTILE, status=Status.REFINED, planned=1
    )
    other = claim.model_copy(update={"id": MARKUP, "section": MARKUP, "title": MARKUP})
    return record(
        [
            (HOSTILE, check(HOSTILE, Verdict.FAILS, reason=HOSTILE)),
            (MARKUP, check(MARKUP, Verdict.NOT_APPLICABLE, reason=MARKUP + "\n\n# more")),
        ],
        header(claim, other),
        target=TARGET.model_copy(update={"name": HOSTILE, "architecture": MARKUP}),
        environment=ENVIRONMENT.model_copy(update={"platform": HOSTILE}),
    )


def test_summary_of_hostile_text_has_no_other_markup() -> None:
    text = summarize_run(hostile(), HOSTILE)
    found = parsed(text)
    blocks = ("heading", "paragraph", "table", "thead", "tbody", "tr", "th", "td")
    ends = {f"{block}_{end}" for block in blocks for end in ("open", "close")}
    assert set(found) <= {"inline", "text", *ends}
    assert found.count("heading_open") == 2
    assert found.count("table_open") == 2
    assert found.count("td_open") == 2 * 5 + 1 * 4
    assert not set(text) & set("\0\x07\x1b\u202e\u2066\u200b\ufeff")
