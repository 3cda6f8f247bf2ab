"""Describe what a run is made with, without importing torch."""

from __future__ import annotations

import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from probes.schema.record import Environment

PACKAGES = (
    *("accelerate", "bitsandbytes", "mistral-common", "numpy", "pytest", "safetensors"),
    *("sentencepiece", "tokenizers", "torch", "transformers"),
)
"""Libraries whose versions can change what a model does, or how that is judged."""


def describe_environment(device: str = "cpu", workers: int = 1) -> Environment:
    """Return versions and device of this process; torch's facts only where it is loaded already.

    `device` is where the model is, such as `cuda:0`; the first of several separated by commas.
    """
    facts = Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages=_versions(),
        workers=workers,
    )
    torch = sys.modules.get("torch")
    if torch is None:
        return facts
    on_cuda, first = device.startswith("cuda"), device.partition(",")[0]
    return facts.model_copy(
        update={
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name(first) if on_cuda else None,
            "cuda": torch.version.cuda if on_cuda else None,
        }
    )


@cache
def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
