"""Compare texts packed into one row, by positions that begin again, with the same texts apart."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import transformers

from probes.engines.transformers.attention import list_attention, use_attention
from probes.engines.transformers.branches import find_plain_cache
from probes.engines.transformers.engine import TransformersEngine
from probes.errors import UndecidableError
from probes.measure.rounding_noise import as_texts, logits_along, simulate_noise
from probes.stats.rounding import largest_distance_change

MASKING = "transformers.masking_utils"
"""What makes attention masks, in transformers 4.53 and newer."""

PACKING = "find_packed_sequence_indices"
"""The function there that looks for packed texts."""

MASKED = ("eager", "sdpa")
"""Attention implementations that take a mask of queries and keys."""


@dataclass(frozen=True)
class PackedRow:
    """How the logits of texts packed into one row differ from those of each text apart."""

    name: str  # what told the texts apart, and the attention
    texts: int
    change: float  # largest change of the distance of a likely logit to the largest
    tolerance: float  # the largest that rounding explains
    undecided: str = ""  # why texts need not be kept apart so, where they need not

    @property
    def explained(self) -> bool:
        """Whether rounding explains the difference, or the library promises no less."""
        return bool(self.undecided) or self.change <= self.tolerance


@torch.inference_mode()
def pack_rows(model: TransformersEngine, rows: Sequence[Sequence[int]]) -> list[PackedRow]:
    """Pack texts into one row, and compare the logits of every position with those of each apart.

    They are told apart by positions alone, by positions beside a mask of ones, and by positions
    and a mask of blocks, where no window is narrower than a text; for each attention
    implementation. Raises UndecidableError where the library's version does not look for packed
    texts, or the architecture takes no positions.

    >>> rows = [load("embedded").encode(text) for text in ("Once", "The capital of Japan is")]
    >>> [(each.name, each.explained) for each in pack_rows(load("embedded"), rows)][:2]
    [('positions, attention eager', True), ('positions and ones, attention eager', True)]
    """
    if find_spec(MASKING) is None or not hasattr(import_module(MASKING), PACKING):
        raise UndecidableError(f"{_version()} makes no attention masks from positions")
    if "position_ids" not in inspect.signature(model.network.forward).parameters:
        raise UndecidableError("its architecture takes no positions")
    _, cache = _pass(model, [rows[0]], use_cache=True)
    if find_plain_cache(cache) is None:
        raise UndecidableError("it has recurrent states, which positions do not tell apart")
    tolerance = simulate_noise(model, as_texts(rows)).tolerance
    found: list[PackedRow] = []
    for name in list_attention(model):
        with use_attention(model, name) as computing:
            found += _pack(computing, name, rows, tolerance)
    return found


def _pack(
    model: TransformersEngine, attention: str, rows: Sequence[Sequence[int]], tolerance: float
) -> Iterator[PackedRow]:
    apart = torch.cat(logits_along(model, as_texts(rows)))
    ones = torch.ones(1, len(apart), dtype=torch.long, device=model.device)
    ways = {"positions": None, "positions and ones": ones}
    if attention in MASKED and max(map(len, rows)) <= _narrowest_window(model):
        ways["positions and blocks"] = _make_blocks(model, rows)
    for name, mask in ways.items():
        with _watch_for_packing() as looked:
            (logits, _) = _pass(model, rows, attention_mask=mask)
        undecided = ""
        # Without a mask, an architecture that takes positions has to pass them on.
        if not looked and mask is ones:
            undecided = f"{_version()} does not look for packed texts where a mask is given"
        change = largest_distance_change(apart, logits)
        yield PackedRow(f"{name}, attention {attention}", len(rows), change, tolerance, undecided)


def _narrowest_window(model: TransformersEngine) -> float:
    """Return the tokens that each layer sees at least; a mask of blocks knows no window."""
    config = model.config.get_text_config()
    windows = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return min((each for each in windows if each), default=math.inf)


def _make_blocks(model: TransformersEngine, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return a mask to be added, (1, 1, tokens, tokens), that lets a text see itself alone."""
    text = torch.tensor([place for place, row in enumerate(rows) for _ in row])
    hidden = (text != text.unsqueeze(1)) | torch.ones(len(text), len(text)).triu(1).bool()
    dtype = model.network.dtype
    mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)
    return mask[None, None].to(model.device)


def _pass(
    model: TransformersEngine,
    rows: Sequence[Sequence[int]],
    *,
    attention_mask: torch.Tensor | None = None,
    use_cache: bool = False,
) -> tuple[torch.Tensor, Any]:
    """Return the logits of packed rows, (tokens, vocabulary), float32, on the CPU, and a cache."""
    ids = torch.tensor([[i for row in rows for i in row]], device=model.device)
    positions = torch.cat([torch.arange(len(row)) for row in rows]).unsqueeze(0)
    out = model.network(
        input_ids=ids,
        position_ids=positions.to(model.device),
        attention_mask=attention_mask,
        use_cache=use_cache,
    )
    return out.logits[0].float().cpu(), getattr(out, "past_key_values", None)


@contextmanager
def _watch_for_packing() -> Iterator[list[torch.Tensor]]:
    """Keep the positions that the library looks at for packed texts."""
    looked: list[torch.Tensor] = []
    masking: Any = import_module(MASKING)
    look = getattr(masking, PACKING)

    def find(position_ids: torch.Tensor) -> Any:
        looked.append(position_ids)
        return look(position_ids)

    setattr(masking, PACKING, find)
    try:
        yield looked
    finally:
        setattr(masking, PACKING, look)


def _version() -> str:
    return f"transformers {transformers.__version__}"
