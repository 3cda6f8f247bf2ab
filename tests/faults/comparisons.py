"""Write records of runs on the embedded model, each changed in one way, to a folder each.

python -m tests.faults.comparisons FOLDER
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import probes
from tests.faults.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from probes import Model

ROOT = Path(__file__).parents[2]

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


def main(folder: str) -> None:
    for name, vary in VARIATIONS.items():
        half = name == "bfloat16"
        options = ["--dtype", "bfloat16"] if half else []
        claims = [claim for claim in CLAIMS if not (half and claim == RECORDED)]
        arguments = [f"--rootdir={ROOT}", "-q", "-p", "no:cacheprovider", *options]
        arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # this is no first import
        # Not those of the library alone, nor the variations of one run: no two runs differ in them.
        left_out = ("any_logits", "however_it_is_made", "five_runs", "number_of_rows")
        arguments += ["-k", " and ".join(f"not {check}" for check in left_out)]
        arguments += [part for claim in claims for part in ("--claim", claim)]
        model = probes.load("embedded")
        with ExitStack() as stack:
            stack.enter_context(vary(model))
            report_dir = str(Path(folder) / name)
            pytest.main([str(ROOT / "tests" / "claims"), *arguments, "--report-dir", report_dir])
        model.unload()


if __name__ == "__main__":
    main(*sys.argv[1:])
