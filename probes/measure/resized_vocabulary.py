"""Resize the vocabulary of a network, and see what becomes of its old rows and logits."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from probes.engines.transformers.engine import TransformersEngine
from probes.engines.transformers.loading import quiet
from probes.engines.transformers.views import copy_along
from probes.errors import UndecidableError
from probes.measure.bare_network import BareNetwork, choose_text, measure_change
from probes.measure.embeddings import is_tied

MORE, MORE_BY_MEAN, FEWER = 3, 5, 2
"""Rows that are added, are added around the mean of the others, and are removed."""

LARGEST = 2**24
"""Weights of an embedding that is resized in several ways; a larger one takes seconds for each."""

FEWEST = 16
"""Rows of a network from which rows can be removed that no text here uses."""


@dataclass(frozen=True)
class ResizedVocabulary:
    """A network after its vocabulary was resized."""

    way: str  # `3 more`, ...
    rows: int  # that were asked for
    found_rows: dict[str, int]  # of its configuration, its embedding and its output head
    changed: list[str]  # what holds other old rows than before, or is not tied as before
    change: float  # largest change of the distance of a likely old logit to the largest
    tolerance: float = 0.0  # the largest that rounding explains; 0 where nothing changed
    refused: str = ""  # why the library does not do it, in its own words

    def describe(self) -> str:
        """Say in one line what is wrong; an empty text if nothing is."""
        wrong = [f"{name} has {rows:,}" for name, rows in self.found_rows.items()
                 if rows != self.rows]  # fmt: skip
        if wrong:
            return f"resized to {self.rows:,} rows ({self.way}), {', '.join(wrong)}"
        if self.changed:
            return f"resized ({self.way}), {self.changed[0]}"
        if not self.change <= self.tolerance:
            return (
                f"resized ({self.way}), distances of old logits change by {self.change:.2g}, where "
                f"rounding explains {self.tolerance:.2g}"
            )
        return ""


def resize_vocabulary(model: TransformersEngine, *, thorough: bool) -> list[ResizedVocabulary]:
    """Add rows and remove rows, each on a network of its own that shares the other weights.

    The library draws a whole matrix for a few rows. A large one is resized up and down once, unless
    `thorough`, and no rows are drawn around the mean of the old ones, as they are by default.

    >>> [each.way for each in resize_vocabulary(load("embedded"), thorough=False)]
    ['3 more', '5 more, by the mean', '2 fewer']
    """
    if model.is_split:
        raise UndecidableError("its weights are split over several devices")
    embedding = model.embedding()
    rows = len(embedding)
    ways: dict[str, tuple[list[int], bool]] = {
        f"{MORE} more": ([rows + MORE], False),
        f"{MORE_BY_MEAN} more, by the mean": ([rows + MORE_BY_MEAN], True),
        f"{FEWER} fewer": ([rows - FEWER], False),
    }
    if thorough:
        ways[f"{MORE} more and back"] = ([rows + MORE, rows], False)
    if rows < FEWEST:
        del ways[f"{FEWER} fewer"]
    elif embedding.numel() > LARGEST and not thorough:
        both = f"{MORE} more, then {MORE + FEWER} fewer"
        ways = {both: ([rows + MORE, rows - FEWER], False)}
    with torch.no_grad(), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text, own = choose_text(model), BareNetwork(model.network, model.device)
        logits, _ = own.logits(text)
        found = [
            _resize(model, way, sizes, by_mean=mean, logits=logits)
            for way, (sizes, mean) in ways.items()
        ]
        # Measured on the network itself, and only where it decides.
        tolerance = own.explain(text) if any(each.change for each in found) else 0.0
        return [replace(each, tolerance=tolerance) for each in found]


def _resize(
    model: TransformersEngine,
    way: str,
    sizes: list[int],
    *,
    by_mean: bool,
    logits: torch.Tensor | None,
) -> ResizedVocabulary:
    twin, rows = _copy_ends(model.network), sizes[-1]
    try:
        for size in sizes:
            twin.resize_token_embeddings(size, mean_resizing=by_mean)
    except (NotImplementedError, TypeError) as error:
        return ResizedVocabulary(way, rows, {}, [], 0.0, refused=" ".join(str(error).split()))
    before, after = _ends(model.network), _ends(twin)
    change = 0.0
    if logits is not None:
        kept = min(logits.shape[-1], rows)
        found, _ = BareNetwork(twin, model.device).logits(choose_text(model))
        change = measure_change(logits[:, :kept], found[:, :kept]) if found is not None else 0.0
    return ResizedVocabulary(
        way,
        rows,
        found_rows={
            "the configuration": twin.config.get_text_config().vocab_size,
            **{name: len(each) for name, each in after.items()},
            "the embedding layer": twin.get_input_embeddings().num_embeddings,
        },
        changed=_find_changes(before, after, model.network, twin),
        change=change,
    )


def _copy_ends(network: Any) -> Any:
    """Return a network with an embedding and an output head of its own."""
    ends = [network.get_input_embeddings(), network.get_output_embeddings()]
    names = [name for name, each in network.named_modules() if any(each is end for end in ends)]
    twin = copy_along(network, names)
    own: dict[int, torch.nn.Parameter] = {}  # the library replaces what a parameter holds
    for name in names:
        held = twin.get_submodule(name)._parameters
        for key, value in held.items():
            if value is not None:
                held[key] = own.setdefault(
                    id(value), torch.nn.Parameter(value.data, requires_grad=False)
                )
    return twin


def _ends(network: Any) -> dict[str, torch.Tensor]:
    """Return the matrices and vectors that have a row for each token."""
    head = network.get_output_embeddings()
    found = {"the embedding": network.get_input_embeddings().weight}
    if head is not None:
        found["the output head"] = head.weight
        if getattr(head, "bias", None) is not None:
            found["the output head's bias"] = head.bias
    return found


def _find_changes(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor], old: Any, new: Any
) -> list[str]:
    changed = []
    if is_tied(old) is not is_tied(new):
        changed.append(f"the output head is {'no longer' if is_tied(old) else 'now'} the embedding")
    for name in before:
        if name not in after:
            changed.append(f"{name} is lost")
            continue
        kept = min(len(before[name]), len(after[name]))
        if not torch.equal(before[name][:kept], after[name][:kept]):
            changed.append(f"{name} has other old rows")
    return changed
