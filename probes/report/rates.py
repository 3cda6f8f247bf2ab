"""Throughput in words: for the report's table and for comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.report.language import phrase, texts

if TYPE_CHECKING:
    from probes.schema.comparison import Estimate, RateRatio
    from probes.schema.record import Rate


def rate_name(rate: Rate | RateRatio, language: str = "en") -> str:
    """What was measured, and how.

    >>> from probes.schema.record import Rate
    >>> rate_name(Rate(what="decode", unit="tokens", batch=8, cache="static", compiled=True))
    'new tokens, batch 8, static cache, compiled'
    >>> rate_name(Rate(what="copy", unit="bytes"))
    'copy of memory'
    >>> rate_name(Rate(what="speculative", unit="tokens"))
    'speculative'
    """
    key = f"throughput.{rate.what.replace(' ', '-')}"
    said = [phrase(key, language) if key in texts(language) else rate.what]
    if rate.cache != "none":
        said.append(phrase("throughput.batch", language, n=rate.batch))
        said.append(phrase(f"throughput.{rate.cache}", language))
    if rate.compiled:
        said.append(phrase("throughput.compiled", language))
    return phrase("throughput.joint", language).join(said)


def amount(number: float | None, unit: str, language: str = "en") -> str:
    """So much a second; bytes in decimal units.

    >>> amount(18.3e9, "bytes"), amount(136.09, "tokens"), amount(7.8, "samples")
    ('18.3 GB/s', '136 tokens/s', '7.8 samples/s')
    >>> amount(None, "tokens")
    '–'
    """
    if number is None:
        return "–"
    if unit == "bytes":
        return f"{number / 1e9:,.1f} GB/s"
    return phrase(f"throughput.per_second.{unit}", language, n=figure(number))


def figure(number: float) -> str:
    """A number with two or three digits that mean something.

    >>> figure(7.8), figure(136.09), figure(24915.2)
    ('7.8', '136', '24,915')
    """
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def spread(rate: Rate) -> str:
    """The slowest and the fastest repetition, in the rate's unit."""
    if rate.low is None or rate.high is None:
        return "–"
    scale = 1e9 if rate.unit == "bytes" else 1.0
    return f"{figure(rate.low / scale)} – {figure(rate.high / scale)}"


def of_limit(share: float | None) -> str:
    """A share of the limit.

    >>> of_limit(0.1403), of_limit(0.00624), of_limit(None)
    ('14 %', '0.62 %', '–')
    """
    if share is None:
        return "–"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def ratio_figures(ratio: Estimate) -> tuple[str, str]:
    """A ratio and its interval.

    >>> from probes.schema.comparison import Estimate
    >>> ratio_figures(Estimate(value=2.0, low=1.5, high=2.75))
    ('2.00', '1.50 – 2.75')
    """
    return f"{ratio.value:.2f}", f"{ratio.low:.2f} – {ratio.high:.2f}"


def ratio_words(rate: RateRatio, language: str = "en") -> str:
    """A rate of two runs against each other, in a sentence without its full stop."""
    value, interval = ratio_figures(rate.ratio)
    return phrase(
        "throughput.ratio_said",
        language,
        name=rate_name(rate, language),
        ratio=value,
        interval=interval,
        old=amount(rate.old, rate.unit, language),
        new=amount(rate.new, rate.unit, language),
    )
