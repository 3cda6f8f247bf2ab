"""Logits that break filters: huge, tiny, equal, tied, one-hot, with -inf."""

from __future__ import annotations

import torch

KINDS = ("normal", "huge", "tiny", "equal", "ties", "one-hot", "powers of two", "minus infinity")


def adversarial_logits(size: int, kind: str, seed: int, dtype: str = "float32") -> torch.Tensor:
    """Generate logits of one of `KINDS`: (1, size), float32.

    "powers of two" gives probabilities 1/2, 1/4 and so on, whose running sums are exact in binary
    and can equal p. Values are rounded to `dtype`, then widened, as `generate` widens them.

    >>> adversarial_logits(3, "equal", seed=0)
    tensor([[0., 0., 0.]])
    """
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(1, size, generator=generator)
    logits = {
        "normal": lambda: 3 * normal,
        "huge": lambda: 1e4 * normal,
        "tiny": lambda: 1e-6 * normal,
        "equal": lambda: torch.zeros(1, size),
        "ties": (2 * normal).round,
        "one-hot": lambda: 50 * torch.nn.functional.one_hot(normal.argmax(-1), size).float(),
        "powers of two": lambda: _powers_of_two(size, generator),
        "minus infinity": lambda: _with_infinities(normal),
    }[kind]()
    return logits.to(getattr(torch, dtype)).float()


def _powers_of_two(size: int, generator: torch.Generator) -> torch.Tensor:
    halvings = torch.arange(1, size + 1).clamp_max(min(size - 1, 24)).float()
    order = torch.randperm(size, generator=generator)
    return (-halvings * torch.log(torch.tensor(2.0)))[order].unsqueeze(0)


def _with_infinities(normal: torch.Tensor) -> torch.Tensor:
    dropped = normal > 0
    dropped[0, normal.argmin()] = False
    return normal.masked_fill(dropped, -torch.inf)
