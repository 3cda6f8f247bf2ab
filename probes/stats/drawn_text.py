"""How likely the tokens of a sampled text are, under the settings asked for and under others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from probes.schema.sampling import InForce, Sampling
from probes.stats.sampling_reference import apply_filters

LIKELY = 1024
"""Most likely tokens that the filters of alternatives look at; all others count by their sum."""


@dataclass(frozen=True)
class DrawnText:
    """A sampled text with the logits along it."""

    prompt_ids: Sequence[int]
    ids: Sequence[int]
    logits: torch.Tensor = field(repr=False)
    """Of the reference, before any setting: (tokens, vocabulary)."""
    is_encoded: bool = False
    """Whether the ids are those of the text, and perhaps not those drawn: then it counts up to the
    first that the settings asked for drop."""

    @cached_property
    def likely(self) -> Likely:
        """The most likely tokens at each step."""
        values, tokens = self.logits.topk(min(LIKELY, self.logits.shape[-1]), dim=-1)
        drawn = self.logits.gather(1, torch.tensor(self.ids)[:, None])
        return Likely(
            self.prompt_ids, self.ids, self.logits, values.double(), tokens, drawn.double()
        )


def log_law_asked(text: DrawnText, asked: InForce, slack: float) -> torch.Tensor:
    """Return a bound on the log-law over the whole vocabulary under the settings asked for.

    Rounding moves the border of a filter by up to `slack`. A token below the border by less counts
    as kept, and the sum runs over those above it by more: no probability is larger than its bound.
    """
    logits = text.logits.double()
    logits = _penalize(logits, None, text.prompt_ids, text.ids, asked.repetition_penalty)
    kept = _filter(logits, asked)
    scaled = logits / asked.sampling.temperature
    if bool(kept.all()):
        return scaled - scaled.logsumexp(dim=-1, keepdim=True)
    border = torch.where(kept, logits, torch.inf).amin(dim=-1, keepdim=True)
    surely = kept & (logits >= (border + slack).minimum(logits.amax(dim=-1, keepdim=True)))
    total = torch.where(surely, scaled, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return (torch.where(logits >= border - slack, scaled, -torch.inf) - total).clamp_max(0.0)


@dataclass
class Likely:
    """The most likely tokens at each step of a text, in their order, and all others' mass."""

    prompt_ids: Sequence[int]
    ids: Sequence[int]  # of the tokens drawn
    logits: torch.Tensor  # (steps, vocabulary)
    values: torch.Tensor  # logits, (steps, tokens), float64
    tokens: torch.Tensor  # their ids
    drawn: torch.Tensor  # logits of the tokens drawn, (steps, 1)
    masses: dict[float, torch.Tensor] = field(default_factory=dict)  # by temperature, (steps, 1)

    def log_law(self, settings: InForce) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-law over the likely tokens, and that of the tokens drawn: (steps,)."""
        own, t = settings.sampling, settings.sampling.temperature
        logits, place = self.values, self.tokens == torch.tensor(self.ids)[:, None]
        is_sorted = settings.repetition_penalty == 1
        if not is_sorted:
            penalty = settings.repetition_penalty
            logits = _penalize(logits, self.tokens, self.prompt_ids, self.ids, penalty)
        in_filters = t if settings.temperature_first else 1.0
        scaled, mass = logits / in_filters, self._mass_of_others(in_filters)
        kept, rest_kept = (_keep_likely if is_sorted else _keep_unsorted)(scaled, mass, own)
        scaled = torch.where(kept, logits / t, -torch.inf)
        rest = torch.where(rest_kept, self._mass_of_others(t), -torch.inf)
        total = torch.cat([scaled, rest], dim=-1).logsumexp(dim=-1, keepdim=True)
        law = scaled - total
        other = torch.where(rest_kept, self.drawn / t - total, -torch.inf)[:, 0]
        found = torch.where(place, law, -torch.inf).amax(dim=-1)
        return law, torch.where(place.any(dim=-1), found, other)

    def _mass_of_others(self, temperature: float) -> torch.Tensor:
        """Return the log of the sum of exp(logit / temperature) over all other tokens."""
        if temperature not in self.masses:
            others = self.logits.scatter(1, self.tokens, -torch.inf) / temperature
            self.masses[temperature] = others.logsumexp(dim=-1, keepdim=True).double()
        return self.masses[temperature]


def _keep_likely(
    logits: torch.Tensor, rest: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which of the likely tokens filters keep, and at which steps all others are kept.

    The likely tokens are sorted, the most likely first. A nucleus that does not end among them
    counts as all tokens.
    """
    k, p, share = sampling.top_k or 0, sampling.top_p or 1.0, sampling.min_p or 0.0
    kept = torch.ones_like(logits, dtype=torch.bool)
    rest_kept = torch.ones_like(rest, dtype=torch.bool)
    if k:
        kept[:, k:] = False
        rest_kept[:] = False
    if p < 1:
        whole = logits[:, :k] if k else torch.cat([logits, rest], dim=-1)
        mass = (logits - whole.logsumexp(dim=-1, keepdim=True)).exp()
        kept &= mass.cumsum(dim=-1) - mass < p
        rest_kept &= kept[:, -1:]
    if share:
        kept &= logits >= logits[:, :1] + math.log(share)
        rest_kept &= kept[:, -1:]
    return kept, rest_kept


def _keep_unsorted(
    logits: torch.Tensor, rest: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    in_order, places = logits.sort(dim=-1, descending=True)
    kept, rest_kept = _keep_likely(in_order, rest, sampling)
    return torch.zeros_like(kept).scatter(1, places, kept), rest_kept


def _filter(logits: torch.Tensor, settings: InForce) -> torch.Tensor:
    """Return which tokens the settings keep."""
    sampling = replace(settings.sampling, top_k=settings.sampling.top_k or 0)
    if not settings.temperature_first:
        sampling = replace(sampling, temperature=1.0)
    return apply_filters(logits, sampling).isfinite()


def _penalize(
    logits: torch.Tensor,
    tokens: torch.Tensor | None,
    prompt_ids: Sequence[int],
    ids: Sequence[int],
    penalty: float,
) -> torch.Tensor:
    """Divide positive logits of tokens that came before by the penalty, multiply others by it."""
    if penalty == 1:
        return logits
    penalized = torch.where(logits > 0, logits / penalty, logits * penalty)
    rows = []
    for step in range(len(logits)):
        seen = torch.tensor([*prompt_ids, *ids[:step]])
        here = (
            torch.zeros(logits.shape[-1], dtype=torch.bool).index_fill_(0, seen, True)
            if tokens is None
            else torch.isin(tokens[step], seen)
        )
        rows.append(torch.where(here, penalized[step], logits[step]))
    return torch.stack(rows)
