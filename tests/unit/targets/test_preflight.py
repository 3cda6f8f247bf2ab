from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probes.errors import UnusableTargetError
from probes.targets.preflight import preflight
from probes.targets.target import Target

MakeFolder = Callable[..., Path]


def mine(folder: str | Path | None = None, **fields: Any) -> Target:
    return Target(name="mine", folder=None if folder is None else Path(folder), **fields)


def refusal(target: Target) -> str:
    with pytest.raises(UnusableTargetError) as caught:
        preflight(target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(
        "probes.targets.preflight.find_spec", lambda name: None if name == package else object()
    )


# --- usable targets -----------------------------------------------------------------------------


def test_hub_model_passes_with_its_commit(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder()
    monkeypatch.setattr("probes.targets.hub.fetch", lambda *named: (folder, "-".join(named[:2])))
    usable = preflight(mine(repository="org/model", revision="v1"))
    assert (usable.revision, usable.checkpoint.folder) == ("org/model-v1", folder)


def test_folder_is_checked_without_the_libraries_under_test(make_folder: MakeFolder) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from probes.targets.preflight import preflight; from probes.targets.target import Target\n"
        f"preflight(Target(name='mine', folder=Path({str(make_folder())!r})))\n"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'huggingface_hub'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1", "mps"])
def test_available_device_passes(
    device: str, fake_torch: Callable[..., None], make_folder: MakeFolder
) -> None:
    fake_torch(8, 8, mps=True)
    assert preflight(mine(make_folder(), device=device)).checkpoint.parameters


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "cuda", "message"),
    [
        (
            "cuda",
            0,
            "torch 9.9.9 sees no CUDA device: run on a machine with an NVIDIA GPU and a CUDA build "
            "of torch, or choose --device cpu",
        ),
        (
            "cuda:2",
            2,
            "the last of the CUDA devices that torch sees is cuda:1: choose --device cuda:1, or "
            "make more devices visible",
        ),
        ("mps", 0, "torch 9.9.9 sees no Apple GPU: run on a Mac with one, or choose --device cpu"),
    ],
)
def test_missing_device_is_refused_before_anything_is_fetched(
    device: str,
    cuda: int,
    message: str,
    fake_torch: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_torch(*[8] * cuda)
    monkeypatch.setattr("probes.targets.hub.fetch", None)
    assert refusal(mine(repository="org/model", device=device)) == (
        f"target 'mine': device {device} was asked for, but {message}"
    )


@pytest.mark.parametrize("package", ["bitsandbytes", "accelerate"])
def test_nf4_without_its_packages_is_refused(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, package)
    assert refusal(mine("mine", quantization="nf4")) == (
        f"target 'mine': quantization nf4 needs the package {package}, which is not installed: "
        f"python -m pip install {package}, or choose --quantization none"
    )


@pytest.mark.parametrize(
    ("transformers", "message"),
    [
        (
            "4.46.3",
            "without a CUDA device transformers 4.46.3 cannot load 4-bit weights: install 4.53 or "
            "later, or choose --quantization none",
        ),
        ("5.0.0", "the weights are stored quantized already (gptq): choose --quantization none"),
    ],
)
def test_impossible_nf4_is_refused(
    transformers: str,
    message: str,
    fake_torch: Callable[..., None],
    make_folder: MakeFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_torch()
    without(monkeypatch, "nothing")
    monkeypatch.setattr("probes.targets.capabilities.version", lambda _: transformers)
    config = {"vocab_size": 16, "quantization_config": {"quant_method": "gptq"}}
    folder = make_folder(**{"config.json": config})
    assert refusal(mine(folder, quantization="nf4")) == (
        f"target 'mine': quantization nf4 was asked for, but {message}"
    )


OWN_CODE = {"AutoModelForCausalLM": "modeling_own.OwnModel"}


@pytest.mark.parametrize("model_type", ["own", None, "own\nmodel"])
def test_model_that_needs_its_own_code_is_refused(
    model_type: str | None, make_folder: MakeFolder
) -> None:
    transformers = pytest.importorskip("transformers")
    config = {"vocab_size": 16, "auto_map": OWN_CODE, "model_type": model_type}
    folder = make_folder(**{"config.json": config})
    line = refusal(mine(folder))
    assert line.startswith(
        f"target 'mine': {folder} can be loaded only by code of its own, which is never run: "
        f"transformers {transformers.__version__} has no language model of type "
    )
    assert line.endswith("; a newer transformers may have one")


def test_model_that_does_not_need_its_own_code_passes(make_folder: MakeFolder) -> None:
    config = {"vocab_size": 16, "auto_map": OWN_CODE, "model_type": "mistral"}
    assert preflight(mine(make_folder(**{"config.json": config}))).checkpoint.parameters
