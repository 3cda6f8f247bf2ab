"""Verdicts that are no surprise: known by claim and version, each with its source, as data."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import Field, ValidationError, field_validator

from probes._util.tomlfile import read_toml
from probes.errors import UserError
from probes.schema.record import Verdict
from probes.upgrade.cells import _Stored

if TYPE_CHECKING:
    from probes.schema.record import Record

FILE = Path(__file__).with_name("expected.toml")


class Expectation(_Stored):
    """A known verdict of some claims under some versions of a package."""

    claims: tuple[str, ...] = Field(min_length=1)
    """The claims' ids."""
    package: str
    """The package whose versions decide."""
    versions: str
    """Those versions, as a specifier: `<4.47`, or `>=5,<5.3`."""
    verdict: Verdict
    """What the claims come to there."""
    source: str
    """Where that is known from: an address, or `measured`."""
    because: str
    """Why, in a sentence."""
    target: str | None = None
    """The one target it is so on, by its name; None for any."""
    device: str | None = None
    """The kind of device it is so on, such as `cpu`; None for any."""

    @field_validator("versions")
    @classmethod
    def _specifier(cls, text: str) -> str:
        try:
            SpecifierSet(text)
        except InvalidSpecifier:
            raise ValueError(f"{text!r} names no versions: write such as '<4.47'") from None
        return text

    def meets(self, record: Record) -> bool:
        """Whether a run was made with these versions, on this target and device."""
        version = record.environment.packages.get(self.package)
        return (
            version is not None
            and _within(version, self.versions)
            and self.target in (None, record.target.name)
            and (self.device is None or record.target.device.startswith(self.device))
        )


def _within(version: str, versions: str) -> bool:
    try:
        return SpecifierSet(versions).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


class _File(_Stored):
    expected: tuple[Expectation, ...] = ()


@cache
def expectations(file: Path = FILE) -> tuple[Expectation, ...]:
    """All that is stated, from `expected.toml` beside this module unless told otherwise.

    >>> expectations()[0].claims, expectations()[0].versions
    (('default-length',), '<4.47')

    Raises:
        UserError: The file cannot be read, or states something it cannot.
    """
    content = read_toml(file, "expected", "[[expected]] tables")
    try:
        return _File.model_validate(content).expected
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: {place}: {first['msg']}") from None


def expected(
    claim: str, record: Record, stated: tuple[Expectation, ...] | None = None
) -> Expectation | None:
    """What is known of a claim under a run's versions; the first that is stated."""
    stated = expectations() if stated is None else stated
    return next((each for each in stated if claim in each.claims and each.meets(record)), None)
