"""Evidence about what quantization changes: distances from the unquantized model, and bytes."""

from __future__ import annotations

from probes.schema.evidence.shape import Count, Interval, Shape


class AnswerFlips(Shape):
    """Greedy answers to the same questions, before quantization and after."""

    questions: Count
    right_before: Count
    lost: Count
    """Right before, wrong after."""
    won: Count
    """Wrong before, right after."""
    p_value: float
    """McNemar's exact test, two-sided."""
    would_show: float | None
    """The smallest share of answers lost that so many questions show with 95 %; none if none."""


class StoryEntropy(Shape):
    """Mean entropy along the same stories, in nats a token, at temperature 1."""

    stories: Count
    before: float
    after: float
    difference: Interval | None
    """After less before; none of a single story."""


class QuantizationCost(Shape):
    """One quantization of a model beside the model as it is, over the same text.

    The conventions are those of llama.cpp's perplexity tool. A quantity is none where it cannot be
    known, or where positions or windows are too few for an interval.
    """

    kind: str
    """How weights or cached keys and values are stored: `nf4`, `Q4_0`, `cache int4`."""
    computes_in: str
    """The dtype of the computation, as far as it is known."""
    bytes: Count
    """Of the weights in memory, or of the file; 0 where a server tells neither."""
    context: Count
    """Tokens of a window; the second half is scored."""
    windows: Count
    positions: Count
    """Scored, in all windows."""
    whole: bool
    """Whether whole distributions are compared. Else divergences and changes of probabilities are
    lower bounds: the most likely tokens are known, and all others count as one."""
    mean_divergence: Interval | None
    """KL divergence from the unquantized model, in nats a token."""
    percentiles: dict[str, Interval | None]
    """Of the divergence."""
    rms_change: Interval | None
    """Root mean square of the changes of the following token's probability."""
    same_top: Interval | None
    """Share of positions with the same most likely token."""
    perplexity_ratio: Interval | None
    """None where a following token is not among those that are listed."""
    errors_over_positions: dict[str, float]
    """Standard errors as if positions were independent, which llama.cpp prints, by quantity."""
    by_text: dict[str, float]
    """Mean divergence of each text."""
    flips: AnswerFlips | None = None
    stories: StoryEntropy | None = None


class QuantizationCosts(Shape):
    """Quantizations of one model, each beside the model as it is."""

    quantization_costs: list[QuantizationCost]
    reference: str
    """The dtype of the model that they are compared with."""
    reference_bytes: Count
    """Of its weights in memory, or of its file."""
    stored_as: str
    """How its weights were stored before they came into this form; empty if never quantized."""
    corpus: str
    """`built-in`, or the name of the user's file."""
