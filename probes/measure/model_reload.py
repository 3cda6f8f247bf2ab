"""Save a network, load it again, and name what is different."""

from __future__ import annotations

import gc
import shutil
import tempfile
import warnings
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers

from probes._util import progress
from probes._util.garbage import pause_cycle_search
from probes.engines.transformers.loading import dtype_argument, quiet
from probes.engines.transformers.views import copy_along, keep_first_layers
from probes.errors import UndecidableError
from probes.measure.bare_network import BareNetwork, choose_text, measure_change
from probes.measure.quantized_layers import is_quantized, stored_weight
from probes.targets.placement import format_gb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.transformers.engine import TransformersEngine

LAYERS = 2
"""Layers of a large network that are saved at least, with its embedding and its output head."""

BOOKKEEPING = (
    *("transformers_version", "_name_or_path", "name_or_path", "_commit_hash"),
    *("architectures", "dtype", "torch_dtype", "_attn_implementation_autoset"),
)
"""Fields of a configuration by which the library says where, when and as what it was saved."""

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
    layers what they decode to), ties, and logits. If not `whole`, its first layers are a
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
    # Saving changes the configuration, and may change how quantized layers are stored.
    network = copy_along(
        network, [name for name, each in network.named_modules() if is_quantized(each)]
    )
    size = network.get_memory_footprint()
    _refuse_without_room(size, model.device)
    fields = _read_fields(network)
    text, before = choose_text(model), BareNetwork(network, model.device)
    with (
        tempfile.TemporaryDirectory() as folder,
        progress.step(f"saving and loading again: {format_gb(size)}", size),
    ):
        one, no_logits = before.logits(text) if used else (None, "")
        weights = _read_weights(network)
        refused = _save(network, folder)
        by_saving = _compare_weights(weights, _read_weights(network))
        again = _load(folder, network, model.device)
        changed = _compare_weights(weights, _read_weights(again))
        if not used:
            one, no_logits = before.logits(text)
        other, _ = BareNetwork(again, model.device).logits(text)
        change = 0.0 if one is None or other is None else measure_change(one, other)
        judged = bool(change) and not changed  # with other weights, other logits are no wonder
        found = ReloadedNetwork(
            layers=network.config.get_text_config().num_hidden_layers,
            bytes=size,
            weights=len(weights),
            changed_by_saving=by_saving[:SHOWN],
            changed_weights=changed[:SHOWN],
            changed_settings=_compare_fields(fields, _read_fields(again), refused),
            changed_ties=sorted(_ties(network) ^ _ties(again)),
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


def _refuse_without_room(size: int, device: torch.device) -> None:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    needed = int(ROOM * size)
    if free < needed:
        raise UndecidableError(
            f"saving it takes {format_gb(needed)}, and the folder for temporary files has "
            f"{format_gb(free)} free: name another one in TMPDIR"
        )
    if device.type == "cuda" and (left := torch.cuda.mem_get_info(device)[0]) < needed:
        raise UndecidableError(
            f"loading it again takes {format_gb(needed)}, and {device} has {format_gb(left)} free"
        )


def _save(network: Any, folder: str) -> str:
    """Save a network; return why its generation settings are not, if the library refuses them."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            network.save_pretrained(folder)
        except ValueError as error:
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


# --- what is compared ----------------------------------------------------------------------------


def _read_weights(network: Any) -> dict[str, torch.Tensor]:
    """Return what the modules hold, by name: of a quantized one what its codes decode to."""
    found: dict[str, torch.Tensor] = {}
    by_length = any(kind in str(network.config.to_dict()) for kind in ("'dynamic'", "'longrope'"))
    for path, module in network.named_modules():
        if is_quantized(module):
            found[f"{path}.weight"] = stored_weight(module)
        held = {**module._parameters, **module._buffers}
        for name, value in held.items():
            own = name == "weight" and is_quantized(module)
            # Frequencies that depend on the length are those of the last text.
            if value is not None and not own and not (by_length and name.endswith("inv_freq")):
                found[f"{path}.{name}".lstrip(".")] = value
    return found


def _compare_weights(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    changed = []
    for name in [*before, *(name for name in after if name not in before)]:
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            changed.append(f"{name} (only {'after' if one is None else 'before'})")
        elif one.dtype is not other.dtype:
            changed.append(f"{name} ({str(other.dtype)[6:]}, was {str(one.dtype)[6:]})")
        elif one is other:
            continue
        elif one.shape != other.shape or not torch.equal(_bits(one), _bits(other)):
            changed.append(name)
    return changed


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.detach().contiguous().reshape(-1).view(torch.uint8)


def _ties(network: Any) -> set[str]:
    """Return which parameters are one in memory."""
    names: defaultdict[int, list[str]] = defaultdict(list)
    for name, weight in network.named_parameters(remove_duplicate=False):
        names[weight.data_ptr()].append(name)
    return {" = ".join(sorted(each)) for each in names.values() if len(each) > 1}


def _read_fields(network: Any) -> dict[str, Any]:
    """Return the fields of both configurations, those of generation with its name before them."""
    fields = {k: v for k, v in network.config.to_dict().items() if k not in BOOKKEEPING}
    own = network.generation_config.to_dict()
    return fields | {
        f"generation.{name}": value
        for name, value in own.items()
        if name not in BOOKKEEPING and not name.startswith("_")
    }


def _compare_fields(
    before: dict[str, Any], after: dict[str, Any], refused: str
) -> dict[str, tuple[Any, Any]]:
    changed = {}
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one == other or (refused and name.startswith("generation.")):
            continue
        # Older configurations hold settings of generation, which the library moves when it saves.
        if other is None and after.get(f"generation.{name}") == one:
            continue
        if name.startswith("generation.") and before.get(name.partition(".")[2]) == other:
            continue
        changed[name] = (one, other)
    return changed
