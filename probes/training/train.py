"""Train the embedded model and write its folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import MistralForCausalLM

from probes.training.muon import Muon
from probes.training.recipe import Recipe, model_config
from probes.training.rows import Ids, RowSource

THREADS = 2
"""Threads of training: another number gives other rounding, hence another model."""


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that occur in the text, and their places among the trained rows.

    Only these rows are trained. One more row, the last, stands for all the others together.
    """

    ids: Ids

    @property
    def unused(self) -> int:
        """How many rows of the full embedding the last trained row stands for."""
        return int(model_config().vocab_size) - len(self.ids)

    def places(self, rows: Ids) -> Tensor:
        """Turn token ids of any shape into places among the trained rows."""
        return torch.from_numpy(np.searchsorted(self.ids, rows))


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
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    started = time.monotonic()
    batches = list(_batches(recipe, tokenizer_file))
    vocabulary = Vocabulary(np.unique(np.concatenate([batch.ravel() for batch in batches])))
    report(f"text drawn in {time.monotonic() - started:.0f} s, {len(vocabulary.ids)} tokens occur")
    model = MistralForCausalLM(model_config(len(vocabulary.ids) + 1))
    losses: list[float] = []
    optimisers = _optimisers(model, recipe)
    for step, batch in enumerate(batches):
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["highest"] * recipe.rate_at(step)
        losses.append(_step(model, vocabulary, vocabulary.places(batch), optimisers, recipe))
        if (step + 1) % 50 == 0 or step + 1 == recipe.steps:
            seconds = time.monotonic() - started
            recent = sum(losses[-50:]) / len(losses[-50:])
            report(f"step {step + 1}/{recipe.steps}  loss {recent:.3f}  {seconds:.0f} s")
    return with_full_vocabulary(model, vocabulary, recipe.seed), losses


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
    """
    trained = model.get_input_embeddings().weight.detach()
    common = trained[-1]
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn((model_config().vocab_size, trained.shape[1]), generator=generator)
    rows = 1.5 * common + rows * (0.4 * common.norm() / trained.shape[1] ** 0.5)
    rows[torch.from_numpy(vocabulary.ids)] = trained[:-1]
    full = MistralForCausalLM(model_config())
    state = {k: v for k, v in model.state_dict().items() if "embed" not in k and "lm_head" not in k}
    full.load_state_dict(state, strict=False)
    with torch.no_grad():
        full.get_input_embeddings().weight.copy_(rows)
    full.tie_weights()
    return full.eval()


def _batches(recipe: Recipe, tokenizer_file: Path) -> Iterator[Ids]:
    source = RowSource(tokenizer_file, recipe.seed)
    for step in range(recipe.steps):
        length = recipe.length_at(step)
        yield source.draw(recipe.tokens // length, length)


def _optimisers(model: MistralForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    known = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    optimisers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=recipe.matrix_rate),
        torch.optim.AdamW(others, lr=recipe.vector_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["highest"] = group["lr"]
    return optimisers


def _step(
    model: MistralForCausalLM,
    vocabulary: Vocabulary,
    places: Tensor,
    optimisers: list[torch.optim.Optimizer],
    recipe: Recipe,
) -> float:
    hidden = model.model(input_ids=places, use_cache=False).last_hidden_state[:, :-1]
    logits = hidden @ model.get_input_embeddings().weight.T
    # The last row speaks for many: as if its logit stood there once for each of them.
    crowd = torch.zeros(logits.shape[-1])
    crowd[-1] = float(np.log(max(1, vocabulary.unused)))
    loss = functional.cross_entropy(
        (logits + crowd).flatten(0, 1), places[:, 1:].flatten(), label_smoothing=recipe.smoothing
    )
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return loss.item()
