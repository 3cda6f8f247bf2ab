"""Pictures of texts in steps: drafts that decoding kept, and where stop strings ended a text."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from probes.report.locale import texts
from probes.report.locale.markup import say
from probes.report.visible import cut, make_visible, mark
from probes.schema.evidence.texts import DraftedText, DraftStep, StoppedText

LONGEST_PROMPT = 200
LONGEST_PIECE = 24
"""Characters of a prompt and of a token; a longer one is cut, and marked as cut."""


def draw_drafts(several: Sequence[DraftedText]) -> Markup:
    """Draw texts, a box a step: drafted tokens kept or struck out, then the model's own.

    >>> step = DraftStep(drafted=["to", "ky"], accepted=1, added="day")
    >>> drawn = draw_drafts([DraftedText(way="prompt lookup", prompt="P", steps=[step])])
    >>> print(drawn[drawn.index("<li>") :])
    <li><ins>to</ins><del>ky</del><b>day</b></li></ol></dd></dl>
    """
    inner = Markup("").join(map(_draw_drafted, several))
    return Markup('<dl class="strips">{}</dl>').format(inner)


def _draw_drafted(text: DraftedText) -> Markup:
    steps = text.steps
    counts = say(
        "pictures.drafts.counts",
        kept=f"{sum(step.accepted for step in steps):,}",
        drafted=f"{sum(len(step.drafted) for step in steps):,}",
        steps=f"{len(steps):,}",
    )
    return Markup(
        '<dt>{}<span class="note">{}</span></dt>'
        '<dd><p class="prompt">{}</p><ol class="steps" role="list">{}</ol></dd>'
    ).format(
        _name(text.way),
        counts,
        mark(cut(text.prompt, LONGEST_PROMPT)),
        Markup("").join(map(_draw_step, steps)),
    )


def _draw_step(step: DraftStep) -> Markup:
    parts = [("ins", each) for each in step.drafted[: step.accepted]]
    parts += [("del", each) for each in step.drafted[step.accepted :]]
    parts += [("b", step.added)] if step.added else []
    tokens = (Markup("<{0}>{1}</{0}>").format(tag, _show_token(text)) for tag, text in parts)
    return Markup("<li>{}</li>").format(Markup("").join(tokens))


def draw_stops(several: Sequence[StoppedText]) -> Markup:
    """Draw texts up to their ends, a box a token, in which the stop string is marked.

    >>> one = StoppedText(prompt="P", stop="s.", kind="across pieces", pieces=["is", "."])
    >>> drawn = draw_stops([one])
    >>> print(drawn[drawn.index("<li>") :])
    <li>i<mark>s</mark></li><li><mark>.</mark></li></ol></dd></dl>
    """
    titled = Markup(
        '<dt><span class="word">{}</span><span class="note">{}</span></dt>'
        '<dd><p class="prompt">{}</p><ol class="steps" role="list">{}</ol></dd>'
    )
    inner = (
        titled.format(
            mark(cut(text.stop, LONGEST_PROMPT)),
            _name(text.kind),
            mark(cut(text.prompt, LONGEST_PROMPT)),
            _draw_stopped(text),
        )
        for text in several
    )
    return Markup('<dl class="strips">{}</dl>').format(Markup("").join(inner))


def _draw_stopped(text: StoppedText) -> Markup:
    start = "".join(text.pieces).rfind(text.stop)
    end = start + len(text.stop)
    drawn, begin = Markup(""), 0
    for piece in text.pieces:
        first, last = (min(max(0, place - begin), len(piece)) for place in (start, end))
        within = piece[first:last]
        marked = Markup("<mark>{}</mark>").format(_show_token(within)) if within else ""
        before, after = _show_token(piece[:first]), _show_token(piece[last:])
        drawn += Markup("<li>{}{}{}</li>").format(before, marked, after)
        begin += len(piece)
    return drawn


def _name(words: str) -> Markup:
    """Return a way to draft or a kind of stop string in every language, as far as it is known."""
    key = f"pictures.steps.{words.replace(' ', '-')}"
    return say(key) if key in texts("en") else mark(cut(words, LONGEST_PROMPT))


def _show_token(text: str) -> Markup:
    """Return what a token adds to a text: its space stays plain, as the boxes show borders."""
    return escape(make_visible(cut(text, LONGEST_PIECE)))
