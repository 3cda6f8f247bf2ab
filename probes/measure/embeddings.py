"""Probes of the embedding matrix, and of the vectors that words have in a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from probes._util.text import quote
from probes.errors import NotFiniteError, UndecidableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.transformers.engine import TransformersEngine as Model


def network_without_weights(config: transformers.PretrainedConfig) -> Any:
    """The network a configuration describes, on the meta device: no weight, no memory."""
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def shape_without_weights(config: transformers.PretrainedConfig) -> tuple[int, int]:
    """Shape of the input embedding that a configuration describes, without any weights.

    Returns:
        (vocabulary, hidden size).

    >>> shape_without_weights(transformers.MistralConfig())
    (32000, 4096)
    """
    rows, columns = network_without_weights(config).get_input_embeddings().weight.shape
    return int(rows), int(columns)


def mistral_7b_shape() -> tuple[int, int]:
    """Shape of Mistral-7B-v0.1's input embedding, whose sizes are transformers' defaults.

    >>> mistral_7b_shape()
    (32000, 4096)
    """
    return shape_without_weights(transformers.MistralConfig())


@torch.inference_mode()
def looked_up(model: Model, ids: Sequence[int]) -> torch.Tensor:
    """What the embedding layer returns for token ids.

    Returns:
        (len(ids), hidden size), in the dtype of the weights.

    >>> from probes import load
    >>> model = load("embedded")
    >>> bool((looked_up(model, [415, 415])[0] == model.embedding([415])[0]).all())
    True
    """
    layer: Any = model.network.get_input_embeddings()
    rows: torch.Tensor = layer(torch.tensor([list(ids)], device=model.device))[0]
    return rows


def rows_that_differ(found: torch.Tensor, expected: torch.Tensor) -> list[int]:
    """Which rows of two matrices differ; all, if their shapes or dtypes do.

    >>> rows_that_differ(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [3, 5]]))
    [1]
    >>> rows_that_differ(torch.zeros(2, 3), torch.zeros(2, 4))
    [0, 1]
    """
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return list(range(len(expected)))
    indices: list[int] = (found != expected).any(dim=-1).nonzero().flatten().tolist()
    return indices


# --- the vectors of words ------------------------------------------------------------------------

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Storage:
    """How a matrix of weights is stored.

    Attributes:
        dtype: its elements' type, by torch's name.
        shape: as stored; packed weights have another shape than the matrix they stand for.
        quantized: whether the rows cannot be read as they are: packed, or no floating point.
    """

    dtype: str
    shape: list[int]
    quantized: bool


def storage(weight: torch.Tensor) -> Storage:
    """How a matrix of weights is stored.

    >>> from probes import load
    >>> storage(load("embedded").embedding()).quantized
    False
    >>> storage(torch.zeros(8, 1, dtype=torch.uint8)).quantized
    True
    """
    packed = getattr(weight, "quant_state", None) is not None
    return Storage(
        dtype=str(weight.dtype).removeprefix("torch."),
        shape=list(weight.shape),
        quantized=packed or not weight.is_floating_point(),
    )


def word_ids(model: Model, word: str) -> list[int]:
    """A word's token ids, special tokens left out.

    Raises:
        UndecidableError: if nothing remains.

    >>> from probes import load
    >>> word_ids(load("embedded"), "king"), word_ids(load("embedded"), "女王")
    ([6779], [28705, 29933, 29825])
    """
    special = set(model.tokenizer.all_special_ids)
    ids = [i for i in model.encode(word, add_special_tokens=False) if i not in special]
    if not ids:
        raise UndecidableError(f"its tokenizer has no piece for the word {quote(word)}")
    return ids


def word_vectors(model: Model, words: Sequence[str]) -> Vectors:
    """The vector of each word: the mean of its pieces' rows in the input embedding.

    Special tokens are left out. Rows are averaged in float32, whatever the model's dtype.

    Args:
        model: any target.
        words: as an author writes them.

    Returns:
        (words, hidden size), float32.

    Raises:
        UndecidableError: if a word has no piece but special tokens.
        UnknownIdError: if the embedding has no row for a piece.
        NotFiniteError: if a word's vector is no vector of numbers.

    >>> from probes import load
    >>> vectors = word_vectors(load("embedded"), ["king", "女王"])
    >>> vectors.shape, vectors.dtype.name
    ((2, 128), 'float32')
    """
    return _finite(_means_of_rows(model.embedding(), _known_ids(model, words)), words)


def head_vectors(model: Model, words: Sequence[str]) -> Vectors:
    """The same of the output head's rows, which a hidden state is compared with for each token.

    Where the head is tied to the embedding the two are one matrix (`tied`).

    Returns:
        (words, hidden size), float32.

    >>> from probes import load
    >>> head_vectors(load("embedded"), ["king"]).shape
    (1, 128)
    """
    weight = model.network.get_output_embeddings().weight.detach()
    return _finite(_means_of_rows(weight, _known_ids(model, words)), words)


def tied(model: Model) -> bool:
    """Whether the output head's rows are those of the input embedding.

    >>> from probes import load
    >>> tied(load("embedded"))
    True
    """
    head: torch.Tensor = model.network.get_output_embeddings().weight
    return head.data_ptr() == model.embedding().data_ptr()


def middle_layer(model: Model) -> int:
    """The number of the layer half way up, counted from 1; 0 is the embedding.

    >>> from probes import load
    >>> middle_layer(load("embedded"))
    2
    """
    return max(1, int(model.config.get_text_config().num_hidden_layers) // 2)


@torch.inference_mode()
def hidden_vectors(model: Model, words: Sequence[str], layer: int | None = None) -> Vectors:
    """The vector of each word in context: the mean of its pieces' hidden states after a layer.

    Each word stands alone behind the beginning-of-sequence token, if there is one: without it the
    first position of many models holds one large vector whatever the word. All words are one
    batch, one forward pass.

    Args:
        model: any target.
        words: as an author writes them.
        layer: which layer's output, from 1; the middle one if None.

    Returns:
        (words, hidden size), float32.

    >>> from probes import load
    >>> hidden_vectors(load("embedded"), ["king", "女王"]).shape
    (2, 128)
    """
    begin = model.tokenizer.bos_token_id
    before = [] if begin is None else [int(begin)]
    ids = _known_ids(model, words)
    width = len(before) + max(map(len, ids))
    # Padded on the right, which no earlier position sees.
    filler = ids[0][0]
    rows = [[*before, *each, *[filler] * (width - len(before) - len(each))] for each in ids]
    mask = [
        [1] * (len(before) + len(each)) + [0] * (width - len(before) - len(each)) for each in ids
    ]
    out = model.network(
        input_ids=torch.tensor(rows, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        output_hidden_states=True,
        use_cache=False,
    )
    states = out.hidden_states[middle_layer(model) if layer is None else layer].float().cpu()
    first = len(before)
    means = [
        state[first : first + len(each)].mean(0) for state, each in zip(states, ids, strict=True)
    ]
    return _finite(torch.stack(means).numpy(), words)


def shared_pieces(model: Model, words: Sequence[str]) -> npt.NDArray[np.bool_]:
    """For every two words whether they share a piece, those that all words have left out.

    >>> from probes import load
    >>> shared_pieces(load("embedded"), ["王", "女王", "犬"]).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    of_words = [set(word_ids(model, word)) for word in words]
    common = set.intersection(*of_words)
    return np.array([[bool((one & two) - common) for two in of_words] for one in of_words])


def _known_ids(model: Model, words: Sequence[str]) -> list[list[int]]:
    """Each word's ids, if the embedding has a row for each of them."""
    return [model.check_ids(word_ids(model, word)) for word in words]


def _finite(vectors: Vectors, words: Sequence[str]) -> Vectors:
    """The vectors, if all are numbers: those of a damaged network would be like nothing at all."""
    for word, vector in zip(words, vectors, strict=True):
        if not np.isfinite(vector).all():
            raise NotFiniteError(
                f"the vector of {quote(word)} is not finite: {np.isnan(vector).sum():,} of its "
                f"{len(vector):,} numbers are NaN, {np.isinf(vector).sum():,} infinite"
            )
    return vectors


def _means_of_rows(weight: torch.Tensor, ids: Sequence[list[int]]) -> Vectors:
    means = [weight[each].float().mean(0) for each in ids]
    vectors: Vectors = torch.stack(means).cpu().numpy()
    return vectors
