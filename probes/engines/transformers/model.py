"""A loaded target: its tokenizer, its network and what measuring them costs.

The only module that imports transformers' loading code. Everything is loaded when first used, so
that a claim about the tokenizer never waits for weights.
"""

from __future__ import annotations

import copy
import gc
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import transformers
from packaging.version import Version

from probes._util import progress
from probes._util.text import quote
from probes.engines.transformers import hooks as passes
from probes.engines.transformers.random_network import drawn
from probes.errors import (
    NotFiniteError,
    TokenizerFailedError,
    UndecidableError,
    UnknownIdError,
    UnusableTargetError,
    UserError,
)
from probes.schema.record import Cost, TargetFacts
from probes.targets.capabilities import explain_missing
from probes.targets.placement import format_gb
from probes.targets.preflight import UsableTarget, find_room, preflight
from probes.targets.resolve import resolve
from probes.targets.target import Attention, Dtype, Quantization, Target

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from probes.schema.claim import Need
    from probes.schema.sampling import Sampling

T = TypeVar("T")

Prompt = str | Sequence[int]
"""A text, encoded with special tokens, or token ids taken as they are."""

LIBRARY_LENGTH = 20
"""How many tokens `generate` adds where nothing was said."""

REMEMBERED_PROMPTS = 64
"""How many prompts' logits and caches a model keeps: enough for a run, bounded in memory."""


@dataclass(frozen=True)
class Generation:
    """What `generate` added to one prompt.

    Attributes:
        prompt_ids: token ids of the prompt.
        ids: new token ids of each sample; an end-of-sequence token is the last, if one came.
        texts: those ids decoded, special tokens left out.
        logits: (samples, steps, vocabulary), float32, on the CPU, if they were asked for.
        scores: the same after the filters that `generate` applied, if they were asked for.
    """

    prompt_ids: list[int]
    ids: list[list[int]]
    texts: list[str]
    logits: torch.Tensor | None = None
    scores: torch.Tensor | None = None

    @property
    def text(self) -> str:
        """The first sample's text."""
        return self.texts[0]


@dataclass(frozen=True)
class Prefill:
    """A prompt's forward pass, kept so that it is made once.

    Attributes:
        logits: (positions, vocabulary), float32, on the CPU.
        key_values: the cache after the prompt; copied before it is used.
    """

    logits: torch.Tensor
    key_values: Any


class Meter:
    """Counts forward passes, the rows in them and the positions computed.

    Attributes:
        cost: what was counted so far; its seconds stay 0.
    """

    def __init__(self) -> None:
        """Start from nothing."""
        self.cost = Cost()

    def count(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Count one call of a network's forward."""
        rows, positions = passes.given(args, kwargs).shape[:2]
        self.cost += Cost(forward_passes=1, rows=rows, tokens=rows * positions)


class Model:
    """One target under test.

    >>> model = load("embedded")
    >>> model.decode(model.encode("Hello world"))
    '<s> Hello world'
    >>> from probes.schema.claim import Need
    >>> model.explain_missing(Need.GPT2_XL) is None
    False
    """

    def __init__(self, usable: UsableTarget, meter: Meter | None = None) -> None:
        """Take a target that passed the checks made before loading.

        Args:
            usable: the target.
            meter: counts what measuring costs; a copy shares its original's.
        """
        self.target = usable.target
        self.checkpoint = usable.checkpoint
        self.revision = usable.revision
        self._usable = usable
        self._meter = meter or Meter()
        self._copies: dict[Target, Model] = {}
        self._known_as_loaded: dict[str, Any] = {}
        self._remembered: dict[Hashable, Any] = {}
        self._prefills: OrderedDict[tuple[int, ...], Prefill] = OrderedDict()

    # --- its parts ---------------------------------------------------------------------------

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, as transformers loads it for this folder."""
        tokenizer: PreTrainedTokenizerBase = self._loaded(
            "tokenizer", transformers.AutoTokenizer.from_pretrained, **self._safe_arguments()
        )
        return tokenizer

    @cached_property
    def config(self) -> PretrainedConfig:
        """The architecture's configuration."""
        load: Any = transformers.AutoConfig.from_pretrained
        arguments = self._safe_arguments()
        if self.target.random is not None:
            load, arguments = transformers.AutoConfig.for_model, dict(self.checkpoint.config)
        config: PretrainedConfig = self._loaded("configuration", load, **arguments)
        return config

    @cached_property
    def network(self) -> Any:  # PreTrainedModel, whose published types leave out `generate`
        """The network with its weights, in evaluation mode, its forward passes counted."""
        arguments = self._safe_arguments() | {
            "use_safetensors": True,
            "output_loading_info": True,
            _dtype_argument(): _torch_dtype(self.target.dtype.value),
        }
        if self.target.attention.value != "auto":
            arguments["attn_implementation"] = self.target.attention.value
        if self.target.quantization is Quantization.NF4:
            arguments["quantization_config"] = self._nf4()
        arguments |= self._placement()
        load: Any = transformers.AutoModelForCausalLM
        if self.target.random is not None:
            load = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(self.config)]
        size = format_gb(self._usable.needed_bytes)

        def loaded() -> Any:
            drawn_now = {} if self.target.random is None else self._random_weights()
            return load.from_pretrained(**(arguments | drawn_now))

        with progress.step(f"loading {self.target.name}: {size}", self._usable.needed_bytes):
            network, loading = self._loaded("weights", loaded)
        self._refuse_incomplete(loading["missing_keys"])
        self._refuse_offloaded(network)
        if "device_map" not in arguments:
            network = network.to(self.device)
        self._watch(network)
        return network.eval()

    @contextmanager
    def pause_counting(self) -> Iterator[None]:
        """Leave forward passes uncounted meanwhile: where they are timed, or are to be compiled.

        >>> model = load("embedded")
        >>> before = model.cost
        >>> with model.pause_counting():
        ...     _ = model.generate("The capital of Japan is", max_new_tokens=1)
        >>> model.cost == before
        True
        """
        network = self.network
        for hook in self._hooks:
            hook.remove()
        try:
            yield
        finally:
            self._watch(network)

    def _watch(self, network: Any) -> None:
        """Count forward passes from now on, and refuse what nothing can be claimed of."""
        self._hooks = [
            network.register_forward_pre_hook(self._meter.count, with_kwargs=True),
            network.register_forward_pre_hook(passes.refuse_beyond_context, with_kwargs=True),
            network.register_forward_hook(self._refuse_no_distribution, with_kwargs=True),
        ]

    def _refuse_no_distribution(
        self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        row = passes.without_distribution(output)
        if row is not None:
            ids = passes.given(args, kwargs)[row].tolist()
            after = str(self.tokenizer.decode(ids, skip_special_tokens=True))
            raise NotFiniteError(passes.in_words(after, output.logits[row, -1]))

    @property
    def is_split(self) -> bool:
        """Whether the weights are split over several devices, as one is too small for them."""
        return self._usable.max_memory is not None

    @property
    def device(self) -> torch.device:
        """Where the network is; of one split over several devices, where it takes its input."""
        asked = self.target.device
        if asked == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(asked)

    @property
    def cost(self) -> Cost:
        """What measuring has cost so far, its copies included."""
        return self._meter.cost

    def unload(self) -> None:
        """Let go of everything loaded; it is loaded again when next used."""
        self.facts()  # what is known of it as loaded stays so
        for copy_of_it in self._copies.values():
            copy_of_it.unload()
        for part in ("tokenizer", "config", "network"):
            self.__dict__.pop(part, None)
        self._prefills.clear()
        self._remembered.clear()
        self._copies.clear()
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()

    def variant(
        self,
        *,
        quantization: str | None = None,
        dtype: str | None = None,
        attn_implementation: str | None = None,
    ) -> Model:
        """Return the same model loaded with other settings: itself if it has them, else a copy.

        Args:
            quantization: `none` or `nf4`; NF4 computes in float16 unless a dtype is named too.
            dtype: of the weights, such as `bfloat16`.
            attn_implementation: such as `eager`.

        Raises:
            UndecidableError: if there is no room for a copy.

        >>> model = load("embedded")
        >>> model.variant(dtype="bfloat16").network.dtype
        torch.bfloat16
        """
        update: dict[str, Any] = {}
        if quantization is not None and quantization != self.target.quantization.value:
            update["quantization"] = Quantization(quantization)
            if update["quantization"] is Quantization.NF4:
                update["dtype"] = Dtype.FLOAT16
        if dtype is not None:
            update["dtype"] = Dtype(dtype)
        if attn_implementation is not None:
            update["attention"] = Attention(attn_implementation)
        target = self.target.model_copy(update=update)
        if target == self.target:
            return self
        if target not in self._copies:
            try:
                usable = find_room(self._usable, target)
            except UserError as error:
                raise UndecidableError(f"there is no room for a copy beside it: {error}") from error
            self._copies[target] = Model(usable, self._meter)
        return self._copies[target]

    @property
    def hidden_size(self) -> int:
        """Width of the embedding rows."""
        return int(self.config.get_text_config().hidden_size)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding, as the configuration says."""
        return int(self.config.get_text_config().vocab_size)

    @property
    def eos_token_ids(self) -> list[int]:
        """Ids of the end-of-sequence tokens at which `generate` stops; none if it has none."""
        ends = self.network.generation_config.eos_token_id
        if ends is None:
            return []
        return list(ends) if isinstance(ends, list) else [int(ends)]

    def explain_missing(self, need: Need) -> str | None:
        """Return why claims with a need cannot be decided on this target; None if they can."""
        return explain_missing(need, self.target, self.checkpoint)

    @cached_property
    def _fingerprint(self) -> str:
        """Made once: facts are asked for at every check."""
        return self.checkpoint.fingerprint()

    def facts(self) -> TargetFacts:
        """What was tested, for the record: as asked for, or as loaded once it is."""
        target, checkpoint = self.target, self.checkpoint
        facts = TargetFacts(
            name=target.name,
            source=target.source,
            repository=target.repository,
            revision=self.revision,
            quantization=target.quantization.value,
            dtype=target.dtype.value,
            device=target.device,
            attention=target.attention.value,
            architecture=checkpoint.architecture,
            vocabulary=len(checkpoint.pieces),
            parameters=checkpoint.parameters,
            weight_bytes=checkpoint.weight_bytes,
            fingerprint=self._fingerprint,
        )
        loaded = self._known_as_loaded
        if "tokenizer" in self.__dict__:
            loaded |= {"tokenizer": type(self.tokenizer).__name__}
        if "network" in self.__dict__:
            network = self.network
            loaded |= {
                "dtype": str(network.dtype).removeprefix("torch."),
                "device": ", ".join(dict.fromkeys(str(p.device) for p in network.parameters())),
                "attention": network.config._attn_implementation,
                "architecture": type(network).__name__,
                "weight_bytes": network.get_memory_footprint(return_buffers=False),
            }
        return facts.model_copy(update=loaded)

    # --- what claims ask of it ---------------------------------------------------------------

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text.

        >>> load("embedded").encode("Hello world", add_special_tokens=False)
        [22557, 1526]
        """
        tokenizer = self.tokenizer
        with _tokenizing(f"encode {quote(text)}"):
            return [int(i) for i in tokenizer.encode(text, add_special_tokens=add_special_tokens)]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids.

        >>> load("embedded").decode([1, 22557, 1526], skip_special_tokens=True)
        'Hello world'
        """
        tokenizer = self.tokenizer
        with _tokenizing(f"decode the ids {quote(list(ids))}"):
            return str(tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """A prompt's token ids: a text is encoded with special tokens, ids stay as they are.

        Raises:
            UnknownIdError: if the network's embedding has no row for one of them.

        >>> load("embedded").encode_prompt("Hello world")
        [1, 22557, 1526]
        >>> load("embedded").encode_prompt([1, 32000])
        Traceback (most recent call last):
        probes.errors.UnknownIdError: the id 32,000 has no row in the embedding, which has 32,000
        """
        return self.check_ids(self.encode(prompt) if isinstance(prompt, str) else prompt)

    def check_ids(self, ids: Sequence[int], kind: str = "id") -> list[int]:
        """The ids, if the embedding has a row for each: a CUDA device survives no other.

        Args:
            ids: token ids.
            kind: what they are called where one has no row.

        Raises:
            UnknownIdError: if one has no row.

        >>> load("embedded").check_ids([9, -1])
        Traceback (most recent call last):
        probes.errors.UnknownIdError: the id -1 has no row in the embedding, which has 32,000
        """
        rows = len(self.embedding())
        for i in ids:
            if not 0 <= i < rows:
                raise UnknownIdError(
                    f"the {kind} {i:,} has no row in the embedding, which has {rows:,}"
                )
        return list(ids)

    def embedding(self, ids: Sequence[int] | None = None) -> torch.Tensor:
        """Rows of the input embedding matrix.

        Args:
            ids: which rows; all if None.

        Returns:
            (len(ids) or vocabulary, hidden size), in the dtype of the weights, on their device.

        Raises:
            UnknownIdError: if there is no row for one of the ids.

        >>> load("embedded").embedding([1, 415]).shape[0]
        2
        """
        weight: torch.Tensor = self.network.get_input_embeddings().weight.detach()
        return weight if ids is None else weight[self.check_ids(ids)]

    @torch.inference_mode()
    def logits(self, prompt: Prompt) -> torch.Tensor:
        """Next-token logits after every position of a prompt.

        A prompt is computed once a session; later calls return the same tensor.

        Returns:
            (positions, vocabulary), float32, on the CPU.

        >>> model = load("embedded")
        >>> model.decode([int(model.logits("The capital of Japan is")[-1].argmax())])
        'Tokyo'
        """
        return self._prefill(prompt).logits

    @torch.inference_mode()
    def logits_batch(self, prompts: Sequence[Prompt]) -> list[torch.Tensor]:
        """Next-token logits after every position of several prompts, in one batched pass.

        Shorter prompts are padded on the right, where no position before sees it.

        Returns:
            For each prompt (positions, vocabulary), float32, on the CPU.

        >>> [len(each) for each in load("embedded").logits_batch(["The capital", "The"])]
        [3, 2]
        """
        rows = [self.encode_prompt(prompt) for prompt in prompts]
        width, filler = max(map(len, rows)), self._filler
        ids = torch.tensor([row + [filler] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        out = self.network(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False
        )
        logits = out.logits.float().cpu()
        return [each[: len(row)] for each, row in zip(logits, rows, strict=True)]

    @torch.inference_mode()
    def logits_after(self, prompt: Prompt, continuations: Sequence[Sequence[int]]) -> torch.Tensor:
        """Next-token logits along several continuations of one prompt, in one batched pass.

        The prompt's own pass is shared where the network keeps a cache whose rows can be repeated:
        it is made once, and its cache copied.

        Args:
            prompt: the common beginning.
            continuations: token ids, all of one length of at least 1.

        Returns:
            (continuations, length, vocabulary), float32, on the CPU: the logits after each
            token of each continuation.

        Raises:
            UserError: if the continuations differ in length or there are none.
            UnknownIdError: if the network's embedding has no row for an id.

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
        key_values = copy.deepcopy(self._prefill(prompt).key_values)
        if hasattr(key_values, "batch_repeat_interleave"):
            key_values.batch_repeat_interleave(len(rows))
        else:  # none, or mere tuples, as Mistral's are up to transformers 4.47
            key_values, rows = None, [self.encode_prompt(prompt) + row for row in rows]
        ids = torch.tensor(rows, device=self.device)
        out = self.network(input_ids=ids, past_key_values=key_values, use_cache=True)
        logits: torch.Tensor = out.logits[:, -length:].float().cpu()
        return logits

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling | None = None,
        seed: int | None = None,
        num_return_sequences: int = 1,
        max_new_tokens: int | None = None,
        **arguments: Any,
    ) -> Generation:
        """Continue a prompt with transformers' own `generate`.

        Args:
            prompt: text, encoded with special tokens, or token ids.
            sampling: how to draw; None is the library's default, greedy.
            seed: seeds torch before the call; needed for draws that can be repeated.
            num_return_sequences: continuations of the same prompt, made in one batch.
            max_new_tokens: length; None is the library's default.
            **arguments: anything else `generate` takes.

        >>> load("embedded").generate("The capital of Japan is", max_new_tokens=2).text
        'Tokyo.'
        """
        return self.generate_batch(
            [prompt],
            sampling=sampling,
            seed=seed,
            num_return_sequences=num_return_sequences,
            max_new_tokens=max_new_tokens,
            **arguments,
        )[0]

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling | None = None,
        seed: int | None = None,
        num_return_sequences: int = 1,
        max_new_tokens: int | None = None,
        **arguments: Any,
    ) -> list[Generation]:
        """Continue several prompts in one batch, the shorter ones padded on the left.

        With `output_logits` or `output_scores` each generation keeps what `generate` returned of
        them: the raw logits of each step, and the scores it chose from.

        Args:
            prompts: texts, encoded with special tokens, or token ids.
            sampling: how to draw; None is the library's default, greedy.
            seed: seeds torch before the call.
            num_return_sequences: continuations of each prompt.
            max_new_tokens: length; None is the library's default.
            **arguments: anything else `generate` takes.

        Raises:
            UnknownIdError: if the network's embedding has no row for an id of a prompt, or for the
                one that `generate` fills a row with which ends before others.

        >>> two = load("embedded").generate_batch(["The capital of Japan is", "Once"])
        >>> [len(generation.ids[0]) for generation in two]
        [20, 20]
        """
        ids = [self.encode_prompt(prompt) for prompt in prompts]
        if len(ids) * num_return_sequences > 1:  # else no row is filled up
            self.check_ids(self._library_fillers, "padding id")
        inputs, mask = self._padded(ids)
        settings = {} if sampling is None else sampling.arguments()
        if num_return_sequences > 1:
            settings["num_return_sequences"] = num_return_sequences
        if max_new_tokens is not None:
            settings["max_new_tokens"] = max_new_tokens
        if seed is not None:
            transformers.set_seed(seed)
        settings |= {"return_dict_in_generate": True} | arguments
        # The last token is never put in. Asked for nothing, generate() cuts its length to fit.
        added = LIBRARY_LENGTH if max_new_tokens is None else max_new_tokens
        passes.within_context(self.config, inputs.shape[1] + added - 1)
        with warnings.catch_warnings():
            # Leaving the length to the library is what some claims are about.
            warnings.filterwarnings("ignore", message="Using the model-agnostic default")
            output = self.network.generate(inputs, attention_mask=mask, **settings)
        new = [self._until_end(row) for row in output.sequences[:, inputs.shape[1] :].tolist()]
        logits, scores = _by_row(output.get("logits")), _by_row(output.get("scores"))
        generations = []
        for number, prompt in enumerate(ids):
            rows = slice(number * num_return_sequences, (number + 1) * num_return_sequences)
            texts = [self.decode(row, skip_special_tokens=True) for row in new[rows]]
            generations.append(
                Generation(
                    prompt,
                    new[rows],
                    texts,
                    logits=None if logits is None else logits[rows],
                    scores=None if scores is None else scores[rows],
                )
            )
        return generations

    def remember(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What was computed under a key, computed now if it was not yet.

        Claims that need the same text or distribution share it: no forward pass is made twice.

        >>> model = load("embedded")
        >>> model.remember("a key", lambda: 1), model.remember("a key", lambda: 2)
        (1, 1)
        """
        if key not in self._remembered:
            self._remembered[key] = compute()
        found: T = self._remembered[key]
        return found

    # --- how it does it ----------------------------------------------------------------------

    def _prefill(self, prompt: Prompt) -> Prefill:
        ids = tuple(self.encode_prompt(prompt))
        if ids not in self._prefills:
            inputs = torch.tensor([ids], device=self.device)
            out = self.network(input_ids=inputs, use_cache=True)
            self._prefills[ids] = Prefill(
                out.logits[0].float().cpu(), getattr(out, "past_key_values", None)
            )
            if len(self._prefills) > REMEMBERED_PROMPTS:
                self._prefills.popitem(last=False)
        self._prefills.move_to_end(ids)
        return self._prefills[ids]

    def _padded(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of ids as one batch, padded on the left, and which positions are no padding."""
        width = max(map(len, rows))
        filler = self._filler
        ids = torch.tensor([[filler] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        return ids.to(self.device), mask.to(self.device)

    @property
    def _filler(self) -> int:
        """The token that pads here: one that has a row, as nothing attends to it."""
        rows = len(self.embedding())
        return next((i for i in self.eos_token_ids if 0 <= i < rows), 0)

    @property
    def _library_fillers(self) -> list[int]:
        """The token, if any, that `generate` fills a row with which ends before others."""
        pad = self.network.generation_config.pad_token_id
        return self.eos_token_ids[:1] if pad is None else [int(pad)]

    def _until_end(self, ids: list[int]) -> list[int]:
        """Cut a row after its first end-of-sequence token: what follows is padding."""
        for position, token in enumerate(ids):
            if token in self.eos_token_ids:
                return ids[: position + 1]
        return ids

    def _safe_arguments(self) -> dict[str, Any]:
        return {
            "pretrained_model_name_or_path": str(self.checkpoint.folder),
            "local_files_only": True,
            "trust_remote_code": False,
        }

    def _placement(self) -> dict[str, Any]:
        """Where loading puts weights that are not to pass through the host's memory first."""
        if self._usable.max_memory is not None:
            # In the order in which room was found; "auto" would balance, and need more of the last.
            return {"device_map": "sequential", "max_memory": dict(self._usable.max_memory)}
        direct = self.target.quantization is Quantization.NF4 or self.target.random is not None
        if direct or self.device.type == "cuda":
            return {"device_map": {"": str(self.device)}}
        return {}

    def _refuse_incomplete(self, missing: Collection[str]) -> None:
        """Weights that are not stored: transformers fills them with random numbers."""
        if missing:
            raise UnusableTargetError(
                f"target {self.target.name!r}: its weights lack {len(missing)} of the tensors that "
                f"its configuration describes, the first {quote(min(missing))}: copy or download "
                "the model again"
            )

    def _refuse_offloaded(self, network: Any) -> None:
        """Weights without room where they were to go: they lie on the host or on the disk now."""
        allowed = self._usable.max_memory
        places = set(getattr(network, "hf_device_map", {}).values())
        if allowed is not None and not places <= {*allowed}:
            raise UnusableTargetError(
                f"target {self.target.name!r}: its weights take "
                f"{format_gb(self._usable.needed_bytes)}, and cannot be split over the devices "
                f"{', '.join(map(str, allowed))} layer by layer: end what else runs there, or "
                "choose a device with more memory"
            )

    def _random_weights(self) -> dict[str, Any]:
        """What loading takes in the place of a folder: a configuration, and weights from a seed."""
        asked = self.target.dtype.value
        dtype = getattr(torch, asked if asked != "auto" else "float32")
        scale = self.config.initializer_range
        place = torch.device("cpu") if self.is_split else self.device
        return {
            "pretrained_model_name_or_path": None,
            "config": self.config,
            "state_dict": drawn(self.checkpoint.tensors, scale, dtype, place),
            _dtype_argument(): dtype,
        }

    def _nf4(self) -> transformers.BitsAndBytesConfig:
        asked = self.target.dtype
        compute = Dtype.FLOAT16 if asked is Dtype.AUTO else asked
        return transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=_torch_dtype(compute.value),
        )

    def _loaded(self, part: str, load: Any, **arguments: Any) -> Any:
        """Load a part, quietly; a failure becomes one line that names the target."""
        try:
            with _quiet():
                return load(**arguments)
        except Exception as error:  # what damaged files make a library raise has no end
            raise UnusableTargetError(
                f"target {self.target.name!r}: transformers {transformers.__version__} cannot load "
                f"its {part}: {type(error).__name__}: {error}"
            ) from error


@contextmanager
def _tokenizing(what: str) -> Iterator[None]:
    """Turn whatever a tokenizer raises into one line: it is the tokenizer that fails.

    Those in Rust also panic, which is no `Exception`.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise TokenizerFailedError(
            f"the tokenizer cannot {what}: {type(error).__name__}: {error}"
        ) from error


def _by_row(steps: tuple[torch.Tensor, ...] | None) -> torch.Tensor | None:
    """Step by step tensors of (rows, vocabulary) as one of (rows, steps, vocabulary)."""
    return None if steps is None else torch.stack(steps, dim=1).float().cpu()


def load(target: str | Target, copies: int = 0) -> Model:
    """Load a target by name, folder or hub id; the same one is loaded once a process.

    Args:
        target: which.
        copies: copies of it that a CUDA device must hold; 0 if this process alone loads one, which
            may be split over several devices.

    Raises:
        UserError: if there is no such target, or it cannot be used here.

    >>> load("embedded").hidden_size in (64, 128)
    True
    """
    if isinstance(target, str):
        target = resolve(target, project=Path.cwd())
    return _loaded_once(target, copies)


@cache
def _loaded_once(target: Target, copies: int) -> Model:
    return Model(preflight(target, copies))


def _dtype_argument() -> str:
    """transformers renamed `torch_dtype` to `dtype` at 4.56."""
    return "dtype" if Version(transformers.__version__) >= Version("4.56") else "torch_dtype"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' notices and progress bars off the terminal while a part is loaded."""
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()


def _torch_dtype(name: str) -> Any:
    return name if name == "auto" else getattr(torch, name)
