"""Turn evidence, as a test attaches it, into what a record can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from probes._util.text import shorten
from probes.schema.evidence import find_misfits
from probes.schema.record import to_storable

LARGEST = 2**20
"""Bytes of JSON that one piece of evidence may take: a report is to be read."""

_LENGTHS = (10_000, 1_000, 100)
"""Characters to which texts are cut in evidence that is too large: the first that is enough."""

_SHORTEST_ELEMENT = 2
"""Bytes of JSON that an array's element takes at least, with its comma."""


def as_json(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the evidence that JSON can hold, and a line for each value that it cannot.

    Numbers and arrays of numpy and torch become plain ones, dataclasses and models become
    dictionaries. In evidence that is too large, long texts are cut and marked as cut.

    >>> as_json({"ids": (1, 415), "seen": {1}})[0]
    {'ids': [1, 415]}
    """
    kept, refused = {}, []
    for name, value in values.items():
        plain, problem = _stored(value)
        if problem is None and isinstance(name, str):
            kept[name] = plain
        else:
            refused.append(f"evidence {name!r} {problem or 'has a name that is no text'}")
    return kept, refused


def find_problems(values: Mapping[str, Any], *, built_in: bool) -> list[str]:
    """Describe evidence that a record cannot hold, or that the report could not read.

    Only evidence of a `built_in` claim has to fit the shape that belongs to its name.

    >>> find_problems({"top_ten": 10}, built_in=True)
    ["evidence 'top_ten' does not fit MostLikely: Input should be a valid list"]
    >>> find_problems({"top_ten": 10}, built_in=False)
    []
    """
    _, refused = as_json(values)
    if refused or not built_in:
        return refused
    return find_misfits({name: _plain(value) for name, value in values.items()})


def _stored(value: Any) -> tuple[Any, str | None]:
    """Return a value as it is stored, or why it cannot be."""
    try:
        return _fit(to_storable(_plain(value))), None
    except RecursionError:
        return None, "is nested too deeply, or holds itself"
    except (TypeError, ValueError) as error:
        return None, str(error)


def _plain(value: Any) -> Any:
    """Return the value made of None, bool, int, float, str, list and dict."""
    if hasattr(value, "tolist"):
        return _plain(_check_elements(value).tolist())
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, BaseModel):
        return _plain(value.model_dump())
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    raise TypeError(
        f"holds a {type(value).__name__}, which a record cannot: attach numbers, texts, lists, "
        "dictionaries or small arrays"
    )


def _key(key: Any) -> str:
    """Return a dictionary's key as text: a token id becomes its digits."""
    if isinstance(key, (str, int)):
        return str(key)
    raise TypeError(f"holds a key that is a {type(key).__name__}: use texts or whole numbers")


def _check_elements(array: Any) -> Any:
    """Return an array, unless its list would be too long to make."""
    elements = math.prod(getattr(array, "shape", ()))
    if elements * _SHORTEST_ELEMENT > LARGEST:
        raise ValueError(f"is an array of {elements:,} elements: attach a summary of it")
    return array


def _fit(value: Any) -> Any:
    """Return a value of allowed size; long texts are cut if that is necessary and enough."""
    size = _size(value)
    if size <= LARGEST:
        return value
    for length in _LENGTHS:
        shorter = _cut_texts(value, length)
        if _size(shorter) <= LARGEST:
            return shorter
    raise ValueError(
        f"takes {size:,} bytes, more than the {LARGEST:,} that are kept: attach a summary of it"
    )


def _cut_texts(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return shorten(value, length)
    if isinstance(value, list):
        return [_cut_texts(item, length) for item in value]
    if isinstance(value, dict):
        return {key: _cut_texts(item, length) for key, item in value.items()}
    return value


def _size(value: Any) -> int:
    """Return the bytes that a value takes as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode())
