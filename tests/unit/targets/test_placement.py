from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from probes.errors import UserError
from probes.targets.placement import place
from probes.targets.target import Target

GB = 10**9


def target(device: str = "cuda", **fields: Any) -> Target:
    return Target(name="mine", folder=Path("mine"), device=device, **fields)


@pytest.mark.parametrize(
    ("device", "sizes", "needed", "copies"),
    [
        ("cuda", [20], 15, 0),
        ("cuda", [20, 2], 15, 0),
        ("cuda:1", [2, 20], 15, 0),
        ("cuda", [20, 20], 15, 1),
        ("cuda", [40], 15, 2),
        ("cpu", [2], 15, 0),
        ("auto", [], 15, 0),
        ("auto", [20], 15, 0),
    ],
)
def test_weights_that_fit_one_device_are_not_split(
    fake_torch: Callable[..., None], device: str, sizes: Sequence[int], needed: int, copies: int
) -> None:
    fake_torch(*sizes)
    assert place(target(device), needed * GB, copies) is None


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_large_weights_are_split_with_room_left(
    fake_torch: Callable[..., None], device: str
) -> None:
    fake_torch(10, 20)
    assert place(target(device), 25 * GB) == {0: 9 * GB, 1: 18 * GB}
    # Under NF4 transformers keeps a tenth back.
    assert place(target(device, quantization="nf4"), 25 * GB) == {0: 10 * GB, 1: 20 * GB}


ONE_DEVICE = (
    "its weights take 15.0 GB, and cuda:0 has 8.0 GB free of 80.0 GB: end what else runs there, or "
    "choose --quantization nf4, or a device with more memory"
)
REFUSED = {
    "one device": (("cuda", [8], 15, 0), ONE_DEVICE),
    "named device": (("cuda:0", [8, 80], 15, 0), ONE_DEVICE),
    "all devices together": (
        ("cuda", [8, 8], 15, 0),
        "its weights take 15.0 GB, and the 2 CUDA devices have 16.0 GB free together, of which "
        "weights may take 14.4 GB: end what else runs there, or choose --quantization nf4, or a "
        "device with more memory",
    ),
    "auto": (("auto", [8], 15, 0), ONE_DEVICE),
    "a worker's device where all devices would do": (
        ("cuda", [10, 10], 15, 1),
        "its weights take 15.0 GB, and cuda:0 has 10.0 GB free of 80.0 GB: leave out -n, so that "
        "the weights are split over the 2 devices",
    ),
    "more workers than devices": (
        ("cuda", [20], 15, 3),
        "its weights take 3 × 15.0 GB, a copy for each worker, and cuda:0 has 20.0 GB free of "
        "80.0 GB: take fewer workers with -n",
    ),
    "workers on a named device": (
        ("cuda:1", [80, 20], 15, 2),
        "its weights take 2 × 15.0 GB, a copy for each worker, and cuda:1 has 20.0 GB free of "
        "80.0 GB: take fewer workers with -n",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_weights_without_room_are_refused(fake_torch: Callable[..., None], case: str) -> None:
    (device, sizes, needed, copies), message = REFUSED[case]
    fake_torch(*sizes)
    with pytest.raises(UserError) as caught:
        place(target(device), needed * GB, copies)
    assert str(caught.value) == message


def test_refusal_of_nf4_weights_does_not_advise_nf4(fake_torch: Callable[..., None]) -> None:
    fake_torch(4)
    with pytest.raises(UserError, match=r"take 4\.5 GB in nf4, .* or choose a device with more"):
        place(target(quantization="nf4"), int(4.45 * GB) + 10**7)
