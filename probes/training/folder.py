"""Write the folder of the embedded model."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from probes.training.recipe import EMBEDDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import MistralForCausalLM


def write_model(model: MistralForCausalLM, folder: Path) -> None:
    """Write configuration and float16 weights; the output head is the embedding, stored once."""
    for name in ("config.json", "generation_config.json"):
        shutil.copyfile(EMBEDDED / name, folder / name)
    tensors = {
        name: tensor.to(torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, and move its files into ``folder`` at the end.

    Each is replaced in one step, so a reader sees the old one or the new one. Nothing is moved
    where the block raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        yield work
        for path in sorted(work.iterdir()):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
