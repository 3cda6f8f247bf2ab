"""Compare tensors of a network with values in safetensors files, which are read here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from probes.targets.safetensors import find_weight_files, read_header

ROWS = 16
"""Rows at each end of a large matrix that are compared where not all are."""

AT_ONCE = 2**22
"""Values that are mixed at once."""

_MIXING = (-7046029254386353131, 29)
"""An odd factor and a shift that spread the bits of a number."""


def is_packed(weight: torch.Tensor) -> bool:
    """Return whether a weight holds codes, and no values."""
    return not weight.is_floating_point()


class StoredFiles:
    """The safetensors files of a folder, each opened once, when first read."""

    def __init__(self, folder: Path) -> None:
        """Find the file of each tensor."""
        headers = {file: read_header(file) for file in find_weight_files(folder)}
        self._files = {name: file for file, header in headers.items() for name in header}
        self._sizes = {
            name: tensor.elements for header in headers.values() for name, tensor in header.items()
        }
        self._opened: dict[Path, Any] = {}
        self.names = self._files.keys()

    def read(self, name: str, ends: int | None = None) -> torch.Tensor:
        """Return a tensor, or the rows at its two ends."""
        file = self._open(self._files[name])
        if ends is None:
            whole: torch.Tensor = file.get_tensor(name)
            return whole
        rows = file.get_slice(name)
        return torch.cat([rows[:ends], rows[-ends:]])

    def size(self, name: str) -> int:
        """Return the number of a tensor's values, by the header."""
        return self._sizes[name]

    def _open(self, file: Path) -> Any:
        """Return an open file; it is closed with this object."""
        if file not in self._opened:
            self._opened[file] = safe_open(file, framework="pt")
        return self._opened[file]


def has_stored_values(files: StoredFiles, name: str, weight: torch.Tensor, whole: bool) -> bool:
    """Return whether a weight has the stored values, rounded to its type, bit by bit."""
    ends = None if whole or weight.dim() < 2 or len(weight) <= 2 * ROWS else ROWS
    stored = files.read(name, ends).to(weight.dtype)
    found = weight if ends is None else torch.cat([weight[:ends], weight[-ends:]])
    return stored.shape == found.shape and torch.equal(bits_of(stored), bits_of(found.cpu()))


def bits_of(values: torch.Tensor) -> torch.Tensor:
    """Return the bytes of values: equal for each NaN, and not for 0 and -0."""
    return values.contiguous().reshape(-1).view(torch.uint8)


def compare_sets(
    files: StoredFiles, stored: Sequence[str], weights: Mapping[str, torch.Tensor], *, whole: bool
) -> tuple[list[str], list[str]]:
    """Compare what has no partner of its name, layer by layer; return what is new and unused."""
    new: list[str] = []
    unused: list[str] = []
    tensors, others = _by_layer(stored), _by_layer(weights)
    for layer in sorted({*tensors, *others}):
        names, own = tensors[layer], {name: weights[name] for name in others[layer]}
        if any(is_packed(each) for each in own.values()):
            continue
        # A weight may be kept in a wider type than the others.
        kinds = [each.dtype for each in own.values()]
        narrow = min(kinds, key=lambda kind: kind.itemsize, default=torch.float32)
        count = sum(map(files.size, names)) == sum(each.numel() for each in own.values())
        read = map(files.read, names)
        if not count or (whole and _digest(read, narrow) != _digest(own.values(), narrow)):
            new += own
            unused += [] if own else names
    return new, unused


def _by_layer(names: Collection[str]) -> defaultdict[str, list[str]]:
    """Group names by the first number in them."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        found = re.search(r"\.(\d+)\.", name)
        groups[found[1] if found else ""].append(name)
    return groups


def _digest(tensors: Any, dtype: torch.dtype) -> int:
    """Return a number that all values together determine, in any order.

    >>> one, other = torch.tensor([1.0, 2.0]), torch.tensor([[2.0], [1.0]])
    >>> _digest([one], torch.float32) == _digest([other], torch.float32)
    True
    """
    factor, shift = _MIXING
    total = 0
    parts = (part for each in tensors for part in each.reshape(-1).split(AT_ONCE))
    for part in parts:
        mixed = part.to(dtype).float().view(torch.int32).long() * factor
        mixed = (mixed ^ (mixed >> shift)) * factor
        total += int((mixed ^ (mixed >> shift)).sum())
    return total % 2**64
