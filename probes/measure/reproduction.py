"""Write short calls of transformers that show a difference between two greedy texts again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probes.engines.transformers.loading import dtype_argument


@dataclass(frozen=True)
class VariedCall:
    """How a second call of `generate` differs from the first."""

    arguments: str = "ids, mask"
    """Those of `run` in the text of `write_calls`."""
    before: str = ""
    """A line that comes between the calls."""

    @classmethod
    def with_settings(cls, settings: Mapping[str, Any]) -> VariedCall:
        """Return the same call with other settings of `generate`."""
        named = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return cls(f"ids, mask, {named}")


SAME = VariedCall()


def describe_conditions(model: Any) -> str:
    """Describe what a network computes with, in one line.

    >>> describe_conditions(load("embedded"))
    'attention sdpa, float32, cpu, padded on the left, dynamic cache'
    """
    network = model.network
    dtype = str(network.dtype).removeprefix("torch.")
    return (
        f"attention {network.config._attn_implementation}, {dtype}, {model.device}, "
        "padded on the left, dynamic cache"
    )


def write_calls(model: Any, rows: Sequence[Sequence[int]], length: int, varied: VariedCall) -> str:
    """Write Python that makes the first row's text in both ways and prints how far logits move.

    The second row is the longest of the batch: what pads the first. Empty where no folder has the
    weights: they were quantized at loading, or drawn.
    """
    network = model.network
    if getattr(network, "is_quantized", False) or model.target.random is not None:
        return ""
    dtype = str(network.dtype).removeprefix("torch.")
    attention = network.config._attn_implementation
    name = model.target.repository or str(model.checkpoint.folder)
    filler = model.eos_token_ids[0] if model.eos_token_ids else 0
    device = f', device_map="{model.device}"' if model.device.type != "cpu" else ""
    unique = [list(row) for row in dict.fromkeys(map(tuple, rows))]
    return "\n".join(
        line
        for line in (
            "import torch, transformers",
            f"model = transformers.AutoModelForCausalLM.from_pretrained({name!r}, "
            f'{dtype_argument()}=torch.{dtype}, attn_implementation="{attention}"{device})',
            f"rows = {unique}",
            "width = max(map(len, rows))",
            f"ids = torch.tensor([[{filler}] * (width - len(row)) + row for row in rows])",
            "mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])",
            "def run(ids, mask, **settings):",
            "    ids, mask = ids.to(model.device), mask.to(model.device)",
            f"    found = model.generate(ids, attention_mask=mask, max_new_tokens={length}, "
            "do_sample=False, output_logits=True, return_dict_in_generate=True, **settings)",
            "    return [step[0].float() for step in found.logits]",
            "first = run(ids, mask)",
            varied.before,
            f"second = run({varied.arguments})",
            "print([float((a - b).abs().max()) for a, b in zip(first, second)])",
        )
        if line
    )
