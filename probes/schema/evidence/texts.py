"""Evidence about generated texts, about tasks, and about a model's memory."""

from __future__ import annotations

from collections.abc import Mapping

from probes.schema.evidence.shape import Count, Shape
from probes.schema.recorded_chat import RecordedChat
from probes.schema.recorded_output import RecordedBeams, RecordedText


class Alternative(Shape):
    """A token that could have come."""

    text: str
    probability: float
    """Under the model, at temperature 1 and unfiltered."""


class TraceStep(Shape):
    """One token of a text."""

    id: Count
    text: str
    """What it adds to the text."""
    probability: float
    """Under the model, at temperature 1 and unfiltered."""
    rank: Count
    """Its rank among all tokens, from 1."""
    margin: float
    """Distance of the step's two largest logits."""
    near_tie: bool
    """Whether the margin is within twice the measured noise."""
    entropy: float
    """Of the distribution it was sampled from, in nats."""
    kept: Count
    """Tokens that the filters left to sample from."""
    alternatives: list[Alternative]


class Trace(Shape):
    """A generated text, token by token."""

    prompt: str
    steps: list[TraceStep]


class TracedText(Shape):
    """A text that the reader of a report can follow token by token."""

    trace: Trace


class SampledText(TracedText):
    """A traced text that was sampled."""

    settings: dict[str, int | float]
    """The sampling settings, by transformers' names."""


class Reproduction(Shape):
    """The probability that sampling gives the greedy text."""

    temperature: float
    top_p: float
    probability: float
    """Exact: the product over the tokens."""


class Collapse(Shape):
    """A greedy text, and how likely sampling gives it."""

    greedy: str
    grid: list[Reproduction]


class SampleVariety(Shape):
    """The variety of several samples of one prompt."""

    entropies: float
    """Mean entropy of the distributions sampled from, in nats a token."""
    log_likelihoods: float
    """Mean log-probability under the model at temperature 1, in nats a token."""
    distinct_4_grams: float
    """Share of the samples' 4-grams that are different."""


class HotSamples(Shape):
    """Samples at a high temperature, from a narrow and from a wide nucleus."""

    narrow_hot: SampleVariety
    wide_hot: SampleVariety


class GreedyRepetition(Shape):
    """How much long greedy texts repeat themselves."""

    greedy_distinct: float
    """Share of a greedy text's 4-grams that are different, mean over prompts."""
    sampled_distinct: float
    """The same of sampled texts, up to where each certainly has the larger share."""
    greedy_text: str
    """The first greedy text."""


class DraftStep(Shape):
    """One step of drafted decoding: the model checks drafted tokens, and adds one of its own."""

    drafted: list[str]
    """What each drafted token would add to the text."""
    accepted: Count
    """How many of them, from the first on, were kept."""
    added: str
    """The token that the model added; empty where the text ended before it."""


class DraftedText(Shape):
    """The first steps of a text that was generated with drafts."""

    way: str
    """What the drafts came from."""
    prompt: str
    """The end of the prompt."""
    steps: list[DraftStep]


class DraftedTexts(Shape):
    """Texts whose drafts a reader can follow."""

    drafted_texts: list[DraftedText]


class StoppedText(Shape):
    """A text that ended at a stop string."""

    prompt: str
    stop: str
    kind: str
    """What the string is: one character, a part of a piece, or a string across pieces."""
    pieces: list[str]
    """What each token added to the text, up to its end."""


class StoppedTexts(Shape):
    """Texts that ended at stop strings."""

    stopped_texts: list[StoppedText]


class BeamSearch(Shape):
    """A text found by greedy or beam search."""

    beams: int
    """Number of beams; 1 is greedy."""
    text: str
    log_probability: float
    """Of its tokens under the model at temperature 1, in nats."""
    rows: int
    """Rows that the forward passes of the search computed."""


class BeamComparison(Shape):
    """Greedy decoding and beam search on one prompt."""

    greedy: BeamSearch
    four_beams: BeamSearch


class KeptTexts(Shape):
    """Greedy texts with their logits: they explain where two runs' texts differ."""

    kept_texts: list[RecordedText]


class EndedText(Shape):
    """Where a greedy text ends."""

    prompt: str
    """Its prompt, or the name of it."""
    tokens: Count
    ended: bool
    """Whether its last token is one that ends a text."""
    text: str


class KeptEnds(KeptTexts):
    """Greedy texts up to their ends, with their prompts and logits, in the same order."""

    same_length = ("kept_texts", "ends")

    ends: list[EndedText]

    @property
    def by_prompt(self) -> dict[str, RecordedText]:
        """The texts by prompt."""
        return {end.prompt: text for end, text in zip(self.ends, self.kept_texts, strict=True)}


class KeptBeam(Shape):
    """A text that beam search found."""

    prompt: str
    rank: Count
    """Its place among the beams of its prompt, from 1."""
    text: str
    ids: list[Count]
    score: float
    """Mean log-probability of its tokens, in nats."""
    closest: float
    """Smallest distance of sums by which a candidate of its search was kept or dropped, in nats."""


class KeptBeams(Shape):
    """The texts of beam search, with their scores."""

    kept_beams: list[KeptBeam]

    @classmethod
    def of(cls, found: Mapping[str, RecordedBeams], closest: Mapping[str, float]) -> KeptBeams:
        """Return beams by prompt in the form of evidence."""
        return cls(
            kept_beams=[
                KeptBeam(
                    prompt=prompt,
                    rank=rank,
                    text=beam.text,
                    ids=list(beam.ids),
                    score=beam.score,
                    closest=closest[prompt],
                )
                for prompt, outputs in found.items()
                for rank, beam in enumerate(outputs.beams, start=1)
            ]
        )


class KeptChats(Shape):
    """Conversations under a chat template, by name."""

    rendered_chats: dict[str, RecordedChat]


class AnswerBounds(Shape):
    """The share of right answers at rising temperatures, between bounds."""

    same_length = ("temperatures", "at_least", "at_most")

    temperatures: list[float]
    at_least: list[float]
    """Lower bound of the share, at each."""
    at_most: list[float]
    """Upper bound of the share, at each."""


class TaskSetting(Shape):
    """Answers and stories at one setting."""

    top_p: float
    temperature: float
    right_least: float
    """Lower bound of the share of right answers."""
    right_most: float
    """Upper bound of the share of right answers."""
    distinct_4_grams: float
    """Share of the stories' 4-grams that are different."""


class TaskSettings(Shape):
    """Answers and stories over a grid of settings."""

    settings: list[TaskSetting]


class WeightMemory(Shape):
    """Bytes that a model's weights take in 4 bits and in 16."""

    linear_parameters: int
    """Weights of the decoder's linear layers."""
    other_parameters: int
    """All others: embedding, output head, norms, biases."""
    linear_bytes: int
    """Bytes of the linear layers' 4-bit weights and scales."""
    total_bytes: int
    """Bytes of linear layers and everything else."""
    fp16_bytes: int
    """What all of it would take in 16 bits."""
