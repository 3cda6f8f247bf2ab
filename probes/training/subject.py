"""The model under evaluation, and what its figures are written as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel

PROMPT = "The capital of Japan is"
STORIES = ("Once upon a time,", "Long, long ago,", "In the beginning,")
PUBLISHED_QUESTIONS = (
    "<s> What is the capital of United States? ",
    "<s> When did World War II end? ",
    "<s> Who painted the Mona Lisa? ",
)
SEED = 0
"""Seed of every draw."""

_BATCH = 128
# Decoding drops the first space of a text: one put in front keeps that of a continuation.
_LONE_SPACE = 28705


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was measured.
        value: The result, as it is shown.
    """

    name: str
    value: str


@dataclass(frozen=True)
class Continuations:
    """What generation gave for some prompts.

    Attributes:
        texts: The new text of each, special tokens shown.
        ids: New ids of each row, shape (rows, tokens).
        logits: Raw logits of each step, shape (rows, tokens, vocabulary), float32; empty where
            they were not asked for.
    """

    texts: list[str]
    ids: Tensor
    logits: Tensor

    @property
    def margins(self) -> Tensor:
        """How far the best logit lies above the second, shape (rows, tokens)."""
        best = self.logits.topk(2, dim=-1).values
        return best[..., 0] - best[..., 1]


class Subject:
    """The model under evaluation with its tokenizer."""

    def __init__(self, folder: Path, model: PreTrainedModel | None = None) -> None:
        """Load a model folder.

        Args:
            folder: The folder.
            model: Its model, where it is loaded already in another way; else it is in float32.
        """
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder))
        # The Auto classes' own types say less than what they return, and differ by version.
        self.model: Any = model or AutoModelForCausalLM.from_pretrained(str(folder))

    def logits(self, ids: list[int], skip_position: int | None = None) -> Tensor:
        """Logits after each token of one row, by one forward pass.

        Args:
            ids: Token ids.
            skip_position: A position that is left out, so that all later ones are one too high.

        Returns:
            Shape (tokens, vocabulary), float32.
        """
        places = torch.arange(len(ids))
        if skip_position is not None:
            places += places >= skip_position
        row = torch.tensor([ids])
        # The mask is given, else a gap in the positions would be read as the start of a new text.
        with torch.inference_mode():
            out = self.model(
                input_ids=row, attention_mask=torch.ones_like(row), position_ids=places[None]
            )
        logits: Tensor = out.logits[0].float()
        return logits

    def continuations(
        self,
        prompts: Sequence[str],
        length: int,
        *,
        bos: bool = True,
        keep_logits: bool = False,
        **settings: float | int | bool,
    ) -> Continuations:
        """Continue prompts by ``generate()``, greedily where no settings are given.

        Args:
            prompts: The prompts, batched with padding on the left.
            length: New tokens of each; EOS does not end a text here.
            bos: Whether encoding inserts BOS.
            keep_logits: Whether to keep each step's logits.
            **settings: Passed on to ``generate()``.
        """
        ids, logits = [], []
        for start in range(0, len(prompts), _BATCH):
            batch = self._padded(prompts[start : start + _BATCH], bos)
            out = self.model.generate(
                **batch,
                max_new_tokens=length,
                min_new_tokens=length,
                pad_token_id=self.tokenizer.eos_token_id,
                return_dict_in_generate=True,
                output_logits=keep_logits,
                **{"do_sample": False, **settings},
            )
            ids.append(out.sequences[:, batch["input_ids"].shape[1] :])
            if keep_logits:
                logits.append(torch.stack(out.logits, dim=1))
        new = torch.cat(ids)
        return Continuations(
            [str(self.tokenizer.decode([_LONE_SPACE, *row])) for row in new.tolist()],
            new,
            torch.cat(logits) if logits else torch.empty(0),
        )

    def _padded(self, prompts: Sequence[str], bos: bool) -> dict[str, Tensor]:
        rows = [self.tokenizer(p, add_special_tokens=bos)["input_ids"] for p in prompts]
        width = max(map(len, rows))
        pad = self.tokenizer.eos_token_id
        return {
            "input_ids": torch.tensor([[pad] * (width - len(r)) + r for r in rows]),
            "attention_mask": torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows]),
        }


def least_margin(run: Continuations, tokens: int = 20) -> str:
    """Show the smallest margin of the first tokens, over all rows."""
    return f"{float(run.margins[:, :tokens].min()):.2f}"


def each(values: Sequence[float]) -> str:
    """Show several values in one cell."""
    return " · ".join(f"{value:.2f}" for value in values)
