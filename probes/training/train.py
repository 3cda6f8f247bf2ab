"""Train the embedded model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import MistralForCausalLM

from probes.training.recipe import Recipe, model_config
from probes.training.rows import Ids, RowSource

THREADS = 2
"""Threads of training: another number gives other rounding, hence another model."""

UNUSED_LENGTH = 1.5
"""Length of an unused row along the row that represented it in training, in that row's length."""

UNUSED_SPREAD = 0.4
"""Length of an unused row in its own random direction, in the same unit."""

_PROGRESS_EVERY = 50


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that occur in the text, ascending: only their rows are trained.

    One more row, the last, represents all other tokens.
    """

    ids: Ids

    @property
    def unused(self) -> int:
        """Number of rows of the full embedding that the last trained row represents."""
        return int(model_config().vocab_size) - len(self.ids)

    def find_rows(self, ids: Ids) -> Tensor:
        """Return the numbers of the trained rows of token ids, in the same shape."""
        return torch.from_numpy(np.searchsorted(self.ids, ids))


class Learner:
    """A model in training over the tokens that occur, with its optimisers."""

    def __init__(self, vocabulary: Vocabulary, recipe: Recipe) -> None:
        """Make a model with new weights, drawn from torch's own generator."""
        self.model = MistralForCausalLM(model_config(len(vocabulary.ids) + 1))
        self._vocabulary = vocabulary
        self._recipe = recipe
        matrices = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        known = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in known]
        # The shipped weights were trained with Muon's steps in float32; torch's are bfloat16.
        muon = torch.optim.Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        adam = torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0)
        self._optimizers: list[tuple[torch.optim.Optimizer, float]] = [
            (muon, recipe.matrix_rate),
            (adam, recipe.vector_rate),
        ]
        # The last row represents many tokens: as if its logit occurred once for each of them.
        self._bias = torch.zeros(len(vocabulary.ids) + 1)
        self._bias[-1] = math.log(max(1, vocabulary.unused))

    def learn(self, batch: Ids, rate: float) -> float:
        """Take one step on token ids (rows, tokens); return the loss before it, in nats per token.

        Both learning rates are multiplied by `rate`.
        """
        rows = self._vocabulary.find_rows(batch)
        # A few input tokens are replaced by the row of unused ones, so that the model continues as
        # usual where a prompt holds tokens it never learned.
        masked = torch.rand(rows.shape) < self._recipe.hidden_share
        inputs = rows.masked_fill(masked, len(self._vocabulary.ids))
        hidden = self.model.model(input_ids=inputs, use_cache=False).last_hidden_state
        logits = functional.linear(hidden[:, :-1], embedding_rows(self.model)) + self._bias
        loss = functional.cross_entropy(
            logits.flatten(0, 1), rows[:, 1:].flatten(), label_smoothing=self._recipe.smoothing
        )
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, highest_rate in self._optimizers:
            optimizer.param_groups[0]["lr"] = highest_rate * rate
            optimizer.step()
        self.model.zero_grad()
        return float(loss.detach())


def train(
    recipe: Recipe, tokenizer_file: Path, report: Callable[[str], None] = print
) -> tuple[MistralForCausalLM, list[float]]:
    """Train by the recipe; return the float32 model and the loss of each step in nats per token."""
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
    """Return the embedding, (vocabulary, hidden size), which is also the output head."""
    return model.get_parameter("model.embed_tokens.weight")


def with_full_vocabulary(
    model: MistralForCausalLM, vocabulary: Vocabulary, seed: int
) -> MistralForCausalLM:
    """Return a new model with all 32,000 embedding rows.

    Rows that never occurred lie around the row that represented them, each in a random direction of
    its own (from the seed), and far enough to get almost no probability.
    """
    trained = embedding_rows(model).detach()
    common, width = trained[-1], trained.shape[1]
    generator = torch.Generator().manual_seed(seed)
    scatter = torch.randn((model_config().vocab_size, width), generator=generator)
    rows = UNUSED_LENGTH * common + scatter * (UNUSED_SPREAD * common.norm() / width**0.5)
    rows[torch.from_numpy(vocabulary.ids)] = trained[:-1]
    full = MistralForCausalLM(model_config())
    kept = {name: value for name, value in model.state_dict().items() if len(value) != len(trained)}
    full.load_state_dict(kept, strict=False)
    with torch.no_grad():
        embedding_rows(full).copy_(rows)
    full.tie_weights()
    full.train(mode=False)
    return full


def _batches(recipe: Recipe, tokenizer_file: Path) -> Iterator[Ids]:
    source = RowSource(tokenizer_file, recipe.seed)
    for step in range(recipe.steps):
        length = recipe.length_at(step)
        yield source.draw(recipe.tokens // length, length)
