from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from probes._util.files import DATA
from probes.errors import UnusableTargetError
from probes.targets.checkpoint import Checkpoint
from probes.targets.placement import estimate_loaded_bytes
from probes.targets.preflight import preflight
from probes.targets.resolve import list_targets
from probes.targets.target import EMBEDDED_FOLDER, Dtype, Quantization, Target

FULL = DATA / "mistral-7b.json"
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 2,
}


def configuration(folder: Path, **more: Any) -> Path:
    """The built-in configuration at a small size."""
    content = json.loads(FULL.read_text(encoding="utf-8")) | SMALL | more
    file = folder / "small.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def small(folder: Path, **more: Any) -> Target:
    arguments: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
    if "random" not in more:
        arguments["random"] = configuration(folder)
    return Target(name="small", folder=EMBEDDED_FOLDER, **{**arguments, **more})


def test_built_in_target_has_the_size_of_mistral_7b() -> None:
    target = list_targets()["mistral-7b-random"]
    checkpoint = Checkpoint.inspect(EMBEDDED_FOLDER, target.random)
    assert checkpoint.parameters == 7_241_732_096
    assert checkpoint.weight_bytes == 14_483_464_192
    assert checkpoint.embedding_rows == 32_000
    nf4 = estimate_loaded_bytes(checkpoint.tensors, Quantization.NF4, Dtype.FLOAT16)
    assert nf4 == pytest.approx(4.45e9, rel=1e-3)
    assert target.device == "cuda"
    assert list(target.provides) == ["mistral-tokenizer"]


def test_same_seed_gives_the_same_network(tmp_path: Path) -> None:
    import torch

    from probes.engines.transformers.engine import TransformersEngine

    one, other = (TransformersEngine(preflight(small(tmp_path))) for _ in range(2))
    assert torch.equal(one.logits("Hello"), other.logits("Hello"))
    assert one.logits("Hello").std() > 0
    facts = one.facts()
    assert (facts.architecture, facts.vocabulary) == ("MistralForCausalLM", 32_000)
    assert facts.parameters == sum(p.numel() for p in one.network.parameters())
    assert facts.fingerprint == other.facts().fingerprint


def test_random_weights_are_quantized(tmp_path: Path) -> None:
    from probes.engines.transformers.engine import TransformersEngine

    model = TransformersEngine(preflight(small(tmp_path, quantization="nf4", dtype="float16")))
    layer = model.network.model.layers[0].mlp.up_proj
    assert type(layer).__name__ == "Linear4bit"
    assert str(model.network.lm_head.weight.dtype) == "torch.float16"
    assert len(model.generate("Hello", max_new_tokens=3).ids[0]) == 3


def test_estimated_bytes_are_those_in_memory(tmp_path: Path) -> None:
    from probes.engines.transformers.engine import TransformersEngine

    for dtype in (Dtype.FLOAT32, Dtype.BFLOAT16):
        model = TransformersEngine(preflight(small(tmp_path, dtype=dtype)))
        expected = estimate_loaded_bytes(model.checkpoint.tensors, Quantization.NONE, dtype)
        assert model.network.get_memory_footprint(return_buffers=False) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "gpt2"},
            "model_type is 'gpt2'; random weights are drawn for llama and mistral only",
        ),
        ({"hidden_act": "none"}, "transformers cannot build its network: KeyError: 'none'"),
    ],
)
def test_unknown_configuration_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnusableTargetError, match=rf"small\.json: {message}"):
        preflight(small(tmp_path, random=configuration(tmp_path, **change)))
    with pytest.raises(UnusableTargetError, match=r"no configuration .*nowhere\.json"):
        preflight(small(tmp_path, random=tmp_path / "nowhere.json"))


def test_weights_before_quantization_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (6_000_000_000, 8_000_000_000))
    target = list_targets()["mistral-7b-random"]
    with pytest.raises(UnusableTargetError, match=r"its weights take 14\.5 GB, and cuda:0 has 6"):
        preflight(target)
    with pytest.raises(UnusableTargetError, match=r"its weights take 18\.9 GB in nf4"):
        preflight(target.model_copy(update={"quantization": Quantization.NF4}))
    fits = preflight(small(tmp_path, device="cuda"))
    assert fits.checkpoint.parameters < 10_000_000
