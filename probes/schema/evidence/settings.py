"""Evidence about the settings of `generate`."""

from __future__ import annotations

from pydantic import JsonValue

from probes.schema.evidence.shape import Shape

LIBRARY = "library"
"""The source of a value that is the library's default."""


class UsedSetting(Shape):
    """A setting that `generate()` uses when it is called without arguments."""

    value: JsonValue
    source: str
    """A file's name, `library` for the library's default, `architecture` for that of the
    configuration's class, `transformers` for what the library puts in place of a file's value."""
    default: JsonValue
    """The library's default."""


class UsedSettings(Shape):
    """All settings that `generate()` uses when it is called without arguments, by name.

    A setting that is missing has no value.
    """

    used_settings: dict[str, UsedSetting]

    def own(self) -> dict[str, UsedSetting]:
        """Return the settings whose values are not the library's defaults.

        >>> plain = UsedSetting(value=50, source="library", default=50)
        >>> other = UsedSetting(value=0.7, source="generation_config.json", default=1.0)
        >>> [*UsedSettings(used_settings={"top_k": plain, "temperature": other}).own()]
        ['temperature']
        """
        return {
            name: setting
            for name, setting in self.used_settings.items()
            if setting.value != setting.default
            and not (setting.value is False and setting.default is None)
        }
