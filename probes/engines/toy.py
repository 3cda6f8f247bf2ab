"""A deterministic engine without weights: a tiny vocabulary and a made-up distribution.

Unit tests measure it instead of a model, and switch off what is to be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch

from probes.engines.base import EngineBase, Generation, NextLogits, Prompt, TopLogprobs
from probes.engines.logprobs import add_top_logprobs, list_top_logprobs
from probes.errors import TokenizerFailedError, UnknownIdError
from probes.schema.claim import CAPABILITIES
from probes.schema.record import Cost, TargetFacts
from probes.schema.sampling import Sampling
from probes.stats.sampling_reference import apply_filters

TOKENS = ("<s>", "</s>", "a", "b", "c", "d")
BOS, EOS = 0, 1

TOY_CAPABILITIES = frozenset(CAPABILITIES) - {
    *("weights", "variants", "beam-search", "timing", "streams", "server")
}

LogitsRule = Callable[[Sequence[int]], torch.Tensor]


def make_up_logits(ids: Sequence[int]) -> torch.Tensor:
    """Make up the logits after some tokens, (vocabulary,), from all of them and their order."""
    seed = sum((place + 1) * (token + 1) for place, token in enumerate(ids))
    return 2 * torch.randn(len(TOKENS), generator=torch.Generator().manual_seed(seed))


class ToyEngine(EngineBase):
    """Continues texts of the letters a to d.

    >>> toy = ToyEngine(without=["logits"])
    >>> toy.encode("abc"), toy.decode([2, 3, 1])
    ([0, 2, 3, 4], 'ab</s>')
    >>> toy.logits("abc")
    Traceback (most recent call last):
    probes.errors.MissingCapabilityError: its engine, toy, does not offer logits: ...
    """

    name: ClassVar[str] = "toy"

    def __init__(
        self, without: Collection[str] = (), next_logits: LogitsRule = make_up_logits
    ) -> None:
        """Make a toy without some capabilities, or with another distribution."""
        self._capabilities = TOY_CAPABILITIES - frozenset(without)
        self._next_logits = next_logits
        self.cost = Cost()
        self.vocab_size, self.hidden_size = len(next_logits([BOS])), 1
        self.token_count = len(TOKENS)
        self.eos_token_ids, self.special_token_ids = [EOS], [BOS, EOS]

    @property
    def capabilities(self) -> frozenset[str]:
        """What it offers; it has no weights."""
        return self._capabilities

    def facts(self) -> TargetFacts:
        """State what is tested, for the record."""
        return TargetFacts(name="toy", source="toy", dtype="float32", device="cpu")

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text, one for each letter."""
        return [BOS] * add_special_tokens + _encode_letters(text)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of token ids."""
        return _decode(ids, skip_special_tokens)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the vocabulary's own spelling of token ids."""
        return [TOKENS[i] for i in ids]

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Return a prompt's token ids."""
        return self._prompt_ids(prompt)

    def logits(self, prompt: Prompt) -> torch.Tensor:
        """Return the logits after every position of a prompt: (positions, vocabulary)."""
        return self._logits(self._prompt_ids(prompt))

    def logits_batch(self, prompts: Sequence[Prompt]) -> list[torch.Tensor]:
        """Return the same of several prompts."""
        return [self.logits(prompt) for prompt in prompts]

    def logits_after(self, prompt: Prompt, continuations: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the logits along continuations: (continuations, length, vocabulary)."""
        ids = self._prompt_ids(prompt)
        return torch.stack([self.logits([*ids, *each])[len(ids) :] for each in continuations])

    def follow_branches(self) -> NextLogits:
        """Return a function that computes the logits after each of several texts."""
        return lambda texts: torch.stack([self.logits(ids)[-1] for ids in texts])

    def reuse_prompts(self, prompts: Sequence[Prompt]) -> dict[str, Any]:  # noqa: ARG002
        """Return no arguments: it keeps nothing."""
        return {}

    def prompt_logprobs(self, prompt: Prompt, top_logprobs: int) -> list[TopLogprobs]:
        """Return the most likely tokens at every position of a prompt but the first."""
        ids = self._prompt_ids(prompt)
        return list_top_logprobs(self._logits(ids), ids[1:], top_logprobs)

    def chat(self, messages: Sequence[Mapping[str, str]], **settings: Any) -> Generation:
        """Answer messages; the template joins their contents."""
        return self.generate("".join(each["content"] for each in messages), **settings)

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the token ids of messages."""
        return self._prompt_ids("".join(each["content"] for each in messages))

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling | None = None,
        seed: int | None = None,
        num_return_sequences: int = 1,
        max_new_tokens: int | None = None,
        top_logprobs: int | None = None,
        **arguments: Any,
    ) -> list[Generation]:
        """Continue several prompts, all rows step by step; the default length is 20 tokens."""
        asked = {} if top_logprobs is None else {"top_logprobs": top_logprobs}
        self.require_for(prompts, arguments | asked)
        starts = [self._prompt_ids(prompt) for prompt in prompts]
        rows = [list(ids) for ids in starts for _ in range(num_return_sequences)]
        begins = [len(row) for row in rows]
        random = None if sampling is None else torch.Generator().manual_seed(seed or 0)
        all_logits, all_scores = [], []
        for _ in range(max_new_tokens or 20):
            logits = torch.stack([self._next_logits(row) for row in rows])
            self._count(len(rows), 1)
            scores = logits
            for processor in arguments.get("logits_processor", ()):
                scores = processor(torch.tensor([row[-1:] for row in rows]), scores)
            if sampling is not None:
                scores = apply_filters(scores, sampling)
            for row, token in zip(rows, _choose(scores, random), strict=True):
                row.append(token)
            all_logits.append(logits)
            all_scores.append(scores)
            if all(EOS in row[begin:] for row, begin in zip(rows, begins, strict=True)):
                break
        new = [_cut_after_end(row[begin:]) for row, begin in zip(rows, begins, strict=True)]
        logits, scores = torch.stack(all_logits, dim=1), torch.stack(all_scores, dim=1)
        generations = []
        for number, ids in enumerate(starts):
            own = slice(number * num_return_sequences, (number + 1) * num_return_sequences)
            texts = [_decode(row, skip_special_tokens=True) for row in new[own]]
            whole = Generation(ids, new[own], texts, logits[own], scores[own])
            generations.append(add_top_logprobs(whole, top_logprobs))
        return generations

    def _prompt_ids(self, prompt: Prompt) -> list[int]:
        ids = [BOS, *_encode_letters(prompt)] if isinstance(prompt, str) else list(prompt)
        for i in ids:
            if not 0 <= i < len(TOKENS):
                raise UnknownIdError(f"the id {i} is not in the vocabulary")
        return ids

    def _logits(self, ids: Sequence[int]) -> torch.Tensor:
        self._count(1, len(ids))
        return torch.stack([self._next_logits(ids[: n + 1]) for n in range(len(ids))])

    def _count(self, rows: int, positions: int) -> None:
        self.cost += Cost(forward_passes=1, rows=rows, tokens=rows * positions)


def _encode_letters(text: str) -> list[int]:
    if not set(text) <= set(TOKENS):
        raise TokenizerFailedError(f"the toy's tokenizer knows the letters a to d only: {text!r}")
    return [TOKENS.index(letter) for letter in text]


def _decode(ids: Sequence[int], skip_special_tokens: bool) -> str:
    return "".join(TOKENS[i] for i in ids if not (skip_special_tokens and i in (BOS, EOS)))


def _choose(scores: torch.Tensor, random: torch.Generator | None) -> list[int]:
    if random is None:
        return [int(token) for token in scores.argmax(dim=-1)]
    return [int(i) for i in torch.multinomial(scores.softmax(dim=-1), 1, generator=random)]


def _cut_after_end(ids: list[int]) -> list[int]:
    return ids[: ids.index(EOS) + 1] if EOS in ids else ids
