"""What a model knows: the probability that sampling states a right answer, with bounds.

The network's logits do not depend on the sampling settings. So the continuations of all questions
are followed once, in one tree: a forward pass takes prefixes of every question together, and each
setting is then evaluated on the same logits by arithmetic alone.

What is computed is the probability that the first `LENGTH` tokens `generate` draws state an
accepted answer. A continuation is right once it states one, whatever follows; it is wrong once it
has ended, or has all its tokens, without. What was not followed to either lies between the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from probes import filters
from probes.answers import Fate, Question, judged
from probes.sampling import Sampling

if TYPE_CHECKING:
    import numpy.typing as npt

    from probes.model import Model

LENGTH = 12
"""Tokens within which an answer must be stated: room for a sentence that leads up to it."""

WIDTH = 256
"""Most prefixes followed a level, over all questions; also the most rows of a forward pass."""

LEAST = 1e-6
"""A continuation less likely than this under every setting is not looked at."""

TEMPERATURES = (0.2, 0.6, 1.0, 1.4, 1.8)
NUCLEI = (0.2, 0.5, 0.9)
GRID = tuple(Sampling(temperature=t, top_p=p) for p in NUCLEI for t in TEMPERATURES)
"""The settings compared: every temperature at every top_p; top_k is the library's default."""

Prefix = tuple[int, tuple[int, ...]]
"""The number of a prompt, and token ids that continue it."""

Likeliest = tuple[torch.Tensor, torch.Tensor]
"""Logits, (prefixes, kept), and the tokens they belong to; -inf fills the shorter rows."""


Step = Callable[[list[Prefix]], Likeliest]
Judge = Callable[[Prefix], Fate]


@dataclass(frozen=True)
class Outcome:
    """How likely each prompt is continued rightly under each setting.

    Attributes:
        right: (settings, prompts), float64, mass of the continuations that are right.
        wrong: the same of those that are wrong; what is missing from 1 was not followed.
    """

    right: npt.NDArray[np.float64]
    wrong: npt.NDArray[np.float64]

    @property
    def upper(self) -> npt.NDArray[np.float64]:
        """The most that can be right: (settings, prompts)."""
        return np.maximum(self.right, 1 - self.wrong)


def follow(
    step: Step,
    judge: Judge,
    prompts: int,
    settings: Sequence[Sampling],
    *,
    length: int,
    width: int,
    least: float = LEAST,
) -> Outcome:
    """Follow the continuations of several prompts under several settings in one tree.

    At each level the `width` prefixes with the most mass under any setting are followed.

    Args:
        step: likeliest next tokens after prefixes, all that any setting keeps.
        judge: what is known of a continuation; at `length` tokens it is not asked for more.
        prompts: how many there are.
        settings: how to draw.
        length: tokens of a continuation that has not ended.
        width: most prefixes to follow a level; the prompts themselves are always followed.
        least: continuations below this mass under every setting are not judged.

    >>> coin = lambda prefixes: (torch.zeros(len(prefixes), 2), torch.tensor([[0, 1]] * len(prefixes)))
    >>> heads = lambda prefix: Fate.RIGHT if prefix[1][-1] == 1 else Fate.OPEN
    >>> found = follow(coin, heads, 1, [Sampling()], length=3, width=9)
    >>> found.right.tolist(), found.wrong.tolist()
    ([[0.875]], [[0.0]])
    """
    sums = {fate: torch.zeros(len(settings), prompts, dtype=torch.float64) for fate in Fate}
    prefixes: list[Prefix] = [(number, ()) for number in range(prompts)]
    masses = torch.zeros(len(settings), prompts, dtype=torch.float64)
    for _ in range(length):
        if not prefixes:
            break
        logits, tokens = step(prefixes)
        steps = torch.stack([filters.log_probabilities(logits, s) for s in settings])
        joint = (masses.unsqueeze(-1) + steps).exp()
        found = (joint.amax(dim=0) > least).nonzero()
        values = joint[:, found[:, 0], found[:, 1]]
        grown = [
            (prefixes[row][0], (*prefixes[row][1], int(tokens[row, place])))
            for row, place in found.tolist()
        ]
        fates = [judge(prefix) for prefix in grown]
        for fate, sum_ in sums.items():
            rows = [i for i, found_fate in enumerate(fates) if found_fate is fate]
            owners = torch.tensor([grown[i][0] for i in rows], dtype=torch.long)
            sum_.index_add_(1, owners, values[:, rows])
        going = [i for i, fate in enumerate(fates) if fate is Fate.OPEN]
        order = values[:, going].amax(dim=0).argsort(descending=True, stable=True)[:width]
        going = [going[i] for i in order.tolist()]
        prefixes, masses = [grown[i] for i in going], values[:, going].log()
    return Outcome(sums[Fate.RIGHT].numpy(), sums[Fate.WRONG].numpy())


@dataclass
class Reader:
    """Reads continuations: their texts grow token by token, as decoding all anew is slow.

    Attributes:
        model: whose tokenizer decodes.
    """

    model: Model
    _pieces: dict[int, str] = field(default_factory=dict)
    _texts: dict[tuple[int, ...], str] = field(default_factory=lambda: {(): ""})

    def text(self, ids: tuple[int, ...]) -> str:
        """The text of token ids, special tokens left out, the space in front kept.

        >>> from probes import load
        >>> Reader(load("embedded")).text((11790, 28723))
        ' Tokyo.'
        """
        if ids not in self._texts:
            text = self.text(ids[:-1]) + self._piece(ids[-1])
            if "\N{REPLACEMENT CHARACTER}" in text:  # a character of several tokens
                text = self.model.decode(ids, skip_special_tokens=True)
            self._texts[ids] = text
        return self._texts[ids]

    def _piece(self, token: int) -> str:
        """What a token adds to a text, seen behind a letter."""
        if token not in self._pieces:
            behind = self.model.encode("a", special_tokens=False)
            start = self.model.decode(behind, skip_special_tokens=True)
            text = self.model.decode([*behind, token], skip_special_tokens=True)
            self._pieces[token] = text[len(start) :]
        return self._pieces[token]


def judge_of(model: Model, asked: Sequence[Question], length: int = LENGTH) -> Judge:
    """Tells of continuations whether they answer their question rightly.

    Args:
        model: whose tokenizer decodes, and whose end ids end a text.
        asked: the questions, in the order of the prompts.
        length: tokens at which a text is cut.
    """
    reader, ends = Reader(model), set(model.end_ids)

    def judge(prefix: Prefix) -> Fate:
        number, ids = prefix
        ended = ids[-1] in ends or len(ids) >= length
        return judged(reader.text(ids), asked[number], ended=ended)

    return judge


def step_of(model: Model, prompts: Sequence[Sequence[int]], settings: Sequence[Sampling]) -> Step:
    """Next-token logits of a model, the likeliest that the settings' top-k can keep.

    Args:
        model: asked in batches of at most `WIDTH` rows, padded on the left.
        prompts: token ids of each.
        settings: their largest top-k decides how many logits are kept.
    """
    tops = [filters.LIBRARY_TOP_K if s.top_k is None else s.top_k for s in settings]

    def step(prefixes: list[Prefix]) -> Likeliest:
        parts = [
            likeliest(
                last_logits(model, [[*prompts[n], *ids] for n, ids in prefixes[at : at + WIDTH]]),
                0 if 0 in tops else max(tops),
            )
            for at in range(0, len(prefixes), WIDTH)
        ]
        most = max(logits.shape[-1] for logits, _ in parts)
        return (
            torch.cat([_filled(logits, most, -torch.inf) for logits, _ in parts]),
            torch.cat([_filled(tokens, most, 0) for _, tokens in parts]),
        )

    return step


def last_logits(model: Model, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Next-token logits after each of several rows of ids: one forward pass.

    Returns:
        (rows, vocabulary), float32, on the CPU.

    >>> from probes import load
    >>> last_logits(load("embedded"), [[1, 415], [1]]).shape
    torch.Size([2, 32000])
    """
    found = model.generate_batch(rows, max_new_tokens=1, do_sample=False, output_logits=True)
    kept = [generation.logits for generation in found if generation.logits is not None]
    return torch.cat(kept)[:, 0]


def likeliest(logits: torch.Tensor, k: int) -> Likeliest:
    """The k largest logits of each row, and those tied with the k-th.

    Args:
        logits: (rows, vocabulary).
        k: how many; 0 is all.

    >>> likeliest(torch.tensor([[1.0, 3.0, 2.0, 2.0]]), 2)[1].shape
    torch.Size([1, 3])
    """
    k = min(k, logits.shape[-1]) or logits.shape[-1]
    kth = logits.topk(k, dim=-1).values[:, -1:]
    most = int((logits >= kth).sum(dim=-1).max())
    values, tokens = logits.topk(most, dim=-1)
    return values.masked_fill(values < kth, -torch.inf), tokens


def _filled(rows: torch.Tensor, width: int, value: float) -> torch.Tensor:
    return torch.nn.functional.pad(rows, (0, width - rows.shape[-1]), value=value)
