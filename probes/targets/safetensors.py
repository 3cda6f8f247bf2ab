"""Read names, types and shapes of the tensors in safetensors files, without loading a weight.

A file is eight bytes with the length of a JSON header, the header, and the tensors' bytes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from probes._util.jsonfile import MEBIBYTE, parse_object, read_object
from probes._util.text import quote
from probes.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_LARGEST_HEADER = 100_000_000
_LARGEST_DIMENSION = 2**63
_MOST_DIMENSIONS = 32
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_BITS = {
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


class Tensor(NamedTuple):
    """One stored tensor, its dtype by safetensors' name."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements; of packed 4-bit weights stored as `U8`, number of bytes."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return self.elements * _BITS[self.dtype] // 8


def find_weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files with the folder's weights: one file, or the shards of an index.

    A UserError refuses pickled weights, and shards that are missing or outside the folder.
    """
    if (folder / SINGLE_FILE).is_file():
        return (folder / SINGLE_FILE,)
    if (folder / INDEX_FILE).is_file():
        shards = sorted(set(_read_index(folder / INDEX_FILE).values()))
        return tuple(_find_shard(folder, name) for name in shards)
    raise UserError(_explain_missing(folder))


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read the headers of a folder's weights, or raise UserError; return every tensor by name."""
    tensors: dict[str, Tensor] = {}
    for file in find_weight_files(folder):
        for name, tensor in read_header(file).items():
            if name in tensors:
                raise UserError(f"{file} holds tensor {quote(name)}, which another shard holds too")
            tensors[name] = tensor
    if not (folder / SINGLE_FILE).is_file():
        _refuse_missing(folder / INDEX_FILE, tensors)
    return tensors


def read_header(file: Path) -> dict[str, Tensor]:
    """Read every tensor of one safetensors file by name; refuse a truncated or corrupt file."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            _refuse_length(file, length, size)
            header = stream.read(length)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    entries = parse_object(header, what=f"the header of {file}")
    entries.pop("__metadata__", None)
    if not entries:
        raise UserError(f"{file} holds no tensors")
    _refuse_gaps(file, entries, size - 8 - length)
    return {name: _check_tensor(file, name, entry) for name, entry in entries.items()}


def _refuse_length(file: Path, length: int, size: int) -> None:
    if size < 8 or length + 8 > size:
        raise UserError(
            f"{file} is truncated or no safetensors file: it has {size:,} bytes and "
            f"announces a header of {length:,}; copy or download it again"
        )
    if length > _LARGEST_HEADER:
        raise UserError(
            f"{file} announces a header of {length:,} bytes; "
            f"safetensors files have at most {_LARGEST_HEADER:,}"
        )


def _refuse_gaps(file: Path, entries: Mapping[str, Any], data_bytes: int) -> None:
    spans = sorted((*_read_offsets(file, name, entry), name) for name, entry in entries.items())
    end = 0
    for begin, stop, name in spans:
        if begin != end or stop < begin:
            raise UserError(
                f"{file} is corrupt: tensor {quote(name)} lies at bytes {begin:,} to {stop:,}, "
                f"expected to begin at {end:,}; copy or download the file again"
            )
        end = stop
    if end != data_bytes:
        raise UserError(
            f"{file} is truncated or corrupt: its header describes {end:,} bytes of tensors, "
            f"{data_bytes:,} are there; copy or download it again"
        )


def _read_offsets(file: Path, name: str, entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not _is_list_of_sizes(offsets) or len(offsets) != 2:
        raise UserError(f"{file} is corrupt: tensor {quote(name)} has no valid data_offsets")
    return offsets[0], offsets[1]


def _check_tensor(file: Path, name: str, entry: dict[str, Any]) -> Tensor:
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise UserError(f"{file}: tensor {quote(name)} has the unknown type {quote(dtype)}")
    if not _is_list_of_sizes(shape) or len(shape) > _MOST_DIMENSIONS:
        raise UserError(f"{file} is corrupt: tensor {quote(name)} has no valid shape")
    tensor = Tensor(dtype, tuple(shape))
    begin, stop = _read_offsets(file, name, entry)
    if (stop - begin) * 8 != tensor.elements * _BITS[dtype]:
        raise UserError(
            f"{file} is corrupt: tensor {quote(name)} takes {stop - begin:,} bytes, which do not "
            f"make {dtype} of shape {quote(shape)}; copy or download the file again"
        )
    return tensor


def _is_list_of_sizes(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < _LARGEST_DIMENSION for value in values
    )


def _read_index(index: Path) -> dict[str, str]:
    names = read_object(index, limit=64 * MEBIBYTE).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise UserError(f"{index} is corrupt: it has no weight_map from tensors to files")
    for name in names.values():
        if not isinstance(name, str):
            raise UserError(f"{index} is corrupt: its weight_map names no file for some tensors")
    return names


def _find_shard(folder: Path, name: str) -> Path:
    if not name.isprintable() or any(part in name for part in ("/", "\\", ":")) or name == "..":
        raise UserError(
            f"{folder / INDEX_FILE} names the shard {quote(name)}, which would lie outside "
            "the folder: a shard is a file beside its index"
        )
    if not name.endswith(".safetensors"):
        raise UserError(
            f"{folder / INDEX_FILE} names the shard {quote(name)}, which is no safetensors file: "
            "only safetensors weights are loaded"
        )
    if not (folder / name).is_file():
        raise UserError(
            f"{folder} lacks the shard {quote(name)} that its index names; "
            "copy or download the model again"
        )
    return folder / name


def _refuse_missing(index: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, shard in _read_index(index).items():
        if name not in tensors:
            raise UserError(
                f"{index} places tensor {quote(name)} in {quote(shard)}, where it is not; "
                "copy or download the model again"
            )


def _explain_missing(folder: Path) -> str:
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    expected = f"expected {SINGLE_FILE}, or {INDEX_FILE} with its shards"
    if not pickles:
        return f"{folder} has no weights: {expected}"
    return (
        f"{folder} has only pickled weights ({pickles[0]}), which are refused because loading a "
        f"pickle can run any code: {expected}; where you trust the file, convert it by "
        "AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW, safe_serialization=True)"
    )
