"""The settings of `generate()` as a table: value, source and the library's default."""

from __future__ import annotations

import json
from collections.abc import Sequence

from markupsafe import Markup
from pydantic import JsonValue

from probes._util.text import shorten
from probes.report.locale.markup import attributes, say, translate
from probes.report.text.phrases import LONGEST_SETTING, name_source
from probes.report.visible import cut, mark
from probes.schema.evidence.settings import UsedSetting, UsedSettings

COLUMNS = ("name", "value", "source", "default")


def draw_settings(used: UsedSettings) -> Markup:
    """Draw settings that are not the library's as a table; the others are folded.

    >>> warm = UsedSetting(name="temperature", value=0.7, source="config.json", default=1.0)
    >>> drawn = draw_settings(UsedSettings(used_settings=[warm]))
    >>> print(drawn[drawn.index("<tbody>") : drawn.index("</tbody>")])
    <tbody><tr><th scope="row">temperature</th><td>0.7</td><td>config.json</td><td>1.0</td></tr>
    """
    own = used.list_own()
    rest = [setting for setting in used.used_settings if setting not in own]
    drawn = _draw_table(own) if own else Markup("<p>{}</p>").format(_say("none"))
    if rest:
        named = ", ".join(f"{_cut(each.name)} {_format_value(each.value)}" for each in rest)
        drawn += Markup("<details><summary>{}</summary><p>{}</p></details>").format(
            _say("rest", n=f"{len(rest):,}"), mark(named)
        )
    return Markup("<div>{}</div>").format(drawn)


def _draw_table(settings: Sequence[UsedSetting]) -> Markup:
    header = (Markup('<th scope="col">{}</th>').format(_say(column)) for column in COLUMNS)
    table = Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(
        Markup("").join(header), Markup("").join(map(_draw_row, settings))
    )
    label = attributes("aria-label", "pictures.used-settings.title")
    return Markup('<div class="scroll" tabindex="0" role="group" {}>{}</div>').format(label, table)


def _draw_row(setting: UsedSetting) -> Markup:
    return Markup('<tr><th scope="row">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>').format(
        mark(_cut(setting.name)),
        mark(_format_value(setting.value)),
        translate(name_source)(_cut(setting.source)),
        mark(_format_value(setting.default)),
    )


def _say(key: str, **values: object) -> Markup:
    return say(f"pictures.used-settings.{key}", **values)


def _format_value(value: JsonValue) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), LONGEST_SETTING)


def _cut(text: str) -> str:
    return cut(text, LONGEST_SETTING)
