"""Evidence about an engine beside its reference."""

from __future__ import annotations

from probes.schema.evidence.shape import Count, Shape


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
    alternatives: list[SettingEvidence]
    """The best, best first."""
