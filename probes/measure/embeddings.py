"""Read the embedding matrix, and the vectors that words have in a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from probes._util.text import quote
from probes.engines.transformers.engine import TransformersEngine
from probes.errors import NotFiniteError, UndecidableError

Vectors = npt.NDArray[np.float32]

ROWS_AT_ONCE = 4096


def network_without_weights(config: transformers.PretrainedConfig) -> Any:
    """Build the network of a configuration on the meta device, which takes no memory."""
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def embedding_shape(config: transformers.PretrainedConfig) -> tuple[int, int]:
    """Return the shape of a configuration's input embedding: (vocabulary size, hidden size).

    >>> embedding_shape(transformers.MistralConfig())
    (32000, 4096)
    """
    rows, columns = network_without_weights(config).get_input_embeddings().weight.shape
    return int(rows), int(columns)


def mistral_7b_shape() -> tuple[int, int]:
    """Return the shape of Mistral-7B-v0.1's input embedding: transformers' default sizes."""
    return embedding_shape(transformers.MistralConfig())


@torch.inference_mode()
def look_up(model: TransformersEngine, ids: Sequence[int]) -> torch.Tensor:
    """Return what the embedding layer gives for token ids: (ids, hidden size), in its dtype.

    >>> model = load("embedded")
    >>> bool((look_up(model, [415, 415])[0] == model.embedding([415])[0]).all())
    True
    """
    layer: Any = model.network.get_input_embeddings()
    rows: torch.Tensor = layer(torch.tensor([list(ids)], device=model.device))[0]
    return rows


def lookup_scale(model: TransformersEngine) -> float | None:
    """Return what the architecture multiplies a row by at the lookup; None where it does not.

    Some architectures scale in the embedding layer itself, Gemma 3 and BART among them: by the
    square root of the row's width, unless `scale_embedding` in the configuration is false. Their
    layers keep that number as `embed_scale`; it is computed here from the width, not read from
    the layer, so that a layer with another one is found.

    >>> lookup_scale(load("embedded")) is None
    True
    """
    layer: Any = model.network.get_input_embeddings()
    config = model.config.get_text_config()
    if not hasattr(layer, "embed_scale") or getattr(config, "scale_embedding", True) is False:
        return None
    return math.sqrt(layer.weight.shape[-1])


def expected_lookup(model: TransformersEngine, ids: Sequence[int] | None = None) -> torch.Tensor:
    """Return what the embedding layer must give for token ids: the matrix's rows, scaled.

    The scale is rounded to the rows' dtype before it is applied, as the architectures do.

    >>> expected_lookup(load("embedded"), [415]).equal(load("embedded").embedding([415]))
    True
    """
    rows, scale = model.embedding(ids), lookup_scale(model)
    return rows if scale is None else rows * torch.tensor(scale).to(rows)


def find_different_rows(found: torch.Tensor, expected: torch.Tensor) -> list[int]:
    """Return which rows of two matrices differ; all, if their shapes or dtypes do.

    >>> find_different_rows(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 5]]))
    [1]
    """
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return list(range(len(expected)))
    indices: list[int] = (found != expected).any(dim=-1).nonzero().flatten().tolist()
    return indices


def find_lost_rows(model: TransformersEngine) -> list[int]:
    """Return the ids for which the embedding layer does not give the row that it must.

    Some thousand rows are compared at once: the matrix may take most of the memory.

    >>> find_lost_rows(load("embedded"))
    []
    """
    lost = []
    for first in range(0, len(model.embedding()), ROWS_AT_ONCE):
        ids = range(first, min(first + ROWS_AT_ONCE, len(model.embedding())))
        wrong = find_different_rows(look_up(model, ids), expected_lookup(model, ids))
        lost += [first + row for row in wrong]
    return lost


@dataclass(frozen=True)
class Storage:
    """How a matrix of weights is stored; `quantized` if its rows cannot be read directly."""

    dtype: str
    shape: list[int]
    quantized: bool


def describe_storage(weight: torch.Tensor) -> Storage:
    """Describe how a matrix of weights is stored.

    >>> describe_storage(torch.zeros(8, 1, dtype=torch.uint8)).quantized
    True
    """
    packed = getattr(weight, "quant_state", None) is not None
    return Storage(
        dtype=str(weight.dtype).removeprefix("torch."),
        shape=list(weight.shape),
        quantized=packed or not weight.is_floating_point(),
    )


# --- the vectors of words ------------------------------------------------------------------------


def word_ids(model: TransformersEngine, word: str) -> list[int]:
    """Return a word's token ids without special tokens; raise UndecidableError if there are none.

    >>> word_ids(load("embedded"), "女王")
    [28705, 29933, 29825]
    """
    special = set(model.special_token_ids)
    ids = [i for i in model.encode(word, add_special_tokens=False) if i not in special]
    if not ids:
        raise UndecidableError(f"its tokenizer has no piece for the word {quote(word)}")
    return ids


def word_vectors(model: TransformersEngine, words: Sequence[str]) -> Vectors:
    """Return each word's vector, (words, hidden size): its pieces' mean row in the input embedding.

    Rows are averaged in float32. Raises UndecidableError for a word of special tokens alone,
    UnknownIdError for a piece without a row, and NotFiniteError for a vector with NaN or infinity.

    >>> word_vectors(load("embedded"), ["king", "女王"]).shape
    (2, 128)
    """
    return _check_finite(_average_rows(model.embedding(), _known_ids(model, words)), words)


def head_vectors(model: TransformersEngine, words: Sequence[str]) -> Vectors:
    """Return the same from the output head's rows, which hidden states are compared with."""
    weight = model.network.get_output_embeddings().weight.detach()
    return _check_finite(_average_rows(weight, _known_ids(model, words)), words)


def is_tied(network: Any) -> bool | None:
    """Return whether the output head is the embedding, in memory; None without a head.

    >>> is_tied(load("embedded").network)
    True
    """
    head = network.get_output_embeddings()
    if head is None:
        return None
    return bool(head.weight.data_ptr() == network.get_input_embeddings().weight.data_ptr())


def middle_layer(model: TransformersEngine) -> int:
    """Return the number of the middle layer, from 1; 0 is the embedding."""
    return max(1, int(model.config.get_text_config().num_hidden_layers) // 2)


@torch.inference_mode()
def hidden_vectors(
    model: TransformersEngine, words: Sequence[str], layer: int | None = None
) -> Vectors:
    """Return the vector of each word in context: the mean of its pieces' hidden states.

    Each word follows the beginning-of-sequence token, if there is one: otherwise the first position
    of many models has the same large vector for every word. Layers count from 1; None is the
    middle one, 0 the embedding.

    >>> hidden_vectors(load("embedded"), ["king", "女王"]).shape
    (2, 128)
    """
    bos = model.tokenizer.bos_token_id
    before = [] if bos is None else [int(bos)]
    ids = _known_ids(model, words)
    rows = [torch.tensor([*before, *each]) for each in ids]
    # Padded on the right with any id: no earlier position attends to it.
    pad = torch.nn.utils.rnn.pad_sequence
    inputs = pad(rows, batch_first=True, padding_value=ids[0][0])
    mask = pad([torch.ones_like(row) for row in rows], batch_first=True)
    out = model.network(
        input_ids=inputs.to(model.device),
        attention_mask=mask.to(model.device),
        output_hidden_states=True,
        use_cache=False,
    )
    states = out.hidden_states[middle_layer(model) if layer is None else layer].float().cpu()
    means = [state[len(before) : len(row)].mean(0) for state, row in zip(states, rows, strict=True)]
    return _check_finite(torch.stack(means).numpy(), words)


def find_shared_pieces(model: TransformersEngine, words: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return for every two words whether they share a piece that not all words have.

    >>> find_shared_pieces(load("embedded"), ["王", "女王", "犬"]).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    pieces = [set(word_ids(model, word)) for word in words]
    common = set.intersection(*pieces)
    return np.array([[bool((one & two) - common) for two in pieces] for one in pieces])


def _known_ids(model: TransformersEngine, words: Sequence[str]) -> list[list[int]]:
    return [model.check_ids(word_ids(model, word)) for word in words]


def _check_finite(vectors: Vectors, words: Sequence[str]) -> Vectors:
    """Refuse vectors of a damaged network, which are similar to nothing."""
    for word, vector in zip(words, vectors, strict=True):
        if not np.isfinite(vector).all():
            raise NotFiniteError(
                f"the vector of {quote(word)} is not finite: {np.isnan(vector).sum():,} of its "
                f"{len(vector):,} numbers are NaN, {np.isinf(vector).sum():,} infinite"
            )
    return vectors


def _average_rows(weight: torch.Tensor, ids: Sequence[list[int]]) -> Vectors:
    means = [weight[each].float().mean(0) for each in ids]
    vectors: Vectors = torch.stack(means).cpu().numpy()
    return vectors
