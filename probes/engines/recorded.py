"""A record as the reference of an engine: what a transformers target gave, without its weights.

It has the ids, greedy texts and log-probabilities that the record holds. Whatever else a claim asks
of it is missing, and the claim is then not applicable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from probes._util.text import quote
from probes.data.tokenizer_texts import PROMPTS, QUESTION, SPELLED_BOS, corpus
from probes.engines.base import Generation
from probes.errors import MissingCapabilityError, UndecidableError, UserError
from probes.schema.evidence.distributions import KeptPrompts, PromptLogprobs
from probes.schema.evidence.texts import KeptTexts
from probes.schema.evidence.words import KeptIds
from probes.schema.record import Record, TargetFacts
from probes.schema.recorded_ids import hash_texts
from probes.schema.recorded_output import RecordedText

NEEDED = ("recorded-ids", "recorded-texts", "greedy-deterministic")
"""Claims whose evidence a reference is made of."""

LEAST_NOISE = 1e-6
"""Nats that rounding moves a logit by at least."""


@dataclass(frozen=True)
class MeasuredNoise:
    """How far rounding moved a logit when the record was made."""

    batch: float  # by another batch
    bound: float  # by what is possible
    simulated: tuple[float, int, int] | None  # largest, steps and draws of simulated rounding


class RecordedReference:
    """What a record holds of its target, in the form that an engine has."""

    name = "a record"

    def __init__(self, record: Record) -> None:
        """Take a record, or raise UserError if it holds nothing that engines are compared with."""
        self._facts = record.target
        self.prompts: dict[str, PromptLogprobs] = {}
        self.noise = MeasuredNoise(LEAST_NOISE, LEAST_NOISE, None)
        self.texts: dict[str, RecordedText] = {}
        self.texts_with_ids: dict[str, list[int]] = {}
        for values in (check.values for claim in record.claims for check in claim.evidence):
            if (kept := KeptPrompts.read(values)) is not None and not self.prompts:
                self.prompts = {each.prompt: each for each in kept.kept_prompts}
                self.noise = _read_noise(kept, values.get("simulated_noise"))
            if (texts := KeptTexts.read(values)) is not None and len(texts.kept_texts) == len(
                PROMPTS
            ):
                self.texts = dict(zip(PROMPTS, texts.kept_texts, strict=True))
                spelled = self.texts[SPELLED_BOS]
                if len({*spelled.prompt_ids[:2]}) > 1:  # it was asked without
                    self.texts[QUESTION] = self.texts.pop(SPELLED_BOS)
            if (ids := KeptIds.read(values)) is not None:
                own = ids.corpus_ids
                if own.texts == hash_texts(corpus()):
                    places = zip(own.kept, own.kept_ids, strict=True)
                    self.texts_with_ids = {corpus()[place]: list(row) for place, row in places}
        if not (self.prompts or self.texts or self.texts_with_ids):
            raise UserError(
                f"the record of {quote(record.target.name)} holds nothing that an engine is "
                f"compared with: decide {', '.join(NEEDED)} on a target of transformers"
            )

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what a record does not hold."""
        raise MissingCapabilityError(f"its reference is a record, which has no {name}")

    def facts(self) -> TargetFacts:
        """Return the facts of the recorded target."""
        return self._facts

    def unload(self) -> None:
        """Keep the record: it is small."""

    @property
    def token_count(self) -> int:
        """Number of tokens that the recorded tokenizer knows."""
        return self._facts.vocabulary or 0

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the texts of ids as far as the record names them."""
        return [self.decode([token]) for token in ids]

    def explain_missing(self, need: str) -> str | None:
        """Return why claims with a need cannot be decided by it; None if they can."""
        if need == "mistral-tokenizer" and SPELLED_BOS in self.texts:
            return None
        return f"it is a record, without {need}"

    def encode_prompt(self, prompt: str | Sequence[int]) -> list[int]:
        """Return the ids of a prompt, special tokens included."""
        if not isinstance(prompt, str):
            return list(prompt)
        if prompt in self.texts:
            return list(self.texts[prompt].prompt_ids)
        if prompt in self.prompts:
            return list(self.prompts[prompt].ids)
        raise UndecidableError(f"its reference is a record, without the ids of {quote(prompt)}")

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of a text."""
        if add_special_tokens:
            return self.encode_prompt(text)
        if text not in self.texts_with_ids:
            raise UndecidableError(f"its reference is a record, without the ids of {quote(text)}")
        return self.texts_with_ids[text]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:  # noqa: ARG002
        """Return the text of ids as far as the record names them."""
        return "".join(self._names().get(token, f"<{token}>") for token in ids)

    def generate_batch(
        self, prompts: Sequence[str], *, max_new_tokens: int, **_: Any
    ) -> list[Generation]:
        """Return the recorded greedy texts."""
        made = []
        for prompt in prompts:
            text = self.texts.get(prompt)
            if text is None:
                raise UndecidableError("its reference is a record, without this greedy text")
            ids = list(text.ids[:max_new_tokens])
            made.append(Generation(list(text.prompt_ids), [ids], [text.text]))
        return made

    def logits_batch(self, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Return logits after every position of texts that the record holds.

        Of a given prompt the largest are held and the sum over all others, which is spread over
        them evenly. Along a greedy text only the largest five are: the others count as the last.
        """
        return [self._logits(list(ids)) for ids in prompts]

    def _logits(self, ids: list[int]) -> torch.Tensor:
        size = max(self._facts.vocabulary or 0, self._largest_id() + 1)
        for each in self.prompts.values():
            if each.ids[: len(ids)] == ids:
                count = len(each.top_ids[0])
                rest = torch.tensor(each.log_rest[: len(ids)])[:, None]
                rest = rest - torch.tensor(float(max(1, size - count))).log()
                return _spread(size, each.top_ids[: len(ids)], each.top_logits[: len(ids)], rest)
        for text in self.texts.values():
            whole = [*text.prompt_ids, *text.ids]
            if whole[: len(ids)] == ids and len(ids) >= len(text.prompt_ids):
                steps = len(ids) - len(text.prompt_ids) + 1
                logits = text.top_logits[:steps]
                rest = torch.tensor([row[-1] for row in logits])[:, None]
                rows = _spread(size, text.top_ids[:steps], logits, rest)
                before = torch.full((len(text.prompt_ids) - 1, size), torch.nan)
                return torch.cat([before, rows])
        raise UndecidableError("its reference is a record, without the logits along this text")

    def _names(self) -> dict[int, str]:
        return {
            row[0]: name
            for each in self.prompts.values()
            for row, name in zip(each.top_ids, each.likeliest, strict=True)
        }

    def _largest_id(self) -> int:
        rows = [row for each in self.prompts.values() for row in each.top_ids]
        rows += [list(row) for each in self.texts.values() for row in each.top_ids]
        return max((max(row) for row in rows if row), default=0)


def _read_noise(kept: KeptPrompts, simulated: Any) -> MeasuredNoise:
    batch, bound = _positive(kept.noise), _positive(kept.tolerance)
    match simulated:
        case {"largest": float(largest), "steps": int(steps), "draws": int(draws)}:
            return MeasuredNoise(batch, bound, (largest, steps, draws))
    return MeasuredNoise(batch, bound, None)


def _positive(value: object) -> float:
    return max(LEAST_NOISE, float(value)) if isinstance(value, (int, float)) else LEAST_NOISE


def _spread(size: int, ids: Any, logits: Any, rest: torch.Tensor) -> torch.Tensor:
    """Return full rows of logits: those held in their places, all others as `rest` says."""
    rows = rest.expand(-1, size).clone()
    return rows.scatter(1, torch.tensor(ids), torch.tensor(logits))
