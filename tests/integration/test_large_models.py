"""Loading large models: from shards, over several devices, with the progress shown."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from probes.targets.target import EMBEDDED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from probes.engines.transformers.engine import TransformersEngine as Model
    from tests.support.project import Project

DECIDED = (
    *("load-nf4", "load-to-device", "default-length", "ids-english", "embedding-shape"),
    *("embedding-lookup", "next-token", "beam-one"),
)

TARGETS = """
[targets.sharded]
folder = "sharded"
provides = ["mistral-tokenizer"]
expects = "all"

[targets.sharded-nf4]
folder = "sharded"
quantization = "nf4"
dtype = "float16"
provides = ["mistral-tokenizer"]
expects = "all"
"""


def save_in_shards(folder: Path) -> None:
    """The embedded model in bf16, in several files with an index, as large models are kept."""
    import probes

    network = probes.load("embedded").variant(dtype="bfloat16").network
    network.save_pretrained(folder, max_shard_size="1MB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED_FOLDER / name, folder)


def test_claims_hold_on_bf16_shards(warm_project: Project) -> None:
    save_in_shards(warm_project.folder / "sharded")
    index = warm_project.folder / "sharded" / "model.safetensors.index.json"
    shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    assert len(shards) > 1
    (warm_project.folder / "targets.toml").write_text(TARGETS, encoding="utf-8")
    names = ("sharded", "sharded-nf4")
    records = warm_project.decide(names, DECIDED, "--targets-file", "targets.toml")
    assert {name: verdicts(record) for name, record in records.items()} == dict.fromkeys(
        names, dict.fromkeys(DECIDED, "holds")
    )
    assert records["sharded"]["target"]["dtype"] == "bfloat16"
    assert records["sharded-nf4"]["target"]["dtype"] == "float16"
    sizes = [records[name]["target"]["weight_bytes"] for name in ("sharded", "sharded-nf4")]
    assert sizes[0] == 2 * records["sharded"]["target"]["parameters"]
    assert sizes[1] < sizes[0]


def verdicts(record: dict[str, Any]) -> dict[str, str]:
    return {claim["id"]: claim["verdict"] for claim in record["claims"]}


# --- over several devices ------------------------------------------------------------------------


def split(**room: int) -> Model:
    """The embedded model as if no single device had room for it."""
    from dataclasses import replace

    from probes.engines.transformers.engine import TransformersEngine as Model
    from probes.targets.preflight import preflight
    from probes.targets.resolve import resolve

    usable = preflight(resolve("embedded"))
    return Model(replace(usable, max_memory=room))  # type: ignore[arg-type]


@pytest.mark.usefixtures("embedded_model_loaded")
def test_split_weights_give_the_same_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import accelerate
    import transformers

    import probes

    whole = probes.load("embedded")
    _ = whole.network  # loaded in the usual way
    load: Any = transformers.AutoModelForCausalLM.from_pretrained
    asked: dict[str, Any] = {}

    def dispatched(**arguments: Any) -> tuple[Any, Any]:
        """There is one device here: it is dispatched to in two parts, with hooks between them."""
        asked.update({name: arguments.pop(name) for name in ("device_map", "max_memory")})
        network, loading = load(**arguments)
        parts = ("embed_tokens", "layers", "norm", "rotary_emb")
        places = dict.fromkeys([*(f"model.{part}" for part in parts), "lm_head"], "cpu")
        return accelerate.dispatch_model(network, places, force_hooks=True), loading

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", dispatched)
    model = split(cpu=10**9)
    assert model.is_split
    prompts = ["The capital of Japan is", "Once upon a time,"]
    texts = [[g.text for g in m.generate_batch(prompts, max_new_tokens=12)] for m in (model, whole)]
    assert texts[0] == texts[1]
    assert asked == {"device_map": "sequential", "max_memory": {"cpu": 10**9}}
    assert model.logits(prompts[0]).equal(whole.logits(prompts[0]))
    assert model.cost.forward_passes > 0


@pytest.mark.usefixtures("embedded_model_loaded")
def test_weights_offloaded_to_disk_are_refused() -> None:
    from probes.errors import UnusableTargetError

    with pytest.raises(UnusableTargetError) as refused:
        _ = split(cpu=17 * 10**6).network
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("target 'embedded': ")


@pytest.mark.usefixtures("embedded_model_loaded")
def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from probes.engines.transformers.engine import TransformersEngine as Model
    from probes.errors import UnusableTargetError
    from probes.targets.preflight import preflight
    from probes.targets.target import Target

    folder = tmp_path / "deeper"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UnusableTargetError) as refused:
        _ = Model(preflight(Target(name="deeper", folder=folder))).network
    assert str(refused.value) == (
        "target 'deeper': its weights lack 9 of the tensors that its configuration describes, the "
        "first 'model.layers.4.input_layernorm.weight': copy or download the model again"
    )


# --- progress ------------------------------------------------------------------------------------


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("probes._util.progress.LARGE", 1)
    yield
    import probes

    probes.load("embedded")


LOADS = """
def test_before(model):
    pass

@pytest.mark.claim("mine", title="It loads.")
def test_it_loads(model):
    print("this is captured")
    assert model.network is not None
"""


@pytest.mark.usefixtures("everything_is_large")
def test_loading_is_shown_while_it_lasts(warm_project: Project) -> None:
    import probes

    probes.load("embedded").unload()
    warm_project.test_file(LOADS)
    result = warm_project.run("-q")
    assert result.ret == 0
    lines = [line for line in result.outlines if "loading" in line]
    assert len(lines) == 2
    assert lines[0] == "loading embedded: 0.0 GB ..."
    assert lines[1].startswith("loading embedded: 0.0 GB: done in ")
    assert "this is captured" not in result.stdout.str()
