"""Hooks on a network's forward passes: count their cost, and refuse those that decide nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from probes._util.text import quote
from probes.engines.transformers.diagnosis import LARGEST_FLOAT16, BrokenPass
from probes.errors import NotFiniteError, UndecidableError
from probes.schema.record import Cost

CPU_ROWS = 32
"""Rows of a 4-bit weight that bitsandbytes packs together on a CPU."""

SHOWN = 40
"""Characters of a prompt's end that a message shows."""


class CostCounter:
    """Counts forward passes, the rows in them and the positions computed; its seconds stay 0."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.cost = Cost()

    def count(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Count one call of a network's forward."""
        rows, positions = get_forward_input(args, kwargs).shape[:2]
        self.cost += Cost(forward_passes=1, rows=rows, tokens=rows * positions)


def attach_hooks(
    network: Any, counter: CostCounter, decode: Callable[[list[int]], str], name: str
) -> list[Any]:
    """Count a PreTrainedModel's forward passes, and refuse those that decide nothing.

    `decode` turns token ids into the text that a message shows; `name` is the folder or hub id that
    the network was loaded from. `remove()` of each returned handle ends it.
    """
    repeating = False

    def refuse_broken_logits(
        _: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        nonlocal repeating
        row = None if repeating else find_broken_row(output)
        if row is None:
            return
        given = get_forward_input(args, kwargs)
        prompt = decode(given[row].tolist())
        message = describe_broken_logits(prompt, output.logits[row, -1])
        # The pass itself has added its positions to the cache.
        cached = max(0, count_cached(kwargs.get("past_key_values")) - given.shape[1])
        if "input_ids" not in kwargs and args:
            kwargs = {**kwargs, "input_ids": args[0]}
        broken = BrokenPass.of_row(network, name, kwargs, row, cached)
        if broken is None:
            raise NotFiniteError(message)
        repeating = True
        try:
            overflow = broken.overflow()
            if overflow is None:
                message += f" ({broken.conditions()})\n{broken.call()}".rstrip()
        finally:
            repeating = False
        if overflow is not None:
            part, largest = overflow
            raise UndecidableError(
                f"it leaves the range of float16: {part} reaches {largest:,.0f} in float32, "
                f"more than {LARGEST_FLOAT16:,.0f}"
            )
        raise NotFiniteError(message)

    unpackable = explain_unpackable(network)

    def refuse_unpackable(*_: Any) -> None:
        if unpackable is not None:
            raise UndecidableError(unpackable)

    return [
        network.register_forward_pre_hook(refuse_unpackable),
        network.register_forward_pre_hook(counter.count, with_kwargs=True),
        network.register_forward_pre_hook(refuse_beyond_context, with_kwargs=True),
        network.register_forward_hook(refuse_broken_logits, with_kwargs=True),
    ]


def explain_unpackable(network: Any) -> str | None:
    """Return why bitsandbytes cannot compute with a network's 4-bit layers; None if it can.

    On a CPU with AVX-512 for bfloat16 it packs a weight in blocks of rows and columns, and fails on
    one that has no whole blocks. Seen in bitsandbytes 0.50.
    """
    layers = [each for each in network.modules() if type(each).__name__ == "Linear4bit"]
    on_cpu = [each for each in layers if each.weight.device.type == "cpu"]
    if not any(getattr(each, "support_avx512bf16_for_cpu", False) for each in on_cpu):
        return None
    for each in on_cpu:
        sizes = {"inputs": (each.in_features, each.weight.blocksize)}
        sizes["outputs"] = (each.out_features, CPU_ROWS)
        for what, (size, block) in sizes.items():
            if size % block:
                return (
                    f"a 4-bit layer of it has {size} {what}, and bitsandbytes on this CPU computes "
                    f"with whole blocks of {block} only"
                )
    return None


def get_forward_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the token ids, or else the embeddings, that a forward pass takes, one row per text."""
    ids = kwargs.get("input_ids", args[0] if args else None)
    return kwargs.get("inputs_embeds") if ids is None else ids


def refuse_beyond_context(network: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse a forward pass over more positions than its network has; a hook."""
    if not torch.compiler.is_compiling():
        positions = get_forward_input(args, kwargs).shape[1]
        cached = count_cached(kwargs.get("past_key_values"))
        check_context_length(network.config, cached + positions)


def check_context_length(config: Any, positions: int) -> None:
    """Refuse more positions than a network has.

    Learnt positions end with the last: beyond it a CPU raises an error, and a GPU ends all
    computing in this process.

    >>> from transformers import GPT2Config
    >>> check_context_length(GPT2Config(n_positions=4), 5)
    Traceback (most recent call last):
    probes.errors.UndecidableError: its context of 4 tokens is too short to decide this
    """
    limit = context_length(config)
    if limit is not None and positions > limit:
        raise UndecidableError(f"its context of {limit:,} tokens is too short to decide this")


def context_length(config: Any) -> int | None:
    """Return how many positions a network has; None where its configuration does not say."""
    limit: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return limit


def count_cached(cache: Any) -> int:
    """Return how many positions a cache has: an object, or plain tuples up to transformers 4.47."""
    if hasattr(cache, "get_seq_length"):
        return int(cache.get_seq_length())
    return int(cache[0][0].shape[-2]) if cache else 0


def find_broken_row(output: Any) -> int | None:
    """Return the first row whose last logits have no finite maximum; None where all have one.

    Positions before the last may be padding, whose logits may be anything.

    >>> from types import SimpleNamespace
    >>> output = SimpleNamespace(logits=torch.tensor([[[0.0, -torch.inf]], [[0.0, torch.nan]]]))
    >>> find_broken_row(output)
    1
    """
    logits = getattr(output, "logits", None)
    if logits is None or torch.compiler.is_compiling():
        return None
    broken = ~logits[:, -1].amax(dim=-1).isfinite()
    return int(broken.nonzero()[0]) if bool(broken.any()) else None


def describe_broken_logits(prompt: str, logits: torch.Tensor) -> str:
    """Say in one line why the logits after a prompt, (vocabulary,), are no distribution.

    >>> describe_broken_logits("The capital", torch.tensor([0.0, torch.nan, torch.nan]))
    "the logits after 'The capital' are no distribution: 2 of 3 are NaN"
    """
    counts = {
        "NaN": int(logits.isnan().sum()),
        "Infinity": int(logits.isposinf().sum()),
        "-Infinity": int(logits.isneginf().sum()),
    }
    found = [
        f"{count:,} of {len(logits):,} {'is' if count == 1 else 'are'} {kind}"
        for kind, count in counts.items()
        if count
    ]
    end = f"...{prompt[-SHOWN:]}" if len(prompt) > SHOWN else prompt
    return f"the logits after {quote(end)} are no distribution: {', '.join(found)}"
