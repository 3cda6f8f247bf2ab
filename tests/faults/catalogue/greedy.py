"""Faults of greedy decoding: batches, caches, windows, attention, threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import CACHES, MISTRAL, Patch, Wrapper, fault, result, wrapped

if TYPE_CHECKING:
    from probes import Model


def second_if_close(margin: float) -> Wrapper:
    """Choose the second-best token where it is close."""

    def choose(original: Wrapper, scores: Any, *args: Any, **kwargs: Any) -> Any:
        import torch

        if not scores.is_floating_point() or scores.dim() != 2:
            return original(scores, *args, **kwargs)
        best = scores.topk(2, dim=-1)
        close = best.values[:, 0] - best.values[:, 1] < margin
        return torch.where(close, best.indices[:, 1], best.indices[:, 0])

    return choose


@fault("the second-best token chosen where it is close", "greedy-argmax", checks="20")
def greedy_takes_a_close_second(model: Model) -> Patch:
    return wrapped("torch", "argmax", second_if_close(0.1))


@fault("the second-best token chosen where it is close", "default-length")
def default_takes_a_close_second(model: Model) -> Patch:
    return wrapped("torch", "argmax", second_if_close(1.0))


@fault(
    "kernels that sum in a different order each time, with far too large errors",
    *("greedy-deterministic", "stories-greedy"),
    checks="five_runs or three_greedy",
)
def logits_noisy(model: Model) -> Patch:
    import torch

    noisy = result(lambda logits: logits + 0.5 * torch.randn_like(logits))
    return wrapped(model.network.lm_head, "forward", noisy)


def network_forward(model: Model, change: Callable[[dict[str, Any]], None]) -> Patch:
    """Change the inputs of the decoder: `change` edits its keyword arguments."""

    def forward(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        change(kwargs)
        return original(*args, **kwargs)

    return wrapped(model.network.model, "forward", forward)


@fault(
    "attention to padding: a left-padded batch gives other answers (transformers 22707)",
    "greedy-deterministic",
    checks="alone",
)
def padding_attended_to(model: Model) -> Patch:
    return network_forward(model, lambda inputs: inputs.update(attention_mask=None))


@fault(
    "positions off by one after the prompt, in padded rows", "greedy-deterministic", checks="alone"
)
def positions_off_by_one_where_padded(model: Model) -> Patch:
    def shift(inputs: dict[str, Any]) -> None:
        positions, mask = inputs.get("position_ids"), inputs.get("attention_mask")
        if positions is None or positions.shape[-1] > 1:
            return
        if mask is not None and mask.dim() == 2:  # a static cache has its own, made for the kernel
            inputs["position_ids"] = positions + (mask[:, :1] == 0)

    return network_forward(model, shift)


@fault(
    "a static cache that returns keys one position late", "greedy-deterministic", checks="caches"
)
def static_cache_stale(model: Model) -> Patch:
    stale = result(lambda states: (states[0].roll(1, dims=-2), states[1]))
    return wrapped(f"{CACHES}StaticSlidingWindowLayer", "update", stale)


@fault("without a cache the beginning of the text is lost", "greedy-deterministic", checks="caches")
def context_lost_without_cache(model: Model) -> Patch:
    def cut(inputs: dict[str, Any]) -> None:
        if not inputs.get("use_cache") and inputs.get("attention_mask") is not None:
            inputs["attention_mask"] = inputs["attention_mask"].clone()
            inputs["attention_mask"][:, :-3] = 0

    return network_forward(model, cut)


def window(change: Callable[[Any], int | None]) -> Patch:
    """Change the attention window, from the configuration."""
    import copy

    def mask(original: Wrapper, config: Any, **kwargs: Any) -> Any:
        config = copy.copy(config)
        config.sliding_window = change(config)
        return original(config=config, **kwargs)

    return wrapped(MISTRAL, "create_sliding_window_causal_mask", mask)


@fault("eager attention without the sliding window", "greedy-deterministic", checks="window")
def window_ignored_by_eager(model: Model) -> Patch:
    return window(lambda c: 10**6 if c._attn_implementation == "eager" else c.sliding_window)


@fault(
    "the sliding window ignored by SDPA (transformers 28980)",
    "greedy-deterministic",
    checks="window",
)
def window_ignored_by_sdpa(model: Model) -> Patch:
    return window(lambda c: 10**6 if c._attn_implementation == "sdpa" else c.sliding_window)


@fault(
    "the window off by one in one attention implementation", "greedy-deterministic", checks="window"
)
def window_off_by_one_in_eager(model: Model) -> Patch:
    return window(lambda c: c.sliding_window - (c._attn_implementation == "eager"))


@fault(
    "the sliding cache is one position short at the window's edge (transformers 37574)",
    "greedy-deterministic",
    checks="window",
)
def sliding_cache_one_short(model: Model) -> Patch:
    def forget(states: Any) -> Any:
        keys, values = states
        if keys.shape[-2] >= 64:
            values = values.clone()
            values[:, :, 0] = 0
        return keys, values

    return wrapped(f"{CACHES}DynamicSlidingWindowLayer", "update", result(forget))


@fault("eager attention with a wrong scale", "greedy-deterministic", checks="attention")
def attention_scale_wrong_in_eager(model: Model) -> Patch:
    def attention(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        return original(*args, **(kwargs | {"scaling": 1.02 * kwargs["scaling"]}))

    return wrapped(MISTRAL, "eager_attention_forward", attention)


@fault(
    "another kernel with far too large errors from five rows on (bitsandbytes 0.50 chooses kernels "
    "by the number of rows)",
    "greedy-deterministic",
    checks="number_of_rows",
)
def kernels_chosen_by_rows(model: Model) -> Patch:
    def forward(original: Wrapper, hidden: Any) -> Any:
        logits = original(hidden)
        return logits if len(hidden) < 5 else 1.01 * logits

    return wrapped(model.network.lm_head, "forward", forward)


@fault("rows of a batch affect each other", "greedy-deterministic", checks="any_batch")
def rows_leak_into_each_other(model: Model) -> Patch:
    def forward(original: Wrapper, hidden: Any) -> Any:
        return original(hidden + 0.01 * hidden.mean(dim=0, keepdim=True))

    return wrapped(model.network.lm_head, "forward", forward)


@fault("results depend on the number of threads", "greedy-deterministic", checks="threads")
def threads_change_the_result(model: Model) -> Patch:
    import torch

    present = torch.get_num_threads()

    def forward(original: Wrapper, hidden: Any) -> Any:
        return original(hidden if torch.get_num_threads() == present else 0.99 * hidden)

    return wrapped(model.network.lm_head, "forward", forward)


@fault("a step continues from a wrong cache", "greedy-argmax", checks="own")
def cache_loses_its_first_token(model: Model) -> Patch:
    def forget(states: Any) -> Any:
        keys, values = states
        return keys, values.index_fill(2, values.new_tensor([0], dtype=int), 0)

    return wrapped(f"{CACHES}DynamicSlidingWindowLayer", "update", result(forget))
