"""Save a network, load it again, and name what is different."""

from __future__ import annotations

import gc
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
import transformers

from probes._util import progress
from probes._util.garbage import pause_cycle_search
from probes.engines.transformers.engine import TransformersEngine
from probes.engines.transformers.loading import dtype_argument, quiet
from probes.engines.transformers.views import copy_along, keep_first_layers
from probes.errors import UndecidableError
from probes.measure.bare_network import BareNetwork, choose_text, measure_change
from probes.measure.network_contents import (
    compare_fields,
    compare_weights,
    find_ties,
    read_fields,
    read_weights,
)
from probes.measure.quantized_weights import is_quantized
from probes.targets.placement import format_gb

LAYERS = 2
"""Layers of a large network that are saved at least, with its embedding and its output head."""

SHOWN = 20
"""Names of weights in a list of the evidence."""

ROOM = 1.2
"""Free memory and disk that are asked for, as a multiple of the weights."""


@dataclass(frozen=True)
class ReloadedNetwork:
    """What a network is after it was saved and loaded again."""

    layers: int  # how many of its layers were saved
    bytes: int  # of their weights
    weights: int  # tensors that were compared, buffers included
    changed_by_saving: list[str]  # those of the saved network itself that are others after that
    changed_weights: list[str]  # those with other values, types or shapes, or on one side alone
    changed_settings: dict[str, tuple[Any, Any]]  # fields of the configurations: before and after
    changed_ties: list[str]  # weights that were one and are two now, or the other way round
    refused_settings: str  # why the library does not save its generation settings; else empty
    no_logits: str  # why it computes no logits here; else empty
    change: float  # largest change of the distance of a likely logit to the largest
    tolerance: float  # the largest that rounding explains; 0 where nothing changed

    def describe(self) -> str:
        """Say in one line what is different; an empty text if nothing is."""
        if self.changed_by_saving:
            return f"saving the network changes it: {_list(self.changed_by_saving)}"
        if self.changed_weights:
            return f"other weights after a reload: {_list(self.changed_weights)}"
        if self.changed_ties:
            return f"weights that were tied are not, or the other way round: {self.changed_ties[0]}"
        if self.changed_settings:
            field, (before, after) = next(iter(self.changed_settings.items()))
            return f"{field} is {after!r} after a reload, and was {before!r}"
        if not self.change <= self.tolerance:
            return (
                f"distances of logits change by {self.change:.2g} with a reload, where rounding "
                f"explains {self.tolerance:.2g}"
            )
        return ""


def _list(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


@torch.inference_mode()
def save_and_reload(
    model: TransformersEngine, *, whole: bool, used: bool = True
) -> ReloadedNetwork:
    """Save a network to a temporary folder, load it again as it says there, and compare the two.

    Compared are both configurations field by field, weights and buffers bit by bit (of quantized
    layers codes and scales), ties, and logits. If not `whole`, its first layers are a
    network of their own. With `used` it computes before it is saved: quantized layers may then be
    stored in another way. Without room for it this raises UndecidableError.

    >>> from probes import load
    >>> found = save_and_reload(load("embedded"), whole=True)
    >>> found.layers, found.change, found.describe()
    (4, 0.0, '')
    """
    if model.is_split:
        raise UndecidableError("its weights are split over several devices")
    network = model.network if whole else keep_first_layers(model.network, LAYERS)
    size = network.get_memory_footprint()
    quantized = [name for name, each in network.named_modules() if is_quantized(each)]
    _refuse_without_room(size, model.device, quantized=bool(quantized))
    # Saving changes the configuration, and may change how quantized layers are stored.
    network = copy_along(network, quantized)
    fields = read_fields(network)
    text, before = choose_text(model), BareNetwork(network, model.device)
    with (
        tempfile.TemporaryDirectory() as folder,
        progress.step(f"saving and loading again: {format_gb(size)}", size),
    ):
        one, no_logits = before.logits(text) if used else (None, "")
        weights = read_weights(network)
        refused = _save(network, folder)
        by_saving = compare_weights(weights, read_weights(network))
        again = _load(folder, network, model.device)
        changed = compare_weights(weights, read_weights(again))
        if not used:
            one, no_logits = before.logits(text)
        other = None if one is None else BareNetwork(again, model.device).logits(text)[0]
        change = 0.0 if one is None or other is None else measure_change(one, other)
        judged = bool(change) and not changed  # other weights explain other logits
        found = ReloadedNetwork(
            layers=network.config.get_text_config().num_hidden_layers,
            bytes=size,
            weights=len(weights),
            changed_by_saving=by_saving[:SHOWN],
            changed_weights=changed[:SHOWN],
            changed_settings=compare_fields(fields, read_fields(again), refused),
            changed_ties=sorted(find_ties(network) ^ find_ties(again)),
            refused_settings=refused,
            no_logits=no_logits,
            change=change,
            tolerance=before.explain(text) if judged else 0.0,
        )
        del again
    if size >= progress.LARGE:
        gc.collect()
    if model.device.type == "cuda":
        torch.cuda.empty_cache()
    return found


def _refuse_without_room(size: int, device: torch.device, *, quantized: bool) -> None:
    """Raise UndecidableError if there is too little disk or memory for what is loaded again.

    Quantized layers are copied before they are saved, and their codes and scales are kept on the
    CPU twice, to be compared.
    """
    free = shutil.disk_usage(tempfile.gettempdir()).free
    needed = int(ROOM * size)
    if free < needed:
        raise UndecidableError(
            f"saving it takes {format_gb(needed)}, and the folder for temporary files has "
            f"{format_gb(free)} free: name another one in TMPDIR"
        )
    loaded = needed + size * quantized
    kept = 2 * size * quantized
    places = {"cpu": (kept + loaded * (device.type == "cpu"), psutil.virtual_memory().available)}
    if device.type == "cuda":
        places[str(device)] = (loaded, torch.cuda.mem_get_info(device)[0])
    for place, (needed, left) in places.items():
        if left < needed:
            raise UndecidableError(
                f"loading it again takes {format_gb(needed)}, and {place} has {format_gb(left)} "
                "free"
            )


def _save(network: Any, folder: str) -> str:
    """Save a network; return why its generation settings are not, if the library refuses them."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            network.save_pretrained(folder)
        except ValueError as error:
            if "serializable" in str(error):
                raise UndecidableError(f"transformers does not save it: {error}") from None
            if "generation" not in str(error):
                raise
            network.generation_config = type(network.generation_config)()
            network.save_pretrained(folder)
            return " ".join(str(error).split())
    return ""


def _load(folder: str, network: Any, device: torch.device) -> Any:
    arguments: dict[str, Any] = {dtype_argument(): "auto", "local_files_only": True}
    arguments["attn_implementation"] = network.config._attn_implementation
    if getattr(network, "is_quantized", False) or device.type == "cuda":
        arguments["device_map"] = {"": str(device)}
    load: Any = transformers.AutoModelForCausalLM.from_pretrained
    with quiet(), warnings.catch_warnings(), pause_cycle_search():
        warnings.simplefilter("ignore")
        again = load(folder, trust_remote_code=False, **arguments)
    return (again if "device_map" in arguments else again.to(device)).eval()
