"""Pictures of how the next token is chosen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import altair as alt
import numpy as np

from probes.report.pictures.charts import (
    HEAT,
    MAIN,
    OTHER,
    QUIET,
    SERIES,
    TIP,
    Bar,
    Chart,
    bars,
    data,
    heading,
    key,
    label,
    percent,
    word,
)
from probes.schema import prompt_logprobs as kept_logits

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from probes.report.pictures.measured import (
        BeamPair,
        Coherence,
        Collapse,
        Distribution,
        Heated,
        Kept,
        Nuclei,
        TopTen,
        Traced,
    )

TEMPERATURES = (0.4, 1.0, 1.6)
"""Those of the published experiment."""

LISTED = 8
"""Tokens of which each temperature shows the probability."""

STEPS = 16
"""Tokens of a text that are shown."""


def top_ten(found: TopTen) -> Chart:
    """The most likely tokens, each with its probability."""
    rows = [
        Bar(
            label(each.text),
            each.probability,
            percent(each.probability),
            f"{label(each.text)} ({each.id}): {each.probability:.6f}",
        )
        for each in found.top_ten
    ]
    return bars(rows, longest=1, width=330)


def temperatures(found: Distribution) -> Chart:
    """One distribution at three temperatures: the same tokens, and all others together."""
    logits = kept_logits.whole(found.vocabulary, found.head, found.step, found.tail)
    listed = found.top[:LISTED]
    panels = []
    for number, temperature in enumerate(TEMPERATURES):
        shares = softmax(logits, temperature)[: len(listed)]
        rows = [
            Bar(
                label(token.text, 12),
                float(share),
                percent(float(share)),
                f"T {temperature:g}, {label(token.text)}: {float(share):.4g}",
            )
            for token, share in zip(listed, shares, strict=True)
        ]
        rest = max(0.0, 1 - float(shares.sum()))
        rows.append(
            Bar(word("others"), rest, percent(rest), f"T {temperature:g}, …: {rest:.4g}", QUIET)
        )
        panels.append(
            bars(rows, longest=1, width=112, title=f"T = {temperature}", named=number == 0)
        )
    return alt.hconcat(*panels, spacing=12)


def softmax(logits: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    """Probabilities at a temperature.

    >>> softmax(np.log([4.0, 1.0]), 0.5).round(3)
    array([0.941, 0.059])
    """
    weights = np.exp((logits - logits.max()) / temperature)
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares


def entropy_by_temperature(found: Sequence[tuple[str, Heated]]) -> Chart:
    """Entropy against temperature, a line a prompt."""
    rows = [
        {
            "temperature": temperature,
            "entropy": entropy,
            "prompt": number,
            "colour": SERIES[number % len(SERIES)],
            "tip": f"{label(prompt, 40)}, T {temperature:g}: {entropy:.2f}",
        }
        for number, (prompt, heated) in enumerate(found)
        for temperature, entropy in zip(heated.temperatures, heated.entropies, strict=True)
    ]
    base = alt.Chart(data(rows)).encode(
        x=alt.X("temperature:Q", title=word("temperature"), axis=alt.Axis(tickCount=5)),
        y=alt.Y("entropy:Q", title=word("entropy"), axis=alt.Axis(tickCount=4)),
        color=alt.Color("colour:N", scale=None),
    )
    line = base.mark_line(strokeWidth=2).encode(detail="prompt:N")
    points = base.mark_point(filled=True, size=45, opacity=1, aria=True).encode(description=TIP)
    names = [label(prompt, 30) for prompt, _ in found]
    return alt.layer(line, points, *key(names, 370, 220), width=370, height=220)


def nuclei(found: Nuclei) -> Chart:
    """The size of the nucleus against the entropy, a point a step of a text."""
    rows = [
        {"entropy": entropy, "size": size, "tip": f"{entropy:.2f} → {size}"}
        for entropy, size in zip(found.entropies, found.sizes, strict=True)
    ]
    points: alt.Chart = (
        alt.Chart(data(rows), width=370, height=200)
        .mark_point(filled=True, size=60, opacity=0.6, color=MAIN, aria=True)
        .encode(
            x=alt.X("entropy:Q", title=word("entropy")),
            y=alt.Y("size:Q", title=word("kept"), scale=_counts(max(found.sizes)), axis=_tens()),
            description=TIP,
        )
    )
    return points


def kept_along(found: Sequence[Traced]) -> Chart:
    """Texts read downwards, beside each token how many could have come in its place."""
    most = max(step.kept for text in found for step in text.trace.steps[:STEPS])
    panels = []
    for number, text in enumerate(found):
        rows = [
            Bar(
                label(step.text, 11),
                math.log10(step.kept) + 0.12,
                f"{step.kept:,}",
                f"{label(step.text)}: {step.kept:,} · {percent(step.probability)}",
                SERIES[number % len(SERIES)],
            )
            for step in text.trace.steps[:STEPS]
        ]
        panels.append(
            bars(rows, longest=math.log10(most) + 0.12, width=76, title=_settings(text.settings))
        )
    return alt.hconcat(*panels, spacing=14)


def hidden(found: Sequence[tuple[str, Kept]]) -> Chart:
    """Tokens kept at each step, with the top-k that nobody asked for and without it."""
    most = max(max(kept.kept_with_top_k_0 + kept.kept_by_default) for _, kept in found)
    panels = []
    for prompt, kept in found:
        pairs = zip(kept.kept_by_default, kept.kept_with_top_k_0, strict=True)
        rows = [
            {
                "step": word("step", step),
                "with": a,
                "without": b,
                "tip": f"{label(prompt, 40)}, {step}: {a:,} → {b:,}",
            }
            for step, (a, b) in enumerate(pairs, start=1)
        ]
        base = alt.Chart(data(rows)).encode(
            y=alt.Y("step:O", title=None, sort=None, axis=alt.Axis(domain=False))
        )
        x = alt.X("with:Q", title=word("kept"), scale=_counts(most), axis=_tens(grid=True))
        panels.append(
            alt.layer(
                base.mark_rule(color="var(--rule)", strokeWidth=3).encode(x=x, x2="without:Q"),
                _dots(base, "with", OTHER, most),
                _dots(base, "without", MAIN, most),
                title=label(prompt, 30),
                width=330,
                height=alt.Step(24),
            )
        )
    return alt.vconcat(*panels, spacing=14)


def _dots(base: alt.Chart, field: str, colour: str, most: int) -> alt.LayerChart:
    x = alt.X(f"{field}:Q", scale=_counts(most), title=word("kept"))
    dots = base.mark_point(filled=True, size=90, opacity=1, color=colour, aria=True)
    text = base.mark_text(
        color=colour, align="right" if field == "with" else "left", dx=-9 if field == "with" else 9
    )
    shown = alt.Text(f"{field}:Q", format=",")
    return alt.LayerChart(layer=[dots.encode(x=x, description=TIP), text.encode(x=x, text=shown)])


def collapse(found: Collapse) -> Chart:
    """How likely each setting reproduces the greedy text: a cell a setting."""
    rows = [
        {
            "temperature": f"{each.temperature:g}",
            "top_p": f"{each.top_p:g}",
            "probability": each.probability,
            "shown": percent(each.probability),
            "ink": "var(--paper)" if each.probability > 0.5 else "var(--ink)",
            "tip": f"T {each.temperature:g}, top_p {each.top_p:g}: {each.probability:.4g}",
        }
        for each in found.grid
    ]
    base = alt.Chart(data(rows)).encode(
        x=alt.X(
            "temperature:O",
            title=word("temperature"),
            sort=None,
            axis=alt.Axis(labelAngle=0, domain=False),
        ),
        y=alt.Y("top_p:O", title="top_p", sort=None),
    )
    cells = base.mark_rect(color=HEAT, aria=True, stroke="var(--paper)", strokeWidth=2).encode(
        fillOpacity=alt.FillOpacity(
            "probability:Q", scale=alt.Scale(domain=[0, 1], range=[0.05, 1]), legend=None
        ),
        description=TIP,
    )
    text = base.mark_text().encode(text="shown:N", color=alt.Color("ink:N", scale=None))
    return alt.layer(cells, text, width=alt.Step(70), height=alt.Step(38))


def beams(found: Sequence[tuple[str, BeamPair]]) -> Chart:
    """The log-probability of the greedy text and of the best of several beams, and the rows."""
    panels = []
    lowest = min(min(p.greedy.log_probability, p.four_beams.log_probability) for _, p in found)
    most = max(max(p.greedy.rows, p.four_beams.rows) for _, p in found)
    for prompt, pair in found:
        likely, rows = [], []
        for each, colour in ((pair.greedy, QUIET), (pair.four_beams, MAIN)):
            name = word("greedy") if each.beams == 1 else word("beams", each.beams)
            shown = _signed(each.log_probability)
            tip = f"{label(prompt, 40)}, num_beams {each.beams}: "
            likely.append(Bar(name, -each.log_probability, shown, tip + shown, colour))
            rows.append(Bar("", each.rows, f"{each.rows:,}", f"{tip}{each.rows:,}", colour))
        panels.append(
            alt.hconcat(
                bars(likely, longest=max(-lowest, 1e-6), width=210, title=label(prompt, 30)),
                bars(rows, longest=most, width=110, title=word("rows")),
                spacing=18,
            )
        )
    return alt.vconcat(*panels, spacing=14)


def coherence(found: Sequence[tuple[str, Coherence]]) -> Chart:
    """From a narrow nucleus to a wide one: what texts gain in variety and lose in likelihood."""
    measures = ("entropies", "distinct_4_grams", "log_likelihoods")
    panels = []
    for measure in measures:
        rows = [
            {
                "nucleus": name,
                "value": getattr(varied, measure),
                "prompt": number,
                "colour": SERIES[number % len(SERIES)],
                "shown": _signed(getattr(varied, measure)),
                "tip": f"{label(prompt, 40)}, top_p {name}: {getattr(varied, measure):.3f}",
            }
            for number, (prompt, pair) in enumerate(found)
            for name, varied in (("0.2", pair.narrow_hot), ("0.9", pair.wide_hot))
        ]
        base = alt.Chart(data(rows)).encode(
            x=alt.X(
                "nucleus:O",
                title="top_p",
                axis=alt.Axis(labelAngle=0),
                scale=alt.Scale(padding=0.6),
            ),
            y=alt.Y("value:Q", axis=None, scale=alt.Scale(zero=False, padding=8)),
            color=alt.Color("colour:N", scale=None),
        )
        panels.append(
            alt.layer(
                base.mark_line(strokeWidth=2).encode(detail="prompt:N"),
                base.mark_point(filled=True, size=55, opacity=1, aria=True).encode(description=TIP),
                _at_end(base, "0.2", align="right", dx=-8),
                _at_end(base, "0.9", align="left", dx=8),
                heading(word(measure)),
                width=124,
                height=110,
            )
        )
    names = [label(prompt, 30) for prompt, _ in found]
    lines = alt.layer(*key(names, 380, 17 * len(names)), width=380, height=17 * len(names))
    return alt.vconcat(alt.hconcat(*panels, spacing=14), lines, spacing=8)


def _at_end(base: alt.Chart, nucleus: str, **where: object) -> alt.Chart:
    """Values beside their points, on the side where no line is."""
    text = base.transform_filter(alt.FieldEqualPredicate(field="nucleus", equal=nucleus))
    values: alt.Chart = text.mark_text(baseline="middle", **where).encode(text="shown:N")
    return values


def _signed(number: float) -> str:
    """Two digits, with a minus that is as wide as a plus."""
    return f"{number:.2f}".replace("-", "−")


def _counts(most: int) -> alt.Scale:
    return alt.Scale(type="log", domain=[0.5, most * 1.5], nice=False)


def _tens(*, grid: bool = True) -> alt.Axis:
    return alt.Axis(values=[1, 10, 100, 1000, 10_000, 100_000], format=",", grid=grid)


def _settings(settings: dict[str, float]) -> str:
    return ", ".join(
        f"{'T' if name == 'temperature' else label(name)} {value:g}"
        for name, value in settings.items()
    )


def lead(found: Distribution) -> float:
    """How far the largest logit is above the second: small where the distribution is flat."""
    first, second = [*found.head, found.head[0]][:2]
    return first - second
