"""Evidence about an engine beside its reference."""

from __future__ import annotations

from probes.schema.evidence.shape import Count, Shape

AS_ASKED, UNKNOWN = "those asked for", "none of the known"


class EngineStep(Shape):
    """One token of an engine's greedy text."""

    prompt: str
    position: Count
    """Its number in the text, from 0."""
    token: str
    engine: float
    """Its log-probability on the engine, in nats."""
    reference: float
    """Its log-probability on the reference."""
    change: float
    """Largest change of the distance of a likely token to the most likely one, in nats."""
    divergence: float
    """KL divergence of the engine from the reference, over the listed tokens and the rest."""
    same_top: bool
    """Whether both find the same token most likely."""


class EngineSteps(Shape):
    """An engine's greedy texts beside the reference's distribution."""

    engine_steps: list[EngineStep]
    tolerance: float
    """Largest change of a distance that rounding explains."""


class EngineDistance(EngineSteps):
    """The same, with the mean divergence of the engine and of a copy in 4 bits."""

    mean_divergence: float
    """Of the engine from the reference, in nats a token."""
    mean_divergence_of_nf4: float
    """Of the reference in 4-bit NF4 from the reference as it is, along the same texts."""
    same_top_token: float
    """Share of steps at which engine and reference find the same token most likely."""


class EnginePair(Shape):
    """A greedy text of an engine, and the same text made in another way."""

    way: str
    """How the other text was made: `the reference`, or other requests to the engine."""
    prompt: str
    text: str
    """The engine's, all prompts at once."""
    other: str
    step: Count | None
    """Number of the first token that differs; none if none does."""
    margin: float | None
    """Distance there of the reference's logits for the two tokens; none where a text has ended."""


class EnginePairs(Shape):
    """An engine's greedy texts, each beside the same text made in another way."""

    pairs: list[EnginePair]
    noise: float
    """How far rounding moves the distance of two logits."""


class SettingEvidence(Shape):
    """How much better draws fit other settings than those asked for."""

    settings: str
    nats: float
    """Log of the likelihood ratio; above 0 it speaks for these settings."""


class SettingsInForce(Shape):
    """Draws from an engine, and the settings that they follow."""

    drawn_tokens: Count
    log_e: float
    """Log of the e-value against the settings asked for, in nats."""
    limit: float
    """Nats at which one alternative alone speaks against the settings asked for."""
    alternatives: list[SettingEvidence]
    """Those with the most evidence, best first."""
    in_force: str
    """The settings that the draws follow: `AS_ASKED`, others, or `UNKNOWN`."""


class SettingPower(Shape):
    """How many drawn tokens would show other settings."""

    settings: str
    tokens: Count | None
    """At the error rate of one test, with a probability of 99 %; none if no number does."""


class EnginePower(Shape):
    """What draws from an engine could show, had other settings been in force."""

    drawn_tokens: Count
    tokens_needed: list[SettingPower]
