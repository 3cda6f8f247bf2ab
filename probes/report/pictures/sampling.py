"""Charts about how the next token is sampled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from probes.report.pictures import charts
from probes.report.pictures.charts import Chart, data, dots, word
from probes.report.pictures.labels import check_size, label, percent, signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.schema.evidence import distributions, texts

TEMPERATURES = (0.4, 1.0, 1.6)
"""Those of the published experiment."""

LISTED = 8
"""Tokens of which each temperature shows the probability."""

STEPS = 16
"""Tokens of a text that are shown."""

MOST_STEPS = 500
"""Points of a chart."""

_COUNTS = alt.Axis(values=[1, 10, 100, 1000, 10_000, 100_000], format=",", grid=True)


def top_ten(found: distributions.MostLikely) -> Chart:
    """Draw the most likely tokens, each with its probability."""
    check_size(found.top_ten, 1, 20)
    rows = [
        charts.Bar(
            label(each.text),
            each.probability,
            percent(each.probability),
            f"{label(each.text)} ({each.id}): {each.probability:.6f}",
        )
        for each in found.top_ten
    ]
    return charts.bars(rows, longest=1, width=330)


def temperatures(found: distributions.Distribution) -> Chart:
    """Draw one distribution at three temperatures: the same tokens, and all others together."""
    logits, listed = found.logits(), found.top[:LISTED]
    check_size(listed, 1, LISTED)
    panels = []
    for number, temperature in enumerate(TEMPERATURES):
        weights = np.exp((logits - logits.max()) / temperature)
        shares = (weights / weights.sum())[: len(listed)]
        rows = [
            charts.Bar(
                label(token.text, 12),
                float(share),
                percent(float(share)),
                f"T {temperature:g}, {label(token.text)}: {float(share):.4g}",
            )
            for token, share in zip(listed, shares, strict=True)
        ]
        rest = max(0.0, 1 - float(shares.sum()))
        tip = f"T {temperature:g}, …: {rest:.4g}"
        rows.append(charts.Bar(word("others"), rest, percent(rest), tip, charts.QUIET))
        title = f"T = {temperature}"
        panels.append(charts.bars(rows, longest=1, width=112, title=title, named=number == 0))
    return alt.hconcat(*panels, spacing=12)


def lead(found: distributions.Distribution) -> float:
    """Return how far the largest logit is above the second: little where a distribution is flat."""
    check_size(found.head, 1, found.vocabulary)
    first, second = [*found.head, found.head[0]][:2]
    return first - second


def entropy_by_temperature(found: Sequence[tuple[str, distributions.EntropyCurve]]) -> Chart:
    """Draw entropy against temperature, a line a prompt."""
    rows = [
        {
            "temperature": temperature,
            "entropy": entropy,
            "prompt": number,
            "colour": charts.choose_colour(number),
            "tip": f"{label(prompt, 40)}, T {temperature:g}: {entropy:.2f}",
        }
        for number, (prompt, curve) in enumerate(found)
        for temperature, entropy in zip(curve.temperatures, curve.entropies, strict=True)
    ]
    check_size(rows, 2, MOST_STEPS)
    base = alt.Chart(data(rows)).encode(
        x=alt.X("temperature:Q", title=word("temperature"), axis=alt.Axis(tickCount=5)),
        y=alt.Y("entropy:Q", title=word("entropy"), axis=alt.Axis(tickCount=4)),
        color=charts.COLOUR,
    )
    line = base.mark_line(strokeWidth=2).encode(detail=alt.Detail("prompt:N"))
    names = [label(prompt, 30) for prompt, _ in found]
    return alt.layer(line, dots(base), *charts.key(names, 370, 220), width=370, height=220)


def nuclei(found: distributions.NucleusSizes) -> Chart:
    """Draw the size of the nucleus against the entropy, a point a step of a text."""
    check_size(found.sizes, 2, MOST_STEPS)
    rows = [
        {"entropy": entropy, "size": size, "tip": f"{entropy:.2f} → {size}"}
        for entropy, size in zip(found.entropies, found.sizes, strict=True)
    ]
    base = alt.Chart(data(rows), width=370, height=200)
    points: alt.Chart = dots(base, size=60, opacity=0.6, color=charts.MAIN).encode(
        x=alt.X("entropy:Q", title=word("entropy")),
        y=alt.Y("size:Q", title=word("kept"), scale=_log_scale(max(found.sizes)), axis=_COUNTS),
    )
    return points


def kept_along(found: Sequence[texts.SampledText]) -> Chart:
    """Draw texts downwards, beside each token how many could have come in its place."""
    most = math.log10(max(step.kept for text in found for step in text.trace.steps[:STEPS])) + 0.12
    panels = []
    for number, text in enumerate(found):
        rows = [
            charts.Bar(
                label(step.text, 11),
                math.log10(step.kept) + 0.12,
                f"{step.kept:,}",
                f"{label(step.text)}: {step.kept:,} · {percent(step.probability)}",
                charts.choose_colour(number),
            )
            for step in text.trace.steps[:STEPS]
        ]
        settings = {"T" if k == "temperature" else label(k): v for k, v in text.settings.items()}
        title = ", ".join(f"{name} {value:g}" for name, value in [*settings.items()][:6])
        panels.append(charts.bars(rows, longest=most, width=76, title=title))
    return alt.hconcat(*panels, spacing=14)


def hidden_top_k(found: Sequence[tuple[str, distributions.HiddenTopK]]) -> Chart:
    """Draw the tokens kept at each step, with the library's default top-k and without it."""
    most = max(max(kept.kept_with_top_k_0 + kept.kept_by_default) for _, kept in found)
    scale = _log_scale(most)
    panels = []
    for prompt, kept in found:
        check_size(kept.kept_by_default, 1, 40)
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
        x = alt.X("with:Q", title=word("kept"), scale=scale, axis=_COUNTS)
        layers: list[Any] = [
            base.mark_rule(color="var(--rule)", strokeWidth=3).encode(x=x, x2=alt.X2("without:Q"))
        ]
        ends = (("with", charts.OTHER, "right", -9), ("without", charts.MAIN, "left", 9))
        for field, colour, align, dx in ends:
            at = alt.X(f"{field}:Q", scale=scale, title=word("kept"))
            shown = alt.Text(f"{field}:Q", format=",")
            layers += [
                dots(base, size=90, color=colour).encode(x=at),
                base.mark_text(color=colour, align=align, dx=dx).encode(x=at, text=shown),
            ]
        title = label(prompt, 30)
        panels.append(alt.layer(*layers, title=title, width=330, height=alt.Step(24)))
    return alt.vconcat(*panels, spacing=14)


def collapse(found: texts.Collapse) -> Chart:
    """Draw how likely each setting gives the greedy text: a cell a setting."""
    check_size(found.grid, 2, 100)
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
    across = alt.Axis(labelAngle=0, domain=False)
    base = alt.Chart(data(rows)).encode(
        x=alt.X("temperature:O", title=word("temperature"), sort=None, axis=across),
        y=alt.Y("top_p:O", title="top_p", sort=None),
    )
    strength = alt.Scale(domain=[0, 1], range=[0.05, 1])
    cells = base.mark_rect(
        color=charts.HEAT, aria=True, stroke="var(--paper)", strokeWidth=2
    ).encode(
        fillOpacity=alt.FillOpacity("probability:Q", scale=strength, legend=None),
        description=charts.TIP,
    )
    text = base.mark_text().encode(text=alt.Text("shown:N"), color=alt.Color("ink:N", scale=None))
    return alt.layer(cells, text, width=alt.Step(70), height=alt.Step(38))


def beams(found: Sequence[tuple[str, texts.BeamComparison]]) -> Chart:
    """Draw the log-probability and the rows of greedy decoding and of beam search."""
    searches = [(p, search) for p, pair in found for search in (pair.greedy, pair.four_beams)]
    lowest = min(search.log_probability for _, search in searches)
    most = max(search.rows for _, search in searches)
    panels = []
    for prompt, pair in found:
        likely, rows = [], []
        for each, colour in ((pair.greedy, charts.QUIET), (pair.four_beams, charts.MAIN)):
            name = word("greedy") if each.beams == 1 else word("beams", each.beams)
            shown = signed(each.log_probability)
            tip = f"{label(prompt, 40)}, num_beams {each.beams}: "
            likely.append(charts.Bar(name, -each.log_probability, shown, tip + shown, colour))
            rows.append(charts.Bar("", each.rows, f"{each.rows:,}", f"{tip}{each.rows:,}", colour))
        panels.append(
            alt.hconcat(
                charts.bars(likely, longest=max(-lowest, 1e-6), width=210, title=label(prompt, 30)),
                charts.bars(rows, longest=most, width=110, title=word("rows")),
                spacing=18,
            )
        )
    return alt.vconcat(*panels, spacing=14)


def hot_samples(found: Sequence[tuple[str, texts.HotSamples]]) -> Chart:
    """Draw what hot texts gain in variety and lose in likelihood as the nucleus widens."""
    panels = []
    across = alt.X(
        "nucleus:O", title="top_p", axis=alt.Axis(labelAngle=0), scale=alt.Scale(padding=0.6)
    )
    for measure in ("entropies", "distinct_4_grams", "log_likelihoods"):
        rows = [
            {
                "nucleus": name,
                "value": getattr(samples, measure),
                "prompt": number,
                "colour": charts.choose_colour(number),
                "shown": signed(getattr(samples, measure)),
                "tip": f"{label(prompt, 40)}, top_p {name}: {getattr(samples, measure):.3f}",
            }
            for number, (prompt, pair) in enumerate(found)
            for name, samples in (("0.2", pair.narrow_hot), ("0.9", pair.wide_hot))
        ]
        base = alt.Chart(data(rows)).encode(
            x=across,
            y=alt.Y("value:Q", axis=None, scale=alt.Scale(zero=False, padding=8)),
            color=charts.COLOUR,
        )
        ends = [
            base.transform_filter(alt.FieldEqualPredicate(field="nucleus", equal=nucleus))
            .mark_text(baseline="middle", align=align, dx=dx)
            .encode(text=alt.Text("shown:N"))
            for nucleus, align, dx in (("0.2", "right", -8), ("0.9", "left", 8))
        ]
        line = base.mark_line(strokeWidth=2).encode(detail=alt.Detail("prompt:N"))
        layers = [line, dots(base, size=55), *ends, charts.heading(word(measure))]
        panels.append(alt.layer(*layers, width=124, height=110))
    names = [label(prompt, 30) for prompt, _ in found]
    height = 17 * len(names)
    lines = alt.layer(*charts.key(names, 380, height), width=380, height=height)
    return alt.vconcat(alt.hconcat(*panels, spacing=14), lines, spacing=8)


def _log_scale(most: int) -> alt.Scale:
    return alt.Scale(type="log", domain=[0.5, most * 1.5], nice=False)
