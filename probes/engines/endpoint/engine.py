"""The endpoint engine: texts and log-probabilities of a model that a server computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from probes._util.redaction import Redactor
from probes.engines.base import EngineBase, Generation, Prompt, StreamedText, TopLogprobs
from probes.engines.endpoint import answers, dialects, encoding
from probes.engines.endpoint.chat_only import CHAT, ChatCompletions
from probes.engines.endpoint.client import MISSING
from probes.engines.endpoint.completions import Completions
from probes.engines.endpoint.requests import (
    DEFAULT_NEW_TOKENS,
    build_body,
    translate_settings,
)
from probes.engines.endpoint.served_model import ServedModel, list_models
from probes.engines.endpoint.streams import STREAMED
from probes.errors import EndpointFailedError, UndecidableError, UnusableTargetError
from probes.schema.claim import NEEDS
from probes.schema.record import Cost, TargetFacts
from probes.targets.capabilities import explain_without_files

if TYPE_CHECKING:
    from probes.engines.endpoint.client import Client
    from probes.schema.sampling import Sampling
    from probes.targets.target import Target

_OF_PROMPTS = frozenset({"token-ids", "logprobs", "prompt-logprobs"})
"""What a server with chat completions alone does not offer, whatever its kind."""


class EndpointEngine(EngineBase):
    """One model behind an address, as far as its server tells what it does."""

    name: ClassVar[str] = "endpoint"

    def __init__(self, target: Target, client: Client, facts: Mapping[str, Any]) -> None:
        """Ask the server at an address what it serves, or raise UnusableTargetError.

        `facts` are those of the target that the server does not tell.
        """
        self.target = target
        self._client = client
        self._facts = facts
        models = list_models(client)
        self.dialect, self.version = dialects.recognize(client, models)
        self.name = self.dialect.name  # type: ignore[misc]
        self.served = ServedModel(target, client, models)
        self._chat = ChatCompletions(client, self.dialect, self.served.name)
        self._completions = Completions(client, self.dialect, self.served.name)
        self._rows = 0

    @cached_property
    def capabilities(self) -> frozenset[str]:
        """What this kind of server offers."""
        encoding = {"encoding"} if self.dialect.tokenize else set()
        offered = self.dialect.capabilities
        if self.asks_in_chat:
            offered = offered - _OF_PROMPTS | ({"logprobs"} if self._chat.most_logprobs else set())
        return frozenset({"model", "streams", "server"}) | offered | encoding

    def explain_missing(self, need: str) -> str | None:
        """Return why claims with a need cannot be decided here; None if they can."""
        reason = explain_without_files(need, self.target) or super().explain_missing(need)
        if reason is not None and need in _OF_PROMPTS and self.asks_in_chat:
            return f"its server has chat completions alone, without {need}: {NEEDS[need]}"
        return reason

    @cached_property
    def asks_in_chat(self) -> bool:
        """Whether the server has chat completions alone, so that a prompt is one user's turn.

        It is asked for one token to find that out.
        """
        try:
            return self._chat.are_alone
        except UnusableTargetError as error:
            raise UnusableTargetError(f"target '{self.target.name}': {error}") from None

    @property
    def cost(self) -> Cost:
        """Requests, texts and tokens so far, those of prompts included; it tells no passes."""
        tokens = self._client.tokens.spent
        return Cost(forward_passes=self._client.requests, rows=self._rows, tokens=tokens)

    def facts(self) -> TargetFacts:
        """State what is tested, for the record; the address has no user, password or query."""
        version = f" {self.version}" if self.version else ""
        redact, address = Redactor.for_secrets().redact_text, self.target.address
        return TargetFacts(
            name=self.target.name,
            device="server",
            dtype=self.target.dtype.value,
            architecture=f"{self.dialect.name}{version}",
            address=None if address is None else redact(address),
            served_model=None if address is None else redact(self.served.name),
            **self._facts,
        )

    @property
    def context_length(self) -> int | None:
        """How many tokens the model can see, where the server's list of models states it."""
        return self.served.context_length

    def unload(self) -> None:
        """Keep the server: nothing of it is in this process."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def stated_defaults(self) -> dict[str, float]:
        """The settings that llama.cpp says it applies where a request names none."""
        is_llama_cpp = self.dialect is dialects.LLAMA_CPP
        return dialects.read_stated_defaults(self._client) if is_llama_cpp else {}

    @property
    def stored_as(self) -> str | None:
        """How the weights are stored that the server computes with; None if it tells nothing."""
        is_llama_cpp = self.dialect is dialects.LLAMA_CPP
        return dialects.read_storage(self._client) if is_llama_cpp else None

    @property
    def computes_quantized(self) -> str | None:
        """How the weights are quantized that the server computes with; None if it tells none."""
        return None if self.stored_as in dialects.NOT_QUANTIZED else self.stored_as

    @property
    def precision(self) -> str:
        """The dtype that the server computes in, by the target or its kind; empty if unknown."""
        stated = self.target.dtype.value
        return self.dialect.precision if stated == "auto" else stated

    # --- encoding ----------------------------------------------------------------------------

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text, as the server encodes it."""
        return self.encode_all([text], add_special_tokens=add_special_tokens)[0]

    def encode_all(
        self, texts: Sequence[str], *, add_special_tokens: bool = True
    ) -> list[list[int]]:
        """Return the token ids of several texts."""
        self.require("encoding")
        return encoding.encode_texts(
            self._client,
            self.dialect,
            self.served.name,
            texts,
            add_special_tokens=add_special_tokens,
        )

    def encode_messages(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the ids that a chat completion continues, as the server renders messages.

        Raises UndecidableError where it does not tell them.
        """
        return encoding.encode_messages(self._client, self.dialect, self.served.name, messages)

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
        """Continue several prompts, each sample a request of its own, several at once.

        Where the server has chat completions alone, a prompt is what a user says.

        Without `sampling` and `do_sample=False` nothing is asked of the server but a length. Of
        several samples each has the next seed, also those of different prompts.
        """
        asked = arguments | ({} if top_logprobs is None else {"top_logprobs": top_logprobs})
        self.require_for(prompts, asked)
        fields = translate_settings(self.dialect, sampling, arguments)
        length = DEFAULT_NEW_TOKENS if max_new_tokens is None else max_new_tokens
        bodies = [
            self._body(prompt, length, top_logprobs)
            | fields
            | ({} if seed is None else {"seed": seed + at * num_return_sequences + number})
            for at, prompt in enumerate(prompts)
            for number in range(num_return_sequences)
        ]
        found = self._post_all(bodies)
        self.served.refuse_change(found)
        rows = [answers.read_completion(each, top_logprobs) for each in found]
        self._rows += len(rows)
        generations = []
        for at, prompt in enumerate(prompts):
            own = rows[at * num_return_sequences : (at + 1) * num_return_sequences]
            listed = [row.top_logprobs or [] for row in own]
            generations.append(
                Generation(
                    prompt_ids=[] if isinstance(prompt, str) else list(prompt),
                    ids=[row.ids for row in own],
                    texts=[row.text for row in own],
                    top_logprobs=listed if top_logprobs is not None else None,
                    top_pieces=[row.top_pieces for row in own],
                    finish_reasons=[row.finish_reason for row in own],
                    new_tokens=[row.new_tokens for row in own],
                    prompt_tokens=own[0].prompt_tokens if own else None,
                    served_by=[row.served_by for row in own if row.served_by] or None,
                )
            )
        return generations

    def stream(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling | None = None,
        max_new_tokens: int | None = None,
        **arguments: Any,
    ) -> StreamedText:
        """Continue one prompt, and join what the server streams."""
        self.require_for([prompt], arguments)
        length = DEFAULT_NEW_TOKENS if max_new_tokens is None else max_new_tokens
        fields = translate_settings(self.dialect, sampling, arguments)
        body = self._body(prompt, length, None) | fields | {"stream": True}
        with_usage = body | {"stream_options": {"include_usage": True}}
        try:
            found = self._post_all([with_usage])
        except EndpointFailedError as error:  # a strict server may not know the option
            if error.status not in (400, 422) or "stream_options" not in error.said:
                raise
            found = self._post_all([body])
        self.served.refuse_change(found)
        made = answers.read_completion(found[0], None)
        self._rows += 1
        return StreamedText(
            text=made.text,
            parts=found[0][STREAMED]["parts"],
            is_ended=found[0][STREAMED]["is_ended"],
            finish_reason=made.finish_reason,
            new_tokens=made.new_tokens,
        )

    def answer_messages(
        self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int, **arguments: Any
    ) -> Generation:
        """Answer messages by a chat completion, under the server's own template.

        Raises UndecidableError where the server has none, or refuses the messages.
        """
        body = self._chat.build_body_of(messages, max_new_tokens)
        body |= translate_settings(self.dialect, None, arguments)
        try:
            found = self._client.post(CHAT, body)
        except EndpointFailedError as error:
            if error.status not in (*MISSING, 400, 422):
                raise
            raise UndecidableError(f"its server answers no chat: {error}") from None
        self.served.refuse_change([found])
        made = answers.read_completion(found, None)
        self._rows += 1
        return Generation([], [made.ids], [made.text], finish_reasons=[made.finish_reason])

    def _body(self, prompt: Prompt, length: int, top_logprobs: int | None) -> dict[str, Any]:
        if self.asks_in_chat:
            return self._chat.build_body(prompt, length, top_logprobs)
        return build_body(self.dialect, self.served.name, prompt, length, top_logprobs)

    def _post_all(self, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if self.asks_in_chat:
            return self._client.post_all(CHAT, bodies)
        return self._completions.post_all(bodies)

    # --- log-probabilities -------------------------------------------------------------------

    def prompt_logprobs(self, prompt: Prompt, top_logprobs: int) -> list[TopLogprobs]:
        """Return the most likely tokens at every position of a prompt but the first."""
        plain = build_body(self.dialect, self.served.name, prompt, 1, None)
        body = plain | dict(self.dialect.neutral)
        body["prompt_logprobs"] = min(top_logprobs, self.dialect.most_logprobs)
        [found] = self._completions.post_all([body])
        return answers.read_prompt_logprobs(found, top_logprobs)
