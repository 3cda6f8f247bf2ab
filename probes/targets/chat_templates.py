"""The chat templates in a model's folder, read without loading its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from packaging.version import Version

from probes._util.jsonfile import MEBIBYTE, read_bytes, read_object
from probes.errors import UserError
from probes.targets.tokenizer_files import SETTINGS_FILE

TEMPLATE_FILE = "chat_template.jinja"
OTHERS_FOLDER = "additional_chat_templates"

_READS_FILE = Version("4.47")
"""The first transformers that reads a template from a file of its own."""


def read_chat_templates(folder: Path) -> dict[str, str]:
    """Return the chat templates that transformers takes from a folder, by name; the main one first.

    A file of its own comes before tokenizer_config.json, where the installed version reads it.

    >>> from probes.targets.target import EMBEDDED_FOLDER
    >>> list(read_chat_templates(EMBEDDED_FOLDER))
    ['default']
    """
    found = {}
    if Version(version("transformers")) >= _READS_FILE:
        if (folder / TEMPLATE_FILE).is_file():
            found["default"] = _read_text(folder / TEMPLATE_FILE)
        for file in sorted((folder / OTHERS_FOLDER).glob("*.jinja")):
            found[file.stem] = _read_text(file)
    settings = folder / SETTINGS_FILE
    if found or not settings.is_file():
        return found
    match read_object(settings).get("chat_template"):
        case str(text) if text:
            return {"default": text}
        case [*several]:
            named = (each for each in several if isinstance(each, dict))
            return {str(each.get("name")): str(each.get("template")) for each in named}
    return {}


def choose_chat_template(templates: Mapping[str, str], *, tools: bool) -> str | None:
    """Return the template for conversations with or without tools; None where there is none.

    >>> choose_chat_template({"default": "a", "tool_use": "b"}, tools=True)
    'b'
    """
    if tools and "tool_use" in templates:
        return templates["tool_use"]
    return templates.get("default")


def explain_missing_template(folder: Path) -> str | None:
    """Return why a target has no chat template here; None if it has one."""
    if read_chat_templates(folder):
        return None
    if (folder / TEMPLATE_FILE).is_file():
        installed = version("transformers")
        return f"transformers {installed} does not read its chat template from {TEMPLATE_FILE}"
    return "its tokenizer has no chat template"


def _read_text(file: Path) -> str:
    try:
        return read_bytes(file, MEBIBYTE).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8: {error}") from None
