"""Compute rotary frequencies from a configuration: the reference of `rotary_positions`.

A pair of values of a query or key turns with the position of its token, by an angle of its own for
each position: its frequency, in radians. Nothing here asks the library under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from probes.measure.rotary_settings import Rotation

ROUNDINGS = 16
"""Roundings between a base and a frequency: power, quotients, factors, and those of a new base."""

UNIT = torch.finfo(torch.float32).eps / 2
"""The unit roundoff of float32."""


def compute_frequencies(rotation: Rotation, length: int = 0) -> tuple[torch.Tensor, float]:
    """Return the frequencies for a text of some tokens, float64, and the factor of cos and sin.

    The types are those of the published methods: position interpolation (`linear`), NTK-aware
    scaling (`dynamic`), YaRN, LongRoPE, and the one of Llama 3.1 (`llama3`).

    >>> from probes.measure.rotary_settings import ALL_LAYERS, read_rotations
    >>> config = {"head_dim": 16, "partial_rotary_factor": 0.5, "rope_theta": 10_000}
    >>> compute_frequencies(read_rotations(config)[ALL_LAYERS])[0].tolist()
    [1.0, 0.1, 0.01, 0.001]
    """
    return _KINDS[rotation.kind](rotation, length)


def relative_bound(rotation: Rotation) -> float:
    """Return the largest relative error of a frequency that rounding in float32 explains.

    An exponent is rounded, which moves its power by the logarithm of the base at most. Where two
    frequencies are mixed, rounding of their shares counts as often as the one is larger.

    The smallest fault seen: a base off by one part in 100,000.
    """
    mixed = float(rotation.settings.get("factor") or 1) if rotation.kind != "default" else 1.0
    return UNIT * (math.log(rotation.base) + ROUNDINGS * max(1.0, mixed))


def _powers(rotation: Rotation, base: float | None = None) -> torch.Tensor:
    width = rotation.width or 0
    exponents = torch.arange(0, width, 2, dtype=torch.float64) / max(1, width)
    return torch.tensor(base or rotation.base, dtype=torch.float64) ** -exponents


def _default(rotation: Rotation, _: int) -> tuple[torch.Tensor, float]:
    return _powers(rotation), 1.0


def _linear(rotation: Rotation, _: int) -> tuple[torch.Tensor, float]:
    return _powers(rotation) / rotation.settings["factor"], 1.0


def _dynamic(rotation: Rotation, length: int) -> tuple[torch.Tensor, float]:
    factor, window = rotation.settings["factor"], rotation.window or length
    growth = factor * max(length, window) / window - (factor - 1)
    width = rotation.width or 0
    base = rotation.base * growth ** (width / (width - 2))
    return _powers(rotation, base), 1.0


def _llama3(rotation: Rotation, _: int) -> tuple[torch.Tensor, float]:
    settings, plain = rotation.settings, _powers(rotation)
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    turns = (rotation.trained or 1) * plain / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (kept + (1 - kept) / settings["factor"]), 1.0


def _yarn(rotation: Rotation, _: int) -> tuple[torch.Tensor, float]:
    settings, plain, width = rotation.settings, _powers(rotation), rotation.width or 0
    trained = rotation.trained or 1
    factor = settings.get("factor") or (rotation.window or 1) / trained

    def place(turns: float) -> float:
        return width * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(rotation.base))

    low, high = place(settings.get("beta_fast", 32)), place(settings.get("beta_slow", 1))
    if settings.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    high += 0.001 if low == high else 0
    slowed = ((torch.arange(len(plain), dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    scaling = settings.get("attention_factor")
    if scaling is None:
        first, second = settings.get("mscale"), settings.get("mscale_all_dim")
        both = bool(first and second)
        scaling = _mscale(factor, first if both else 1) / (_mscale(factor, second) if both else 1)
    return plain * (1 - slowed + slowed / factor), float(scaling)


def _mscale(factor: float, weight: Any) -> float:
    return 1.0 if factor <= 1 else 0.1 * float(weight) * math.log(factor) + 1.0


def _longrope(rotation: Rotation, length: int) -> tuple[torch.Tensor, float]:
    settings, trained = rotation.settings, rotation.trained or 1
    factor = settings.get("factor") or (rotation.window or 1) / trained
    scaling = settings.get("attention_factor")
    if scaling is None:
        scaling = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(trained))
    divisors = settings["long_factor" if length > trained else "short_factor"]
    return _powers(rotation) / torch.tensor(divisors, dtype=torch.float64), float(scaling)


_KINDS: dict[str, Callable[[Rotation, int], tuple[torch.Tensor, float]]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
