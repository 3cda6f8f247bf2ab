"""What of a large network is saved, and what is refused before it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import probes
from probes.engines.transformers.views import keep_first_layers
from probes.errors import UndecidableError
from probes.measure import model_reload
from probes.measure.quantized_weights import stored_bytes
from probes.targets.target import EMBEDDED_FOLDER
from tests.support import model_folders as folders


def test_first_layers_are_saved_as_a_network_of_their_own() -> None:
    found = model_reload.save_and_reload(probes.load(str(EMBEDDED_FOLDER)), whole=False)
    assert (found.layers, found.describe()) == (2, "")


def test_first_layers_hold_one_of_each_type(tmp_path: Path) -> None:
    from transformers import CONFIG_MAPPING

    if "gemma3_text" not in CONFIG_MAPPING:
        pytest.skip("this version of transformers has no Gemma 3")
    kinds = ["sliding_attention"] * 3 + ["full_attention"] * 2
    size, end = folders.byte_level_tokenizer(tmp_path / "typed")
    make: Any = CONFIG_MAPPING["gemma3_text"]
    config = make(
        vocab_size=size, eos_token_id=end, bos_token_id=end, head_dim=16, sliding_window=16,
        layer_types=kinds, **{**folders.SMALL_DECODER, "num_hidden_layers": len(kinds)},
    )  # fmt: skip
    folders.save(tmp_path / "typed", config)
    model = probes.load(str(tmp_path / "typed"))
    assert keep_first_layers(model.network, 2).config.layer_types == kinds[:4]
    assert model_reload.save_and_reload(model, whole=False).describe() == ""


def test_full_memory_is_named_before_anything_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()._replace(available=10**6)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(UndecidableError, match=r"loading it again takes .*, and cpu has 0\.0 GB"):
        model_reload.save_and_reload(probes.load(str(EMBEDDED_FOLDER)), whole=True)


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8"])
def test_stored_bytes_change_with_a_scale_and_not_with_packing(kind: str) -> None:
    pytest.importorskip("bitsandbytes")
    model = probes.load(str(EMBEDDED_FOLDER)).variant(quantization=kind)
    layer = model.network.model.layers[0].mlp.up_proj
    codes = layer.in_features * layer.out_features // (1 if kind == "int8" else 2)
    loaded = stored_bytes(layer)
    model.logits(model.encode("Once"))
    before = stored_bytes(layer)
    assert torch.equal(before[:codes], loaded[:codes])  # scales may be in bfloat16 now
    assert len(before) <= layer.in_features * layer.out_features * 1.1
    scales = layer.state.SCB if kind == "int8" else layer.weight.quant_state.absmax
    with torch.inference_mode():
        scales[(0,) * scales.dim()] *= 2
    assert int((stored_bytes(layer) != before).sum()) in range(1, 5)


def test_full_disk_is_named_before_anything_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UndecidableError, match=r"takes 0\.0 GB.*has 0\.0 GB free: name another"):
        model_reload.save_and_reload(probes.load(str(EMBEDDED_FOLDER)), whole=True)
