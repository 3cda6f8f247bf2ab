"""Compare the rotary positions of a network with what its config.json says."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from probes.engines.transformers.engine import TransformersEngine
from probes.engines.transformers.hooks import explain_unpackable
from probes.errors import UndecidableError
from probes.measure.rotary_agreement import (
    RotaryAgreement,
    describe_agreement,
    share_of_bound,
    share_of_turns,
)
from probes.measure.rotary_frequencies import compute_frequencies, relative_bound
from probes.measure.rotary_settings import (
    ALL_LAYERS,
    FULL,
    SLIDING,
    Rotation,
    describes_rotation,
    read_rotations,
)
from probes.targets.checkpoint import text_config

FREQUENCIES = "inv_freq"
"""How the names of a module's frequencies end."""

PAST = 17
"""Tokens by which the longer text is longer than the network's window."""

PASS = 8
"""Tokens of the pass."""

NOT_TEXT = ("vision", "visual", "audio")


@torch.inference_mode()
def compare_rotary_positions(model: TransformersEngine) -> list[RotaryAgreement]:
    """Compare frequencies, and cos and sin at positions up to and past the window.

    Compared are the frequencies that each rotary module holds, what it returns within the window
    and past it, in float32 and in the network's dtype, and what the layers are given in a pass over
    a few tokens. Empty where nothing turns.

    >>> model = load("embedded")
    >>> found = compare_rotary_positions(model)
    >>> sorted({each.what for each in found}), max(each.share for each in found) < 1
    (['cos and sin', 'cos and sin of a pass', 'frequencies'], True)
    """
    modules = {
        name: module
        for name, module in model.network.named_modules()
        if _frequencies(module) and not any(part in name for part in NOT_TEXT)
    }
    config = model.checkpoint.config
    if not modules:
        if describes_rotation(config):
            raise UndecidableError("no module of its network holds rotary frequencies")
        return []
    rotations = read_rotations(config)
    found: list[RotaryAgreement] = []
    unknown: list[str] = []
    for name, module in modules.items():
        for layers, frequencies in _frequencies(module).items():
            key = _find_rotation(rotations, layers, name)
            if key is None:
                unknown.append(layers or name)
                continue
            if not rotations[key].width:
                rotations[key] = replace(rotations[key], width=2 * len(frequencies))
            found += _compare_module(name, module, layers, frequencies, rotations[key], model)
    if not found and unknown:
        raise UndecidableError(
            f"its modules have rotary positions for {', '.join(sorted({*unknown}))}, and its "
            f"config.json describes those for {', '.join(sorted(rotations))}"
        )
    return found + _compare_pass(model, rotations)


# --- a module ------------------------------------------------------------------------------------


def _frequencies(module: Any) -> dict[str, torch.Tensor]:
    """Return the frequencies that a module holds, by type of layer."""
    held = {**vars(module), **dict(module.named_buffers(recurse=False))}
    return {
        name.removesuffix(FREQUENCIES).rstrip("_"): value
        for name, value in held.items()
        if name.endswith(FREQUENCIES)
        and not name.endswith((f"original_{FREQUENCIES}", f"long_{FREQUENCIES}"))
        and isinstance(value, torch.Tensor)
    }


def _find_rotation(rotations: Mapping[str, Rotation], layers: str, module: str) -> str | None:
    """Return the type of layer whose rotary positions a module is for."""
    name = module.rpartition(".")[2]
    layers = layers or (name if name in (FULL, SLIDING) else "")
    local = name.endswith("local")
    if (layers or local) and ALL_LAYERS in rotations:
        raise UndecidableError(
            "its types of layers have rotary positions of their own, and its config.json does not "
            "say which are those of which"
        )
    names = (layers, ALL_LAYERS, SLIDING if local else FULL)
    return next((each for each in names if each in rotations), None)


def _compare_module(
    name: str,
    module: Any,
    layers: str,
    frequencies: torch.Tensor,
    rotation: Rotation,
    model: TransformersEngine,
) -> Iterator[RotaryAgreement]:
    window, trained = rotation.window or 4096, rotation.trained or 4096
    if not rotation.by_length:  # else it may hold any until it is asked
        expected, _ = compute_frequencies(rotation)
        share = share_of_bound(
            frequencies.double().cpu(), expected, expected * relative_bound(rotation)
        )
        yield describe_agreement(name, "frequencies", layers, rotation, frequencies, 0, share)
    takes = inspect.signature(module.forward).parameters
    if "position_ids" not in takes:
        return
    more = {"layer_type": layers} if "layer_type" in takes else {}
    for tokens in (min(trained, window), max(trained, window) + PAST):
        positions = _choose_positions(tokens, model.network.config)
        for dtype in {torch.float32, model.network.dtype}:
            # On a copy: it may compute other frequencies for a longer text, and keep them.
            own = copy.deepcopy(module)
            inputs = torch.zeros(1, 1, 1, dtype=dtype, device=frequencies.device)
            ids = torch.tensor([positions], device=frequencies.device)
            turned = own(inputs, ids, **more)
            kept = _frequencies(own).get(layers, frequencies)
            share = share_of_turns(turned, positions, rotation, tokens)
            yield describe_agreement(name, "cos and sin", layers, rotation, kept, tokens, share)


def _choose_positions(tokens: int, config: Any) -> list[int]:
    """Choose positions of a text: its first, those around powers of two, and its last."""
    windows = (getattr(config.get_text_config(), "sliding_window", None), tokens)
    edges = [*windows, *(2**power for power in range(3, 24))]
    around = {edge + step for edge in edges if isinstance(edge, int) for step in (-1, 0, 1)}
    return sorted(place for place in {*range(8), *around} if 0 <= place < tokens)


# --- a pass --------------------------------------------------------------------------------------


def _compare_pass(
    model: TransformersEngine, rotations: Mapping[str, Rotation]
) -> list[RotaryAgreement]:
    """Compare what the layers of each type are given: the worst of each type."""
    ids = [place % model.vocab_size for place in range(PASS)]
    if explain_unpackable(model.network) is not None:
        return []
    with _capture_positions(model.network) as given:
        # Without its head: logits are not asked for.
        model.network.base_model(torch.tensor([[*ids]], device=model.device), use_cache=False)
    types = _layer_types(model.checkpoint.config, len(given))
    worst: dict[str, RotaryAgreement] = {}
    for (number, name), turned in given.items():
        layers = types[number] if types and ALL_LAYERS not in rotations else ALL_LAYERS
        rotation = rotations.get(layers)
        if rotation is None or not rotation.width:
            continue
        share = share_of_turns(turned, range(len(ids)), rotation, len(ids))
        found = describe_agreement(
            name, "cos and sin of a pass", layers, rotation, None, len(ids), share
        )
        if layers not in worst or share > worst[layers].share:
            worst[layers] = found
    return [*worst.values()]


@contextmanager
def _capture_positions(network: Any) -> Iterator[dict[tuple[int, str], Any]]:
    """Keep what each attention layer is given as its positions, by its number and name."""
    given: dict[tuple[int, str], Any] = {}

    def keep(name: str, number: int) -> Any:
        def hook(_: Any, __: Any, arguments: Mapping[str, Any]) -> None:
            found = arguments.get("position_embeddings")
            if torch.is_tensor(found) or isinstance(found, tuple):
                given[number, name] = found

        return hook

    hooks = [
        module.register_forward_pre_hook(keep(name, module.layer_idx), with_kwargs=True)
        for name, module in network.named_modules()
        if isinstance(getattr(module, "layer_idx", None), int) and "att" in name.rpartition(".")[2]
    ]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def _layer_types(config: Mapping[str, Any], layers: int) -> list[str]:
    """Return the type of each layer, which an older configuration gives by a pattern."""
    text = text_config(config)
    if isinstance(text.get("layer_types"), list):
        return [*text["layer_types"]]
    every = text.get("sliding_window_pattern") or text.get("_sliding_window_pattern") or 6
    return [SLIDING if (place + 1) % every else FULL for place in range(layers)]
