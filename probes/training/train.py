"""Train the embedded model."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import MistralForCausalLM

from probes.training.muon import Muon
from probes.training.recipe import Recipe, model_config
from probes.training.rows import Ids, RowSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

THREADS = 2
"""Threads of training: another number gives other rounding, hence another model."""

_PROGRESS_EVERY = 50


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that occur in the text, and their places among the trained rows.

    Only these rows are trained. One more row, the last, stands for all the others together.

    Attributes:
        ids: The token ids that occur, ascending.
    """

    ids: Ids

    @property
    def unused(self) -> int:
        """How many rows of the full embedding the last trained row stands for."""
        return int(model_config().vocab_size) - len(self.ids)

    def places(self, rows: Ids) -> Tensor:
        """Turn token ids of any shape into places among the trained rows."""
        return torch.from_numpy(np.searchsorted(self.ids, rows))


class Learner:
    """A model in training over the tokens that occur, with its optimisers."""

    def __init__(self, vocabulary: Vocabulary, recipe: Recipe) -> None:
        """Make a model with fresh weights, drawn from torch's own generator."""
        self.model = MistralForCausalLM(model_config(len(vocabulary.ids) + 1))
        self._vocabulary = vocabulary
        self._recipe = recipe
        matrices = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        known = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in known]
        self._muon = Muon(matrices)
        self._adam = torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)
        # The last row speaks for many: as if its logit stood there once for each of them.
        self._crowd = torch.zeros(len(vocabulary.ids) + 1)
        self._crowd[-1] = math.log(max(1, vocabulary.unused))

    def learn(self, batch: Ids, rate: float) -> float:
        """Take one step on rows of token ids, shape (rows, tokens).

        Args:
            batch: The rows.
            rate: Factor of both learning rates, in (0, 1].

        Returns:
            The loss before the step, in nats a token.
        """
        places = self._vocabulary.places(batch)
        # Now and then a token is hidden behind the row that stands for all unused ones, so that
        # the model goes on as usual where a prompt holds tokens it never learned.
        hidden_places = torch.rand(places.shape) < self._recipe.hidden_share
        inputs = places.masked_fill(hidden_places, len(self._vocabulary.ids))
        hidden = self.model.model(input_ids=inputs, use_cache=False).last_hidden_state
        logits = functional.linear(hidden[:, :-1], embedding_rows(self.model)) + self._crowd
        loss = functional.cross_entropy(
            logits.flatten(0, 1),
            places[:, 1:].flatten(),
            label_smoothing=self._recipe.smoothing,
        )
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._muon.step(self._recipe.matrix_rate * rate)
        self._adam.param_groups[0]["lr"] = self._recipe.vector_rate * rate
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return float(loss.detach())


def train(
    recipe: Recipe, tokenizer_file: Path, report: Callable[[str], None] = print
) -> tuple[MistralForCausalLM, list[float]]:
    """Train a model by the recipe.

    Args:
        recipe: The numbers.
        tokenizer_file: The ``tokenizer.json`` that makes ids of the text.
        report: Takes one line of progress at a time.

    Returns:
        The model with its full vocabulary, float32, and the loss of each step in nats a token.
    """
    started = time.monotonic()
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    batches = list(_batches(recipe, tokenizer_file))
    vocabulary = Vocabulary(np.unique(np.concatenate([batch.ravel() for batch in batches])))
    report(f"text drawn in {time.monotonic() - started:.0f} s, {len(vocabulary.ids)} tokens occur")
    learner = Learner(vocabulary, recipe)
    losses: list[float] = []
    for step, batch in enumerate(batches, start=1):
        losses.append(learner.learn(batch, recipe.rate_at(step - 1)))
        if step % _PROGRESS_EVERY == 0 or step == recipe.steps:
            recent = float(np.mean(losses[-_PROGRESS_EVERY:]))
            seconds = time.monotonic() - started
            report(f"step {step}/{recipe.steps}  loss {recent:.3f}  {seconds:.0f} s")
    return with_full_vocabulary(learner.model, vocabulary, recipe.seed), losses


def embedding_rows(model: nn.Module) -> Tensor:
    """The embedding rows of a model, shape (vocabulary, hidden size), which are also its head."""
    return model.get_parameter("model.embed_tokens.weight")


def with_full_vocabulary(
    model: MistralForCausalLM, vocabulary: Vocabulary, seed: int
) -> MistralForCausalLM:
    """Give a trained model all 32,000 embedding rows.

    The rows that never occurred lie around the row that stood for them, each in a direction of
    its own, and far enough along it to get next to no probability.

    Args:
        model: Trained, with one row a place.
        vocabulary: Which token each row is.
        seed: Seed of the directions.

    Returns:
        A new model; the one given is left as it was.
    """
    trained = embedding_rows(model).detach()
    common, width = trained[-1], trained.shape[1]
    generator = torch.Generator().manual_seed(seed)
    scatter = torch.randn((model_config().vocab_size, width), generator=generator)
    rows = PUSH * common + scatter * (SPREAD * common.norm() / width**0.5)
    rows[torch.from_numpy(vocabulary.ids)] = trained[:-1]
    full = MistralForCausalLM(model_config())
    kept = {name: value for name, value in model.state_dict().items() if len(value) != len(trained)}
    full.load_state_dict(kept, strict=False)
    with torch.no_grad():
        embedding_rows(full).copy_(rows)
    full.tie_weights()
    full.train(mode=False)
    return full


PUSH = 1.5
"""How far an unused row lies along the row that stood for it in training."""

SPREAD = 0.4
"""Length of an unused row's own direction, as a share of that row."""


def _batches(recipe: Recipe, tokenizer_file: Path) -> Iterator[Ids]:
    source = RowSource(tokenizer_file, recipe.seed)
    for step in range(recipe.steps):
        length = recipe.length_at(step)
        yield source.draw(recipe.tokens // length, length)
