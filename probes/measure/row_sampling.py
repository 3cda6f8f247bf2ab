"""Sample texts in one batch in which each row has its own setting.

A forward pass serves all settings. Their filters are the reference ones, and a row's token is drawn
from what these leave: other claims compare the library's filters and draws with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor

from probes.engines.base import LogitsEngine, Prompt
from probes.engines.session_cache import once_per_session
from probes.errors import BrokenModelError
from probes.schema.sampling import UNPENALIZED, Sampling
from probes.stats import sampling_reference as reference


@dataclass(frozen=True)
class Sample:
    """A sampled text, measured before its logits are dropped."""

    ids: list[int]  # new tokens only
    text: str
    entropy: float  # mean of the distributions it was sampled from, in nats
    log_likelihood: float  # mean over its tokens under the model at temperature 1, in nats


Samples = dict[Sampling, list[list[Sample]]]  # for each setting, and each prompt, its texts


@once_per_session
def sample_texts(
    model: LogitsEngine,
    prompts: Sequence[Prompt],
    settings: Sequence[Sampling],
    *,
    samples: int,
    length: int,
    seed: int,
) -> Samples:
    """Sample texts after each prompt at each setting in one batch, once a session.

    Raises BrokenModelError if the library's `generate` ignores the logits processor.

    >>> from probes import Sampling, load
    >>> top_1 = Sampling(top_k=1)
    >>> found = sample_texts(load("embedded"), ["Once"], [top_1], samples=3, length=8, seed=0)
    >>> (texts,) = found[top_1]
    >>> len({text.text for text in texts}), texts[0].entropy
    (1, 0.0)
    """
    rows = [(setting, prompt) for setting in settings for prompt in prompts for _ in range(samples)]
    sampler = RowSampler([setting for setting, _ in rows], seed)
    generations = model.generate_batch(
        [prompt for _, prompt in rows],
        max_new_tokens=length,
        do_sample=False,
        logits_processor=[sampler],
        **UNPENALIZED,
    )
    require_calls(len(sampler.entropies))
    entropies, likelihoods = torch.stack(sampler.entropies), torch.stack(sampler.log_likelihoods)
    texts = [
        Sample(
            generation.ids[0],
            generation.text,
            float(entropies[: len(generation.ids[0]), row].mean()),
            float(likelihoods[: len(generation.ids[0]), row].mean()),
        )
        for row, generation in enumerate(generations)
    ]
    groups = iter(texts[at : at + samples] for at in range(0, len(texts), samples))
    return {setting: [next(groups) for _ in prompts] for setting in settings}


class RowSampler(LogitsProcessor):
    """Samples each row at its own setting, by adding Gumbel noise to the log-probabilities."""

    def __init__(self, settings: Sequence[Sampling], seed: int) -> None:
        """Take the setting of each row, and a seed."""
        self.entropies: list[torch.Tensor] = []  # (rows,) a step, of what was drawn from
        self.log_likelihoods: list[torch.Tensor] = []  # (rows,) a step, of what was drawn
        self._rows: dict[Sampling, list[int]] = {}
        for row, setting in enumerate(settings):
            self._rows.setdefault(setting, []).append(row)
        self._most = reference.largest_top_k(settings)
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores, (rows, vocabulary), that leave each row the token which it draws."""
        logits, tokens = (each.cpu() for each in reference.top_logits(scores.float(), self._most))
        law = torch.empty_like(logits, dtype=torch.float64)
        for setting, rows in self._rows.items():
            law[rows] = reference.log_probabilities(logits[rows], setting)
        noise = -torch.empty_like(law).exponential_(generator=self._generator).log()
        place = (law + noise).argmax(dim=-1, keepdim=True)
        chosen = tokens.gather(-1, place).to(scores.device)
        self.entropies.append(reference.entropy(law))
        whole = scores.float().logsumexp(dim=-1, keepdim=True)
        self.log_likelihoods.append((scores.gather(-1, chosen) - whole)[:, 0].double().cpu())
        return _leave(chosen, scores)


class UnfilteredSampler(LogitsProcessor):
    """Samples each row from all tokens at temperature 1, by one random number a row.

    The library draws one for each token of the vocabulary, which takes longer than a small model's
    forward pass.
    """

    def __init__(self, seed: int) -> None:
        """Take a seed."""
        self.steps = 0
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores, (rows, vocabulary), that leave each row the token which it draws."""
        self.steps += 1
        sums = scores.float().softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
        shares = torch.rand(len(scores), 1, generator=self._generator, dtype=torch.float64)
        # The first sum that exceeds a share of all: its token's probability is not 0.
        chosen = torch.searchsorted(sums, shares.to(sums.device) * sums[:, -1:], right=True)
        return _leave(chosen, scores)


def require_calls(steps: int) -> None:
    """Raise BrokenModelError if `generate` called a logits processor at none of its steps."""
    if not steps:
        raise BrokenModelError("generate calls no logits_processor that it is given")


def _leave(chosen: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)
