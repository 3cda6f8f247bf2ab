"""The markers of a test: the claim that it decides, and what it needs beyond that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from probes.errors import UserError, did_you_mean
from probes.schema.claim import NEEDS, Claim, catalogue, check_need

HELP = (
    "claim(id, title=..., kind=..., needs=..., section=...): this test decides the claim; "
    "all but the id only for a claim of your own",
    "needs(name, ...): what the target must have for this test, beyond the claim's needs",
    "gpu: the claim is decided on a target that needs a CUDA device",
    "throughput: this test measures how fast the target is, once a target",
)


def read_claim(args: Sequence[Any], fields: Mapping[str, Any]) -> Claim:
    """Return the claim that `claim(id)` names, or that `claim(id, title=...)` states.

    Raises UserError if there is no such claim, or a field is wrong.

    >>> read_claim(["bos-inserted"], {}).section
    'Tokenizer'
    >>> read_claim(["polite"], {"title": "It says please."}).needs
    ('model',)
    """
    if len(args) != 1 or not isinstance(args[0], str):
        raise UserError("the marker claim takes one id, as in claim('my-claim', title='...')")
    claim_id = args[0]
    if fields:
        return _own(claim_id, fields)
    if claim_id not in catalogue():
        raise UserError(
            f"no claim {claim_id!r} in the catalogue{did_you_mean(claim_id, catalogue()) or '.'} "
            f"A claim of your own needs a title: claim({claim_id!r}, title='...')"
        )
    return catalogue()[claim_id]


def read_needs(args: Sequence[Any], fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the needs that `needs(name, ...)` names; raise UserError for none or an unknown one.

    >>> read_needs(["bos"], {})
    ('bos',)
    """
    if not args or fields:
        raise UserError("the marker needs takes one name or more, as in needs('bos')")
    return tuple(check_need(name) for name in args)


def refuse_two_meanings(claims: Sequence[Claim]) -> None:
    """Raise UserError for two tests that state one claim in different words."""
    first: dict[str, Claim] = {}
    for claim in claims:
        if first.setdefault(claim.id, claim) != claim:
            raise UserError(
                f"claim {claim.id!r} is stated in two ways: give both tests one marker, "
                f"made once as mine = pytest.mark.claim({claim.id!r}, title='...')"
            )


def _own(claim_id: str, fields: Mapping[str, Any]) -> Claim:
    if claim_id in catalogue():
        raise UserError(
            f"claim {claim_id!r} is in the catalogue already: leave out what follows the id, "
            "or give your claim another id"
        )
    try:
        return Claim(**{"id": claim_id, **fields})
    except (ValidationError, TypeError) as error:
        raise UserError(f"claim {claim_id!r} is misstated: {_first_problem(error)}") from None
    except UserError as error:  # of an unknown need
        raise UserError(f"claim {claim_id!r} is misstated: {error}") from None


def _first_problem(error: ValidationError | TypeError) -> str:
    """Describe a claim's first wrong field in a few words."""
    if isinstance(error, TypeError):
        return str(error)
    first = error.errors(include_url=False)[0]
    field, value = str(first["loc"][0]), first["input"]
    fields = list(Claim.model_fields)
    match first["type"]:
        case "extra_forbidden":
            hint = did_you_mean(field, fields) or "."
            return f"unknown field {field!r}{hint} Known fields: {', '.join(fields)}"
        case "missing":
            return f"it has no {field}: add {field}='...'"
        case "string_pattern_mismatch":
            return "an id is made of lower-case words and digits, joined by hyphens"
        case "tuple_type":
            return f"{field} {value!r} should be a valid tuple: write {field}=({value!r},)"
        case _:
            words = first["msg"].replace("Input should be", "should be").replace("String", "")
            hint = did_you_mean(str(value), NEEDS)
            return f"{field} {value!r} {words.strip()}{hint}"
