"""A server with the API of vLLM, or of OpenAI alone, over an engine, with faults to switch on."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from probes.schema.sampling import Sampling

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

FAULTS = {
    "temperature applied twice",
    "temperature ignored",
    "top_k 40",
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
}
"""What a server may do wrong."""


@dataclass
class Stub:
    """What is served, and how."""

    engine: Any
    faults: frozenset[str] = frozenset()
    plain: bool = False
    """Whether it has no more than OpenAI's API: no token ids, no log-probabilities."""
    name: str = "stub"
    """The model that answers say they come from."""
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
            if "busy" in self.faults and len(self.requests) % 2:
                return 429, {"error": "busy"}
            if "broken" in self.faults:
                return 400, {"error": {"message": "it is broken"}}
            if "rubbish" in self.faults:
                return 200, "<html>"
            if path == "/tokenize" and not self.plain:
                return 200, {"tokens": self._encode(body["prompt"], body["add_special_tokens"])}
            if path == "/v1/completions":
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

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        if "no text" in self.faults:
            return {"choices": []}
        prompt = body["prompt"]
        ids = self._encode(prompt, special=True) if isinstance(prompt, str) else prompt
        if not isinstance(prompt, str) and "two BOS" in self.faults:
            ids = [ids[0], *ids]
        length = body["max_tokens"] + ("one token too many" in self.faults)
        if "one token only" in self.faults:
            length = 1
        sampling = self._sampling(body)
        asked: dict[str, Any] = {"do_sample": False} if sampling is None else {"sampling": sampling}
        if "repetition penalty" in self.faults:
            asked["repetition_penalty"] = 1.3
        made = self.engine.generate(
            ids, max_new_tokens=length, seed=body.get("seed"), output_logits=True, **asked
        )
        new, reason = list(made.ids[0]), "length"
        if new[-1] in self.engine.eos_token_ids:
            reason = "stop"
        text = self.engine.decode([*ids, *new], skip_special_tokens=True)[
            len(self.engine.decode(ids, skip_special_tokens=True)) :
        ]
        if "another text among others" in self.faults and len(self.requests) % 7 == 0:
            new[3] = (new[3] + 1) % self.engine.vocab_size
        for stop in body.get("stop") or []:
            if stop in text and "stop string ignored" not in self.faults:
                end = text.index(stop)
                text = text[: end + len(stop) * ("stop string kept" in self.faults)]
                reason = "stop"
        if "wrong reason" in self.faults:
            reason = "stop"
        choice: dict[str, Any] = {"text": text, "finish_reason": reason}
        if not self.plain:
            laws = self._logits(made.logits[0]).double().log_softmax(dim=-1)
            choice |= {"token_ids": new, "logprobs": _list_logprobs(laws, new, body["logprobs"])}
            if body.get("prompt_logprobs"):
                choice |= self._prompt_logprobs(ids, body["prompt_logprobs"])
        if "ids left out" in self.faults:
            del choice["token_ids"]
            for listed in choice["logprobs"].values():
                del listed[1:]
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(made.ids[0])}
        return {"choices": [choice], "model": self.name, "usage": usage}

    def _sampling(self, body: dict[str, Any]) -> Sampling | None:
        t = body.get("temperature", 1.0)
        if t == 0 or "temperature ignored" in self.faults:
            return None
        top_k = 40 if "top_k 40" in self.faults else body.get("top_k", 0)
        if "temperature applied twice" in self.faults:
            t = t * t
        return Sampling(
            temperature=t, top_p=body.get("top_p", 1.0), top_k=top_k, min_p=body.get("min_p", 0.0)
        )

    def _logits(self, logits: torch.Tensor) -> torch.Tensor:
        if "log-probabilities at temperature 1.2" in self.faults:
            return logits / 1.2
        return logits.roll(1, dims=-1) if "another model" in self.faults else logits

    def _prompt_logprobs(self, ids: list[int], top: int) -> dict[str, Any]:
        rows: list[Any] = [None]
        for token, step in zip(ids[1:], self.engine.prompt_logprobs(ids, top), strict=True):
            listed = dict(zip(step.ids, step.logprobs, strict=True)) | {token: step.chosen}
            rows.append({str(i): {"logprob": value} for i, value in listed.items()})
        return {"prompt_token_ids": ids, "prompt_logprobs": rows}


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
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

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


def with_fault(stub: Stub, *faults: str) -> Stub:
    """Return a server of the same engine that does these wrong."""
    unknown = set(faults) - FAULTS
    assert not unknown, unknown
    return replace(stub, faults=frozenset(faults), requests=[], headers=[], lock=threading.Lock())
