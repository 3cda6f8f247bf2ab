"""Generate from embeddings instead of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from probes.engines.base import Generation
from probes.engines.transformers import batching
from probes.engines.transformers.engine import TransformersEngine
from probes.errors import UndecidableError
from probes.measure.determinism import generate_texts, noise_tolerance
from probes.measure.greedy_differences import Variation, compare_texts
from probes.measure.reproduction import describe_conditions
from probes.schema.sampling import UNPENALIZED


@torch.inference_mode()
def generate_from_embeddings(
    model: TransformersEngine, prompts: Sequence[Sequence[int]], length: int
) -> list[Variation]:
    """Compare greedy texts from the embedding layer's output for ids with those from the ids.

    Each prompt is continued alone.

    >>> model = load("embedded")
    >>> [found.explained for found in generate_from_embeddings(model, [[1], [1, 415]], 4)]
    [True, True]
    """
    embed = model.network.get_input_embeddings()
    tolerance = noise_tolerance(model, prompts, length)
    found = []
    for ids in prompts:
        (base,) = generate_texts(model, [ids], length)
        inputs = embed(torch.tensor([[*ids]], device=model.device))
        try:
            out = _generate(model, inputs, length)
        except ValueError as error:
            raise UndecidableError(f"transformers takes no embeddings for it: {error}") from error
        new = batching.cut_after_end(out.sequences[0].tolist(), model.eos_token_ids)
        logits = torch.stack(out.logits, dim=1).float().cpu()
        made = Generation([*ids], [new], [model.decode(new)], logits)
        name = f"embeddings of {len(ids)} {'token' if len(ids) == 1 else 'tokens'}"
        compared = compare_texts(model, name, [base], [made], tolerance)
        found.append(replace(compared, conditions=describe_conditions(model)))
    return found


def _generate(model: TransformersEngine, inputs: torch.Tensor, length: int) -> Any:
    return model.network.generate(
        inputs_embeds=inputs,
        attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long, device=model.device),
        max_new_tokens=length,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        **UNPENALIZED,
    )
