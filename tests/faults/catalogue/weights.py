"""Faults of what a network takes from its folder: positions, weights, ties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import Patch, Wrapper, fault, swapped, wrapped
from tests.faults.catalogue.loading import negate_scales

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


def untie(network: Any) -> None:
    """Replace an output head that is the embedding by one of its own size, with random weights."""
    import torch

    rows, width = network.lm_head.weight.shape
    head = torch.nn.Linear(width, rows, bias=False)
    head.weight.data.copy_(network.lm_head.weight.data)
    draw_again(head.weight)
    network.lm_head = head


def loaded_again_with(model: Model, damage: Callable[[Any], Any]) -> Patch:
    """Damage each network that is loaded after the model's own."""
    _ = model.network

    def load(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        loaded = original(*args, **kwargs)
        damage(loaded[0] if isinstance(loaded, tuple) else loaded)
        return loaded

    return wrapped("transformers:AutoModelForCausalLM", "from_pretrained", load)


@fault("the weights of a norm lost when a model is saved", "model-reload", checks="saved")
def norm_lost_when_saved(model: Model) -> Patch:
    def save(original: Wrapper, network: Any, folder: Any, *args: Any, **kwargs: Any) -> None:
        from pathlib import Path

        from safetensors.torch import load_file, save_file

        original(network, folder, *args, **kwargs)
        file = Path(folder) / "model.safetensors"
        kept = {n: each for n, each in load_file(file).items() if n != "model.norm.weight"}
        save_file(kept, file, {"format": "pt"})

    return wrapped("transformers:PreTrainedModel", "save_pretrained", save)


@fault("rotary frequencies scaled when a saved model is loaded", "model-reload", checks="saved")
def rope_scaled_when_loaded_again(model: Model) -> Patch:
    def scale(network: Any) -> None:
        for name, buffer in network.named_buffers():
            if name.endswith("rotary_emb.inv_freq"):
                buffer.div_(8)

    return loaded_again_with(model, scale)


@fault("a tied output head that is random when loaded again", "model-reload", checks="saved")
def head_random_when_loaded_again(model: Model) -> Patch:
    return loaded_again_with(model, untie)


@fault("a saved model loaded in another dtype than it was saved in", "model-reload", checks="saved")
def other_dtype_when_loaded_again(model: Model) -> Patch:
    return loaded_again_with(model, lambda network: network.bfloat16())


@fault("another end-of-sequence id in a model that is loaded again", "model-reload", checks="saved")
def other_end_when_loaded_again(model: Model) -> Patch:
    return loaded_again_with(
        model, lambda network: setattr(network.generation_config, "eos_token_id", 3)
    )


@fault(
    "scales of 4-bit weights read with the wrong sign when loaded again",
    "model-reload",
    checks="quantized and nf4",
)
def scales_negated_when_loaded_again(model: Model) -> Patch:
    return loaded_again_with(model, negate_scales)


@fault("the output head is not tied, and random (transformers 43429)", "nothing-new")
def head_not_tied(model: Model) -> Patch:
    return loaded_with(lambda network, _: untie(network))


@fault("a missing weight that is filled with random numbers and not reported", "nothing-new")
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


def resized_with(damage: Callable[[Any], Any]) -> Patch:
    """Damage each network after its vocabulary was resized."""

    def resize(original: Wrapper, network: Any, *args: Any, **kwargs: Any) -> Any:
        layer = original(network, *args, **kwargs)
        damage(network)
        return layer

    return wrapped("transformers:PreTrainedModel", "resize_token_embeddings", resize)


@fault("rows that are one place on after the vocabulary is resized", "resized")
def resized_rows_one_on(model: Model) -> Patch:
    def move(network: Any) -> None:
        weight = network.get_input_embeddings().weight
        weight.data = weight.data.roll(1, dims=0)

    return resized_with(move)


@fault("an output head that is no longer tied after the vocabulary is resized", "resized")
def resized_head_untied(model: Model) -> Patch:
    return resized_with(untie)


@fault("a configuration that keeps the old size of a resized vocabulary", "resized")
def resized_configuration_kept(model: Model) -> Patch:
    rows = model.network.config.vocab_size
    return resized_with(lambda network: setattr(network.config, "vocab_size", rows))


@fault("an embedding that loses its scale when the vocabulary is resized", "resized")
def resized_embedding_scaled(model: Model) -> Patch:
    def scale(network: Any) -> None:
        layer = network.get_input_embeddings()
        original = layer.forward
        layer.forward = lambda ids: 1.1 * original(ids)

    return resized_with(scale)
