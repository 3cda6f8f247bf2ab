"""The model card and its table of figures."""

from __future__ import annotations

from collections.abc import Sequence

from probes.training.recipe import Recipe, model_config
from probes.training.subject import Figure

_CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# A tiny Mistral with the real tokenizer

A causal language model of {millions:.1f} million parameters with the architecture and the
tokenizer of Mistral-7B-v0.1. It shows the mechanisms that the tests of this package are about:
what BOS changes, what sampling settings do, how close the rows of similar words are. It runs
anywhere, in seconds.

**What it is not.** It is not Mistral-7B and was not made from its weights. It knows a few hundred
facts and a few hundred words, and nothing else: other prompts produce nonsense. Its figures show
how the libraries behave, not how good a language model is.

## Shape

| | |
|---|---|
| architecture | `MistralForCausalLM`, {layers} layers |
| hidden size, MLP size | {hidden}, {mlp} |
| attention heads, key-value heads | {heads}, {kv_heads} |
| sliding window, longest context | {window}, {context} tokens |
| vocabulary | {vocabulary}, embedding and output head share their rows |
| dtype of the stored weights, of computation | float16, float32 |

## Origin

The tokenizer is that of Mistral-7B-v0.1 by Mistral AI, under the Apache License 2.0: the
SentencePiece model in `probes/data`, converted to `tokenizer.json` without a change
of vocabulary or scores. `python -m probes.training tokenizer` reproduces it byte for byte.

The chat template is our own, after the conventions of Mistral's instruct models: BOS once,
`[INST]` and `[/INST]` around a question, the end-of-sequence token after an answer; also a system
message, several turns, tools, their calls and results. It renders conversations; the model was not
trained on them, and answers few questions in them.

The weights are made only from this repository. `python -m probes.training train` samples English
text from facts, word lists and sentence patterns, trains for {steps:,} steps of {tokens:,} tokens,
and writes this folder with the table below. The same machine and library versions give the same
weights. Those in the package were trained with the optimiser's orthogonalization in float32; the
program now uses `torch.optim.Muon`, which computes it in bfloat16, so it gives other weights.

There are two kinds of training text. Documents begin with BOS and contain facts in prose, mixed
with questions and answers, stories, letters and word groups. Pages are cut from the middle of a
Markdown quiz and have no BOS. One statement in eight has a wrong answer or none, so that sampling
at a high temperature makes errors. For every fifth fact, the last phrasing of its question is held
out of the training text and measured below. Only the vocabulary rows that occur in the text were
trained individually. The others are scattered around one trained row that keeps them improbable.

## Figures

Measured by `python -m probes.training evaluate`. The prompts of questions begin with BOS and end
with a space; an answer counts if it is stated within 12 tokens. `near-greedy` is top_p 0.2 at
T 0.2, `narrow-hot` top_p 0.2 at T 1.4, `wide-hot` top_p 0.9 at T 1.4, each with top_k 50. A line
with one figure per prompt uses the standard prompt and the story openings `Once upon a time,`
`Long, long ago,` `In the beginning,`, or only the three openings.

{table}
"""


def format_table(figures: Sequence[Figure]) -> str:
    """Format figures as a Markdown table.

    >>> from probes.training.subject import Figure
    >>> print(format_table([Figure("words right", "16 of 16")]))
    | measured | value |
    |---|---|
    | words right | 16 of 16 |
    """
    lines = [f"| {figure.name} | {figure.value} |" for figure in figures]
    return "\n".join(["| measured | value |", "|---|---|", *lines])


def format_card(figures: Sequence[Figure], parameters: int) -> str:
    """Return the model card: Markdown with a header of metadata."""
    shape, recipe = model_config(), Recipe()
    return _CARD.format(
        millions=parameters / 1e6,
        layers=shape.num_hidden_layers,
        hidden=shape.hidden_size,
        mlp=shape.intermediate_size,
        heads=shape.num_attention_heads,
        kv_heads=shape.num_key_value_heads,
        window=shape.sliding_window,
        context=shape.max_position_embeddings,
        vocabulary=shape.vocab_size,
        steps=recipe.steps,
        tokens=recipe.tokens,
        table=format_table(figures),
    )
