"""Sampling settings, by transformers' names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from probes.errors import UserError

LIBRARY_TOP_K = 50
"""The default of `generate` for top_k when sampling."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the logits; UserError for a value outside its range.

    A filter that is None has the library's default, which for `top_k` is 50.

    >>> Sampling(temperature=0.2, top_p=0.2).arguments()
    {'do_sample': True, 'temperature': 0.2, 'top_p': 0.2}
    >>> Sampling(temperature=0)
    Traceback (most recent call last):
    ...
    probes.errors.UserError: temperature must be above 0, not 0: for greedy decoding leave out ...
    """

    temperature: float = 1.0
    """Divides the logits; above 0."""
    top_p: float | None = None
    """Keeps the smallest set of most likely tokens whose mass reaches it; in (0, 1]."""
    top_k: int | None = None
    """Keeps this many most likely tokens; 0 keeps all."""
    min_p: float | None = None
    """Drops tokens less likely than this share of the most likely one; in [0, 1]."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not self.temperature > 0:
            raise UserError(
                f"temperature must be above 0, not {self.temperature}: "
                "for greedy decoding leave out the sampling settings"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if self.top_k is not None and self.top_k < 0:
            raise UserError(f"top_k must be 0 (keep all) or more, not {self.top_k}")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise UserError(f"min_p must be between 0 and 1, not {self.min_p}")

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `generate` for these settings."""
        settings = {name: value for name, value in asdict(self).items() if value is not None}
        return {"do_sample": True, **settings}


PLAIN = Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0)
"""Settings that keep every token and change no probability."""


@dataclass(frozen=True)
class InForce:
    """Settings that may be in force on a server."""

    sampling: Sampling = PLAIN
    repetition_penalty: float = 1.0
    temperature_first: bool = True
    """Whether logits are divided by the temperature before tokens are dropped."""


UNPENALIZED: dict[str, Any] = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
"""Arguments of `generate` for claims about plain decoding: weights may bring penalties along."""

NEAR_GREEDY = Sampling(temperature=0.2, top_p=0.2)
NARROW_HOT = Sampling(temperature=1.4, top_p=0.2)
WIDE_HOT = Sampling(temperature=1.4, top_p=0.9)

TEMPERATURES = (0.2, 0.6, 1.0, 1.4, 1.8)
NUCLEI = (0.2, 0.5, 0.9)
GRID = tuple(Sampling(temperature=t, top_p=p) for p in NUCLEI for t in TEMPERATURES)
"""Every temperature at every top_p, the three settings above among them."""
