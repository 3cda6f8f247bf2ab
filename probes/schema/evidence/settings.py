"""Evidence about the settings of `generate`."""

from __future__ import annotations

from pydantic import JsonValue

from probes.schema.evidence.shape import Shape

LIBRARY = "library default"
ARCHITECTURE = "architecture's default"
REPLACED = "replaced by transformers"
"""Sources of values besides files: the last is what the library puts in place of a file's value."""


class UsedSetting(Shape):
    """A setting that `generate()` uses when it is called without arguments."""

    name: str
    value: JsonValue
    source: str
    """A file's name, or one of the sources above."""
    default: JsonValue
    """The library's default."""


class UsedSettings(Shape):
    """All settings that `generate()` uses when it is called without arguments.

    A setting that is missing has no value.
    """

    used_settings: list[UsedSetting]

    @property
    def by_name(self) -> dict[str, UsedSetting]:
        """The settings by name."""
        return {setting.name: setting for setting in self.used_settings}

    def list_own(self) -> list[UsedSetting]:
        """Return the settings whose values are not the library's defaults.

        >>> plain = UsedSetting(name="top_k", value=50, source=LIBRARY, default=50)
        >>> warm = UsedSetting(name="temperature", value=0.7, source="config.json", default=1.0)
        >>> [setting.name for setting in UsedSettings(used_settings=[plain, warm]).list_own()]
        ['temperature']
        """
        return [
            setting
            for setting in self.used_settings
            if setting.value != setting.default
            and not (setting.value is False and setting.default is None)
        ]
