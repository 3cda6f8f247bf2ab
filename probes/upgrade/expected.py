"""Expected verdicts by claim and version, each with its source, from `expected.toml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from probes._util.tomlfile import read_toml
from probes._util.versions import check_specifier, is_within
from probes.errors import UserError
from probes.schema.base import Stored, format_validation_error
from probes.schema.record import Record, Verdict

FILE = Path(__file__).with_name("expected.toml")


class Expectation(Stored):
    """A known verdict of some claims under some versions of a package."""

    claims: tuple[str, ...] = Field(min_length=1)
    """The claims' ids."""
    package: str
    versions: Annotated[str, AfterValidator(check_specifier)]
    """A specifier, such as `>=5,<5.3`."""
    verdict: Verdict
    """The claims' verdict under these versions."""
    source: str
    """An address, or `measured`."""
    because: str
    """The reason, in a sentence."""
    target: str | None = None
    """The only target it is about; None for any."""
    device: str | None = None
    """The kind of device it is about, such as `cpu`; None for any."""

    def applies_to(self, claim: str, record: Record) -> bool:
        """Return whether it is about a claim and a run with its versions, target and device."""
        return (
            is_within(self.versions, record.environment.packages.get(self.package, ""))
            and claim in self.claims
            and self.target in (None, record.target.name)
            and record.target.device.startswith(self.device or "")
        )


class _File(Stored):
    expected: tuple[Expectation, ...] = ()


@cache
def read_expectations(file: Path = FILE) -> tuple[Expectation, ...]:
    """Read the expected verdicts from a file; what is wrong in it raises UserError.

    >>> read_expectations()[0].claims, read_expectations()[0].versions
    (('default-length',), '<4.47')
    """
    content = read_toml(file)
    try:
        return _File.model_validate(content).expected
    except ValidationError as error:
        raise UserError(f"{file}: {format_validation_error(error)}") from None
