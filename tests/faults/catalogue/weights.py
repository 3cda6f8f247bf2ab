"""Faults of what a network takes from its folder: positions, weights, ties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import Patch, Wrapper, fault, swapped, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes import Model


def loaded_with(damage: Callable[[Any, dict[str, Any]], None]) -> Patch:
    """Damage each network, or what is said of its loading, after it is loaded."""

    def load(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        network, loading = original(*args, **kwargs)
        damage(network, loading)
        return network, loading

    return wrapped("transformers:AutoModelForCausalLM", "from_pretrained", load)


def draw_again(weight: Any) -> None:
    """Fill a weight with random numbers of its own size."""
    import torch

    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    weight.data = (drawn * weight.data.std()).to(weight.data)


@fault("the output head is not tied, and random (transformers 43429)", "nothing-new")
def head_not_tied(model: Model) -> Patch:
    def untie(network: Any, _: Any) -> None:
        import torch

        rows, width = network.lm_head.weight.shape
        head = torch.nn.Linear(width, rows, bias=False)
        head.weight.data.copy_(network.lm_head.weight.data)
        draw_again(head.weight)
        network.lm_head = head

    return loaded_with(untie)


@fault("a missing weight that is filled with random numbers, without a word", "nothing-new")
def weight_filled_silently(model: Model) -> Patch:
    return loaded_with(
        lambda network, _: draw_again(network.get_submodule("model.layers.2.mlp.up_proj").weight)
    )


@fault("a stored weight whose name the library does not know", "nothing-new")
def stored_weight_not_used(model: Model) -> Patch:
    def report(_: Any, loading: dict[str, Any]) -> None:
        loading["unexpected_keys"] = {"model.layers.2.self_attn.q_norm.weight"}

    return loaded_with(report)


@fault("the weights of two layers exchanged by a conversion of names", "nothing-new")
def layers_exchanged(model: Model) -> Patch:
    def exchange(network: Any, _: Any) -> None:
        layers = network.model.layers
        one, other = (layers[place].mlp.gate_proj.weight for place in (0, 1))
        one.data, other.data = other.data, one.data

    return loaded_with(exchange)


@fault("the base of another architecture is taken: rope_theta is not read", "rope-formula")
def rope_base_of_another_architecture(model: Model) -> Patch:
    rope = model.network.model.rotary_emb
    return swapped(rope, "inv_freq", rope.inv_freq**1.5)


@fault(
    "rotary frequencies left uninitialised: finite, and wrong (transformers 48892)", "rope-formula"
)
def rope_left_uninitialised(model: Model) -> Patch:
    import torch

    rope = model.network.model.rotary_emb
    left = torch.linspace(0.1, 0.9, len(rope.inv_freq)).to(rope.inv_freq)
    return swapped(rope, "inv_freq", left)


@fault("positions past the window that are interpolated, without being asked", "rope-formula")
def rope_interpolated_past_the_window(model: Model) -> Patch:
    window = model.network.config.max_position_embeddings

    def turn(original: Wrapper, inputs: Any, position_ids: Any, *args: Any, **kwargs: Any) -> Any:
        scale = max(1.0, (int(position_ids.max()) + 1) / window)
        return original(inputs, position_ids / scale, *args, **kwargs)

    return wrapped(model.network.model.rotary_emb, "forward", turn)


@fault("rotary positions off by one", "rope-formula")
def rope_one_position_on(model: Model) -> Patch:
    def turn(original: Wrapper, inputs: Any, position_ids: Any, *args: Any, **kwargs: Any) -> Any:
        return original(inputs, position_ids + 1, *args, **kwargs)

    return wrapped(model.network.model.rotary_emb, "forward", turn)
