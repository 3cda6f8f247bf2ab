"""The endpoint engine: texts and log-probabilities of a model that a server computes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from probes._util.redaction import Redactor, quote_redacted
from probes.engines.base import EngineBase, Generation, Prompt, StreamedText, TopLogprobs
from probes.engines.endpoint import answers, llamacpp
from probes.engines.endpoint.client import MAY_LACK_VERSION, MISSING, REFUSED, Client
from probes.engines.endpoint.dialects import (
    LLAMA_CPP,
    describe_served,
    list_served,
    recognize,
)
from probes.engines.endpoint.streams import STREAMED
from probes.errors import (
    EndpointFailedError,
    OverTokenBudgetError,
    UndecidableError,
    UnusableTargetError,
)
from probes.schema.claim import NEEDS
from probes.schema.record import Cost, TargetFacts
from probes.targets.capabilities import explain_without_files

if TYPE_CHECKING:
    from probes.schema.sampling import Sampling
    from probes.targets.target import Target

DEFAULT_NEW_TOKENS = 16
"""How many tokens OpenAI's API documents for a request that names no length."""

_CHAT = "chat/completions"

_MOST_IN_CHAT = (20, 5)
"""How many log-probabilities chat completions list at most, by OpenAI's API and by others."""

_ASKED_FIRST = "a"
"""The prompt by which it is found out what a server has."""

_OF_PROMPTS = frozenset({"token-ids", "logprobs", "prompt-logprobs"})
"""What a server with chat completions alone does not offer, whatever its kind."""

LIST_AGAIN = 20.0
"""Seconds after which a server's list of models is read again."""

_IGNORED = frozenset({"output_logits", "no_repeat_ngram_size"})
"""Arguments of other engines that no endpoint has, where their value asks for nothing."""


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
        models = _list_models(client)
        self.dialect, self.version = recognize(client, models)
        self.name = self.dialect.name  # type: ignore[misc]
        self.served_name = _choose_model(target, models)
        self._answering = ""
        self._listed = describe_served(list_served(models), self.served_name)
        self._listed_at = time.monotonic()
        self._rows = 0
        self._length = "max_tokens"
        self._most_in_chat = max(_MOST_IN_CHAT)

    @cached_property
    def capabilities(self) -> frozenset[str]:
        """What this kind of server offers."""
        encoding = {"encoding"} if self.dialect.tokenize else set()
        offered = self.dialect.capabilities
        if self.asks_in_chat:
            offered = offered - _OF_PROMPTS | ({"logprobs"} if self._most_in_chat else set())
        return frozenset({"model", "streams"}) | offered | encoding

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
        refusal = None
        try:
            body = self._body(_ASKED_FIRST, 1, None, in_chat=False)
            if answers.has_choices(self._client.post("completions", body)):
                return False
        except EndpointFailedError as error:
            if error.status not in (*MISSING, *REFUSED, 400, 422):
                return False
            refusal = error if error.status in REFUSED else None
        except OverTokenBudgetError:
            return False
        in_chat = self._answers_in_chat()
        if refusal is not None and not in_chat:
            raise UnusableTargetError(f"target '{self.target.name}': {refusal}") from None
        return in_chat

    def _answers_in_chat(self) -> bool:
        """Ask for one token of a chat completion, and learn what the server takes.

        That is the name of the length, and how many log-probabilities it lists.
        """
        try:
            body = self._body(_ASKED_FIRST, 1, self._most_in_chat, in_chat=True)
            answer = self._client.post(_CHAT, body)
        except EndpointFailedError as error:
            if "max_completion_tokens" in error.said and self._length == "max_tokens":
                self._length = "max_completion_tokens"
            elif "logprobs" in error.said and self._most_in_chat:
                self._most_in_chat = next(n for n in (*_MOST_IN_CHAT, 0) if n < self._most_in_chat)
            else:
                return False
            return self._answers_in_chat()
        except OverTokenBudgetError:
            return False
        if not answers.has_choices(answer):
            return False
        if not answers.lists_logprobs(answer):
            self._most_in_chat = 0
        return True

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
            served_model=None if address is None else redact(self.served_name),
            **self._facts,
        )

    def unload(self) -> None:
        """Keep the server: nothing of it is in this process."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def stated_defaults(self) -> dict[str, float]:
        """The settings that llama.cpp says it applies where a request names none."""
        if self.dialect is not LLAMA_CPP:
            return {}
        settings = self._client.find("/props").get("default_generation_settings")
        params = settings.get("params") if isinstance(settings, dict) else None
        if not isinstance(params, dict):
            return {}
        names = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")
        values = {name: params.get(name) for name in names}
        return {name: float(v) for name, v in values.items() if isinstance(v, (int, float))}

    @property
    def computes_quantized(self) -> str | None:
        """How the weights are quantized that the server computes with; None if it tells none."""
        if self.dialect is not LLAMA_CPP:
            return None
        stored = str(self._client.find("/props").get("model_ftype") or "")
        stored = stored.replace("(guessed)", "").strip().removeprefix("all ")
        return None if stored in ("", "F32", "F16", "BF16") else stored

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
        dialect = self.dialect
        bodies = [
            {
                "model": self.served_name,
                dialect.text_field: text,
                dialect.special_field: add_special_tokens,
            }
            for text in texts
        ]
        found = self._client.post_all(dialect.tokenize, bodies)
        return [answers.read_ids(each) for each in found]

    def encode_messages(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the ids that a chat completion continues, as the server renders messages.

        Raises UndecidableError where it does not tell them.
        """
        if not self.dialect.render:
            raise UndecidableError(f"its engine, {self.name}, does not tell how it renders a chat")
        body = {"model": self.served_name, "messages": list(messages)}
        try:
            found = self._client.post(self.dialect.render, body)
        except EndpointFailedError as error:
            if error.status is None:
                raise
            raise UndecidableError(f"its server renders no chat: {error}") from None
        if self.dialect is not LLAMA_CPP:
            return answers.read_ids(found)
        if not isinstance(text := found.get("prompt"), str):
            raise UndecidableError("its server renders no chat: its answer has no prompt")
        return self.encode(text)

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
        fields = self._fields(sampling, arguments)
        length = DEFAULT_NEW_TOKENS if max_new_tokens is None else max_new_tokens
        bodies = [
            self._body(prompt, length, top_logprobs, in_chat=self.asks_in_chat)
            | fields
            | ({} if seed is None else {"seed": seed + at * num_return_sequences + number})
            for at, prompt in enumerate(prompts)
            for number in range(num_return_sequences)
        ]
        path = _CHAT if self.asks_in_chat else "completions"
        found = self._client.post_all(path, bodies)
        self._refuse_other_model(found)
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
        fields = self._fields(sampling, arguments) | {"stream": True}
        body = self._body(prompt, length, None, in_chat=self.asks_in_chat) | fields
        path = _CHAT if self.asks_in_chat else "completions"
        with_usage = body | {"stream_options": {"include_usage": True}}
        try:
            found = self._client.post(path, with_usage)
        except EndpointFailedError as error:  # a strict server may not know the option
            if error.status not in (400, 422) or "stream_options" not in error.said:
                raise
            found = self._client.post(path, body)
        self._refuse_other_model([found])
        made = answers.read_completion(found, None)
        self._rows += 1
        return StreamedText(
            text=made.text,
            parts=found[STREAMED]["parts"],
            is_ended=found[STREAMED]["is_ended"],
            finish_reason=made.finish_reason,
            new_tokens=made.new_tokens,
        )

    def _refuse_other_model(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Raise UnusableTargetError where answers come from another model than the first did.

        Most servers answer with the name that was asked for: their list of models is read again
        now and then.
        """
        if time.monotonic() - self._listed_at > LIST_AGAIN:
            self._listed_at = time.monotonic()
            listed = list_served(self._client.find("models"))
            now = describe_served(listed, self.served_name)
            if listed and self._listed and now != self._listed:
                raise UnusableTargetError(
                    f"the server of target '{self.target.name}' listed {self._listed} and now "
                    f"lists {now or 'it no more'}: what is behind the address has changed"
                )
        for each in found:
            if isinstance(name := each.get("model"), str):
                self._answering = self._answering or name
                if name != self._answering:
                    raise UnusableTargetError(
                        f"the model of target '{self.target.name}' was "
                        f"{quote_redacted(self._answering)} "
                        f"and is now {quote_redacted(name)}: what is behind the address has changed"
                    )

    def _body(
        self, prompt: Prompt, length: int, top_logprobs: int | None, *, in_chat: bool
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.served_name,
            self._length: length,
            **self.dialect.always,
        }
        if in_chat:
            body["messages"] = [{"role": "user", "content": prompt}]
            if self._most_in_chat:
                most = min(top_logprobs or 1, self._most_in_chat)
                body |= {"logprobs": True, "top_logprobs": most}
            return body
        body["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
        if (
            "logprobs" in self.dialect.capabilities
        ):  # llama.cpp tells ids beside log-probabilities alone
            body["logprobs"] = min(top_logprobs or 1, self.dialect.most_logprobs)
        return body

    def _fields(self, sampling: Sampling | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a request for settings by transformers' names."""
        rest = {name: value for name, value in arguments.items() if name not in _IGNORED}
        greedy = rest.pop("do_sample", None) is False
        fields: dict[str, Any] = {}
        if greedy or sampling is not None:
            fields |= self.dialect.neutral
        if greedy:
            fields["temperature"] = 0.0
        elif sampling is not None:
            settings = sampling.arguments()
            settings.pop("do_sample")
            fields |= {name: settings[name] for name in settings.keys() & self.dialect.settings}
            neutral = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
            missing = {
                name for name, value in settings.items() if value != neutral.get(name)
            } - self.dialect.settings
            if missing:
                raise UndecidableError(
                    f"its engine, {self.name}, takes no {', '.join(sorted(missing))}"
                )
        if "stop_strings" in rest:
            fields["stop"] = list(rest.pop("stop_strings"))
            rest.pop("tokenizer", None)
        penalty = rest.pop("repetition_penalty", None)
        if penalty is not None and self.dialect.repetition_penalty:
            fields[self.dialect.repetition_penalty] = penalty
        if rest:
            raise UndecidableError(f"its engine, {self.name}, takes no {', '.join(sorted(rest))}")
        return fields

    # --- log-probabilities -------------------------------------------------------------------

    def prompt_logprobs(self, prompt: Prompt, top_logprobs: int) -> list[TopLogprobs]:
        """Return the most likely tokens at every position of a prompt but the first."""
        body = self._body(prompt, 1, None, in_chat=False) | dict(self.dialect.neutral)
        body["prompt_logprobs"] = min(top_logprobs, self.dialect.most_logprobs)
        return answers.read_prompt_logprobs(self._client.post("completions", body), top_logprobs)


def check(target: Target) -> None:
    """Raise UnusableTargetError if a target cannot be used; a file is not loaded for that."""
    if target.gguf is None:
        connect(target)
        return
    try:
        llamacpp.check(target.gguf)
    except UnusableTargetError as error:
        raise UnusableTargetError(f"target '{target.name}': {error}") from None


@cache
def connect(target: Target) -> EndpointEngine:
    """Connect to the server of a target, or start one for its file; once a process.

    A server that is not there or serves another model raises UnusableTargetError.
    """
    try:
        if target.gguf is not None:
            server = llamacpp.serve(target.gguf)
            client = Client(f"{server.address}/v1", token_budget=target.token_budget)
            return EndpointEngine(target, client, server.facts)
        assert target.address is not None
        facts = {"source": "endpoint", "repository": None}
        client = Client(target.address, token_budget=target.token_budget)
        return EndpointEngine(target, client, facts)
    except UnusableTargetError as error:
        raise UnusableTargetError(f"target '{target.name}': {error}") from None


def _list_models(client: Client) -> Mapping[str, Any]:
    """Return the server's list of models; empty where it gives none, as one does without the hub.

    A key that is missing or refused raises UnusableTargetError, as nothing else would be answered.
    """
    try:
        models = client.get("models")
    except EndpointFailedError as error:
        if error.status in REFUSED:
            raise UnusableTargetError(str(error)) from None
        return {}
    if models is None and client.lacks_version and list_served(client.find("/v1/models")):
        raise UnusableTargetError(
            f"{client.address} has no models, and {client.address}/v1 has: name the second"
        )
    return models or {}


def _choose_model(target: Target, models: Mapping[str, Any]) -> str:
    """Return the name of the model to ask for: the one that the target names, or the only one."""
    names = [str(each.get("id")) for each in list_served(models)]
    wanted = target.served_model
    if wanted is not None:
        if names and wanted not in names:
            raise UnusableTargetError(
                f"{target.address} serves {', '.join(map(quote_redacted, names))}, "
                f"not {quote_redacted(wanted)}: "
                "name one of them after a #"
            )
        return wanted
    if len(names) != 1:
        what = (
            f"serves {', '.join(map(quote_redacted, names))}"
            if names
            else "does not say what it serves"
        )
        hint = "" if names or str(target.address).endswith("/v1") else f"; {MAY_LACK_VERSION}"
        raise UnusableTargetError(f"{target.address} {what}: name a model after a #{hint}")
    return names[0]
