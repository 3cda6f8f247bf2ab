"""Faults of the network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import Patch, Wrapper, fault, result, swapped, wrapped
from tests.faults.catalogue.vocabulary import embedding_layer

if TYPE_CHECKING:
    from probes import Model

FIRST_LAYER = "model.layers.0"


def inside(model: Model, part: str, change: Callable[[Any], Any]) -> Patch:
    """Change the output of a part of the network, named by its dotted path."""
    return wrapped(model.network.get_submodule(part), "forward", result(change))


@fault(
    "a wrong base of the rotary positions: rope_theta lost among the configuration's new keys "
    "(transformers 5 renamed it to rope_parameters)",
    "recorded-texts",
)
def rope_base_wrong(model: Model) -> Patch:
    rope = model.network.model.rotary_emb
    return swapped(rope, "inv_freq", rope.inv_freq * rope.inv_freq**0.25)


@fault(
    "rotary positions in half precision: wrong far from the beginning (transformers 25306)",
    "recorded-texts",
)
def rope_in_half_precision(model: Model) -> Patch:
    import torch

    half = result(lambda turns: tuple(t.to(torch.bfloat16).to(t.dtype) for t in turns))
    return wrapped(model.network.model.rotary_emb, "forward", half)


@fault("norm weights used as 1 + weight, as in Gemma", "recorded-texts")
def norm_weights_one_too_large(model: Model) -> Patch:
    weight = model.network.get_submodule(f"{FIRST_LAYER}.input_layernorm").weight
    return swapped(weight, "data", weight.data + 1)


@fault("a norm's epsilon a thousand times too large", "recorded-texts")
def norm_epsilon_too_large(model: Model) -> Patch:
    norm = model.network.get_submodule(f"{FIRST_LAYER}.input_layernorm")
    return swapped(norm, "variance_epsilon", 1e-2)


@fault("key heads used by the wrong group of query heads", "recorded-texts")
def key_heads_in_another_order(model: Model) -> Patch:
    width = model.network.config.head_dim
    return inside(model, f"{FIRST_LAYER}.self_attn.k_proj", lambda keys: keys.roll(width, dims=-1))


@fault("prompt tokens attend to later tokens: the causal mask is missing", "greedy-argmax")
def prompt_sees_ahead(model: Model) -> Patch:
    def attend(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        return original(*args, **(kwargs | {"is_causal": False}))

    return wrapped("torch.nn.functional", "scaled_dot_product_attention", attend)


@fault(
    "dropout still active: the network is not in evaluation mode",
    "greedy-deterministic",
    checks="five_runs",
)
def dropout_left_on(model: Model) -> Patch:
    import torch

    return inside(
        model, f"{FIRST_LAYER}.mlp", lambda hidden: torch.nn.functional.dropout(hidden, 0.1)
    )


@fault("an output head that computes in bf16: near-ties become ties", "recorded-texts")
def head_in_bf16(model: Model) -> Patch:
    import torch

    return inside(model, "lm_head", lambda logits: logits.to(torch.bfloat16).to(logits.dtype))


@fault("rows of two words exchanged: Tokyo and Paris", "next-token")
def two_rows_exchanged(model: Model) -> Patch:
    weight = embedding_layer(model).weight
    rows = [model.encode(word, add_special_tokens=False)[0] for word in ("Tokyo", "Paris")]
    data = weight.data.clone()
    data[rows] = data[rows[::-1]]
    return swapped(weight, "data", data)


@fault("weights quantized again, to 8 bits per tensor", "recorded-texts")
def weights_quantized_to_8_bits(model: Model) -> Patch:
    weight = model.network.get_submodule(f"{FIRST_LAYER}.mlp.down_proj").weight
    step = weight.data.abs().max() / 127
    return swapped(weight, "data", (weight.data / step).round() * step)


@fault("a repetition penalty in the generation settings of the weights", "default-length")
def repetition_penalized(model: Model) -> Patch:
    return swapped(model.network.generation_config, "repetition_penalty", 1.3)


@fault("generation continues after the end-of-sequence token", "pad-token")
def end_ignored(model: Model) -> Patch:
    import torch

    stop = "transformers.generation.stopping_criteria:EosTokenCriteria"
    return wrapped(stop, "__call__", result(torch.zeros_like))
