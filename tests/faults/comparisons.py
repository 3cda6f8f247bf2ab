"""Write records of runs on the embedded model, each changed in one way, to a folder each."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING
from unittest import mock

import torch

import probes
from probes.measure import greedy
from tests.faults.catalogue import CATALOGUE
from tests.faults.runner import OPTIONS, find_files, run_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from probes import Model

RECORDED = "recorded-texts"
CLAIMS = ("next-token", "filter-order", "greedy-argmax", "greedy-deterministic", RECORDED)

NOISE = 0.005
"""Standard deviation of the factor that weights are multiplied by, less 1."""


@contextmanager
def other_threads(_: Model) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    yield
    torch.set_num_threads(before)


@contextmanager
def noisy_weights(model: Model) -> Iterator[None]:
    """Move every weight a little, as another quantization of the same model would."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.network.parameters():
            factor = 1 + NOISE * torch.randn(weight.shape, generator=generator)
            weight.mul_(factor)
    yield


VARIATIONS: dict[str, Callable[[Model], AbstractContextManager[object]]] = {
    "base": lambda _: nullcontext(),
    "again": lambda _: nullcontext(),
    "other-threads": other_threads,
    "bfloat16": lambda _: nullcontext(),
    "noisy-weights": noisy_weights,
    "top-p-before-top-k": CATALOGUE["top-p-before-top-k"].apply,
}


LEFT_OUT = (
    *("any_logits", "however_it_is_made", "five_runs", "number_of_rows"),
    *("near-greedy", "narrow-hot", "wide-hot", "60", "of_its_own", "the_whole_of_it"),
)
"""Checks of the library alone, of the variations of one run, and more of what others show."""


def write_records(folder: Path) -> None:
    """Write a record of every variation to a folder of its name."""
    for name, vary in VARIATIONS.items():
        half = name == "bfloat16"
        options = ["--dtype", "bfloat16"] if half else []
        claims = [claim for claim in CLAIMS if not (half and claim == RECORDED)]
        arguments = [each for each in OPTIONS if each != "--no-report"] + options
        arguments += ["-k", " and ".join(f"not {check}" for check in LEFT_OUT)]
        arguments += [part for claim in claims for part in ("--claim", claim)]
        model = probes.load("embedded")
        with ExitStack() as stack:
            stack.enter_context(vary(model))
            stack.enter_context(mock.patch.object(greedy, "SHARED_LENGTH", 20))
            run_alone([*find_files(claims), *arguments, "--report-dir", str(folder / name)])
        model.unload()
