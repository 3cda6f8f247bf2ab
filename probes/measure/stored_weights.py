"""Compare the weights of a network with the tensors that its files hold.

The files are read here, tensor by tensor; what the library says of its own loading is only added.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from probes.engines.transformers.engine import TransformersEngine
from probes.errors import UndecidableError
from probes.measure.embeddings import is_tied
from probes.measure.stored_values import StoredFiles, compare_sets, has_stored_values, is_packed

BUFFERS = re.compile(r"(inv_freq|masked_bias|\.attn\.bias|\.attention\.bias)$")
"""Stored tensors that are no weights: older libraries stored what follows from a configuration."""

WRAPPERS = ("model", "language_model", "text_model", "transformer", "base_model")
"""Parts of names that only say what a network is a part of."""

SHOWN = 20
"""Names of tensors in a list of the evidence."""


LAYOUT = ".weight_format"
"""How bitsandbytes lays out the codes of an 8-bit weight: a number that it reads, and no weight."""


@dataclass(frozen=True)
class StoredWeights:
    """Which weights of a network its files hold, and which stored tensors it uses."""

    stored: int  # tensors in the files
    same_name: int  # of these, those that a weight of the network is named after
    converted: int  # weights whose values are compared with the rest of the files as one set
    left_out: list[str]  # stored tensors that the library declares no part of this network
    new: list[str]  # weights of the network that are in no file
    unused: list[str]  # stored tensors that are in no weight
    changed: list[str]  # weights with other values than the stored ones
    tied: bool | None  # whether the output head is the embedding; None without a head
    tied_by_config: bool | None  # what the configuration says of it

    def describe(self) -> str:
        """Say in one line what is wrong; an empty text if nothing is."""
        for names, wrong in (
            (self.new, "in no file, and so newly initialised"),
            (self.unused, "stored, and not used"),
            (self.changed, "not the stored values"),
        ):
            if names:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                return f"{names[0]}{more}: {wrong}"
        if None not in (self.tied, self.tied_by_config) and self.tied is not self.tied_by_config:
            said = f"tie_word_embeddings = {str(self.tied_by_config).lower()}"
            return f"the output head is {'' if self.tied else 'not '}the embedding, against {said}"
        return ""


@torch.inference_mode()
def compare_stored_weights(model: TransformersEngine, *, whole: bool) -> StoredWeights:
    """Compare each weight with the stored tensor of its name, and the others as sets of values.

    Where a version of the library stores weights under other names, or several as one, the values
    of a layer's other weights are the values of its other tensors, in any order. Of large matrices
    the rows at both ends are enough, unless `whole`; of such sets the number of values then.

    >>> found = compare_stored_weights(load("embedded"), whole=True)
    >>> found.stored, found.same_name, found.tied, found.describe()
    (38, 38, True, '')
    """
    _refuse_other_stores(model)
    files = StoredFiles(model.checkpoint.folder)
    weights = _name_weights(model.network)
    pairs = _pair_names(files.names, weights)
    reported, left_out, others = _sort_unpaired(model, files.names, weights, pairs)

    used = {weights[name].data_ptr() for name in pairs.values()}
    unnamed = [
        name
        for name, weight in weights.items()
        if name not in pairs.values() and weight.data_ptr() not in used
    ]
    new, unused = compare_sets(files, others, {n: weights[n] for n in unnamed}, whole=whole)
    changed = [
        name
        for stored, name in pairs.items()
        if not is_packed(weights[name])
        and not has_stored_values(files, stored, weights[name], whole)
    ]
    return StoredWeights(
        stored=len(files.names),
        same_name=len(pairs),
        converted=0 if new or unused else len(unnamed),
        left_out=left_out[:SHOWN],
        new=new[:SHOWN],
        unused=(sorted(reported) + unused)[:SHOWN],
        changed=changed[:SHOWN],
        tied=is_tied(model.network),
        tied_by_config=_expected_tie(model, files.names, pairs),
    )


def _refuse_other_stores(model: TransformersEngine) -> None:
    if model.target.random is not None:
        raise UndecidableError("its weights are random: none is stored")
    if model.target.gguf is not None:
        raise UndecidableError("they are stored in a GGUF file, under other names")
    kept_as = model.checkpoint.stored_quantization
    if kept_as not in (None, "bitsandbytes"):
        raise UndecidableError(f"its weights are stored quantized ({kept_as})")


def _name_weights(network: Any) -> dict[str, torch.Tensor]:
    """Return parameters and stored buffers by all their names."""
    named = dict(network.named_parameters(remove_duplicate=False))
    stored = network.state_dict().keys()
    return named | {name: each for name, each in network.named_buffers() if name in stored}


def _pair_names(stored: Collection[str], weights: Collection[str]) -> dict[str, str]:
    """Return the weight that each stored tensor is named after, within whatever it is wrapped."""
    names = Counter(map(_bare, weights))
    by_bare = {_bare(name): name for name in weights if names[_bare(name)] == 1}
    pairs = {}
    for name in stored:
        found = name if name in weights else by_bare.get(_bare(name))
        if found is not None:
            pairs[name] = found
    return pairs


def _bare(name: str) -> str:
    """Return a name without what the network may be wrapped in.

    >>> _bare("language_model.model.layers.0.mlp.up_proj.weight")
    'layers.0.mlp.up_proj.weight'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _part(name: str) -> str:
    return _bare(name).partition(".")[0]


def _sort_unpaired(
    model: TransformersEngine,
    stored: Collection[str],
    weights: Collection[str],
    pairs: Collection[str],
) -> tuple[set[str], list[str], list[str]]:
    """Return stored tensors that no weight is named after, in three kinds.

    Those that the library says it does not use, those of no part of this network, and all others
    that hold values.
    """
    other_parts = _name_other_parts(model, weights)
    patterns = (BUFFERS, *(model.network._keys_to_ignore_on_load_unexpected or ()))

    def is_left_out(name: str) -> bool:
        return _part(name) in other_parts or any(re.search(each, name) for each in patterns)

    reported = {
        name
        for name in model.unexpected_weights
        if not BUFFERS.search(name) and not name.endswith(LAYOUT) and _part(name) not in other_parts
    }
    rest = [name for name in stored if name not in pairs and name not in reported]
    others = [name for name in rest if not is_left_out(name)]
    return (
        reported,
        [name for name in rest if is_left_out(name)],
        [name for name in others if not _belongs_to_quantized(name, pairs)],
    )


def _name_other_parts(model: TransformersEngine, weights: Collection[str]) -> set[str]:
    """Return the parts of a checkpoint for images or sound that its language model lacks."""
    if "text_config" not in model.checkpoint.config:
        return set()
    return {*map(_part, model.checkpoint.tensors)} - {*map(_part, weights)}


def _belongs_to_quantized(name: str, pairs: Collection[str]) -> bool:
    """Return whether a tensor holds the scales of a quantized weight."""
    parts = name.split(".")
    beginnings = (".".join(parts[:end]) for end in range(1, len(parts)))
    return parts[-1] == "SCB" or name.endswith(LAYOUT) or any(each in pairs for each in beginnings)


def _expected_tie(
    model: TransformersEngine, stored: Collection[str], pairs: Mapping[str, str]
) -> bool | None:
    """Return whether the configuration ties the output head; None where it does not decide it."""
    config = model.checkpoint.config
    texts = [each for each in (config, config.get("text_config")) if isinstance(each, dict)]
    said = {each["tie_word_embeddings"] for each in texts if "tie_word_embeddings" in each}
    if len(said) > 1:
        return None
    expected = said.pop() if said else model.config.get_text_config().tie_word_embeddings
    head = model.network.get_output_embeddings()
    own = [n for n in stored if head is not None and _holds(model.network, pairs.get(n), head)]
    # Transformers 5 does not tie what the files hold twice, with different values.
    return None if expected and own else bool(expected)


def _holds(network: Any, name: str | None, layer: Any) -> bool:
    return name is not None and network.get_submodule(name.rpartition(".")[0]) is layer
