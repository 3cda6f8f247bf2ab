"""Send requests to an endpoint: several at once, repeated where it is busy, each error one line."""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from probes._util.jsonfile import MEBIBYTE
from probes._util.redaction import Redactor
from probes._util.text import quote
from probes.engines.endpoint.answers import SERVED_BY
from probes.engines.endpoint.streams import join_stream
from probes.engines.endpoint.usage import TokenAccount
from probes.errors import EndpointFailedError, UnusableTargetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEYS = ("PROBES_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key, the first that is set."""

CONCURRENT = 8
"""Requests that are under way at once."""

TIMEOUT = 120.0
"""Seconds without a byte of an answer after which the server counts as hanging.

Of several requests under way each may wait for the others: a server may compute one at a time.
"""

KEPT = 2.0
"""Seconds that an idle connection is kept: servers close one after 5, and may do so too early."""

LARGEST = 256 * MEBIBYTE
"""Bytes of one answer: one that is longer, or comes for longer than `TIMEOUT`, does not end."""

TRIES = 5
"""How often a request is sent whose server is busy, fails or drops the connection."""

LONGEST_WAIT = 60.0
"""Seconds that a server may ask to wait before the next try."""

REFUSED = frozenset({401, 403})
"""Statuses of a key that is missing or not accepted."""

MISSING = (404, 405, 501)
"""Statuses of a path that a server does not have."""

MAY_LACK_VERSION = "/v1 may be missing at the end of the address"

_TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})

_LONGEST_QUOTE = 300

_WHO = ("x-served-by", "x-replica-id", "x-backend", "x-backend-server", "x-upstream")
"""Headers by which routers name who answered."""


class Client:
    """Talks to one address; its key is in the environment and nowhere else."""

    def __init__(
        self, address: str, *, concurrent: int = CONCURRENT, token_budget: int | None = None
    ) -> None:
        """Take an address that ends before the paths of the API, such as http://HOST:8000/v1.

        Requests for more tokens than `token_budget` are not sent; None is no limit.
        """
        if find_spec("httpx2") is None:
            raise UnusableTargetError(
                "an endpoint needs the package httpx2, which is not installed: "
                "python -m pip install httpx2"
            )
        import httpx2

        self.address = address
        key = read_key(os.environ)
        self._http = httpx2.Client(
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            limits=httpx2.Limits(max_connections=concurrent, keepalive_expiry=KEPT),
            trust_env=urlsplit(address).hostname not in ("127.0.0.1", "::1", "localhost"),
        )
        self._dropped = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)
        self._errors = (httpx2.HTTPError, httpx2.InvalidURL)
        self._timeout = httpx2.Timeout
        self._concurrent = concurrent
        self._lock = threading.Lock()
        atexit.register(self.close)
        self.tokens = TokenAccount(token_budget)
        self.requests = 0
        """Requests that were answered."""

    def close(self) -> None:
        """Close the connections."""
        atexit.unregister(self.close)
        self._http.close()

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the answer to a GET; None where there is nothing at that path."""
        return self._send("GET", path, None, missing=MISSING)

    def find(self, path: str) -> dict[str, Any]:
        """Return the answer to a GET that not every server knows; empty where it gives none."""
        try:
            return self.get(path) or {}
        except (EndpointFailedError, UnusableTargetError):
            return {}

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a POST, or raise EndpointFailedError."""
        return self.post_all(path, [body])[0]

    def post_all(self, path: str, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers to several POSTs, sent at once, in their order.

        The first error is raised; requests under way are then left alone. If there are not enough
        tokens left for all of them, none is sent: that raises OverTokenBudgetError. So does an
        answer that took more than was left: the rest is not sent.
        """
        self.tokens.refuse_too_many(bodies)
        waiting: SimpleQueue[tuple[int, Mapping[str, Any]]] = SimpleQueue()
        answered: SimpleQueue[tuple[int, dict[str, Any] | Exception]] = SimpleQueue()
        for numbered in enumerate(bodies):
            waiting.put(numbered)
        under_way = min(len(bodies), self._concurrent)
        stopped = threading.Event()

        def work() -> None:
            while not stopped.is_set():
                try:
                    number, body = waiting.get_nowait()
                except Empty:
                    return
                try:
                    self.tokens.refuse_overspent()
                    answered.put(
                        (number, self._send("POST", path, body, under_way=under_way) or {})
                    )
                except Exception as error:
                    answered.put((number, error))

        # Python waits at its end for a pool's threads, but not for these: a server may hang.
        for _ in range(under_way):
            threading.Thread(target=work, daemon=True).start()
        answers: dict[int, dict[str, Any]] = {}
        try:
            while len(answers) < len(bodies):
                number, answer = answered.get()
                if isinstance(answer, Exception):
                    raise answer
                answers[number] = answer
        finally:
            stopped.set()
        return [answers[number] for number in range(len(bodies))]

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        missing: Sequence[int] = (),
        under_way: int = 1,
    ) -> dict[str, Any] | None:
        address = self._place(path)
        timeout = self._timeout(TIMEOUT * under_way, connect=10.0)
        for tries_left in reversed(range(TRIES)):
            try:
                answer, content = self._fetch(method, address, body, timeout)
            except self._errors as error:
                if tries_left and isinstance(error, self._dropped):
                    time.sleep(_wait(None, TRIES - tries_left))
                    continue
                what = _redact(str(error)) or type(error).__name__
                raise UnusableTargetError(
                    f"{address} does not answer: {what}: is the server running there?"
                ) from None
            if answer.status_code in missing:
                return None
            if answer.status_code not in _TRY_AGAIN or not tries_left:
                break
            time.sleep(_wait(answer.headers.get("retry-after"), TRIES - tries_left))
        with self._lock:
            self.requests += 1
        if answer.status_code != 200:
            text = content.decode("utf-8", "replace")
            raise self._explain_status(address, answer.status_code, text)
        is_streamed = body is not None and body.get("stream")
        found = join_stream(content) if is_streamed else _read_object(content)
        if found is None:
            text = _explain(content.decode("utf-8", "replace"))
            if is_streamed and _read_object(content) is not None:
                raise EndpointFailedError(f"{address} does not stream, it answers at once: {text}")
            raise EndpointFailedError(f"{address} answers no JSON object: {text}")
        if body is not None:
            if named := [who for name in _WHO if (who := answer.headers.get(name))]:
                found[SERVED_BY] = ", ".join(named)
            with self._lock:
                self.tokens.add(body, found)
        return found

    def _fetch(self, method: str, address: str, body: Any, timeout: Any) -> tuple[Any, bytes]:
        """Return an answer with its whole content, unless that does not end."""
        content = bytearray()
        with self._http.stream(method, address, json=body, timeout=timeout) as answer:
            begun = time.monotonic()
            for part in answer.iter_bytes():
                content += part
                if len(content) > LARGEST or time.monotonic() - begun > timeout.read:
                    raise UnusableTargetError(
                        f"{address} does not end its answer: {len(content):,} bytes so far, the "
                        f"last {_explain(bytes(content[-80:]).decode('utf-8', 'replace'))}"
                    )
        return answer, bytes(content)

    def _explain_status(self, address: str, status: int, text: str) -> EndpointFailedError:
        what = f"{address} answers {status}"
        if status in _TRY_AGAIN:
            what += f", {TRIES} times"
        if status in REFUSED:
            has_key = "authorization" in self._http.headers
            what += (
                f": it refuses the key in {' or '.join(KEYS)}"
                if has_key
                else f": it asks for a key, and {KEYS[0]} holds none"
            )
        elif status == 404 and self.lacks_version:
            what += f": {MAY_LACK_VERSION}"
        return EndpointFailedError(f"{what}: {_explain(text)}", status, text)

    @property
    def lacks_version(self) -> bool:
        """Whether the address does not end in /v1, as most do."""
        return not self.address.endswith("/v1")

    def _place(self, path: str) -> str:
        """Return the address of a path; one that begins with a slash is the server's own."""
        root = self.address.removesuffix("/v1") if path.startswith("/") else self.address
        return f"{root}/{path.removeprefix('/')}"


def read_key(environ: Mapping[str, str]) -> str | None:
    r"""Return the key from the environment, without white space around it; None if there is none.

    >>> read_key({"PROBES_API_KEY": "k-0123\n"}), read_key({"PROBES_API_KEY": " "})
    ('k-0123', None)
    """
    for name in KEYS:
        key = environ.get(name, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise UnusableTargetError(
                f"the key in {name} has characters that no header can hold: "
                "it should be printable ASCII"
            )
        if key:
            return key
    return None


def _read_object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object of an answer; None if there is none."""
    with suppress(ValueError, RecursionError):
        if isinstance(found := json.loads(content), dict):
            return found
    return None


def _wait(asked: str | None, times: int) -> float:
    """Return the seconds to wait: those that the server asks for, else more each time."""
    seconds: float = 0.25 * 2**times
    if asked is not None and asked.isdecimal():
        seconds = float(asked)
    elif asked is not None:
        with suppress(ValueError, TypeError):  # not a date either, or one without a time zone
            until = parsedate_to_datetime(asked) - datetime.now(timezone.utc)
            seconds = max(0.0, until.total_seconds())
    return min(seconds, LONGEST_WAIT)


def _explain(text: str) -> str:
    """Return what a server says of an error, in one line."""
    return quote(_redact(text)[:_LONGEST_QUOTE], limit=_LONGEST_QUOTE)


def _redact(text: str) -> str:
    """Return a text as one line, before any cut, which could leave a part of a secret."""
    return Redactor.for_secrets().redact_text(" ".join(text.split()))
