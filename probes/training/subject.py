"""The model under evaluation, and the form of its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from probes.data.questions import built_in_questions
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, STORIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel

PUBLISHED_QUESTIONS = tuple(question.prompt for question in built_in_questions()[:3])
PROMPTS = (CAPITAL_OF_JAPAN, *STORIES, *PUBLISHED_QUESTIONS)

SEED = 0

_BATCH = 128
# Decoding drops the first space of a text: this one keeps that of a continuation.
_LONE_SPACE = 28705


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: str


@dataclass(frozen=True)
class Continuations:
    """Continuations with special tokens; `logits` are (rows, tokens, vocabulary) if requested."""

    texts: list[str]
    ids: Tensor
    logits: Tensor

    def least_margin(self, tokens: int = 20) -> str:
        """Format the smallest distance of the best two logits, over rows and first tokens."""
        best = self.logits[:, :tokens].topk(2, dim=-1).values
        return f"{float((best[..., 0] - best[..., 1]).min()):.2f}"


class Subject:
    """The model under evaluation with its tokenizer."""

    def __init__(self, folder: Path, model: PreTrainedModel | None = None) -> None:
        """Load a model folder, in float32 unless its model is loaded already."""
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder))
        # The types of the Auto classes are wider than what they return, and differ by version.
        self.model: Any = model or AutoModelForCausalLM.from_pretrained(str(folder))

    def logits(self, ids: list[int], skip_position: int | None = None) -> Tensor:
        """Return the logits after each token, (tokens, vocabulary), float32, by one forward pass.

        `skip_position` is left out, so that all later positions are one too high.
        """
        positions = torch.arange(len(ids))
        if skip_position is not None:
            positions += positions >= skip_position
        row = torch.tensor([ids])
        # Without the mask a gap in the positions would be read as the start of a new text.
        with torch.inference_mode():
            out = self.model(
                input_ids=row, attention_mask=torch.ones_like(row), position_ids=positions[None]
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
        **settings: Any,
    ) -> Continuations:
        """Continue prompts by ``generate()``, greedily by default; EOS does not end a text."""
        ids, logits = [], []
        for start in range(0, len(prompts), _BATCH):
            batch = self._pad(prompts[start : start + _BATCH], bos)
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

    def _pad(self, prompts: Sequence[str], bos: bool) -> dict[str, Tensor]:
        rows = [self.tokenizer(p, add_special_tokens=bos)["input_ids"] for p in prompts]
        width = max(map(len, rows))
        pad = self.tokenizer.eos_token_id
        return {
            "input_ids": torch.tensor([[pad] * (width - len(r)) + r for r in rows]),
            "attention_mask": torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows]),
        }


def join_values(values: Sequence[float]) -> str:
    """Format several values for one cell."""
    return " · ".join(f"{value:.2f}" for value in values)
