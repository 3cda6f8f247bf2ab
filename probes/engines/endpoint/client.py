"""Send requests to an endpoint: several at once, repeated where it is busy, each error one line."""

from __future__ import annotations

import atexit
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from probes._util.text import quote
from probes.errors import EndpointFailedError, UnusableTargetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEYS = ("PROBES_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key, the first that is set."""

CONCURRENT = 8
"""Requests that are under way at once."""

TIMEOUT = 120.0
"""Seconds without a byte of an answer after which the server counts as hanging."""

TRIES = 5
"""How often a request is sent whose server is busy or fails."""

LONGEST_WAIT = 20.0
"""Seconds that a server may ask to wait before the next try."""

_TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class Client:
    """Talks to one address; its key is in the environment and nowhere else."""

    def __init__(self, address: str, *, concurrent: int = CONCURRENT) -> None:
        """Take an address that ends before the paths of the API, such as http://HOST:8000/v1."""
        if find_spec("httpx2") is None:
            raise UnusableTargetError(
                "an endpoint needs the package httpx2, which is not installed: "
                "python -m pip install httpx2"
            )
        import httpx2

        self.address = address
        key = next((os.environ[name] for name in KEYS if os.environ.get(name)), None)
        self._http = httpx2.Client(
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            timeout=httpx2.Timeout(TIMEOUT, connect=10.0),
            limits=httpx2.Limits(max_connections=concurrent),
            trust_env=urlsplit(address).hostname not in ("127.0.0.1", "::1", "localhost"),
        )
        self._errors = (httpx2.HTTPError, httpx2.InvalidURL)
        self._pool = ThreadPoolExecutor(concurrent)
        self._lock = threading.Lock()
        atexit.register(self.close)
        self.requests = 0
        """Requests that were answered."""

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._http.close()

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the answer to a GET; None where there is nothing at that path."""
        return self._send("GET", path, None, missing=(404, 405, 501))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a POST, or raise EndpointFailedError."""
        found = self._send("POST", path, body)
        assert found is not None  # no status means that it is missing
        return found

    def post_all(self, path: str, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers to several POSTs, sent at once, in their order."""
        return list(self._pool.map(lambda body: self.post(path, body), bodies))

    def _send(
        self, method: str, path: str, body: Any, missing: Sequence[int] = ()
    ) -> dict[str, Any] | None:
        address = self._place(path)
        for tries_left in reversed(range(TRIES)):
            try:
                answer = self._http.request(method, address, json=body)
            except self._errors as error:
                what = str(error) or type(error).__name__
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
            raise EndpointFailedError(
                f"{address} answers {answer.status_code}: {_explain(answer.text)}"
            )
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise EndpointFailedError(f"{address} answers no JSON object: {quote(answer.text)}")
        return content

    def _place(self, path: str) -> str:
        """Return the address of a path; one that begins with a slash is the server's own."""
        root = self.address.removesuffix("/v1") if path.startswith("/") else self.address
        return f"{root}/{path.removeprefix('/')}"


def _wait(asked: str | None, times: int) -> float:
    """Return the seconds to wait: those that the server asks for, else more each time."""
    seconds = float(asked) if asked is not None and asked.isdecimal() else 0.25 * 2**times
    return min(seconds, LONGEST_WAIT)


def _explain(text: str) -> str:
    """Return what a server says of an error, in one line."""
    return quote(" ".join(text.split())[:300])
