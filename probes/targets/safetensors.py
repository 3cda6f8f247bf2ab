"""Read names, types and shapes of the tensors in safetensors files, without loading a weight.

A file is eight bytes with the length of a JSON header, the header, and the tensors' bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from probes._util.jsonfile import MEBIBYTE, parse_object, read_object
from probes._util.text import quote
from probes.errors import UserError
from probes.schema.base import format_validation_error

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_LARGEST_HEADER = 100_000_000
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


_Size = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


class _Entry(BaseModel):
    """What a header says about one tensor."""

    dtype: str
    shape: Annotated[list[_Size], Field(max_length=32)]
    data_offsets: tuple[_Size, _Size]
    """Its first byte and the one after its last, from the end of the header."""


_ENTRIES = TypeAdapter(dict[str, _Entry])
_SHARDS = TypeAdapter(Annotated[dict[str, str], Field(min_length=1)])


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
    content = parse_object(header, what=f"the header of {file}")
    content.pop("__metadata__", None)
    if not content:
        raise UserError(f"{file} holds no tensors")
    try:
        entries = _ENTRIES.validate_python(content)
    except ValidationError as error:
        raise UserError(f"{file} is corrupt: tensor {format_validation_error(error)}") from None
    _refuse_other_bytes(file, entries, size - 8 - length)
    return {name: Tensor(entry.dtype, tuple(entry.shape)) for name, entry in entries.items()}


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


def _refuse_other_bytes(file: Path, entries: Mapping[str, _Entry], data_bytes: int) -> None:
    """Refuse tensors that overlap, leave gaps, or take other bytes than their type and shape."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, stop = entry.data_offsets
        if begin != end or stop < begin:
            raise UserError(
                f"{file} is corrupt: tensor {quote(name)} lies at bytes {begin:,} to {stop:,}, "
                f"expected to begin at {end:,}; copy or download the file again"
            )
        if entry.dtype not in _BITS:
            raise UserError(
                f"{file}: tensor {quote(name)} has the unknown type {quote(entry.dtype)}"
            )
        if (stop - begin) * 8 != math.prod(entry.shape) * _BITS[entry.dtype]:
            raise UserError(
                f"{file} is corrupt: tensor {quote(name)} takes {stop - begin:,} bytes, which do "
                f"not make {entry.dtype} of shape {quote(entry.shape)}; copy or download the file "
                "again"
            )
        end = stop
    if end != data_bytes:
        raise UserError(
            f"{file} is truncated or corrupt: its header describes {end:,} bytes of tensors, "
            f"{data_bytes:,} are there; copy or download it again"
        )


def _read_index(index: Path) -> dict[str, str]:
    try:
        return _SHARDS.validate_python(read_object(index, limit=64 * MEBIBYTE).get("weight_map"))
    except ValidationError:
        raise UserError(f"{index} is corrupt: it has no weight_map from tensors to files") from None


def _find_shard(folder: Path, name: str) -> Path:
    is_inside = name.isprintable() and not any(part in name for part in ("/", "\\", ":"))
    if not is_inside or not name.endswith(".safetensors"):
        raise UserError(
            f"{folder / INDEX_FILE} names the shard {quote(name)}: "
            "a shard is a safetensors file beside its index"
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
