"""What pictures are drawn from: evidence, of which only what is drawn is asked for.

Evidence of any other shape, such as an older record's or a claim's that broke half way, raises
pydantic's `ValidationError`, a `ValueError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

if TYPE_CHECKING:
    from collections.abc import Sized

Share = Annotated[FiniteFloat, Field(ge=0, le=1.000001)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Bytes = Annotated[int, Field(ge=1, le=10**15)]
Id = Annotated[int, Field(ge=0, le=10**9)]
Cosine = Annotated[FiniteFloat, Field(ge=-1.01, le=1.01)]
Positive = Annotated[FiniteFloat, Field(gt=0)]


class _Measured(BaseModel):
    """Base of all: strict about what is there, without interest in what else is."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Encoded(_Measured):
    """A text and what the tokenizer made of it."""

    text: str
    ids: list[Id] = Field(min_length=1)
    pieces: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _agree(self) -> Encoded:
        return _same_lengths(self, self.ids, self.pieces)


class Similarities(_Measured):
    """Words in groups, and the cosine of each pair."""

    words: list[str] = Field(min_length=2, max_length=48)
    groups: list[str]
    cosine_matrix: list[list[Cosine]]

    @model_validator(mode="after")
    def _agree(self) -> Similarities:
        return _same_lengths(self, self.words, self.groups, self.cosine_matrix, *self.cosine_matrix)


class SimilarityLists(Similarities):
    """The list that decides, and others beside it."""

    other_lists: dict[str, Similarities] = Field(default_factory=dict, max_length=4)


class Shared(_Measured):
    """Words, the pieces each is made of, and the cosine of each pair."""

    pieces: dict[str, list[str]] = Field(min_length=2, max_length=48)
    cosine_matrix: list[list[Cosine]]

    @model_validator(mode="after")
    def _agree(self) -> Shared:
        return _same_lengths(self, [*self.pieces], self.cosine_matrix, *self.cosine_matrix)


class Point(_Measured):
    """A word's place in the first two principal components."""

    word: str
    group: str
    x: FiniteFloat
    y: FiniteFloat


class Plane(_Measured):
    """Words in the first two principal components."""

    points: list[Point] = Field(min_length=2, max_length=60)
    explained_variance: list[Share] = Field(min_length=2)


class Planes(Plane):
    """The list that decides, and others beside it."""

    other_lists: dict[str, Plane] = Field(default_factory=dict, max_length=4)


class Candidate(_Measured):
    """A token that could come next."""

    id: Id
    text: str
    probability: Share


class TopTen(_Measured):
    """The most likely tokens after a prompt."""

    top_ten: list[Candidate] = Field(min_length=1, max_length=20)


class Token(_Measured):
    """A token and its logit."""

    id: Id
    text: str
    logit: FiniteFloat


class Distribution(_Measured):
    """What is kept of a next-token distribution: `probes.measure.distribution` says how."""

    prompt: str
    vocabulary: Annotated[int, Field(ge=1, le=2_000_000)]
    top: list[Token] = Field(min_length=1)
    head: list[FiniteFloat] = Field(min_length=1)
    step: Count
    tail: list[FiniteFloat]


class Distributions(_Measured):
    """Some distributions."""

    distributions: list[Distribution] = Field(min_length=1)


class Heated(_Measured):
    """The entropy of a distribution at some temperatures."""

    temperatures: list[Positive] = Field(min_length=2, max_length=50)
    entropies: list[Annotated[FiniteFloat, Field(ge=-1e-6)]]

    @model_validator(mode="after")
    def _agree(self) -> Heated:
        return _same_lengths(self, self.temperatures, self.entropies)


class Nuclei(_Measured):
    """How many tokens nuclei hold, and how flat the distributions are."""

    p: Share
    entropies: list[Annotated[FiniteFloat, Field(ge=-1e-6)]] = Field(max_length=500)
    sizes: list[Count] = Field(min_length=2)

    @model_validator(mode="after")
    def _agree(self) -> Nuclei:
        return _same_lengths(self, self.entropies, self.sizes)


class Step(_Measured):
    """A token of a text, and how many could have come."""

    text: str
    kept: Count
    entropy: FiniteFloat
    probability: Share


class Trace(_Measured):
    """A text token by token."""

    prompt: str
    steps: list[Step] = Field(min_length=1)


class Traced(_Measured):
    """A text that was sampled, and the settings."""

    settings: dict[str, FiniteFloat] = Field(max_length=6)
    trace: Trace


class Kept(_Measured):
    """How many tokens could come at each step, with the library's top-k and without any."""

    kept_by_default: list[Count] = Field(min_length=1, max_length=40)
    kept_with_top_k_0: list[Count]

    @model_validator(mode="after")
    def _agree(self) -> Kept:
        return _same_lengths(self, self.kept_by_default, self.kept_with_top_k_0)


class Reproduced(_Measured):
    """How likely sampling with some settings gives the greedy text."""

    temperature: Positive
    top_p: Positive
    probability: Share


class Collapse(_Measured):
    """A greedy text, and how likely sampling gives it."""

    greedy: str
    grid: list[Reproduced] = Field(min_length=2, max_length=100)


class Beams(_Measured):
    """The text of a beam search."""

    beams: Count
    text: str
    log_probability: FiniteFloat
    rows: Count


class BeamPair(_Measured):
    """Greedy, and several beams."""

    greedy: Beams
    four_beams: Beams


class Repetition(_Measured):
    """A long greedy text; the share of such texts' 4-grams that are new, and of sampled ones'."""

    greedy_distinct: Share
    sampled_distinct: Share
    greedy_text: str = Field(min_length=1)


class Memory(_Measured):
    """Bytes of a model in 4 bits, and in 16."""

    linear_parameters: Bytes
    other_parameters: Bytes
    linear_bytes: Bytes
    total_bytes: Bytes
    fp16_bytes: Bytes


class Dose(_Measured):
    """Bounds of the share of right answers as the temperature rises."""

    temperatures: list[Positive] = Field(min_length=2, max_length=50)
    at_least: list[Share]
    at_most: list[Share]

    @model_validator(mode="after")
    def _agree(self) -> Dose:
        return _same_lengths(self, self.temperatures, self.at_least, self.at_most)


class Setting(_Measured):
    """Answers and stories at one setting."""

    top_p: Positive
    temperature: Positive
    right_least: Share
    right_most: Share
    distinct_4_grams: Share


class Settings(_Measured):
    """Answers and stories over a grid of settings."""

    settings: list[Setting] = Field(min_length=2, max_length=100)


class Varied(_Measured):
    """What some texts are like."""

    entropies: FiniteFloat
    log_likelihoods: FiniteFloat
    distinct_4_grams: Share


class Coherence(_Measured):
    """Texts from a narrow and from a wide nucleus, both hot."""

    narrow_hot: Varied
    wide_hot: Varied


_AnyMeasured = TypeVar("_AnyMeasured", bound=_Measured)


def _same_lengths(whole: _AnyMeasured, *lists: Sized) -> _AnyMeasured:
    if len({len(each) for each in lists}) > 1:
        raise ValueError("lists of unequal length")
    return whole
