"""Failures that are known, from the file of `--known-failures`: shown, and no reason for exit 1.

A check that is known to fail gets pytest's mark `xfail`, strictly: one that holds now fails the
run, so that the file does not outlive what it is about.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from probes._util.tomlfile import read_toml, refuse_unknown
from probes._util.versions import check_specifier, is_within
from probes.errors import UserError, did_you_mean
from probes.schema.base import Stored, format_validation_error


class KnownFailure(Stored):
    """A known failure of some checks of a claim."""

    claim: str
    """The claim's id."""
    check: str = "*"
    """A pattern of the names of its checks, as a record has them."""
    target: str = "*"
    """A pattern of the names of targets."""
    versions: dict[str, Annotated[str, AfterValidator(check_specifier)]] = Field(
        default_factory=dict
    )
    """By package, the versions under which it fails: specifiers, such as `>=5.15.1,<5.18`."""
    reason: str = Field(min_length=1)
    """Why it fails."""

    def is_about(self, claim: str, check: str, targets: Collection[str]) -> bool:
        """Return whether a check of a claim is known to fail here on each of some targets.

        >>> known = KnownFailure(claim="seeded", target="mistral-*", reason="a bug")
        >>> known.is_about("seeded", "test_it", ["mistral-7b"])
        True
        """
        return (
            self.claim == claim
            and _matches(check, self.check)
            and all(fnmatchcase(target, self.target) for target in targets)
            and all(is_within(each, _installed(name)) for name, each in self.versions.items())
        )


class _File(Stored):
    known_failure: tuple[KnownFailure, ...] = Field(default=(), alias="known-failure")


def read_known_failures(file: Path) -> tuple[KnownFailure, ...]:
    """Read the `[[known-failure]]` tables of a file; what is wrong in it raises UserError."""
    content = read_toml(file)
    refuse_unknown(content, ["known-failure"], f"{file}")
    tables = content.get("known-failure")
    for table in tables if isinstance(tables, list) else []:
        if isinstance(table, dict):
            refuse_unknown(table, list(KnownFailure.model_fields), f"{file}: [[known-failure]]")
    try:
        return _File.model_validate(content).known_failure
    except ValidationError as error:
        raise UserError(f"{file}: {format_validation_error(error)}") from None


def refuse_unmatched(known: Sequence[KnownFailure], claims: Collection[str]) -> None:
    """Raise UserError for a known failure of a claim that is not among these."""
    for each in known:
        if each.claim not in claims:
            raise UserError(
                f"--known-failures: no claim {each.claim!r} in the catalogue or among the "
                f"collected tests{did_you_mean(each.claim, claims)}"
            )


def _matches(name: str, pattern: str) -> bool:
    """Return whether a name matches; brackets in a pattern are those of a name's parameters."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
