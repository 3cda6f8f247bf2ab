"""A server with the API of vLLM, or of OpenAI alone, over an engine, with faults to switch on."""

from __future__ import annotations

import json
import threading
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import torch
from transformers import RepetitionPenaltyLogitsProcessor

from probes.engines.endpoint.connection import connect
from probes.schema.sampling import Sampling
from probes.stats.sampling_reference import apply_filters
from probes.targets.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probes.engines.base import NextLogits
    from probes.engines.endpoint.engine import EndpointEngine

FAULTS = {
    "temperature applied twice",
    "temperature ignored",
    "top_k 40",
    "top_k ignored",
    "top_p ignored",
    "filters before the temperature",
    "settings ignored",
    "seed ignored",
    "one seed for all",
    "noise",
    "stop ids ignored",
    "penalties ignored",
    "repetition penalty",
    "no BOS",
    "two BOS",
    "log-probabilities at temperature 1.2",
    "another model",
    "another text among others",
    "stop string kept",
    "stop string ignored",
    "one token too many",
    "one token only",
    "wrong reason",
    "ids left out",
    "busy",
    "broken",
    "rubbish",
    "no text",
    "reasoning apart",
    "no chat template",
    "another temperature on every second request",
    "another model on every second request",
    "stream drops the last part",
    "stream splits a character",
    "stream without an end",
    "stream without a reason",
    "stream counts a token too many",
}
"""What a server may do wrong; "noise" is no fault: kernels round another way at each request."""


@dataclass
class Stub:
    """What is served, and how."""

    engine: Any
    faults: frozenset[str] = frozenset()
    plain: bool = False
    """Whether it has no more than OpenAI's API: no token ids, no log-probabilities."""
    chat_only: bool = False
    """Whether it has chat completions alone; it is `plain` then."""
    chat_logprobs: bool = False
    """Whether chat completions list log-probabilities, by the texts of tokens."""
    length: str = "max_tokens"
    """The name of the most new tokens in chat completions."""
    name: str = "stub"
    """The model that answers say they come from."""
    noise: float = 0.05
    """Standard deviation of what "noise" adds to each logit, in nats."""
    letters: dict[int, str] = field(default_factory=dict)
    """What takes the place of some characters of texts."""
    is_second: bool = False
    """Whether a request reached the second of two replicas."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    headers: list[dict[str, str]] = field(default_factory=list)

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        """Return the status and the answer to a request; a status of 0 drops the connection."""
        if path == "/v1/models":
            owner = "someone" if self.plain else "vllm"
            return 200, {"data": [{"id": "stub", "owned_by": owner}]}
        if path == "/version" and not self.plain:
            return 200, {"version": "1.0"}
        if body is None:
            return 404, {}
        with self.lock:
            self.requests.append(body)
            self.is_second = len(self.requests) % 2 == 0
            if "busy" in self.faults and len(self.requests) % 2:
                return 429, {"error": "busy"}
            if "broken" in self.faults:
                return 400, {"error": {"message": "it is broken"}}
            if "rubbish" in self.faults:
                return 200, "<html>"
            if path == "/tokenize" and not self.plain:
                if "messages" in body:
                    return 200, {"tokens": self._encode_chat(body["messages"])}
                return 200, {"tokens": self._encode(body["prompt"], body["add_special_tokens"])}
            if path == "/v1/chat/completions" and (self.chat_only or not self.plain):
                return self._chat(body)
            if path == "/v1/completions" and not self.chat_only:
                return 200, self._complete(body)
        return 404, {}

    def _encode(self, text: str, special: bool) -> list[int]:
        ids: list[int] = self.engine.encode(text, add_special_tokens=special)
        bos = self.engine.special_token_ids
        if special and "no BOS" in self.faults and ids[0] in bos:
            return ids[1:]
        if special and "two BOS" in self.faults and ids[0] in bos:
            return [ids[0], *ids]
        return ids

    def _encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
        if "no chat template" in self.faults:
            ids: list[int] = self.engine.encode(messages[-1]["content"])
            return ids
        ids = self.engine.encode_chat(messages)
        return [ids[0], *ids] if "two BOS" in self.faults else ids

    def _chat(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self.length not in body:
            return 400, {"error": f"Unsupported parameter: use '{self.length}' instead."}
        prompt = self._encode_chat(body["messages"])
        made = self._complete(body | {"prompt": prompt, "max_tokens": body[self.length]})
        for choice in made["choices"]:
            choice["message"] = {"role": "assistant", "content": choice.pop("text")}
            if "reasoning apart" in self.faults:
                choice["message"] |= {"reasoning_content": "Hm.", "content": None}
        return 200, made

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        if "no text" in self.faults:
            return {"choices": []}
        ids = self._encode_prompt(body["prompt"])
        length = body["max_tokens"] + ("one token too many" in self.faults)
        new, logits = self._continue(ids, 1 if "one token only" in self.faults else length, body)
        new, reason = self._end_at_ids(new, body.get("stop_token_ids", ()))
        if "another text among others" in self.faults and len(self.requests) % 7 == 0:
            new[3] = (new[3] + 1) % self.engine.vocab_size
        before, whole = (
            self.engine.decode(each, skip_special_tokens=True) for each in (ids, [*ids, *new])
        )
        text, is_cut = self._cut_at_strings(whole[len(before) :], body.get("stop") or [])
        if is_cut or "wrong reason" in self.faults:
            reason = "stop"
        choice: dict[str, Any] = {"text": text.translate(self.letters), "finish_reason": reason}
        choice |= self._list(body, ids, new, logits)
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(new)}
        answer = {"choices": [choice], "model": self.name, "usage": usage}
        if any(fault.endswith("every second request") for fault in self.faults):
            answer["system_fingerprint"] = "fp_b" if self.is_second else "fp_a"
        return answer

    def _encode_prompt(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            return self._encode(prompt, special=True)
        return [prompt[0], *prompt] if "two BOS" in self.faults else prompt

    def _seed(self, body: dict[str, Any]) -> int | None:
        if "seed ignored" in self.faults:
            return len(self.requests)
        return 1 if "one seed for all" in self.faults else body.get("seed")

    def _continue(
        self, ids: list[int], length: int, body: dict[str, Any]
    ) -> tuple[list[int], torch.Tensor]:
        """Return new tokens, and the logits before each: (tokens, vocabulary)."""
        sampling, seed = self._sampling(body), self._seed(body)
        noise, draws = self._make_noise(body), torch.Generator()
        draws.seed() if seed is None else draws.manual_seed(seed)
        text = list(ids)
        rows: list[torch.Tensor] = []
        while len(rows) < length and not (rows and text[-1] in self.engine.eos_token_ids):
            rows.append(noise.add(_next_logits(self.engine, tuple(text))))
            scores = self._penalize(rows[-1], text, len(ids), body)
            if sampling is None:
                text.append(int(scores.argmax()))
                continue
            if "filters before the temperature" in self.faults:
                scores = filter_first(scores, sampling) / sampling.temperature
            else:
                scores = apply_filters(scores, sampling)
            text.append(int(scores.softmax(dim=-1).multinomial(1, generator=draws)))
        return text[len(ids) :], torch.stack(rows)

    def _penalize(
        self, logits: torch.Tensor, ids: list[int], begin: int, body: dict[str, Any]
    ) -> torch.Tensor:
        """Subtract penalties for what came after a prompt of length `begin`."""
        if "repetition penalty" in self.faults or self._is_replica("another model"):
            seen = torch.tensor([ids])
            [logits] = RepetitionPenaltyLogitsProcessor(1.3)(seen, logits[None])
        presence, frequency = (
            body.get(f"{name}_penalty", 0.0) for name in ("presence", "frequency")
        )
        if "penalties ignored" in self.faults or not (presence or frequency):
            return logits
        new = torch.tensor(ids[begin:], dtype=torch.long)
        counts = new.bincount(minlength=len(logits))
        penalized: torch.Tensor = logits - presence * (counts > 0) - frequency * counts
        return penalized

    def _end_at_ids(self, ids: Sequence[int], ends: Sequence[int]) -> tuple[list[int], str]:
        new = list(ids)
        if "stop ids ignored" in self.faults:
            ends = ()
        end = next((n + 1 for n, token in enumerate(new) if token in ends), 0)
        new = new[: end or None]
        is_ended = bool(end) or new[-1] in self.engine.eos_token_ids
        return new, "stop" if is_ended else "length"

    def _cut_at_strings(self, text: str, stops: Sequence[str]) -> tuple[str, bool]:
        is_cut = False
        for stop in stops:
            if stop in text and "stop string ignored" not in self.faults:
                end = text.index(stop) + len(stop) * ("stop string kept" in self.faults)
                text, is_cut = text[:end], True
        return text, is_cut

    def _list(
        self, body: dict[str, Any], ids: list[int], new: list[int], logits: torch.Tensor
    ) -> dict[str, Any]:
        """Return what a choice tells of its tokens; `logits` is of shape [steps, vocabulary]."""
        if self.plain and not (self.chat_logprobs and body.get("logprobs")):
            return {}
        laws = self._logits(logits).double().log_softmax(dim=-1)
        if self.plain:
            return {"logprobs": {"content": self._list_content(laws, new, body["top_logprobs"])}}
        told: dict[str, Any] = {
            "token_ids": new,
            "logprobs": _list_logprobs(laws, new, body.get("logprobs", 1)),
        }
        if body.get("prompt_logprobs") is not None:
            told |= self._prompt_logprobs(ids, body["prompt_logprobs"])
        if "ids left out" in self.faults:
            del told["token_ids"]
            for listed in told["logprobs"].values():
                del listed[1:]
        return told

    def _make_noise(self, body: dict[str, Any]) -> Noise:
        """Return other noise for each request, and the same in each run of a test."""
        seen = sum(body == each for each in self.requests)
        sd = self.noise if "noise" in self.faults else 0.0
        return Noise(sd, zlib.crc32(json.dumps([body, seen], sort_keys=True).encode()))

    def _is_replica(self, fault: str) -> bool:
        """Return whether a request reached a replica that has this fault."""
        return self.is_second and f"{fault} on every second request" in self.faults

    def stream(self, answer: dict[str, Any], with_usage: bool) -> bytes:
        """Return the events of an answer: a few characters each."""
        [choice] = answer["choices"]
        in_chat = "message" in choice
        text = choice["message"]["content"] if in_chat else choice["text"]
        pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
        if "stream splits a character" in self.faults:
            pieces = ["".join(c if c.isascii() else 2 * "\ufffd" for c in each) for each in pieces]
        if "stream drops the last part" in self.faults:
            pieces.pop()
        parts: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": None}}] * in_chat
        parts += [{"delta": {"content": piece}} if in_chat else {"text": piece} for piece in pieces]
        last: dict[str, Any] = {"delta": {"content": ""}} if in_chat else {"text": ""}
        if "stream without a reason" not in self.faults:
            last["finish_reason"] = choice["finish_reason"]
        events: list[dict[str, Any]] = [
            {"choices": [part], "model": self.name} for part in [*parts, last]
        ]
        if with_usage:
            usage = dict(answer["usage"])
            usage["completion_tokens"] += "stream counts a token too many" in self.faults
            events.append({"choices": [], "usage": usage})
        lines = [json.dumps(event, ensure_ascii=False) for event in events]
        if "stream without an end" not in self.faults:
            lines.append("[DONE]")
        return "".join(f"data: {line}\n\n" for line in lines).encode()

    def _sampling(self, body: dict[str, Any]) -> Sampling | None:
        t = body.get("temperature", 1.0)
        if t == 0 or "temperature ignored" in self.faults:
            return None
        top_k = 40 if "top_k 40" in self.faults else body.get("top_k", 0)
        if "temperature applied twice" in self.faults:
            t = t * t
        if self._is_replica("another temperature"):
            t = 2 * t
        if "settings ignored" in self.faults:
            return Sampling(temperature=1.0, top_k=0)
        if "top_k ignored" in self.faults:
            top_k = 0
        top_p = 1.0 if "top_p ignored" in self.faults else body.get("top_p", 1.0)
        return Sampling(temperature=t, top_p=top_p, top_k=top_k, min_p=body.get("min_p", 0.0))

    def _logits(self, logits: torch.Tensor) -> torch.Tensor:
        if "log-probabilities at temperature 1.2" in self.faults:
            return logits / 1.2
        if self._is_replica("another temperature"):
            return logits / 2
        is_other = "another model" in self.faults or self._is_replica("another model")
        return logits.roll(1, dims=-1) if is_other else logits

    def _list_content(self, laws: torch.Tensor, ids: list[int], top: int) -> list[dict[str, Any]]:
        """List log-probabilities as OpenAI's chat completions do."""

        def tell(token: int, law: torch.Tensor) -> dict[str, Any]:
            text = self.engine.tokens([token])[0].replace("▁", " ")
            return {"token": text, "bytes": [*text.encode()], "logprob": float(law[token])}

        return [
            tell(token, law)
            | {"top_logprobs": [tell(each, law) for each in law.topk(top).indices.tolist()]}
            for token, law in zip(ids, laws, strict=False)
        ]

    def _prompt_logprobs(self, ids: list[int], top: int) -> dict[str, Any]:
        rows: list[Any] = [None]
        for token, step in zip(ids[1:], self.engine.prompt_logprobs(ids, top), strict=True):
            listed = dict(zip(step.ids, step.logprobs, strict=True)) | {token: step.chosen}
            rows.append({str(i): {"logprob": value} for i, value in listed.items()})
        return {"prompt_token_ids": ids, "prompt_logprobs": rows}


class Noise:
    """Independent Gaussian noise, in nats."""

    def __init__(self, sd: float, seed: int) -> None:
        self.sd = sd
        self.generator = torch.Generator().manual_seed(seed)

    def add(self, logits: torch.Tensor) -> torch.Tensor:
        if not self.sd:
            return logits
        return logits + self.sd * torch.randn(logits.shape, generator=self.generator)


@lru_cache(maxsize=1024)
def _next_logits(engine: Any, ids: tuple[int, ...]) -> torch.Tensor:
    """Return the logits after a text, (vocabulary,): tests ask for the same texts again."""
    with _ONE_AT_A_TIME:
        logits: torch.Tensor = _follow(engine)([ids])[0]
    return logits


_ONE_AT_A_TIME = threading.Lock()
"""For `_next_logits`: servers of one engine grow one cache."""


@lru_cache
def _follow(engine: Any) -> NextLogits:
    return engine.follow_branches()  # type: ignore[no-any-return]


def filter_first(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Filter logits at temperature 1."""
    return apply_filters(logits, replace(sampling, temperature=1.0))


def _list_logprobs(laws: torch.Tensor, ids: list[int], top: int) -> dict[str, Any]:
    values, tokens = laws[: len(ids)].topk(min(top, laws.shape[-1]), dim=-1)
    chosen = [float(law[token]) for law, token in zip(laws, ids, strict=False)]
    listed = [
        {f"token_id:{i}": v for i, v in zip(row, value, strict=True)} | {f"token_id:{own}": p}
        for row, value, own, p in zip(tokens.tolist(), values.tolist(), ids, chosen, strict=True)
    ]
    return {
        "tokens": [f"token_id:{i}" for i in ids],
        "token_logprobs": chosen,
        "top_logprobs": listed,
    }


@contextmanager
def serve(stub: Stub) -> Iterator[str]:
    """Serve on an address of this machine for a while."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            self._answer(json.loads(self.rfile.read(length)))

        def _answer(self, body: dict[str, Any] | None) -> None:
            stub.headers.append({name.lower(): value for name, value in self.headers.items()})
            status, answer = stub.answer(self.path, body)
            if status == 0:
                self.close_connection = True
                return
            is_streamed = status == 200 and body is not None and bool(body.get("stream"))
            if is_streamed:
                content = stub.stream(answer, "stream_options" in (body or {}))
            else:
                content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            half = next((n + 1 for n, byte in enumerate(content) if byte > 127), 0)
            with suppress(ConnectionError):  # the client waits no more
                self.wfile.write(content[:half])  # a part that ends inside a character, if any
                self.wfile.write(content[half:])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        connect.cache_clear()  # another server may get the same port


@contextmanager
def connect_to(stub: Stub) -> Iterator[EndpointEngine]:
    """Serve for a while, and connect to it."""
    with serve(stub) as address:
        engine = connect(resolve(address))
        try:
            yield engine
        finally:
            engine.close()


def with_fault(stub: Stub, *faults: str) -> Stub:
    """Return a server of the same engine that does these wrong."""
    unknown = set(faults) - FAULTS
    assert not unknown, unknown
    return replace(stub, faults=frozenset(faults), requests=[], headers=[], lock=threading.Lock())
