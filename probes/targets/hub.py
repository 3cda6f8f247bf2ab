"""Fetch models from the Hugging Face hub: the one module that reaches the network.

It is used only where a target names a repository. A pinned commit that is complete in the local
cache is taken from there without a connection.
"""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes._util import progress
from probes.errors import UserError
from probes.targets.placement import format_gb
from probes.targets.safetensors import find_weight_files
from probes.targets.vocabulary import find_tokenizer_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

    Look = Callable[[Mapping[str, int]], None]

_PATTERNS: dict[str, Any] = {
    "allow_patterns": ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"],
    "ignore_patterns": ["*/*", "consolidated*"],
}
"""Configuration, tokenizer and safetensors files; never code or pickles."""

_SECONDS = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRANSPORTS = {"requests", "urllib3", "httpx", "httpx2", "httpcore", "httpcore2", "ssl"}


def fetch(repository: str, revision: str | None, look: Look = lambda _: None) -> tuple[Path, str]:
    """Return the local folder of a model on the hub, downloaded if needed, and its commit.

    The revision is a commit, branch or tag; None for the main branch. `look` is called before the
    download with the number of weights of each stored type, by safetensors' names (empty if the hub
    does not know), and may refuse. Whatever prevents the download raises UserError.
    """
    cached = _find_cached(repository, revision)
    if cached is not None and _COMMIT.fullmatch(revision or ""):
        return cached, cached.name
    try:
        return _download(repository, revision, look)
    except UserError:
        raise
    except Exception as error:
        if cached is not None and _is_unreachable(error):
            return cached, cached.name
        refusal = _explain(error, repository, revision)
        if refusal is None:
            raise
        raise UserError(refusal) from None


def _download(repository: str, revision: str | None, look: Look) -> tuple[Path, str]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE

    # The one request that takes a time limit in every version of the library comes first.
    info = HfApi().model_info(repository, revision=revision, timeout=_SECONDS, files_metadata=True)
    files = [file.rfilename for file in info.siblings or []]
    if files and not any(file.endswith(".safetensors") for file in files):
        raise UserError(
            f"'{repository}' has no safetensors weights, and no others are loaded, because "
            "loading a pickle can run any code: name a repository or revision that has them"
        )
    look(info.safetensors.parameters if info.safetensors else {})
    size, free = _bytes_to_fetch(repository, info), _free_bytes(Path(HF_HUB_CACHE))
    if size > free:
        raise UserError(
            f"'{repository}' takes {format_gb(size)} more in the local cache, on a disk with "
            f"{format_gb(free)} free: make room, or set HF_HOME to a folder on a larger disk"
        )
    amount = f"{format_gb(size)} into the local cache, on a disk with {format_gb(free)} free"
    with progress.step(f"fetching {repository}: {amount}", size):
        folder = Path(
            snapshot_download(repository, revision=info.sha, etag_timeout=_SECONDS, **_PATTERNS)
        )
    return folder, folder.name


def _free_bytes(folder: Path) -> int:
    """Return the free space of the disk of a folder that may not exist yet."""
    existing = next(each for each in (folder, *folder.parents) if each.is_dir())
    return shutil.disk_usage(existing).free


def _bytes_to_fetch(repository: str, info: ModelInfo) -> int:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    blobs = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model") / "blobs"

    def missing_bytes(file: RepoSibling) -> int:
        # Files of another commit, or of a download that broke off, are not fetched again.
        content = file.lfs.sha256 if file.lfs else file.blob_id
        found = try_to_load_from_cache(
            repository, file.rfilename, cache_dir=HF_HUB_CACHE, revision=info.sha
        )
        if isinstance(found, str) or (content and (blobs / content).is_file()):
            return 0
        begun = blobs / f"{content}.incomplete"
        return max(0, (file.size or 0) - (begun.stat().st_size if begun.is_file() else 0))

    files = filter_repo_objects(info.siblings or [], key=lambda file: file.rfilename, **_PATTERNS)
    return sum(map(missing_bytes, files))


def _find_cached(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(repository, revision=revision, local_files_only=True, **_PATTERNS)
        )
        find_tokenizer_file(folder)
        find_weight_files(folder)
    except (LocalEntryNotFoundError, HFValidationError, UserError):
        return None
    return folder if (folder / "config.json").is_file() else None


def _explain(error: Exception, repository: str, revision: str | None) -> str | None:
    """Return one line for a user's error; the hub library's own text may be long."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    model = f"'{repository}'" + (f" at revision '{revision}'" if revision else "")
    if any(isinstance(each, OfflineModeIsEnabled) for each in _chain(error)):
        return (
            f"{model} is not complete in the local cache, and HF_HUB_OFFLINE forbids to fetch it: "
            "unset HF_HUB_OFFLINE, or name a folder"
        )
    if isinstance(error, HFValidationError):
        return f"{model} is no hub id: expected org/model"
    if isinstance(error, GatedRepoError):
        return _explain_gated(repository)
    if isinstance(error, RevisionNotFoundError):
        return f"'{repository}' has no revision '{revision}': name a commit, branch or tag of it"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no folder '{repository}' here and no such model on the hub, or it is "
            "private: check the spelling, or log in (hf auth login, or set HF_TOKEN)"
        )
    if isinstance(error, HfHubHTTPError):
        return _explain_status(_status(error), model)
    if _is_unreachable(error):
        return (
            f"{model} is not complete in the local cache, and the hub cannot be reached: check "
            "the connection and try again, or name a folder"
        )
    return _explain_disk(error, model)


def _explain_gated(repository: str) -> str:
    from huggingface_hub import get_token

    page = f"https://huggingface.co/{repository}"
    if get_token() is None:
        return (
            f"'{repository}' is gated and there is no access token: accept its terms on {page}, "
            "then log in (hf auth login, or huggingface-cli login) or set HF_TOKEN"
        )
    return (
        f"'{repository}' is gated and the access token in use has no access: accept its terms on "
        f"{page} with the account the token belongs to"
    )


def _explain_status(status: int, model: str) -> str:
    if status in (401, 403):
        return (
            f"the hub refused the access token for {model} (status {status}): make a new one with "
            "read access and log in again (hf auth login), or set HF_TOKEN"
        )
    if status == 429:
        return f"the hub refused {model} for now, after too many requests: try again later"
    return f"the hub could not deliver {model} (status {status}): try again later"


def _explain_disk(error: Exception, model: str) -> str | None:
    causes = _chain(error)
    if any(getattr(each, "errno", None) in (errno.ENOSPC, errno.EDQUOT) for each in causes):
        return (
            f"the disk is full: {model} does not fit into the local cache; make room, or set "
            "HF_HOME to a folder on a larger disk"
        )
    if any(isinstance(each, PermissionError) for each in causes):
        return (
            f"{model} cannot be written to the local cache: make it writable, or set HF_HOME to a "
            "folder that is"
        )
    return None


def _is_unreachable(error: Exception) -> bool:
    """Return whether the hub could not be reached.

    The module of an error decides, not its class: the hub's library has changed its transport
    twice, and raises the transport's own errors.
    """
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if isinstance(error, HfHubHTTPError):
        return _status(error) >= 500
    return isinstance(error, (ConnectionError, TimeoutError, LocalEntryNotFoundError)) or any(
        type(each).__module__.partition(".")[0] in _TRANSPORTS for each in _chain(error)
    )


def _status(error: HfHubHTTPError) -> int:
    # Before version 1 of the library an error could come without a response.
    return getattr(error.response, "status_code", 0)


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
