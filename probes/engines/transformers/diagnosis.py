"""Find out under what conditions a forward pass gives no distribution, and how to see it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from probes.engines.transformers.loading import dtype_argument
from probes.engines.transformers.precision import in_float32

LARGEST_FLOAT16 = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class BrokenPass:
    """One row of a forward pass whose last logits have no finite maximum."""

    network: Any
    name: str
    """The folder or hub id to load it from."""
    ids: torch.Tensor
    """(1, positions): all of them, or those after a cache."""
    mask: torch.Tensor
    """(1, positions and cached ones), 0 for padding."""
    cached: int
    """Positions in the cache before the pass."""
    cache: str
    """The name of the cache's class; empty without a cache."""
    has_positions: bool
    """Whether the pass was given the positions of the tokens."""

    @classmethod
    def of_row(
        cls, network: Any, name: str, kwargs: Mapping[str, Any], row: int, cached: int
    ) -> BrokenPass | None:
        """Take a row from a pass's arguments; None where it was given no token ids."""
        ids, mask = kwargs.get("input_ids"), kwargs.get("attention_mask")
        if not isinstance(ids, torch.Tensor):
            return None
        ids = ids[row : row + 1]
        if isinstance(mask, torch.Tensor) and mask.dim() == 2:
            mask = mask[row : row + 1]
        else:
            mask = torch.ones_like(ids)
        cache = kwargs.get("past_key_values")
        return cls(
            network,
            name,
            ids,
            mask,
            cached,
            "" if cache is None else type(cache).__name__,
            kwargs.get("position_ids") is not None,
        )

    def conditions(self) -> str:
        """Describe what the result may depend on, in one line.

        Attention implementation, dtype, device, padding, cache, and the first part of the network
        that returns NaN or infinity.
        """
        network = self.network
        dtype = str(network.dtype).removeprefix("torch.")
        parts = [
            f"attention {network.config._attn_implementation}",
            dtype,
            str(self.ids.device),
            self._padding(),
            f"cache {self.cache} of {self.cached} positions" if self.cached else "no cached tokens",
        ]
        if not self.cached and (first := self._first_broken()):
            parts.append(f"first in {first}")
        return ", ".join(parts)

    def overflow(self) -> tuple[str, float] | None:
        """Return a part of a float16 network that leaves its range in float32, and how far it goes.

        Padding does not count: nothing may depend on it. Quantized layers compute in float16
        whatever their input's dtype: what leaves its range beside them is found.
        """
        if self.network.dtype is not torch.float16 or self.cached:
            return None
        found: list[tuple[str, float]] = []

        def look(name: str, output: torch.Tensor) -> None:
            largest = float(output[self.mask[0] != 0].abs().max())
            if not found and LARGEST_FLOAT16 < largest < torch.inf:
                found.append((name, largest))

        with in_float32(self.network):
            self._run(look)
        return found[0] if found else None

    def call(self) -> str:
        """Return the shortest call of transformers that shows it again; empty where none can.

        Weights that were quantized at loading are not in the folder that the call would load.
        """
        if self.cached or getattr(self.network, "is_quantized", False):
            return ""
        network = self.network
        dtype = str(network.dtype).removeprefix("torch.")
        attention = network.config._attn_implementation
        lines = [
            "import torch, transformers",
            "model = transformers.AutoModelForCausalLM.from_pretrained("
            f'{self.name!r}, {dtype_argument()}=torch.{dtype}, attn_implementation="{attention}")',
            f"ids = torch.tensor({self.ids.tolist()})",
            f"mask = torch.tensor({self.mask.tolist()})",
        ]
        positions = ", position_ids=(mask.cumsum(-1) - 1).clamp(0)" if self.has_positions else ""
        inputs = f"input_ids=ids, attention_mask=mask{positions}"
        if self.ids.device.type != "cpu":
            lines.append(
                f'model, ids, mask = (x.to("{self.ids.device}") for x in (model, ids, mask))'
            )
        return "\n".join([*lines, f"print(model({inputs}).logits[0, -1])"])

    def _padding(self) -> str:
        padded = (self.mask[0] == 0).sum().item()
        if not padded:
            return "no padding"
        return f"{padded} padded on the {'left' if not self.mask[0, 0] else 'right'}"

    def _first_broken(self) -> str | None:
        found: list[str] = []

        def look(name: str, output: torch.Tensor) -> None:
            broken = ~output.isfinite().flatten(1).all(dim=1)
            if not found and bool(broken.any()):
                padding = broken & (self.mask[0] == 0)
                only = ", at padding" if bool((padding == broken).all()) else ""
                found.append(f"{name}{only}")

        self._run(look)
        return found[0] if found else None

    @torch.inference_mode()
    def _run(self, look: Callable[[str, torch.Tensor], None]) -> None:
        """Repeat the row's pass, and show each part's output, (positions, ...), in order."""
        positions = {}
        if self.has_positions:
            positions["position_ids"] = (self.mask.cumsum(-1) - 1).clamp(0)
        with _watch(self.network, self.ids.shape[1], look):
            self.network(input_ids=self.ids, attention_mask=self.mask, use_cache=False, **positions)


@contextmanager
def _watch(network: Any, length: int, look: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    def show(name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, (tuple, list)) else output
            if (
                isinstance(first, torch.Tensor)
                and first.is_floating_point()
                and first.dim() >= 3
                and first.shape[:2] == (1, length)
            ):
                look(name, first[0])

        return hook

    handles = [
        module.register_forward_hook(show(name)) for name, module in network.named_modules() if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
