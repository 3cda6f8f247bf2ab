"""The transformers engine: logits and generation of a loaded target."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers

from probes.engines.base import Generation, NextLogits, Prompt, TopLogprobs
from probes.engines.logprobs import add_top_logprobs, list_top_logprobs
from probes.engines.transformers import batching, hooks, variants
from probes.engines.transformers.branches import (
    Branches,
    copy_cache_of_prompts,
    find_plain_cache,
)
from probes.engines.transformers.caches import can_continue_cache, drop_kept_cache
from probes.engines.transformers.chat_dates import fix_date
from probes.engines.transformers.loaded import LoadedTarget, catch_tokenizer_failure
from probes.errors import UserError
from probes.schema.sampling import Sampling
from probes.targets.preflight import UsableTarget, preflight
from probes.targets.resolve import resolve
from probes.targets.target import Target

DEFAULT_NEW_TOKENS = 20
"""How many tokens transformers' `generate` adds if no length is named."""

KEPT_PROMPTS = 64
"""How many prompts' logits and caches an engine keeps: enough for a run, bounded in memory."""


@dataclass(frozen=True)
class Prefill:
    """A prompt's forward pass."""

    logits: torch.Tensor  # (positions, vocabulary), float32, on the CPU
    key_values: Any  # the cache after the prompt; copied before it is used


class TransformersEngine(LoadedTarget):
    """One target under test, computed by transformers.

    >>> model = load("embedded")
    >>> model.decode(model.encode("Hello world"))
    '<s> Hello world'
    >>> model.generate("The capital of Japan is", max_new_tokens=2).text
    'Tokyo.'
    """

    def __init__(self, usable: UsableTarget, original: TransformersEngine | None = None) -> None:
        """Take a target that passed the checks made before loading.

        A variant has the counter and the tokenizer of its original.
        """
        super().__init__(usable, original)
        self._variants: dict[Target, TransformersEngine] = {}
        self._prefill_of_ids = lru_cache(KEPT_PROMPTS)(self._compute_prefill)

    def variant(
        self,
        *,
        quantization: str | None = None,
        dtype: str | None = None,
        attn_implementation: str | None = None,
    ) -> TransformersEngine:
        """Return the same model loaded with other settings: itself if it has them, else a copy.

        A quantized model computes in float16 unless a dtype is named too. Without room for a copy,
        this raises UndecidableError.

        >>> model = load("embedded")
        >>> half = model.variant(dtype="bfloat16")
        >>> half.network.dtype, half.tokenizer is model.tokenizer
        (torch.bfloat16, True)
        """
        target = variants.change_settings(self.target, quantization, dtype, attn_implementation)
        if target == self.target:
            return self
        if target not in self._variants:
            usable = variants.find_room(self._usable, target)
            self._variants[target] = TransformersEngine(usable, self)
        return self._variants[target]

    def discard_variant(self, variant: TransformersEngine) -> None:
        """Release a copy that is not needed again."""
        self._variants.pop(variant.target).unload()

    def unload(self) -> None:
        """Release everything loaded, variants included; it is loaded again when next used."""
        for each in self._variants.values():
            each.unload()
        self._variants.clear()
        self._prefill_of_ids.cache_clear()
        super().unload()

    # --- weights and logits ------------------------------------------------------------------

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Return a prompt's token ids: a text's with special tokens, ids as they are.

        >>> load("embedded").encode_prompt([1, 32000])
        Traceback (most recent call last):
        probes.errors.UnknownIdError: the id 32,000 has no row in the embedding, which has 32,000
        """
        ids = self.encode(prompt) if isinstance(prompt, str) else prompt
        if not ids:
            raise UserError("a prompt without tokens: its first token has nothing to follow")
        return self.check_ids(ids)

    def check_ids(self, ids: Sequence[int], kind: str = "id") -> list[int]:
        """Return the ids if the embedding has a row for each, else raise UnknownIdError."""
        return batching.check_ids(ids, len(self.embedding()), kind)

    def embedding(self, ids: Sequence[int] | None = None) -> torch.Tensor:
        """Return rows of the input embedding, (ids, hidden size), in the dtype of the weights."""
        weight: torch.Tensor = self.network.get_input_embeddings().weight.detach()
        return weight if ids is None else weight[self.check_ids(ids)]

    @torch.inference_mode()
    def logits(self, prompt: Prompt) -> torch.Tensor:
        """Return the next-token logits after every position, computed once a session.

        >>> model = load("embedded")
        >>> model.decode([int(model.logits("The capital of Japan is")[-1].argmax())])
        'Tokyo'
        """
        return self._prefill(prompt).logits

    @torch.inference_mode()
    def logits_batch(self, prompts: Sequence[Prompt]) -> list[torch.Tensor]:
        """Return the same of several prompts, in one pass.

        Shorter prompts are padded on the right, where no position before sees it.

        >>> [len(each) for each in load("embedded").logits_batch(["The capital", "The"])]
        [3, 2]
        """
        rows = [self.encode_prompt(prompt) for prompt in prompts]
        ids, mask = batching.pad(rows, self._filler, side="right")
        out = self.network(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False
        )
        logits = out.logits.float().cpu()
        return [each[: len(row)] for each, row in zip(logits, rows, strict=True)]

    @torch.inference_mode()
    def logits_after(self, prompt: Prompt, continuations: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the logits after each token of continuations of one prompt, in one batched pass.

        The prompt's own pass is shared where the network's cache can be copied to several rows.
        Continuations of different lengths, or none, raise UserError.

        >>> model = load("embedded")
        >>> model.logits_after("The capital of", [[4720, 349], [3658, 349]]).shape
        torch.Size([2, 2, 32000])
        """
        lengths = {len(c) for c in continuations}
        if len(lengths) != 1 or 0 in lengths:
            raise UserError(
                "continuations must have one common length of at least 1, "
                f"not lengths {sorted(lengths)}: pad them or call once a length"
            )
        rows = [self.check_ids(c) for c in continuations]
        length = len(rows[0])
        key_values = copy.deepcopy(find_plain_cache(self._prefill(prompt).key_values))
        if key_values is None:  # or it has states that cannot be copied to several rows
            rows = [self.encode_prompt(prompt) + row for row in rows]
        else:
            key_values.batch_repeat_interleave(len(rows))
        ids = torch.tensor(rows, device=self.device)
        out = self.network(input_ids=ids, past_key_values=key_values, use_cache=True)
        logits: torch.Tensor = out.logits[:, -length:].float().cpu()
        return logits

    def follow_branches(self) -> NextLogits:
        """Return a function that computes next-token logits of texts from those of its last call.

        >>> follow, model = load("embedded").follow_branches(), load("embedded")
        >>> first = follow([model.encode("The capital of Japan is")])
        >>> model.decode([int(first.argmax())])
        'Tokyo'
        >>> before = model.cost.tokens
        >>> grown = follow([[*model.encode("The capital of Japan is"), 11790]])
        >>> model.cost.tokens - before
        1
        """
        return Branches(self, self._filler).next_logits

    def reuse_prompts(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Return arguments of `generate_batch` with which these prompts are not computed again.

        There are none unless `follow_branches` last began with the same ones, in their order, and
        the weights' settings let `generate` continue a cache.

        >>> model, prompts = load("embedded"), ["The capital of Japan is", "Once"]
        >>> _ = model.follow_branches()([model.encode(prompt) for prompt in prompts])
        >>> before, reused = model.cost.tokens, model.reuse_prompts(prompts)
        >>> model.generate_batch(prompts, max_new_tokens=2, **reused)[0].text
        'Tokyo.'
        >>> model.cost.tokens - before  # two rows, two tokens
        4
        """
        if not can_continue_cache(self.network):
            return {}
        cache = copy_cache_of_prompts(self, [self.encode_prompt(prompt) for prompt in prompts])
        return {} if cache is None else {"past_key_values": cache}

    def prompt_logprobs(self, prompt: Prompt, top_logprobs: int) -> list[TopLogprobs]:
        """Return the most likely tokens at every position of a prompt but the first.

        >>> [*_, last] = load("embedded").prompt_logprobs("The capital of Japan is Tokyo", 1)
        >>> load("embedded").decode(last.ids)
        'Tokyo'
        """
        return list_top_logprobs(self.logits(prompt), self.encode_prompt(prompt)[1:], top_logprobs)

    def _prefill(self, prompt: Prompt) -> Prefill:
        return self._prefill_of_ids(tuple(self.encode_prompt(prompt)))

    def _compute_prefill(self, ids: tuple[int, ...]) -> Prefill:
        inputs = torch.tensor([ids], device=self.device)
        out = self.network(input_ids=inputs, use_cache=True)
        return Prefill(out.logits[0].float().cpu(), getattr(out, "past_key_values", None))

    # --- generation --------------------------------------------------------------------------

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
        """Continue several prompts in one batch, the shorter ones padded on the left.

        Without `sampling` the library's default applies, which is greedy. `seed` seeds torch before
        the call. Other arguments are those of the library's `generate`. An id without a row in the
        embedding raises UnknownIdError, also where it is the one that fills a row which ends early.

        >>> two = load("embedded").generate_batch(["The capital of Japan is", "Once"])
        >>> [len(generation.ids[0]) for generation in two]
        [20, 20]
        """
        if top_logprobs is not None:
            arguments = {"output_logits": True, **arguments}
        self.require_for(prompts, arguments)
        ids = [self.encode_prompt(prompt) for prompt in prompts]
        if len(ids) * num_return_sequences > 1:  # else no row is filled up
            self.check_ids(self._library_fillers, "padding id")
        settings = {} if sampling is None else sampling.arguments()
        settings |= {"return_dict_in_generate": True}
        if num_return_sequences > 1:
            settings["num_return_sequences"] = num_return_sequences
        if max_new_tokens is not None:
            settings["max_new_tokens"] = max_new_tokens
        if seed is not None:
            transformers.set_seed(seed)
        width = max(map(len, ids))
        output = self._generate(ids, max_new_tokens, settings | arguments)
        new = [
            batching.cut_after_end(row, self.eos_token_ids)
            for row in output.sequences[:, width:].tolist()
        ]
        logits, scores = _by_row(output.get("logits")), _by_row(output.get("scores"))
        generations = []
        for number, prompt_ids in enumerate(ids):
            rows = slice(number * num_return_sequences, (number + 1) * num_return_sequences)
            generation = Generation(
                prompt_ids,
                new[rows],
                [self.decode(row, skip_special_tokens=True) for row in new[rows]],
                logits=None if logits is None else logits[rows],
                scores=None if scores is None else scores[rows],
            )
            generations.append(add_top_logprobs(generation, top_logprobs))
        return generations

    def _generate(
        self, ids: list[list[int]], max_new_tokens: int | None, settings: Mapping[str, Any]
    ) -> Any:
        inputs, mask = batching.pad(ids, self._filler, side="left")
        # The last token is never put in. Asked for nothing, generate() cuts its length to fit.
        added = DEFAULT_NEW_TOKENS if max_new_tokens is None else max_new_tokens
        hooks.check_context_length(self.config, inputs.shape[1] + added - 1)
        with warnings.catch_warnings():
            # Leaving the length to the library is what some claims are about.
            warnings.filterwarnings("ignore", message="Using the model-agnostic default")
            try:
                return self.network.generate(
                    inputs.to(self.device), attention_mask=mask.to(self.device), **settings
                )
            finally:
                drop_kept_cache(self.network)

    def chat(self, messages: Sequence[Mapping[str, str]], **settings: Any) -> Generation:
        """Answer messages under the model's own chat template; `settings` as in `generate`."""
        return self.generate(self.encode_chat(messages), **settings)

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the ids of messages under the chat template, up to where the answer begins.

        The special tokens are those of the template: the tokenizer adds no others. A template that
        asks for the date is always given the same one.
        """
        with fix_date():
            return self.encode(self.render_chat(messages), add_special_tokens=False)

    def render_chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return messages under the chat template, as it renders them today."""
        template: Any = self.tokenizer.apply_chat_template
        with catch_tokenizer_failure("apply its chat template to", list(messages)):
            text: str = template(list(messages), tokenize=False, add_generation_prompt=True)
        return text

    @property
    def _filler(self) -> int:
        """Return the token that pads here: one that has a row, as nothing attends to it."""
        rows = len(self.embedding())
        return next((i for i in self.eos_token_ids if 0 <= i < rows), 0)

    @property
    def _library_fillers(self) -> list[int]:
        """Return the token, if any, with which `generate` fills a row that ends before others."""
        pad = self.network.generation_config.pad_token_id
        return self.eos_token_ids[:1] if pad is None else [int(pad)]


def load(target: str | os.PathLike[str] | Target, copies: int = 0) -> TransformersEngine:
    """Load a target by name, folder or hub id; the same one is loaded once a process.

    A CUDA device must hold so many `copies`. With 0 this process alone loads one, which may be
    split over several devices. A target that cannot be used here raises UserError.

    >>> load("embedded").vocab_size
    32000
    """
    if not isinstance(target, Target):
        target = resolve(os.fspath(target), project=Path.cwd())
    if target.is_served:
        raise UserError(
            f"target '{target.name}' is computed by a server: `probes run` decides claims on it, "
            "and nothing can be loaded"
        )
    return _load_once(target, copies)


@cache
def _load_once(target: Target, copies: int) -> TransformersEngine:
    return TransformersEngine(preflight(target, copies))


def _by_row(steps: tuple[torch.Tensor, ...] | None) -> torch.Tensor | None:
    """Stack one tensor (rows, vocabulary) for each step to (rows, steps, vocabulary)."""
    return None if steps is None else torch.stack(steps, dim=1).float().cpu()
