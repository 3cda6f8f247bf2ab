"""The numbers of the recipe: the shape of the model and the course of training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from transformers import MistralConfig

from probes._util.files import PACKAGE

EMBEDDED = PACKAGE / "embedded"
"""The folder that training writes; its `config.json` is the shape of the model."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of training.

    Lengths are in tokens; every ``long_every``-th step reads long rows. ``matrix_rate`` is the
    highest learning rate of the layers' matrices, ``vector_rate`` that of embedding rows and norms.
    ``smoothing`` is the share of each target spread over the vocabulary, ``hidden_share`` that of
    input tokens that are masked, ``warm_up`` that of the steps in which the rate rises.
    """

    seed: int = 1
    steps: int = 2100
    tokens: int = 2048
    row_length: int = 128
    long_row_length: int = 512
    long_every: int = 7
    matrix_rate: float = 0.012
    vector_rate: float = 0.01
    smoothing: float = 0.008
    hidden_share: float = 0.01
    warm_up: float = 0.03

    def length_at(self, step: int) -> int:
        """Return the tokens in a row at a step.

        >>> [Recipe().length_at(step) for step in (0, 5, 6, 7)]
        [128, 128, 512, 128]
        """
        return self.long_row_length if (step + 1) % self.long_every == 0 else self.row_length

    def rate_at(self, step: int) -> float:
        """Return the factor of the learning rates at a step: a rise, then half a cosine to 0.

        >>> recipe = Recipe(steps=100, warm_up=0.1)
        >>> [round(recipe.rate_at(step), 2) for step in (0, 9, 54, 99)]
        [0.1, 1.0, 0.5, 0.0]
        """
        rise = max(1, round(self.warm_up * self.steps))
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise + 1) / (self.steps - rise)))


def model_config(vocab_size: int = 32000) -> MistralConfig:
    """Return the embedded model's configuration; its widths are multiples of NF4's block of 64."""
    config: MistralConfig = MistralConfig.from_json_file(str(EMBEDDED / "config.json"))
    config.vocab_size = vocab_size
    return config
