"""Faults of loading and of the default generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import (
    LIBRARY,
    MIXIN,
    Patch,
    Wrapper,
    fault,
    result,
    swapped,
    with_arguments,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes import Model


def nf4_with(**forced: Any) -> Patch:
    return wrapped(LIBRARY, "BitsAndBytesConfig", with_arguments(**forced))


@fault(
    "a configuration with fp4, bitsandbytes' default type, instead of nf4",
    "load-nf4",
    checks="nearest",
)
def fp4_instead_of_nf4(model: Model) -> Patch:
    return nf4_with(bnb_4bit_quant_type="fp4")


@fault(
    "the scales are quantized too, although this was not requested",
    "load-nf4",
    checks="memory or nearest",
)
def scales_quantized_too(model: Model) -> Patch:
    return nf4_with(bnb_4bit_use_double_quant=True)


@fault("the list of layers to skip has one layer too many", "load-nf4", checks="no_others")
def one_decoder_layer_left_out(model: Model) -> Patch:
    return nf4_with(llm_int8_skip_modules=["lm_head", "model.layers.0.mlp.down_proj"])


def flip_a_weight(network: Any) -> None:
    """Invert one byte, two weights, of the first 4-bit layer."""
    stored = next(p for p in network.parameters() if getattr(p, "quant_state", None) is not None)
    stored.data.view(-1)[0] ^= 0xFF


def negate_scales(network: Any) -> None:
    """Negate the scales of every 4-bit layer."""
    for each in network.parameters():
        if getattr(each, "quant_state", None) is not None:
            each.quant_state.absmax.neg_()


def loaded_wrongly(damage: Callable[[Any], None]) -> Patch:
    """Damage each 4-bit network after it is loaded."""

    def load(original: Wrapper, **arguments: Any) -> Any:
        network, loading = original(**arguments)
        if "quantization_config" in arguments:
            damage(network)
        return network, loading

    return wrapped("transformers:AutoModelForCausalLM", "from_pretrained", load)


@fault("packed weights corrupted while they are loaded", "load-nf4", checks="nearest")
def one_packed_byte_wrong(model: Model) -> Patch:
    return loaded_wrongly(flip_a_weight)


@fault("scales of 4-bit weights read with the wrong sign", "quantization-cost")
def scales_negated(model: Model) -> Patch:
    return loaded_wrongly(negate_scales)


ONE_KIND = "nf4 and not double"


def linear_4bit(wrapper: Wrapper) -> Patch:
    return wrapped("bitsandbytes.nn:Linear4bit", "forward", wrapper)


@fault("a kernel for one row whose outputs are 5 % too large", "quantized-same-weights")
def one_row_kernel_scaled(model: Model) -> Patch:
    def forward(original: Wrapper, layer: Any, rows: Any) -> Any:
        outputs = original(layer, rows)
        return 1.05 * outputs if rows.numel() == rows.shape[-1] else outputs

    return linear_4bit(forward)


@fault("the two weights of a packed byte exchanged by the kernel", "quantized-same-weights")
def nibbles_exchanged(model: Model) -> Patch:
    def forward(original: Wrapper, layer: Any, rows: Any) -> Any:
        return original(layer, rows.unflatten(-1, (-1, 2)).flip(-1).flatten(-2))

    return linear_4bit(forward)


@fault("a kernel for two to four rows whose outputs are 5 % too large", "quantized-same-weights")
def few_rows_kernel_scaled(model: Model) -> Patch:
    def forward(original: Wrapper, layer: Any, rows: Any) -> Any:
        outputs = original(layer, rows)
        return 1.05 * outputs if 1 < rows.numel() // rows.shape[-1] <= 4 else outputs

    return linear_4bit(forward)


@fault("a kernel that leaves out the last of many rows", "quantized-same-weights", checks=ONE_KIND)
def last_of_many_rows_left_out(model: Model) -> Patch:
    def forward(original: Wrapper, layer: Any, rows: Any) -> Any:
        outputs = original(layer, rows)
        if outputs.ndim == 2 and len(outputs) > 1024:
            outputs[-1] = 0.0
        return outputs

    return linear_4bit(forward)


def computed_with(change: Callable[[Any], Callable[[], None]]) -> Patch:
    """Let the kernel of each 4-bit layer see other stored numbers; `change` returns how to undo."""

    def forward(original: Wrapper, layer: Any, rows: Any) -> Any:
        undo = change(layer.weight)
        try:
            return original(layer, rows)
        finally:
            undo()

    return linear_4bit(forward)


@fault("one packed byte of a layer read wrongly", "quantized-same-weights", checks=ONE_KIND)
def one_packed_byte_read_wrongly(model: Model) -> Patch:
    def change(weight: Any) -> Callable[[], None]:
        weight.data.view(-1)[0] ^= 0xFF
        return lambda: weight.data.view(-1)[0].bitwise_xor_(0xFF)

    return computed_with(change)


@fault(
    "one scale of a layer read as twice what is stored", "quantized-same-weights", checks=ONE_KIND
)
def one_scale_doubled(model: Model) -> Patch:
    def change(weight: Any) -> Callable[[], None]:
        scales = weight.quant_state.absmax.view(-1)
        scales[0] *= 2
        return lambda: scales[0].div_(2)

    return computed_with(change)


@fault("blocks of 128 weights read for blocks of 64", "quantized-same-weights", checks=ONE_KIND)
def blocks_twice_as_long(model: Model) -> Patch:
    def change(weight: Any) -> Callable[[], None]:
        state = weight.quant_state
        scales = state.absmax
        state.blocksize, state.absmax = 2 * state.blocksize, scales[: len(scales) // 2]

        def undo() -> None:
            state.blocksize, state.absmax = state.blocksize // 2, scales

        return undo

    return computed_with(change)


def zero_scales(network: Any) -> None:
    for each in network.parameters():
        if getattr(each, "quant_state", None) is not None:
            each.quant_state.absmax.zero_()


@fault("scales of 4-bit weights that are all 0", "quantized-same-weights", checks=ONE_KIND)
def scales_zero(model: Model) -> Patch:
    return loaded_wrongly(zero_scales)


@fault(
    "weights of int8 layers with a scale that is 2 % too large",
    "quantized-same-weights",
    checks="int8",
)
def int8_scale_too_large(model: Model) -> Patch:
    scaled = result(lambda outputs: 1.02 * outputs)
    return wrapped("bitsandbytes.nn:Linear8bitLt", "forward", scaled)


@fault("moving 4-bit weights quantizes them a second time (bitsandbytes)", "load-to-device")
def moving_changes_a_weight(model: Model) -> Patch:
    def moved(original: Wrapper, network: Any, *args: Any, **kwargs: Any) -> Any:
        network = original(network, *args, **kwargs)
        if any(getattr(p, "quant_state", None) is not None for p in network.parameters()):
            flip_a_weight(network)
        return network

    return wrapped("transformers:PreTrainedModel", "to", moved)


def defaults(**changed: Any) -> Patch:
    """Change the global defaults of `generate`."""
    owner = "transformers:GenerationConfig"
    return wrapped(owner, "_get_default_generation_params", result(lambda d: d | changed))


@fault("the default of 20 tokens includes the prompt, as up to transformers 4.46", "default-length")
def default_length_includes_the_prompt(model: Model) -> Patch:
    forced = with_arguments(has_default_max_length=False)
    return wrapped(MIXIN, "_prepare_generated_length", forced)


@fault("a default of 21 new tokens: off by one", "default-length")
def default_length_one_more(model: Model) -> Patch:
    return defaults(max_length=21)


@fault("the generation settings of the weights enable sampling", "default-length")
def sampling_by_default(model: Model) -> Patch:
    return defaults(do_sample=True, temperature=1.4)


@fault("a pad token added to the tokenizer to avoid a warning", "pad-token", checks="no_pad")
def pad_token_added(model: Model) -> Patch:
    return swapped(model.tokenizer, "pad_token", "<unk>")


@fault("finished rows padded with id 0", "pad-token", checks="generation_pads")
def padding_with_id_0(model: Model) -> Patch:
    import torch

    def prepared(original: Wrapper, network: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        original(network, config, *args, **kwargs)
        config._pad_token_tensor = torch.tensor(0)

    return wrapped(MIXIN, "_prepare_special_tokens", prepared)
