"""A target as transformers loads it: tokenizer, configuration, network, and their facts.

Each part is loaded when first used: a claim about the tokenizer never waits for weights.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from probes._util.text import quote
from probes.engines.base import EngineBase
from probes.engines.session_cache import forget_session
from probes.engines.transformers import hooks, loading
from probes.errors import TokenizerFailedError
from probes.schema.claim import CAPABILITIES
from probes.schema.record import TargetFacts
from probes.targets.capabilities import explain_missing
from probes.targets.vocabulary import TOKENIZER_FILE

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from probes.schema.record import Cost
    from probes.targets.preflight import UsableTarget
    from probes.targets.tokenizer_files import TokenizerFiles


class LoadedTarget(EngineBase):
    """A target's parts, loaded when first used, its facts, and its tokenization."""

    name: ClassVar[str] = "transformers"

    def __init__(self, usable: UsableTarget, original: LoadedTarget | None = None) -> None:
        """Take a target that passed the checks made before loading.

        A variant has the counter and the tokenizer of its original.
        """
        self.target = usable.target
        self.checkpoint = usable.checkpoint
        self._usable = usable
        self._original = original
        self._counter: hooks.CostCounter = (
            hooks.CostCounter() if original is None else original._counter
        )
        self._facts_as_loaded: dict[str, Any] = {}
        self.unexpected_weights: list[str] = []
        """Stored tensors that the library says it does not use, once the network is loaded."""

    # --- facts -------------------------------------------------------------------------------

    @cached_property
    def capabilities(self) -> frozenset[str]:
        """All but a server's; `chat` only where the folder has a chat template."""
        missing = explain_missing("chat", self.target, self.checkpoint)
        return frozenset(CAPABILITIES) - {"streams", "server"} - ({"chat"} if missing else set())

    def explain_missing(self, need: str) -> str | None:
        """Return why claims with a need cannot be decided here; None if they can."""
        if need in CAPABILITIES and need != "chat":
            return super().explain_missing(need)
        return explain_missing(need, self.target, self.checkpoint)

    @property
    def cost(self) -> Cost:
        """What measuring has cost so far, variants included."""
        return self._counter.cost

    @cached_property
    def _fingerprint(self) -> str:
        """Compute it once: facts are asked for at every check."""
        return self.checkpoint.fingerprint()

    def facts(self) -> TargetFacts:
        """State what is tested, for the record: as asked for, or as loaded once it is."""
        target, checkpoint, loaded = self.target, self.checkpoint, self._facts_as_loaded
        if "tokenizer" in self.__dict__:
            loaded["tokenizer"] = type(self.tokenizer).__name__
        facts = {
            "name": target.name,
            "source": target.source,
            "repository": target.repository,
            "revision": self._usable.revision,
            "quantization": target.quantization.value,
            "dtype": target.dtype.value,
            "device": target.device,
            "attention": target.attention.value,
            "architecture": checkpoint.architecture,
            "vocabulary": len(checkpoint.pieces),
            "parameters": checkpoint.parameters,
            "weight_bytes": checkpoint.weight_bytes,
            "fingerprint": self._fingerprint,
        }
        return TargetFacts.model_validate(facts | loaded)

    # --- parts -------------------------------------------------------------------------------

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, as transformers loads it for this folder."""
        if self._original is not None:
            return self._original.tokenizer
        tokenizer = loading.load_tokenizer(self._usable)
        if self.target.gguf is not None:  # keep what transformers made of it, for claims to read
            backend: Any = tokenizer.backend_tokenizer
            backend.save(str(self.checkpoint.folder / TOKENIZER_FILE))
            vars(self.checkpoint).pop("tokenizer_files", None)
        return tokenizer

    @property
    def tokenizer_files(self) -> TokenizerFiles:
        """What the files of its tokenizer promise.

        A GGUF file has no tokenizer.json: that which transformers makes of it takes its place.
        """
        if self.target.gguf is not None:
            _ = self.tokenizer
        return self.checkpoint.tokenizer_files

    @cached_property
    def config(self) -> PretrainedConfig:
        """The architecture's configuration."""
        return loading.load_config(self._usable)

    @cached_property
    def network(self) -> Any:  # PreTrainedModel, whose published types leave out `generate`
        """The network with its weights, in evaluation mode, its forward passes counted."""
        # What is loaded in inference mode cannot be converted outside it, up to transformers 4.57.
        config = None if self.target.gguf is None else self.config  # it takes long to read
        with torch.inference_mode(False):
            network, self.unexpected_weights = loading.load_network(self._usable, config)
        self._attach_hooks(network)
        # Once: facts are asked for at every check, and a network has hundreds of parameters.
        self._facts_as_loaded |= describe_network(network)
        return network

    def _attach_hooks(self, network: Any) -> None:
        def decode(ids: list[int]) -> str:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True))

        name = self.target.repository or str(self.checkpoint.folder)
        self._hooks = hooks.attach_hooks(network, self._counter, decode, name)

    @contextmanager
    def pause_counting(self) -> Iterator[None]:
        """Leave forward passes uncounted for a while: while they are timed or compiled."""
        network = self.network
        for hook in self._hooks:
            hook.remove()
        try:
            yield
        finally:
            self._attach_hooks(network)

    @property
    def is_split(self) -> bool:
        """Whether the weights are split over several devices, as one is too small for them."""
        return self._usable.max_memory is not None

    @property
    def device(self) -> torch.device:
        """Where the network is, or where one that is split over several devices takes its input."""
        return loading.resolve_device(self.target)

    @property
    def hidden_size(self) -> int:
        """Width of the embedding rows."""
        return int(self.config.get_text_config().hidden_size)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding, as the configuration says."""
        return int(self.config.get_text_config().vocab_size)

    @property
    def context_length(self) -> int | None:
        """How many positions the network has; None where its configuration does not say."""
        return hooks.context_length(self.config)

    @property
    def eos_token_ids(self) -> list[int]:
        """Ids of the end-of-sequence tokens at which `generate` stops; empty if there are none."""
        ends = self.network.generation_config.eos_token_id
        if ends is None:
            return []
        return list(ends) if isinstance(ends, list) else [int(ends)]

    def unload(self) -> None:
        """Release everything loaded; it is loaded again when next used."""
        self.facts()  # keeps the facts as loaded
        for part in ("tokenizer", "config", "network"):
            self.__dict__.pop(part, None)
        forget_session(self)
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()

    # --- tokenization ------------------------------------------------------------------------

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text.

        >>> load("embedded").encode("Hello world", add_special_tokens=False)
        [22557, 1526]
        """
        tokenizer = self.tokenizer
        with catch_tokenizer_failure("encode", text):
            return [int(i) for i in tokenizer.encode(text, add_special_tokens=add_special_tokens)]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of token ids.

        >>> load("embedded").decode([1, 22557, 1526], skip_special_tokens=True)
        'Hello world'
        """
        tokenizer = self.tokenizer
        with catch_tokenizer_failure("decode the ids", ids := list(ids)):
            return str(tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the vocabulary's own spelling of token ids.

        >>> load("embedded").tokens([1, 22557])
        ['<s>', '▁Hello']
        """
        return [str(token) for token in self.tokenizer.convert_ids_to_tokens(list(ids))]

    @property
    def special_token_ids(self) -> list[int]:
        """Ids that stand for no text."""
        return [int(i) for i in self.tokenizer.all_special_ids]

    @property
    def token_count(self) -> int:
        """Number of tokens the tokenizer knows; the embedding may have more rows."""
        return len(self.tokenizer)


@contextmanager
def catch_tokenizer_failure(action: str, value: object) -> Iterator[None]:
    """Turn what a tokenizer raises into one line; those in Rust panic, which is no `Exception`.

    The line quotes the `value` that the action was done to.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise TokenizerFailedError(
            f"the tokenizer cannot {action} {quote(value)}: {type(error).__name__}: {error}"
        ) from error


def describe_network(network: Any) -> dict[str, Any]:
    """Return the facts that a loaded network replaces, by their names in the record."""
    return {
        "dtype": str(network.dtype).removeprefix("torch."),
        "device": ", ".join(dict.fromkeys(str(p.device) for p in network.parameters())),
        "attention": network.config._attn_implementation,
        "architecture": type(network).__name__,
        "weight_bytes": network.get_memory_footprint(return_buffers=False),
    }
