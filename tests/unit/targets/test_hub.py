from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from probes._util import progress
from probes.errors import UserError
from probes.targets import hub

huggingface_hub = pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "f" * 40
TOKEN = "hf_thisIsASecretThatMustNotBeShown"  # planted, and no real one
FILES = {
    "config.json": b'{"vocab_size": 16}',
    "tokenizer.json": b"{}",
    "tokenizer.model": b"\n",
    "merges.txt": b"a b",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"pickle",
    "modeling_own.py": b"print()",
    "consolidated.safetensors": b"weights again",
    "onnx/config.json": b"{}",
    "README.md": b"card",
}

STORED = {"parameters": {"BF16": 3_000_000_000}, "total": 3_000_000_000}


def blob(name: str) -> str:
    """The name of a file's content in the cache."""
    return hashlib.sha1(FILES.get(name, b""), usedforsecurity=False).hexdigest()


class FakeHub(BaseHTTPRequestHandler):
    """The part of the hub that serves one model, on this machine."""

    files: Mapping[str, bytes] = FILES
    sizes: Mapping[str, int] = {}
    refusal: tuple[int, dict[str, str]] | None = None

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        if self.refusal is not None:
            self._send(self.refusal[0], b"", self.refusal[1], body=body)
        elif "/resolve/" in path:
            name = path.partition(f"/resolve/{COMMIT}/")[2]
            headers = {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT}
            self._send(200, self.files[name], headers, body=body)
        elif "/tree/" in path:
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in self.files.items()
            ]
            self._send(200, json.dumps(tree).encode(), {}, body=body)
        else:
            siblings = [
                {"rfilename": name, "size": self.sizes.get(name, len(data)), "blobId": blob(name)}
                for name, data in self.files.items()
            ]
            info = {"id": "org/model", "sha": COMMIT, "siblings": siblings, "safetensors": STORED}
            self._send(200, json.dumps(info).encode(), {}, body=body)

    def _send(self, status: int, data: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Print nothing."""


def point_at(monkeypatch: pytest.MonkeyPatch, hub_url: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub_url)
    for module in ("constants", "file_download"):  # versions before 1 keep a copy in the latter
        monkeypatch.setattr(
            f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE",
            hub_url + "/{repo_id}/resolve/{revision}/{filename}",
            raising=False,
        )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a planted token, and no way to the real hub."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    point_at(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return folder


@pytest.fixture
def fake_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeHub]]:
    """A hub on this machine; the test may change its handler."""
    handler = type("Handler", (FakeHub,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    point_at(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    server.server_close()


def cached_model(cache: Path, commit: str = COMMIT, *, leave_out: str = "") -> Path:
    """A model in the layout of the cache, as after an earlier download."""
    storage = cache / "models--org--model"
    snapshot = storage / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (storage / "refs").mkdir()
    (storage / "refs" / "main").write_text(commit)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        if name != leave_out:
            (snapshot / name).write_bytes(FILES[name])
    return snapshot


def refusal(repository: str = "org/model", revision: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        hub.fetch(repository, revision)
    line = str(caught.value)
    assert "\n" not in line
    assert TOKEN not in line
    return line


# --- what is fetched ----------------------------------------------------------------------------


def test_fetch_leaves_out_pickles_code_and_duplicates(fake_hub: type[FakeHub], cache: Path) -> None:
    folder, commit = hub.fetch("org/model", None)
    assert commit == COMMIT
    assert cache in folder.parents
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*")) == [
        "config.json",
        "merges.txt",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer.model",
    ]


def test_model_without_safetensors_is_refused_before_the_download(
    fake_hub: type[FakeHub], cache: Path
) -> None:
    fake_hub.files = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    assert refusal() == (
        "'org/model' has no safetensors weights, and no others are loaded, because loading a "
        "pickle can run any code: name a repository or revision that has them"
    )
    assert not cache.exists()


def test_size_is_checked_and_shown_before_the_download(
    fake_hub: type[FakeHub], cache: Path
) -> None:
    fake_hub.sizes = {"model.safetensors": 6_000_000_000, "consolidated.safetensors": 10**18}
    looked: list[Mapping[str, int]] = []
    steps: list[str] = []

    def look(parameters: Mapping[str, int]) -> None:
        assert not cache.exists()
        looked.append(parameters)

    def show(what: str) -> nullcontext[None]:
        steps.append(what)
        return nullcontext()

    unwatch = progress.watch(show)
    try:
        hub.fetch("org/model", None, look)
    finally:
        unwatch()
    assert looked == [STORED["parameters"]]
    (line,) = steps
    assert line.startswith("fetching org/model: 6.0 GB into the local cache, on a disk with ")


def free_bytes(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))


def test_full_disk_is_refused_before_the_download(
    fake_hub: type[FakeHub], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.sizes = {"model.safetensors": 6_000_000_000}
    free_bytes(monkeypatch, 2_000_000_000)
    assert refusal() == (
        "'org/model' takes 6.0 GB more in the local cache, on a disk with 2.0 GB free: make room, "
        "or set HF_HOME to a folder on a larger disk"
    )
    assert not cache.exists()


@pytest.mark.parametrize(
    ("place", "size"),
    [
        (f"snapshots/{COMMIT}/model.safetensors", 0),
        (f"blobs/{blob('model.safetensors')}", 0),  # of another commit
        (f"blobs/{blob('model.safetensors')}.incomplete", 5_500_000_000),
    ],
    ids=["file", "content", "part"],
)
def test_what_is_in_the_cache_needs_no_room(
    fake_hub: type[FakeHub], cache: Path, monkeypatch: pytest.MonkeyPatch, place: str, size: int
) -> None:
    fake_hub.sizes = {"model.safetensors": 6_000_000_000}
    cached = cache / "models--org--model" / place
    cached.parent.mkdir(parents=True)
    with cached.open("wb") as file:
        file.truncate(size)  # a sparse file
    free_bytes(monkeypatch, 1_000_000_000)
    sizes: list[int] = []

    def stop(_: str, size: int) -> None:
        sizes.append(size)
        raise UserError("no further")

    monkeypatch.setattr("probes._util.progress.step", stop)
    assert refusal() == "no further"
    assert sizes[0] < 600_000_000


# --- the cache ----------------------------------------------------------------------------------

UNREACHABLE = (
    " is not complete in the local cache, and the hub cannot be reached: check the connection and "
    "try again, or name a folder"
)


def test_cached_commit_needs_no_connection(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = cached_model(cache)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", None)
    assert hub.fetch("org/model", COMMIT) == (snapshot, COMMIT)


@pytest.mark.parametrize("hub_is", ["unreachable", "down"])
def test_cached_branch_is_used_without_the_hub(
    hub_is: str, fake_hub: type[FakeHub], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cached_model(cache)
    fake_hub.refusal = (503, {})
    if hub_is == "unreachable":
        point_at(monkeypatch, "http://127.0.0.1:9")
    assert hub.fetch("org/model", None) == (snapshot, COMMIT)
    assert hub.fetch("org/model", "main") == (snapshot, COMMIT)


def test_moved_branch_is_fetched_again(fake_hub: type[FakeHub], cache: Path) -> None:
    cached_model(cache, OTHER_COMMIT)
    assert hub.fetch("org/model", None)[1] == COMMIT


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_incomplete_copy_is_completed_or_refused(
    file: str, fake_hub: type[FakeHub], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_model(cache, leave_out=file)
    with monkeypatch.context() as unreachable:
        point_at(unreachable, "http://127.0.0.1:9")
        assert refusal(revision=COMMIT) == f"'org/model' at revision '{COMMIT}'{UNREACHABLE}"
    folder, _ = hub.fetch("org/model", COMMIT)
    assert (folder / file).read_bytes() == FILES[file]


# --- refusals of the hub ------------------------------------------------------------------------


GATED = {"X-Error-Code": "GatedRepo"}
MODEL = "'org/model' at revision 'v9'"
REFUSED_TOKEN = "make a new one with read access and log in again (hf auth login), or set HF_TOKEN"


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (
            401,
            GATED,
            "'org/model' is gated and there is no access token: accept its terms on "
            "https://huggingface.co/org/model, then log in (hf auth login, or huggingface-cli "
            "login) or set HF_TOKEN",
        ),
        (
            403,
            GATED,
            "'org/model' is gated and the access token in use has no access: accept its terms on "
            "https://huggingface.co/org/model with the account the token belongs to",
        ),
        (
            404,
            {"X-Error-Code": "RepoNotFound"},
            "there is no folder 'org/model' here and no such model on the hub, or it is private: "
            "check the spelling, or log in (hf auth login, or set HF_TOKEN)",
        ),
        (
            404,
            {"X-Error-Code": "RevisionNotFound"},
            "'org/model' has no revision 'v9': name a commit, branch or tag of it",
        ),
        (
            401,
            {"X-Error-Message": "Invalid credentials in Authorization header"},
            f"the hub refused the access token for {MODEL} (status 401): {REFUSED_TOKEN}",
        ),
        (
            403,
            {"X-Error-Message": "Forbidden"},
            f"the hub refused the access token for {MODEL} (status 403): {REFUSED_TOKEN}",
        ),
        (429, {}, f"the hub refused {MODEL} for now, after too many requests: try again later"),
        (418, {}, f"the hub could not deliver {MODEL} (status 418): try again later"),
        (503, {}, f"the hub could not deliver {MODEL} (status 503): try again later"),
    ],
)
def test_refusal_of_the_hub_becomes_one_line(
    status: int,
    headers: dict[str, str],
    message: str,
    fake_hub: type[FakeHub],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if status == 403:
        monkeypatch.setattr("huggingface_hub.get_token", lambda: TOKEN)
    fake_hub.refusal = (status, headers)
    assert refusal(revision="v9") == message


def test_impossible_hub_id_is_refused() -> None:
    assert refusal("org/a..b") == "'org/a..b' is no hub id: expected org/model"


# --- errors during the download -----------------------------------------------------------------

FULL = OSError(errno.ENOSPC, "No space left on device")
FULL_DISK = (
    "the disk is full: 'org/model' does not fit into the local cache; make room, or set HF_HOME to "
    "a folder on a larger disk"
)


def caused_by(cause: Exception) -> Exception:
    error = RuntimeError("the download failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FULL, FULL_DISK),
        (caused_by(FULL), FULL_DISK),
        (
            PermissionError(errno.EACCES, "Permission denied", "/somewhere"),
            "'org/model' cannot be written to the local cache: make it writable, or set HF_HOME "
            "to a folder that is",
        ),
        (ConnectionResetError(TOKEN), f"'org/model'{UNREACHABLE}"),
    ],
    ids=["full disk", "full disk as a cause", "permissions", "connection"],
)
def test_broken_download_becomes_one_line(
    error: Exception, message: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_download(monkeypatch, error)
    assert refusal() == message


def test_defect_of_the_program_is_not_a_user_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_download(monkeypatch, ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError, match="a defect"):
        hub.fetch("org/model", None)


def fail_download(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the hub answer, and the download that follows fail."""
    download = huggingface_hub.snapshot_download
    info = SimpleNamespace(sha=COMMIT, siblings=[], safetensors=None)

    def fail(*args: Any, local_files_only: bool = False, **kwargs: Any) -> str:
        if local_files_only:
            return str(download(*args, local_files_only=True, **kwargs))
        raise error

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
