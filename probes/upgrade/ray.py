"""Cells as tasks of a Ray cluster: each makes its environment on the worker that runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from probes.errors import UserError
from probes.results.reading import RECORD_FILE, REPORT_FILE
from probes.upgrade.cells import Cell
from probes.upgrade.environments import default_folder
from probes.upgrade.package import copy_package
from probes.upgrade.pool import Show
from probes.upgrade.run import RESULT_FILE, End, Outcome, Plan, decide

INSTALL = "python -m pip install ray"


@dataclass(frozen=True)
class Resources:
    """The cluster, and what each cell gets of it."""

    address: str | None
    """The cluster's; None for one on this machine alone."""
    num_cpus: float
    num_gpus: float
    at_once: int | None
    """Cells at once on this machine; None for as many as it has room for."""


def parse_address(on: str) -> str | None:
    """Return the address of the cluster that `--on` names; None for one on this machine.

    >>> parse_address("ray") is None, parse_address("ray://head:10001")
    (True, 'ray://head:10001')
    """
    if on == "ray":
        return None
    if on.startswith("ray://") and on != "ray://":
        return on
    raise UserError(f"--on {on!r}: expected ray, or the address of a cluster: ray://HOST:PORT")


def decide_all(
    plan: Plan, cells: Sequence[Cell], resources: Resources, show: Show
) -> Iterator[Outcome]:
    """Decide cells on a cluster, and yield each as it ends; UserError if it cannot be used."""
    try:
        import ray
    except ImportError:
        raise UserError(f"--on ray needs Ray, which is not installed: {INSTALL}") from None
    if not cells:
        return
    with tempfile.TemporaryDirectory(prefix="probes-") as folder:
        copy_package(plan.package, Path(folder))
        _connect(ray, resources, folder)
        try:
            _check_resources(ray, resources)
            # The types of `ray.remote` do not fit a function with options.
            remote: Any = ray.remote(
                num_cpus=resources.num_cpus, num_gpus=resources.num_gpus, max_retries=0
            )(_decide_on_worker)
            waiting = {}
            for cell in cells:
                show(cell, "waiting for a worker")
                waiting[remote.remote(plan.model_dump_json(), cell.model_dump_json())] = cell
            while waiting:
                (done,), _ = ray.wait([*waiting])
                yield _fetch(plan, waiting.pop(done), ray, done)
        finally:
            ray.shutdown()


def _connect(ray: Any, resources: Resources, source: str) -> None:
    """Start or join a cluster; its workers import the package from the folder `source`."""
    settings: dict[str, Any] = {"address": resources.address}
    if resources.address is None:
        settings = {"address": "local", "include_dashboard": False}
        if resources.at_once is not None:
            settings["num_cpus"] = max(1, ceil(resources.at_once * resources.num_cpus))
    try:
        ray.init(**settings, runtime_env={"working_dir": source}, log_to_driver=False)
    except Exception as error:  # a fault of Ray, the network or the address, of any type
        raise UserError(
            f"no Ray cluster can be used ({_first_line(error)}): check the address, or take "
            "--on ray for one on this machine"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _check_resources(ray: Any, resources: Resources) -> None:
    """Refuse cells that no machine has room for: they would wait without end."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    rooms = [(node.get("CPU", 0), node.get("GPU", 0)) for node in nodes] or [(0, 0)]
    if any(cpu >= resources.num_cpus and gpu >= resources.num_gpus for cpu, gpu in rooms):
        return
    cpus, gpus = map(max, zip(*rooms, strict=True))
    raise UserError(
        f"no machine of the cluster has {resources.num_cpus:g} CPUs and "
        f"{resources.num_gpus:g} GPUs: the most are {cpus:g} and {gpus:g}; ask for less with "
        "--num-cpus and --num-gpus"
    )


def _decide_on_worker(plan_json: str, cell_json: str) -> tuple[str, dict[str, bytes]]:
    """Decide a cell on the worker; return its outcome, and the files to bring back."""
    plan, cell = Plan.model_validate_json(plan_json), Cell.model_validate_json(cell_json)
    with tempfile.TemporaryDirectory(prefix="probes-") as name:
        folder = Path(name)
        package = next(Path.cwd().glob("*.whl"), Path.cwd())
        changes = {"package": package, "report_dir": folder}
        if not plan.environments.is_dir():
            changes["environments"] = default_folder()
        try:
            outcome = decide(plan.model_copy(update=changes), cell, show=lambda _: None)
        except UserError as error:  # such as: uv is not installed on this worker
            outcome = plan.fail(cell, End.NOT_INSTALLED, str(error))
        kept = (RECORD_FILE, REPORT_FILE, RESULT_FILE)
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.name in kept or path.suffix in (".log", ".jsonl")
        }
        return outcome.model_dump_json(), files


def _fetch(plan: Plan, cell: Cell, ray: Any, done: Any) -> Outcome:
    """Return a task's outcome and write its files; a task that broke is a cell that crashed."""
    try:
        outcome, files = ray.get(done)
    except Exception as error:  # the worker died, or could not begin
        return plan.fail(cell, End.CRASHED, _first_line(error))
    for name, content in files.items():
        file = plan.report_dir / name
        if file.resolve().is_relative_to(plan.report_dir.resolve()):  # a worker writes only here
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return Outcome.model_validate_json(outcome)
