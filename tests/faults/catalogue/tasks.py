"""Faults that lose knowledge or words, and faults of beam search."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import (
    CACHES,
    MIXIN,
    Patch,
    Wrapper,
    fault,
    result,
    swapped,
    wrapped,
)
from tests.faults.catalogue.vocabulary import embedding_layer

if TYPE_CHECKING:
    from probes import Model


@fault(
    "weights of another model, or rows in another order: all knowledge is lost",
    *("next-token", "bos-changes-text", "other-countries"),
    checks="tokyo or bos",
)
def knowledge_lost(model: Model) -> Patch:
    import torch

    weight = embedding_layer(model).weight
    order = torch.randperm(len(weight), generator=torch.Generator().manual_seed(0))
    return swapped(weight, "data", weight.data[order])


@fault(
    "rows of the embedding shifted by one: a token removed from the middle of the vocabulary",
    *("cosine-groups", "pca-groups", "other-vectors", "recorded-texts", "recorded-numbers"),
    *("knowledge-accuracy", "knowledge-dose", "task-settings"),
    checks="not drawn_answers",
)
def embedding_rows_shifted(model: Model) -> Patch:
    weight = embedding_layer(model).weight
    return swapped(weight, "data", weight.data.roll(1, dims=0))


@fault("shares of the variance that add up to 1 although components are omitted", "pca-loss")
def variance_overstated(model: Model) -> Patch:
    def overstated(fitted: Any) -> Any:
        fitted.explained_variance_ratio_ /= fitted.explained_variance_ratio_.sum()
        return fitted

    return wrapped("sklearn.decomposition:PCA", "fit", result(overstated))


@fault(
    "words and parts of words added to the vocabulary: words are split differently",
    *("word-vectors", "shared-pieces"),
    checks="one_piece_each or same_pieces",
)
def pieces_added(model: Model) -> Patch:
    model.tokenizer.add_tokens(["女王", "in"])  # the next fault loads the model again
    return nullcontext()


@fault("a search with one beam that differs from greedy decoding", "beam-one")
def one_beam_penalizes_repetition(model: Model) -> Patch:
    return beams(lambda n: {"repetition_penalty": 1.5} if n == 1 else {})


def beams(change: Callable[[int], dict[str, Any]]) -> Patch:
    """Change the arguments of `generate`, from the number of beams."""

    def generate(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        asked = kwargs.get("num_beams")
        return original(*args, **(kwargs if asked is None else kwargs | change(asked)))

    return wrapped(MIXIN, "generate", generate)


@fault("the worst beam returned", "beam-likelihood")
def worst_beam_returned(model: Model) -> Patch:
    def generate(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        count = kwargs.get("num_beams", 1)
        if count == 1:
            return original(*args, **kwargs)
        output = original(*args, **(kwargs | {"num_return_sequences": count}))
        output.sequences = output.sequences[-1:]
        return output

    return wrapped(MIXIN, "generate", generate)


@fault("num_beams accepted and ignored", "beam-rows")
def beams_ignored(model: Model) -> Patch:
    return beams(lambda _: {"num_beams": 1})


@fault("a cache that is not reordered with its beams", "beam-likelihood")
def beams_keep_another_cache(model: Model) -> Patch:
    return wrapped(f"{CACHES}Cache", "reorder_cache", lambda *_: None)
