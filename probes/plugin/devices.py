"""One CUDA device for each worker: chosen before torch is imported, among the visible ones."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping

from probes.targets.target import Target

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable that limits the devices a process sees."""


def list_devices(targets: Iterable[Target], environ: Mapping[str, str]) -> list[str]:
    """Return the devices for workers, one each; none where a target names its device.

    Devices that the environment hides stay hidden.

    >>> from probes.targets.target import Target
    >>> visible = {"CUDA_VISIBLE_DEVICES": "2,5"}
    >>> list_devices([Target(name="t", folder="f", device="cuda")], visible)
    ['2', '5']
    >>> list_devices([Target(name="t", folder="f", device="cuda:1")], visible)
    []
    """
    asked = {target.device for target in targets}
    if not asked & {"auto", "cuda"} or any(":" in device for device in asked):
        return []
    if VISIBLE in environ:
        return [name.strip() for name in environ[VISIBLE].split(",") if name.strip()]
    return [str(number) for number in range(_count())]


def copies(workers: int, targets: Iterable[Target], environ: Mapping[str, str]) -> int:
    """Return how many copies of a target the fullest device has to hold; 0 without workers.

    >>> from probes.targets.target import Target
    >>> target = Target(name="t", folder="f", device="cuda")
    >>> copies(3, [target], {"CUDA_VISIBLE_DEVICES": "0,1"}), copies(0, [target], {})
    (2, 0)
    """
    return -(-workers // (len(list_devices(targets, environ)) or 1))


def device_of(worker: str, devices: list[str]) -> str | None:
    """Return the device of a worker, `gw0` and so on; workers beyond the devices share them.

    >>> device_of("gw1", ["2", "5"]), device_of("gw2", ["2", "5"]), device_of("gw0", [])
    ('5', '2', None)
    """
    number = int(worker.removeprefix("gw"))
    return devices[number % len(devices)] if devices else None


def _count() -> int:
    """Return how many devices the driver lists; torch is not to be imported yet."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return 0
    try:
        done = subprocess.run(  # noqa: S603 - the driver's own tool
            [command, "--list-gpus"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())
