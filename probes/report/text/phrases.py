"""Values of a record as text: verdicts, counts, sizes, times, throughput, commands.

Each function writes one language, English by default; the texts are in `locale/`.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from datetime import datetime
from math import isfinite

from pydantic import JsonValue

from probes._util.text import shorten
from probes.report.locale import phrase, texts
from probes.schema.claim import catalogue
from probes.schema.comparison import Estimate, RateRatio
from probes.schema.record import ClaimRecord, Cost, Environment, Rate, Record, TargetFacts, Verdict

LONGEST_SETTING = 60
"""Characters of a setting's value; a list of forbidden words may be long."""

# --- verdicts and counts -------------------------------------------------------------------------


def verdict_key(verdict: Verdict | None) -> str:
    """Return the verdict as one word, for keys of texts and for the page's style."""
    return (verdict or Verdict.NOT_DECIDED).value.replace(" ", "-")


def format_verdict(verdict: Verdict | None, language: str = "en") -> str:
    """Return the verdict as one or two words.

    >>> format_verdict(None), format_verdict(Verdict.HOLDS, "ja")
    ('not decided', '成立')
    """
    return phrase(f"verdict.{verdict_key(verdict)}", language)


def format_counts(counts: Counter[Verdict], language: str = "en") -> str:
    """Return how many claims have each verdict, as a sentence without its full stop."""
    present = [(verdict, counts[verdict]) for verdict in Verdict if counts[verdict]]
    if not present:
        return phrase("counted.none", language)
    if present == [(Verdict.HOLDS, counts.total())] and counts.total() > 1:
        return phrase("counted.all", language, n=f"{counts.total():,}")
    parts = []
    for place, (verdict, number) in enumerate(present):
        one = "one" if number == 1 else "many"
        what = phrase(f"counted.{one}.{verdict_key(verdict)}", language)
        key = "counted.next" if place else f"counted.first_{one}"
        parts.append(phrase(key, language, n=f"{number:,}", what=what))
    return phrase("counted.joint", language).join(parts)


def format_headline(counts: Counter[Verdict], language: str = "en") -> str:
    """Return the number of claims by verdict as a whole sentence."""
    text = format_counts(counts, language)
    return phrase("counted.sentence", language, said=text[:1].upper() + text[1:])


def format_incomplete(record: Record, language: str = "en") -> str:
    """Return how many planned checks a stopped or shortened run made; empty if it made all."""
    if record.complete:
        return ""
    missing = sum(max(0, claim.planned - len(claim.evidence)) for claim in record.claims)
    planned = sum(claim.planned for claim in record.claims)
    key = "incomplete.stopped" if record.finished is None else "incomplete.early"
    return phrase(key, language, made=f"{planned - missing:,}", planned=f"{planned:,}")


def format_setting(value: JsonValue, source: str, language: str = "en") -> str:
    """Return a setting's value with its source; without a source there is no value.

    >>> format_setting(50, "library default"), format_setting(None, "")
    ('50 (library default)', 'none')
    >>> format_setting([2, 7], "generation_config.json")
    '[2, 7] (generation_config.json)'
    """
    if not source:
        return phrase("setting.none", language)
    shown = shorten(json.dumps(value, ensure_ascii=False), LONGEST_SETTING)
    return phrase("setting.value", language, value=shown, source=name_source(source, language))


def name_source(source: str, language: str = "en") -> str:
    """Return where a setting comes from, for a reader: a file's name as it is."""
    key = f"setting.{source}"
    return phrase(key, language) if key in texts(language) else source


def format_count(number: int, noun: str, language: str = "en") -> str:
    """Return a number with its noun, one of the table `count` of the texts.

    >>> format_count(1, "check"), format_count(1200, "check"), format_count(2, "pass")
    ('1 check', '1,200 checks', '2 forward passes')
    """
    one = "one" if number == 1 else "many"
    return phrase(f"count.{noun}.{one}", language, n=f"{number:,}")


# --- sizes and times -----------------------------------------------------------------------------


def format_duration(seconds: float, language: str = "en") -> str:
    """Return seconds in the unit that suits them.

    >>> [format_duration(seconds) for seconds in (0.0042, 3.14159, 83, 7500)]
    ['4 ms', '3.1 s', '1 min 23 s', '2 h 5 min']
    """
    if not isfinite(seconds):
        return f"{seconds} s"
    if seconds < 1:
        return phrase("duration.below_a_second", language, ms=f"{seconds * 1000:.0f}")
    if seconds < 60:
        return phrase("duration.seconds", language, s=f"{seconds:.1f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return phrase("duration.minutes", language, min=minutes, s=rest)
    hours, minutes = divmod(minutes, 60)
    return phrase("duration.hours", language, h=f"{hours:,}", min=minutes)


def format_cost(cost: Cost, language: str = "en") -> str:
    """Return what checks cost; forward passes, sequences and token positions only if there are any.

    >>> format_cost(Cost(seconds=2.5, forward_passes=3, rows=6, tokens=1200))
    '2.5 s · 3 forward passes · 6 sequences · 1,200 token positions'
    """
    parts = [format_duration(cost.seconds, language)]
    if cost.forward_passes:
        numbers = {"pass": cost.forward_passes, "sequence": cost.rows, "position": cost.tokens}
        parts += [format_count(number, noun, language) for noun, number in numbers.items()]
    return " · ".join(parts)


def format_bytes(size: int, language: str = "en") -> str:
    """Return bytes in decimal units, as memory is sold and models are described.

    >>> format_bytes(512), format_bytes(7_040_000), format_bytes(4_450_000_000)
    ('512 bytes', '7.0 MB', '4.45 GB')
    """
    if size < 1000:
        return format_count(size, "byte", language)
    if size < 1_000_000:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1_000_000_000 else f"{size / 1e9:.2f} GB"


def format_time(iso: str, language: str = "en") -> str:
    """Return a stored time for people; a text that is no time is returned unchanged.

    >>> format_time("2026-11-23T07:51:20Z"), format_time("2026-11-23T07:51:20Z", "ja")
    ('23 November 2026, 07:51 UTC', '2026年11月23日 07:51 UTC')
    """
    try:
        time = datetime.fromisoformat(iso.replace("Z", "+00:00"))
    except ValueError:
        return iso
    # Not the months of the machine's locale: a report reads the same wherever it is made.
    month = phrase(f"month.{time.month}", language)
    return phrase(
        "month.moment", language, day=time.day, month=month, year=time.year, time=f"{time:%H:%M}"
    )


# --- throughput ----------------------------------------------------------------------------------


def format_rate_name(rate: Rate | RateRatio, language: str = "en") -> str:
    """Return what was measured, and how.

    >>> from probes.schema.record import Rate
    >>> format_rate_name(Rate(what="decode", unit="tokens", batch=8, cache="static", compiled=True))
    'new tokens, batch 8, static cache, compiled'
    """
    parts = [_phrase_or(rate.what, f"throughput.{rate.what.replace(' ', '-')}", language)]
    if rate.cache != "none":
        parts.append(phrase("throughput.batch", language, n=rate.batch))
        parts.append(phrase(f"throughput.{rate.cache}", language))
    if rate.compiled:
        parts.append(phrase("throughput.compiled", language))
    return phrase("throughput.joint", language).join(parts)


def format_rate(number: float | None, unit: str, language: str = "en") -> str:
    """Return an amount per second; bytes in decimal units.

    >>> format_rate(18.3e9, "bytes"), format_rate(136.09, "tokens"), format_rate(None, "tokens")
    ('18.3 GB/s', '136 tokens/s', '–')
    """
    if number is None:
        return "–"
    if unit == "bytes":
        return f"{number / 1e9:,.1f} GB/s"
    return phrase(f"throughput.per_second.{unit}", language, n=_format_figure(number))


def format_rate_range(rate: Rate) -> str:
    """Return the slowest and the fastest repetition, in the rate's unit."""
    if rate.low is None or rate.high is None:
        return "–"
    scale = 1e9 if rate.unit == "bytes" else 1.0
    return f"{_format_figure(rate.low / scale)} – {_format_figure(rate.high / scale)}"


def format_limit_share(share: float | None) -> str:
    """Return a share of the limit.

    >>> format_limit_share(0.1403), format_limit_share(0.00624), format_limit_share(None)
    ('14 %', '0.62 %', '–')
    """
    if share is None:
        return "–"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def format_ratio(ratio: Estimate) -> tuple[str, str]:
    """Return a ratio and its interval."""
    return f"{ratio.value:.2f}", f"{ratio.low:.2f} – {ratio.high:.2f}"


def _format_figure(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


# --- names ---------------------------------------------------------------------------------------


def format_key(key: str) -> str:
    """Return a key of the evidence as words.

    >>> format_key("new_tokens")
    'new tokens'
    """
    return key.replace("_", " ").strip() or key


def shorten_test_name(name: str) -> str:
    """Return a test's parameters, which distinguish it; its whole name if it has none.

    >>> shorten_test_name("test_bos[Japanese]"), shorten_test_name("test_bos")
    ('Japanese', 'test_bos')
    """
    rest = name.partition("[")[2]
    return rest[:-1] if rest.endswith("]") and rest != "]" else name


def format_source(target: TargetFacts, language: str = "en") -> str:
    """Return where a target was loaded from; a source without a text of its own is unchanged.

    >>> format_source(TargetFacts(name="m", source="hub"))
    'the hub'
    """
    return _phrase_or(target.source, f"source.{target.source}", language)


def _phrase_or(default: str, key: str, language: str) -> str:
    return phrase(key, language) if key in texts(language) else default


def format_loading(target: TargetFacts) -> str:
    """Return how a target was loaded, in the libraries' own words."""
    words = (target.quantization, target.dtype, target.device)
    return " · ".join(word for word in words if word != "none")


def format_versions(environment: Environment) -> str:
    """Return the versions of transformers and torch."""
    packages = environment.packages
    names = [name for name in ("transformers", "torch") if name in packages]
    return " · ".join(f"{name} {packages[name]}" for name in names)


def format_command(claim: ClaimRecord, target: TargetFacts) -> str:
    """Return the command that decides this claim alone on this target, loaded as it was.

    A record holds no path of a file, so that one has to be put in.
    """
    known = catalogue().get(claim.id)
    words, option = (["pytest"], ["--target"]) if known is None else (["probes", "run"], [])
    name = f"path/to/{target.name}" if target.source in ("folder", "gguf") else target.name
    if target.address is not None:
        name = f"{target.address}#{target.served_model}"
    if (target.source, name) != ("embedded", "embedded"):
        words += [*option, name]
    words += ["--claim", claim.id]
    if target.quantization != "none" and target.source != "gguf":
        words += ["--quantization", target.quantization]
    if target.dtype not in ("auto", "float32"):
        words += ["--dtype", target.dtype]
    if known is not None and "reference" in known.needs:
        words += ["--reference", "path/to/reference"]
    return shlex.join(words)
