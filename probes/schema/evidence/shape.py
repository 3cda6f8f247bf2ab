"""What every shape of evidence is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

Count = Annotated[int, Field(ge=0, le=2**53)]
"""A count or a token id: what a browser counts exactly."""


class Shape(BaseModel):
    """Evidence of known names and types.

    Types are exact, so a record's ``"NaN"`` is no number: what a model got wrong can be attached,
    and is shown as it is. A subclass, or a caller, may add evidence that nothing reads back.
    """

    # Most shapes are in few records: each is built when it is first used, not when pytest starts.
    model_config = ConfigDict(strict=True, frozen=True, extra="allow", defer_build=True)

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


class Interval(Shape):
    """A measured quantity, and the interval that it lies in."""

    value: float
    low: float
    high: float


class Measured(Shape):
    """All quantities that decide an observation: a comparison takes their intervals for noise."""

    measured: dict[str, Interval]
    """By name."""

    def agrees(self, other: Measured) -> bool:
        """Return whether each quantity of each lies in the other's interval of that name.

        >>> one = Measured(measured={"share": Interval(value=0.5, low=0.4, high=0.6)})
        >>> other = Measured(measured={"share": Interval(value=0.58, low=0.55, high=0.61)})
        >>> one.agrees(one), one.agrees(other)
        (True, False)
        """
        before, after = self.measured, other.measured
        return before.keys() == after.keys() and all(
            each.low <= before[name].value <= each.high
            and before[name].low <= each.value <= before[name].high
            for name, each in after.items()
        )
