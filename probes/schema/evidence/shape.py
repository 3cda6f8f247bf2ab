"""What every shape of evidence is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

Count = Annotated[int, Field(ge=0, le=2**53)]
"""A count or a token id: what a browser counts exactly."""


class Shape(BaseModel):
    """Evidence of known names and types.

    Types are exact, so a record's ``"NaN"`` is no number: what a model got wrong can be attached,
    and is shown as it is. A subclass, or a caller, may add evidence that nothing reads back.
    """

    model_config = ConfigDict(
        strict=True, frozen=True, extra="allow", use_attribute_docstrings=True
    )

    same_length: ClassVar[tuple[str, ...]] = ()
    """Fields that are as long as each other."""

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if len({len(getattr(self, name)) for name in self.same_length}) > 1:
            raise ValueError(f"{', '.join(self.same_length)} differ in length")
        return self

    def as_evidence(self) -> dict[str, Any]:
        """Return the evidence by name."""
        return self.model_dump()

    @classmethod
    def read(cls, values: Mapping[str, object]) -> Self | None:
        """Return this shape from the evidence of a check; None if it has another."""
        try:
            return cls.model_validate(values)
        except (ValidationError, OverflowError):  # an integer may be too large for any float
            return None
