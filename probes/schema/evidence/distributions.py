"""Evidence about next-token distributions."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field, JsonValue, model_validator

from probes.schema.evidence.shape import Count, Shape

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Self


class Candidate(Shape):
    """One of the most likely next tokens."""

    id: Count
    text: str
    probability: float


class MostLikely(Shape):
    """The most likely tokens after a prompt."""

    top_ten: list[Candidate]


class Token(Shape):
    """One of the most likely tokens of a distribution."""

    id: Count
    text: str
    logit: float
    """Its logit, to four decimals."""


class Distribution(Shape):
    """A next-token distribution: the largest logits, and every `step`-th of the others."""

    prompt: str
    answer: Count | None
    """Token id that a right answer begins with; None where nothing is right or wrong."""
    vocabulary: Annotated[int, Field(ge=0, le=2_000_000)]
    """Number of tokens, without those that cannot come."""
    top: list[Token]
    head: list[float]
    """The largest logits, in order."""
    step: Annotated[int, Field(ge=1)]
    """Ranks between two logits of `tail`; before its last one they may be fewer."""
    tail: list[float]
    """Logits at the ranks `tail_ranks` names, in order."""

    @model_validator(mode="after")
    def _check_ranks(self) -> Self:
        rest = self.vocabulary - len(self.head)
        expected = 0 if rest <= 0 else 1 + -(-(rest - 1) // self.step)
        if rest < 0 or len(self.tail) != expected:
            raise ValueError("another number of logits than its vocabulary needs")
        if any(a < b for a, b in pairwise([*self.head, *self.tail])):
            raise ValueError("the logits are not in order")
        return self

    def logits(self) -> npt.NDArray[np.float64]:
        """Return all logits in order, (vocabulary,), those that are not kept by interpolation.

        >>> Distribution(
        ...     prompt="", answer=None, vocabulary=4, top=[], head=[4.0], step=2, tail=[2.0, 1.0]
        ... ).logits()
        array([4. , 2. , 1.5, 1. ])
        """
        import numpy as np  # a report needs none

        if not self.tail:
            return np.asarray(self.head, dtype=np.float64)
        first = len(self.head)
        ranks = tail_ranks(self.vocabulary, first, self.step)
        rest = np.interp(np.arange(first, self.vocabulary), ranks, self.tail)
        return np.concatenate([self.head, rest])


def tail_ranks(size: int, head: int, step: int) -> list[int]:
    """Return the ranks whose logits are kept after the head's: every step-th, and the last.

    >>> tail_ranks(8, head=2, step=3)
    [2, 5, 7]
    >>> tail_ranks(2, head=2, step=3)
    []
    """
    return sorted({*range(head, size, step), size - 1}) if size > head else []


class Distributions(Shape):
    """Distributions that the reader of a report can filter."""

    distributions: list[Distribution]


class EntropyCurve(Shape):
    """The entropy of one distribution at several temperatures."""

    same_length = ("temperatures", "entropies")

    temperatures: list[float]
    entropies: list[float]
    """Shannon entropy at each temperature, in nats."""


class NucleusSizes(Shape):
    """Sizes of nuclei and the entropies of their distributions, from the sharpest on."""

    same_length = ("entropies", "sizes")

    p: float
    """The probability the nucleus reaches."""
    entropies: list[float]
    """Shannon entropy of each step's distribution, in nats."""
    sizes: list[int]
    """Tokens in each step's nucleus, under the library's own filter."""


class HiddenTopK(Shape):
    """Tokens to sample from, with transformers' default top-k and without top-k."""

    same_length = ("kept_by_default", "kept_with_top_k_0")

    kept_by_default: list[int]
    """Tokens kept at each step where top_k is not set."""
    kept_with_top_k_0: list[int]
    """Tokens kept at each step with top_k = 0."""


class PromptLogprobs(Shape):
    """The next-token logits after each token of a prompt: the largest, and the rest."""

    model_config = ConfigDict(strict=False)

    prompt: str
    ids: list[int]
    top_ids: list[list[int]]
    """After each of them the token ids of the largest logits, the largest first."""
    top_logits: list[list[float]]
    """After each of them those logits."""
    log_rest: list[float]
    """After each of them the logarithm of the sum of exp(logit) over all other tokens."""
    likeliest: list[str]
    """After each of them the most likely next token, decoded alone."""


class KeptPrompts(Shape):
    """Logits of the prompts that two records are compared by."""

    kept_prompts: list[PromptLogprobs]
    noise: JsonValue = None
    """How far another batch moved a logit."""
    tolerance: JsonValue = None
    """How far rounding can move a logit."""
