"""Networks that share modules and weights with another: what is changed of one is not of both."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch

_OF_ACCELERATE = ("_hf_hook", "_old_forward", "forward")
"""Attributes by which accelerate calls the forward pass of the module that it was given."""


def copy_along(network: Any, names: Iterable[str] = ()) -> Any:
    """Return a network with a configuration, and modules of these names, of its own.

    The modules above them are its own, too. All others, and the tensors of all, are shared.

    >>> network = load("embedded").network
    >>> twin = copy_along(network, ["model.embed_tokens"])
    >>> twin.model.layers is network.model.layers, twin.lm_head is network.lm_head
    (True, True)
    >>> twin.model.embed_tokens is network.model.embed_tokens, twin.config is network.config
    (False, False)
    """
    twin = _copy_module(network)
    copied = {""}
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            if path not in copied:
                copied.add(path)
                parent = twin.get_submodule(".".join(parts[: end - 1]))
                parent._modules[parts[end - 1]] = _copy_module(parent._modules[parts[end - 1]])
    twin.config = copy.deepcopy(network.config)
    twin.generation_config = copy.deepcopy(network.generation_config)
    for path in copied - {""}:
        module = twin.get_submodule(path)
        if getattr(module, "config", None) is network.config:
            module.config = twin.config
    return twin


def keep_first_layers(network: Any, count: int) -> Any:
    """Return a network of the first layers of another; the other where it has no more.

    There are as many of them as hold a layer of each type, and `count` at least.

    >>> twin = keep_first_layers(load("embedded").network, 2)
    >>> len(twin.model.layers), twin.config.num_hidden_layers
    (2, 2)
    """
    layers = network.config.get_text_config().num_hidden_layers
    types = getattr(network.config.get_text_config(), "layer_types", None) or []
    count = max([count, *(types.index(each) + 1 for each in {*types})])
    name, stack = next(
        (
            (name, module)
            for name, module in network.named_modules()
            if isinstance(module, torch.nn.ModuleList) and len(module) == layers
        ),
        ("", ()),
    )
    if not name or layers <= count:
        return network
    parent, _, last = name.rpartition(".")
    twin = copy_along(network, [parent] if parent else [])
    twin.get_submodule(parent)._modules[last] = torch.nn.ModuleList(list(stack)[:count])
    text = twin.config.get_text_config()
    for key, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == layers:
            setattr(text, key, value[:count])
    text.num_hidden_layers = count
    return twin


def _copy_module(module: Any) -> Any:
    twin = copy.copy(module)
    own = twin.__dict__
    if "_hf_hook" in own:
        for name in _OF_ACCELERATE:
            own.pop(name, None)
    for name in ("_modules", "_parameters", "_buffers"):
        own[name] = own[name].copy()
    if "state" in own or hasattr(own["_parameters"].get("weight"), "quant_state"):
        # Quantized layers of bitsandbytes change their weights in place.
        return copy.deepcopy(module)
    return twin
