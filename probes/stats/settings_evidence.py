"""Test whether draws follow the settings that were asked for, and name those that they follow.

For each of several alternatives the likelihood of the draws is divided by that under the settings
asked for. If those are in force, the mean of these ratios has an expectation of at most 1, however
many draws there are: it is an e-value, and exceeds 1/alpha with a probability of at most alpha.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from probes.schema.sampling import PLAIN, InForce
from probes.stats.drawn_text import DrawnText, log_law_asked

MIXED = 0.01
"""Share of what was asked for in each alternative."""

SURE = 50.0
"""Nats of evidence at which one token counts as certain."""

MOST_CAUSES = 3
"""Settings that are named as the cause of what was drawn."""

CLEAR = 3.0
"""Nats by which a further setting must fit better to be named."""

LEAST_SHARE = 0.2
"""Least share of texts of each kind for two kinds to be named."""

UNASKED = "though it was not asked for"


@dataclass(frozen=True)
class SettingsTest:
    """How draws fit the settings asked for."""

    tokens: int  # tokens that were drawn
    outside: int  # of these, tokens that the settings asked for drop
    log_e: float  # log of the e-value against them, in nats
    alpha: float  # the test fails where e exceeds 1/alpha
    evidence: dict[str, float]  # log-likelihood ratio of each alternative, in nats
    needed: dict[str, float]  # tokens that show each with a probability of 99 %, about

    @property
    def good(self) -> bool:
        """Whether the draws are compatible with the settings asked for."""
        return self.outside == 0 and self.log_e < -math.log(self.alpha)


def judge_settings(
    texts: Iterable[DrawnText],
    asked: InForce,
    alternatives: Mapping[str, InForce],
    *,
    alpha: float,
    slack: float = 0.0,
) -> SettingsTest:
    """Test texts against the settings asked for, and count the tokens that would show others.

    Rounding may move a logit by `slack` across the border of a filter: what was asked for then gets
    the benefit of it, which only lowers the e-value. Each alternative is mixed with a little of
    what was asked for, so that one token that it drops does not rule it out.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0]]).repeat(198, 1)
    >>> hot = [DrawnText([], [0, 1, 2] * 66, logits)]  # as many of each
    >>> names = {"temperature 10": InForce(replace(PLAIN, temperature=10))}
    >>> judge_settings(hot, InForce(), names, alpha=1e-6).good
    False
    """
    outside, drawn = 0, 0
    evidence = dict.fromkeys(alternatives, 0.0)
    expected: dict[str, list[torch.Tensor]] = {name: [] for name in alternatives}
    for text in texts:
        ids = torch.tensor(text.ids)[:, None]
        asked_law = log_law_asked(text, asked, slack)
        chosen = asked_law.gather(1, ids)[:, 0]
        if text.is_encoded and bool((dropped := chosen == -torch.inf).any()):
            count = int(dropped.int().argmax())
            ids, chosen, asked_law = ids[:count], chosen[:count], asked_law[:count]
            text = replace(text, ids=text.ids[:count], logits=text.logits[:count])  # noqa: PLW2901
            if not count:
                continue
        outside += int((chosen == -torch.inf).sum())
        drawn += len(ids)
        likely = text.likely
        here = asked_law.gather(1, likely.tokens)
        for name, alternative in alternatives.items():
            law, own = likely.log_law(alternative)
            evidence[name] += float(_mixed_ratio(own, chosen).sum())
            expected[name].append(_moments(law, here))
    log_e = float(torch.tensor([*evidence.values()], dtype=torch.float64).logsumexp(0))
    return SettingsTest(
        tokens=drawn,
        outside=outside,
        log_e=log_e - math.log(len(evidence)),
        alpha=alpha,
        evidence=evidence,
        needed={
            name: _tokens_to_notice(moments, math.log(len(alternatives) / alpha))
            for name, moments in expected.items()
        },
    )


def explain_draws(
    texts: Sequence[DrawnText], asked: InForce, defaults: Mapping[str, InForce]
) -> str:
    """Name the settings that texts follow: the alternative that fits best, and others beside it.

    A further setting is named if it makes the texts so much likelier that the number of
    alternatives does not explain it. Empty if none fits better than what was asked for.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0]]).repeat(200, 1)
    >>> ids = [0] * 101 + [1] * 62 + [2] * 37
    >>> explain_draws([DrawnText([], ids, logits)], InForce(), {})
    'temperature 2 times what was asked for'
    """
    likely = [text.likely for text in texts]

    def fit(settings: InForce) -> float:
        size = math.log(texts[0].logits.shape[-1])
        return sum(float(_mixed_ratio(each.log_law(settings)[1], -size).sum()) for each in likely)

    names: list[str] = []
    found, best = asked, fit(asked)
    for _ in range(MOST_CAUSES):
        kinds = {name.split()[0] for name in names}  # each is named once
        others = {
            name: settings
            for name, settings in list_alternatives(found, {} if names else defaults).items()
            if name.split()[0] not in kinds
        }
        fits = {name: fit(settings) for name, settings in others.items()}
        name = max(fits, key=lambda each: fits[each])
        if fits[name] < best + math.log(len(fits)) + CLEAR:
            break
        found, best = others[name], fits[name]
        names.append(name)
    unasked = f", {UNASKED}"
    shown = " and ".join(name.removesuffix(unasked) for name in names)
    return shown + (unasked if names and names[-1].endswith(unasked) else "")


@dataclass(frozen=True)
class MixedSettings:
    """Draws of which some follow the settings asked for, and others do not."""

    settings: str
    share: float
    """Of the texts that follow these settings, about."""


def explain_mixture(
    texts: Sequence[DrawnText], asked: InForce, defaults: Mapping[str, InForce]
) -> MixedSettings | None:
    """Find settings that a share of the texts follows, where the rest follows those asked for.

    None unless two kinds of texts explain them better than all texts in one setting, by more than
    the number of alternatives explains, and texts of both kinds are clearly of their own.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0]]).repeat(60, 1)
    >>> cold, as_asked = [0] * 60, [0] * 40 + [1] * 15 + [2] * 5
    >>> found = explain_mixture([DrawnText([], ids, logits) for ids in (cold, as_asked) * 4],
    ...                         InForce(), {})
    >>> found.settings, round(found.share, 1)
    ('greedy decoding: no temperature', 0.5)
    """
    likely = [text.likely for text in texts]
    size = math.log(texts[0].logits.shape[-1])

    def fit(settings: InForce) -> torch.Tensor:
        rows = (_mixed_ratio(each.log_law(settings)[1], -size).sum() for each in likely)
        return torch.stack([*rows])

    own = fit(asked)
    fits = {name: fit(each) for name, each in list_alternatives(asked, defaults).items()}
    shares = torch.linspace(LEAST_SHARE, 1 - LEAST_SHARE, 7, dtype=torch.float64)
    alone = max(float(own.sum()), *(float(each.sum()) for each in fits.values()))
    best, found = alone + math.log(len(fits) * len(shares)) + CLEAR, None
    for name, other in fits.items():
        clear = [float((sign * (other - own) > CLEAR).double().mean()) for sign in (1, -1)]
        if min(clear) < LEAST_SHARE:  # a few odd texts, as other weights may draw them
            continue
        mixed = torch.logaddexp(
            own + (1 - shares[:, None]).log(), other + shares[:, None].log()
        ).sum(dim=1)
        if float(mixed.max()) > best:
            best = float(mixed.max())
            found = MixedSettings(name, float(shares[mixed.argmax()]))
    return found


def _mixed_ratio(law: torch.Tensor, asked: torch.Tensor | float) -> torch.Tensor:
    """Return the log of the likelihood ratio of an alternative mixed with what was asked for."""
    ratio = (law - asked).nan_to_num(nan=-torch.inf)
    least = torch.tensor(math.log(MIXED), dtype=ratio.dtype)
    return torch.logaddexp(ratio + math.log1p(-MIXED), least).clamp_max(SURE)


def _moments(law: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """Return mean and mean square of the ratio at each step, if the alternative is in force."""
    ratio = _mixed_ratio(law, asked)
    weights = law.exp()
    return torch.stack([(weights * ratio).sum(-1), (weights * ratio.square()).sum(-1)], dim=-1)


def _tokens_to_notice(moments: Sequence[torch.Tensor], threshold: float) -> float:
    """Return about how many tokens reach a threshold of evidence with a probability of 99 %.

    Steps count as independent; infinite where draws under the two do not differ.
    """
    mean, square = torch.cat([*moments]).mean(dim=0).tolist() if moments else (0.0, 0.0)
    if mean <= 1e-9:
        return math.inf
    spread = math.sqrt(max(0.0, square - mean**2))
    # n·mean - z·spread·√n reaches the threshold.
    z = 2.326
    root = (z * spread + math.sqrt((z * spread) ** 2 + 4 * mean * threshold)) / (2 * mean)
    return float(math.ceil(root**2))


def list_alternatives(asked: InForce, defaults: Mapping[str, InForce]) -> dict[str, InForce]:
    """Return settings that servers apply unasked, by what a reader calls them.

    `defaults` are those of servers and of the model's own files, by name.

    >>> names = list_alternatives(InForce(), {})
    >>> "top_k 40, though it was not asked for" in names
    True
    """
    own, t = asked.sampling, asked.sampling.temperature

    def other(**changes: float) -> InForce:
        return replace(asked, sampling=replace(own, **changes))  # type: ignore[arg-type]

    found = {f"temperature {x:g} times what was asked for": other(temperature=t * x)
             for x in (0.5, 0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 1.5, 2.0)}  # fmt: skip
    found["greedy decoding: no temperature"] = other(temperature=0.01)
    if t != 1:
        found["temperature applied twice"] = other(temperature=t * t)
        found["temperature not applied"] = other(temperature=1.0)
    found |= {
        f"top_k {k}, {UNASKED}": other(top_k=k)
        for k in _others((1, 5, 10, 20, 40, 50, 64), own.top_k)
    }
    found |= {
        f"top_p {p:g}, {UNASKED}": other(top_p=p) for p in _others((0.5, 0.8, 0.9, 0.95), own.top_p)
    }
    found |= {f"min_p {p:g}, {UNASKED}": other(min_p=p) for p in _others((0.05, 0.1), own.min_p)}
    found |= {f"repetition_penalty {x:g}, {UNASKED}": replace(asked, repetition_penalty=x)
              for x in (1.05, 1.1, 1.2, 1.3)}  # fmt: skip
    if own != replace(PLAIN, temperature=t):
        found["no filter, though one was asked for"] = replace(
            asked, sampling=replace(PLAIN, temperature=t)
        )
        found["filters before the temperature" if asked.temperature_first else
              "the temperature before filters"] = replace(
            asked, temperature_first=not asked.temperature_first)  # fmt: skip
    return found | {
        f"the settings of {name}": each for name, each in defaults.items() if each != asked
    }


def _others(values: Iterable[float], asked: float | None) -> list[float]:
    return [value for value in values if value != asked]
