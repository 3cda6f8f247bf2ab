"""The engine protocol: what computes a target, and what a measurement may ask of it.

An engine generates text, states facts and names its capabilities. Every other ability is a small
protocol of its own. A measurement is typed against those it uses; a claim names them in `needs`,
and is not applicable where the engine lacks one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from probes.errors import MissingCapabilityError
from probes.schema.claim import NEEDS

if TYPE_CHECKING:
    import torch

    from probes.schema.record import Cost, TargetFacts
    from probes.schema.sampling import Sampling

Prompt = str | Sequence[int]
"""A text, encoded with special tokens, or token ids taken as they are (capability `token-ids`)."""


NextLogits = Callable[[Sequence[Sequence[int]]], "torch.Tensor"]
"""Returns the logits after each of several texts of ids: (texts, vocabulary), float32."""


@dataclass(frozen=True)
class TopLogprobs:
    """The most likely tokens at one position, the most likely first."""

    ids: list[int]
    logprobs: list[float]
    """In nats, at temperature 1, before any filter."""
    chosen: float
    """The log-probability of the token that follows."""


@dataclass(frozen=True)
class TopPieces:
    """The most likely tokens at one position, as bytes of text, the most likely first."""

    pieces: list[bytes]
    logprobs: list[float]
    """As of `TopLogprobs`."""
    chosen_piece: bytes
    chosen: float


@dataclass(frozen=True)
class Generation:
    """What `generate` added to one prompt.

    An end-of-sequence token is the last of `ids`, if one came; `texts` leave special tokens out. A
    server may tell no ids: then the lists are empty.
    The tensors are (samples, steps, vocabulary), float32, on the CPU, or None if not asked for;
    `scores` are the logits after the filters that `generate` applied.
    """

    prompt_ids: list[int]
    ids: list[list[int]]
    texts: list[str]
    logits: torch.Tensor | None = None
    scores: torch.Tensor | None = None
    top_logprobs: list[list[TopLogprobs]] | None = None
    top_pieces: list[list[TopPieces]] | None = None
    """The same of a server that tells the texts of tokens, and no ids."""
    finish_reasons: list[str] | None = None
    """Why each sample ended, where a server tells: `stop` or `length`."""

    new_tokens: list[int | None] | None = None
    """How many tokens each sample has, where a server counts them."""
    prompt_tokens: int | None = None
    """How many tokens its prompt has, where a server counts them."""
    served_by: list[str] | None = None
    """What a server says of who answered, such as a `system_fingerprint`, if it says anything."""

    @property
    def text(self) -> str:
        """The first sample's text."""
        return self.texts[0]


@dataclass(frozen=True)
class StreamedText:
    """A text that came in parts."""

    text: str
    """The parts, joined."""
    parts: int
    is_ended: bool
    """Whether the server said that no part follows."""
    finish_reason: str
    """Why it ended: `stop` or `length`; empty if the server names none."""
    new_tokens: int | None
    """How many tokens it has, as the server counts them; None if it tells none."""


class Engine(Protocol):
    """What every engine offers (capability `model`)."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What the engine can do beyond this, by the names in `CAPABILITIES`."""

    @property
    def cost(self) -> Cost:
        """What measuring has cost so far, variants included."""

    def facts(self) -> TargetFacts:
        """State what is tested, for the record."""

    def explain_missing(self, need: str) -> str | None:
        """Return why claims with a need cannot be decided here, in one line; None if they can."""

    def generate(self, prompt: Prompt, **settings: Any) -> Generation:
        """Continue one prompt; `settings` as in `generate_batch`."""

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
        """Continue several prompts; None is the engine's default.

        Other arguments have transformers' names; those in `ARGUMENTS` need a capability.
        """


class Encoding(Protocol):
    """Text to token ids (capability `encoding`)."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text."""


class Tokenization(Encoding, Protocol):
    """Token ids back to text, and facts about them (capability `tokenizer`)."""

    @property
    def eos_token_ids(self) -> list[int]:
        """Ids at which a generation ends; empty if there are none."""

    @property
    def special_token_ids(self) -> list[int]:
        """Ids that stand for no text."""

    @property
    def token_count(self) -> int:
        """Number of tokens it knows; the embedding may have more rows."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of token ids."""

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the vocabulary's own spelling of token ids."""

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Return a prompt's token ids; raise UnknownIdError if the network does not know one."""


class Sizes(Protocol):
    """Sizes of the architecture, known before weights are loaded (capability `config`)."""

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""

    @property
    def hidden_size(self) -> int:
        """Width of its rows."""


class PromptLogprobs(Protocol):
    """Log-probabilities of a given text (capability `prompt-logprobs`)."""

    def prompt_logprobs(self, prompt: Prompt, top_logprobs: int) -> list[TopLogprobs]:
        """Return the most likely tokens at every position of a prompt but the first."""


class Streams(Protocol):
    """Texts that come in parts (capability `streams`)."""

    def stream(self, prompt: Prompt, **settings: Any) -> StreamedText:
        """Continue one prompt, and join what is streamed; `settings` as in `generate_batch`."""


class FullLogits(Protocol):
    """Logits of the whole vocabulary, float32, on the CPU (capability `logits`)."""

    def logits(self, prompt: Prompt) -> torch.Tensor:
        """Return the logits after every position of a prompt: (positions, vocabulary)."""

    def logits_batch(self, prompts: Sequence[Prompt]) -> list[torch.Tensor]:
        """Return the same of several prompts, computed in one batch."""

    def logits_after(self, prompt: Prompt, continuations: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the logits along continuations: (continuations, length, vocabulary)."""

    def follow_branches(self) -> NextLogits:
        """Return a function of texts, each of them one of its last call and a token, say.

        What it computed of them in the last call it need not compute again.
        """

    def reuse_prompts(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Return arguments of `generate_batch` that spare prompts which branches began with."""


class Chat(Protocol):
    """Messages under the model's own chat template (capability `chat`)."""

    def chat(self, messages: Sequence[Mapping[str, str]], **settings: Any) -> Generation:
        """Answer messages, each a `role` and a `content`; `settings` as in `generate_batch`."""

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the token ids of the prompt that an answer to messages continues."""


class Weights(Protocol):
    """The network itself (capability `weights`); what else it has is the engine's own."""

    def embedding(self, ids: Sequence[int] | None = None) -> torch.Tensor:
        """Return rows of the input embedding matrix; all if `ids` is None."""


class Variants(Protocol):
    """The same model under other settings (capability `variants`)."""

    def variant(
        self,
        *,
        quantization: str | None = None,
        dtype: str | None = None,
        attn_implementation: str | None = None,
    ) -> Any:
        """Return an engine of the same weights with other settings: itself if it has them."""


class Timed(Protocol):
    """Control over what is counted while time is measured (capability `timing`)."""

    def pause_counting(self) -> AbstractContextManager[None]:
        """Leave forward passes uncounted for a while: while they are timed or compiled."""


class LogitsEngine(Engine, Tokenization, Sizes, FullLogits, Protocol):
    """What most measurements of decoding ask for: generation, tokenization and full logits."""


PROTOCOLS: dict[str, type] = {
    "encoding": Encoding,
    "tokenizer": Tokenization,
    "config": Sizes,
    "prompt-logprobs": PromptLogprobs,
    "streams": Streams,
    "logits": FullLogits,
    "chat": Chat,
    "weights": Weights,
    "variants": Variants,
    "timing": Timed,
}
"""The protocol of each capability that adds methods."""

ARGUMENTS = {
    "output_logits": "logits",
    "output_scores": "logits",
    "top_logprobs": "logprobs",
    "logits_processor": "processors",
    "stopping_criteria": "processors",
    "num_beams": "beam-search",
    "cache_implementation": "variants",
    "use_cache": "variants",
}
"""Arguments of `generate` that need a capability."""

_MEMBERS = {
    name: capability
    for capability, protocol in PROTOCOLS.items()
    for name in vars(protocol)
    if not name.startswith("_")
} | {"tokenizer": "tokenizer", "config": "config", "network": "weights"}


class EngineBase:
    """What engines share: one text at a time, and a one-line refusal of what they lack."""

    name: ClassVar[str]

    @property
    def capabilities(self) -> frozenset[str]:
        """What the engine can do, by the names in `CAPABILITIES`."""
        raise NotImplementedError

    if not TYPE_CHECKING:  # else every attribute would be known

        def __getattribute__(self, name: str) -> Any:
            """Refuse a member of a capability that this engine lacks."""
            own = super().__getattribute__
            if name in _MEMBERS and _MEMBERS[name] not in own("capabilities"):
                self.require(_MEMBERS[name])
            return own(name)

    def require(self, capability: str) -> None:
        """Raise MissingCapabilityError where this engine lacks a capability."""
        if capability not in self.capabilities:
            raise MissingCapabilityError(self.explain_missing(capability))

    def require_for(self, prompts: Sequence[Prompt], arguments: Mapping[str, Any]) -> None:
        """Refuse prompts and arguments of `generate` that need a capability it lacks."""
        if not all(isinstance(prompt, str) for prompt in prompts):
            self.require("token-ids")
        for name in arguments:
            if name in ARGUMENTS:
                self.require(ARGUMENTS[name])

    def explain_missing(self, need: str) -> str | None:
        """Return why claims with a need cannot be decided here; None if they can."""
        if need in self.capabilities:
            return None
        return f"its engine, {self.name}, does not offer {need}: {NEEDS.get(need, need)}"

    def generate(self, prompt: Prompt, **settings: Any) -> Generation:
        """Continue one prompt; `settings` as in `generate_batch`."""
        return self.generate_batch([prompt], **settings)[0]

    def generate_batch(self, prompts: Sequence[Prompt], **settings: Any) -> list[Generation]:
        """Continue several prompts."""
        raise NotImplementedError
