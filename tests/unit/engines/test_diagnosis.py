"""What is said of a forward pass that gives no distribution."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import probes
from probes.data.tokenizer_texts import PROMPTS
from probes.engines.transformers.hooks import explain_unpackable
from probes.errors import NotFiniteError, UndecidableError
from probes.targets.preflight import preflight
from probes.targets.resolve import resolve
from probes.targets.target import EMBEDDED_FOLDER
from tests.support import model_folders as folders


def test_nan_names_its_conditions_and_a_call_that_shows_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Eager attention in float16 has rows of -inf where a text is padded on the left."""
    model = probes.load("embedded").variant(dtype="float16", attn_implementation="eager")
    with pytest.raises(NotFiniteError) as caught:
        model.generate_batch(PROMPTS, max_new_tokens=2, do_sample=False)
    said, *call = str(caught.value).splitlines()
    assert said == (
        "the logits after 'The capital of Japan is' are no distribution: 32,000 of 32,000 are NaN "
        "(attention eager, float16, cpu, 5 padded on the left, no cached tokens, first in "
        "model.layers.2.self_attn.o_proj, at padding)"
    )
    exec("\n".join(call), {})  # noqa: S102 - what a user copies
    assert "tensor([nan, nan, nan,  ..., nan, nan, nan]" in capsys.readouterr().out


def test_nan_after_cached_tokens_is_named_without_a_call() -> None:
    model = probes.load("embedded").variant(dtype="bfloat16")

    def spoil(_: Any, inputs: Any, states: torch.Tensor) -> torch.Tensor:
        return states * torch.nan if inputs[0].shape[1] == 1 else states

    with (
        model.network.model.norm.register_forward_hook(spoil),
        pytest.raises(NotFiniteError, match=r"no padding, cache \w+ of 6 positions\)$"),
    ):
        model.generate(PROMPTS[0], max_new_tokens=2, do_sample=False)


def changed_llama(folder: Path, change: Callable[[Any], None]) -> probes.Model:
    from transformers import LlamaConfig

    config = LlamaConfig(vocab_size=32000, bos_token_id=1, eos_token_id=2, **folders.SMALL_DECODER)
    folders.save(folder, config, change)
    for name in folders.TOKENIZER_FILES:
        shutil.copy(EMBEDDED_FOLDER / name, folder)
    return probes.Model(preflight(resolve(str(folder))))


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_quantized_network_beyond_the_range_of_float16_cannot_be_asked(
    tmp_path: Path, kind: str
) -> None:
    """What its layers return is in the range, and leaves it where it is added up."""

    def enlarge(network: Any) -> None:
        rows, layer = network.model.embed_tokens.weight, network.model.layers[0].mlp
        rows.copy_(4.5e4 * rows.sign())
        layer.up_proj.weight.mul_(1e3)
        outputs: list[torch.Tensor] = []
        with layer.register_forward_hook(lambda *result: outputs.append(result[-1])):
            network(torch.tensor([probes.load("embedded").encode(PROMPTS[0])]))
        layer.down_proj.weight.mul_(4.5e4 / outputs[0].abs().max())

    model = changed_llama(tmp_path / "large", enlarge)
    assert model.logits(PROMPTS[0]).isfinite().all()
    quantized = model.variant(quantization=kind)
    with pytest.raises(
        UndecidableError, match=r"range of float16: model\.layers\.0 reaches [\d,]+ in float32"
    ):
        quantized.logits(PROMPTS[0])


def test_network_beyond_the_range_of_float16_cannot_be_asked(tmp_path: Path) -> None:
    def enlarge(network: Any) -> None:
        layer = network.model.layers[0].mlp
        layer.up_proj.weight.mul_(1e3)
        layer.down_proj.weight.mul_(1e5)

    model = changed_llama(tmp_path / "large", enlarge)
    assert model.logits(PROMPTS[0]).isfinite().all()
    half = model.variant(dtype="float16")
    with pytest.raises(
        UndecidableError,
        match=r"leaves the range of float16: model\.layers\.0\.mlp\.down_proj reaches [\d,]+ in "
        r"float32, more than 65,504",
    ):
        half.logits(PROMPTS[0])


def test_layers_that_bitsandbytes_cannot_pack_are_not_applicable() -> None:
    def layer(inputs: int, *, packs: bool = True, outputs: int = 32) -> Any:
        made = type("Linear4bit", (), {})()
        made.in_features, made.support_avx512bf16_for_cpu = inputs, packs
        made.out_features = outputs
        made.weight = SimpleNamespace(device=torch.device("cpu"), blocksize=64)
        return made

    def explain(*layers: Any) -> str | None:
        return explain_unpackable(SimpleNamespace(modules=lambda: layers))

    assert explain(layer(128), layer(64)) is None
    assert explain(layer(32, packs=False)) is None
    assert explain(layer(64), layer(32)) == (
        "a 4-bit layer of it has 32 inputs, and bitsandbytes on this CPU computes with whole "
        "blocks of 64 only"
    )
    assert explain(layer(64, outputs=4)) == (
        "a 4-bit layer of it has 4 outputs, and bitsandbytes on this CPU computes with whole "
        "blocks of 32 only"
    )
