"""The base class of everything stored, and the message for input that does not fit a model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from probes._util.text import quote, shorten

NOT_QUOTED = "not_quoted"
"""The type of an error whose input may hold a secret."""


class Stored(BaseModel):
    """Refuse misspelt keys, and keep infinities readable."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


def format_validation_error(error: ValidationError) -> str:
    """Describe the first problem of a validation error in one line.

    Such as "width 'wide' should be a valid integer, unable to parse string as an integer".
    """
    first = error.errors(include_url=False)[0]
    problem = first["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    place = shorten(".".join(part for part in first["loc"] if isinstance(part, str)), 200)
    if first["type"] == "missing":
        return f"{place} is missing"
    hidden = isinstance(first["input"], dict) or first["type"] == NOT_QUOTED
    value = "" if hidden else f"{quote(first['input'])} "
    return f"{place} {value}{problem}" if place else problem
