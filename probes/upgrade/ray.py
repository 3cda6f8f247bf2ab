"""Cells as tasks of a Ray cluster: each makes its environment on the worker that runs it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.errors import UserError
from probes.results.reading import RECORD_FILE, REPORT_FILE
from probes.upgrade import run as deciding
from probes.upgrade.environments import default_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probes.upgrade.pool import Tell
    from probes.upgrade.run import Job, Outcome

INSTALL = "python -m pip install -e '.[upgrade,ray]'"

SENT = ("probes", "tests", "conftest.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
"""Of this package's source, what a worker needs to install it and to decide the claims."""

BROUGHT_BACK = (RECORD_FILE, REPORT_FILE, deciding.RESULT_FILE)
"""Files of a cell's folder that come back from a worker, beside its logs."""


def address(on: str) -> str | None:
    """The cluster that `--on` names; None for one of this machine alone.

    >>> address("ray") is None, address("ray://head:10001")
    (True, 'ray://head:10001')

    Raises:
        UserError: It names something else.
    """
    if on == "ray":
        return None
    if on.startswith("ray://") and on != "ray://":
        return on
    raise UserError(f"--on {on!r}: expected ray, or the address of a cluster: ray://HOST:PORT")


@dataclass(frozen=True)
class Resources:
    """What the cells are to have."""

    num_cpus: float = 1
    """CPUs that a cell takes."""
    num_gpus: float = 0
    """GPUs that a cell takes."""
    at_once: int | None = None
    """Cells at once, on a cluster of this machine alone; None for as many as it has room for."""


def run(
    jobs: Sequence[Job], address: str | None, wanted: Resources, tell: Tell
) -> Iterator[tuple[Job, Outcome]]:
    """Decide cells on a cluster; each is given out as it ends.

    Args:
        jobs: the cells.
        address: the cluster's; None starts one on this machine, unless this process has one.
        wanted: what each cell is to have.
        tell: called when a cell begins something.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached or has no such resources.
    """
    try:
        import ray
    except ImportError:
        raise UserError(f"--on ray needs Ray, which is not installed: {INSTALL}") from None
    began = not ray.is_initialized()
    with tempfile.TemporaryDirectory(prefix="probes-") as folder:
        if jobs and began:
            _connect(ray, address, wanted, _staged(jobs[0].project, Path(folder)))
        try:
            _refuse_what_is_not_there(ray, wanted)
            # `ray.remote` has no types that fit a function given by options.
            decide: Any = ray.remote(
                num_cpus=wanted.num_cpus, num_gpus=wanted.num_gpus, max_retries=0
            )(_decide)
            waiting = {}
            for job in jobs:
                tell(job, "waiting for a worker")
                waiting[decide.remote(job.model_dump_json())] = job
            while waiting:
                (done,), _ = ray.wait([*waiting])
                job = waiting.pop(done)
                yield job, _brought(job, ray, done)
        finally:
            if began:
                ray.shutdown()


def _connect(ray: Any, address: str | None, wanted: Resources, source: Path) -> None:
    """Start a cluster or join one; its workers find the package in a copy of its source."""
    settings: dict[str, Any] = {"address": address}
    if address is None:
        settings = {"address": "local", "include_dashboard": False}
        if wanted.at_once is not None:
            settings["num_cpus"] = max(1, ceil(wanted.at_once * wanted.num_cpus))
    runtime = {"working_dir": str(source)}
    try:
        ray.init(**settings, runtime_env=runtime, log_to_driver=False)
    except Exception as error:  # whatever Ray, the network or the address does wrong
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"no Ray cluster can be used ({said[0][:200]}): check the address, or take --on ray "
            "for one on this machine"
        ) from error


def _refuse_what_is_not_there(ray: Any, wanted: Resources) -> None:
    """A task that no machine can take would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(
        node.get("CPU", 0) >= wanted.num_cpus and node.get("GPU", 0) >= wanted.num_gpus
        for node in nodes
    ):
        cpus, gpus = (max((n.get(k, 0) for n in nodes), default=0) for k in ("CPU", "GPU"))
        raise UserError(
            f"no machine of the cluster has {wanted.num_cpus:g} CPUs and "
            f"{wanted.num_gpus:g} GPUs: the most are {cpus:g} and {gpus:g}; ask for less with "
            "--num-cpus and --num-gpus"
        )


def _staged(project: Path, folder: Path) -> Path:
    """A copy of what a worker needs; what lies beside it, such as environments, is not sent."""
    for name in SENT:
        source = project / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
            )
        elif source.is_file():
            shutil.copy(source, folder / name)
    return folder


def _decide(job_json: str) -> tuple[str, dict[str, bytes]]:
    """A cell, on the worker: its outcome, and the files that are to come back."""
    from probes.upgrade.run import Job, decide

    job = Job.model_validate_json(job_json)
    environments = job.environments if job.environments.is_dir() else default_folder()
    with tempfile.TemporaryDirectory(prefix="probes-") as folder:
        here = job.model_copy(
            update={
                "project": Path.cwd(),
                "report_dir": Path(folder),
                "environments": environments,
            }
        )
        try:
            outcome = decide(here)
        except UserError as error:  # such as: no uv on this worker
            attempts = tuple(
                deciding.Attempt(target=t, end=deciding.End.NOT_INSTALLED, reason=str(error))
                for t in job.asked.targets
            )
            outcome = deciding.Outcome(cell=job.cell, asked=job.asked, attempts=attempts)
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.name in BROUGHT_BACK or path.suffix in (".log", ".jsonl")
        }
        return outcome.model_dump_json(), files


def _brought(job: Job, ray: Any, done: Any) -> Outcome:
    """A task's outcome, its files written here; a task that broke is a cell that crashed."""
    try:
        outcome, files = ray.get(done)
    except Exception as error:  # the worker died, or could not begin
        said = str(error).strip().splitlines() or [type(error).__name__]
        attempts = tuple(
            deciding.Attempt(target=target, end=deciding.End.CRASHED, reason=said[0][:300])
            for target in job.asked.targets
        )
        return deciding.Outcome(cell=job.cell, asked=job.asked, attempts=attempts)
    for name, content in files.items():
        file = job.report_dir / name
        if not file.resolve().is_relative_to(job.report_dir.resolve()):
            continue  # a worker has no say in what lies elsewhere
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return deciding.Outcome.model_validate_json(outcome)
