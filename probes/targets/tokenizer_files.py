"""What a tokenizer's own files promise, read without loading it.

The order: an explicit ``add_bos_token`` or ``add_eos_token`` in tokenizer_config.json, then the
post-processor of tokenizer.json, then nothing. Files that contradict each other are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from probes._util.jsonfile import read_object
from probes.targets.vocabulary import TOKENIZER_FILE, read_parts

SETTINGS_FILE = "tokenizer_config.json"

_BOS_BY_DEFAULT = ("CodeLlama", "Gemma", "Llama", "Mistral")
"""Classes that insert BOS by default."""


class Around(NamedTuple):
    """Special tokens that are put before and after a text."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Promise:
    """The special tokens that a tokenizer's files promise to put around a text."""

    around: Around
    source: str
    """What promises them."""
    contradictions: tuple[str, ...]
    """Where files contradict each other about BOS and EOS, in words."""


@dataclass(frozen=True)
class TokenizerFiles:
    """What the files of a tokenizer say, as far as claims compare it with what is done."""

    settings: Mapping[str, Any]
    """The content of tokenizer_config.json, with the special tokens of special_tokens_map.json."""
    parts: Mapping[str, Any] | None
    """Parts of tokenizer.json, its vocabulary left out; None if there is no such file."""
    origin: str = SETTINGS_FILE
    """What a message calls the source of the settings."""

    @cached_property
    def promise(self) -> Promise:
        """The special tokens around a text, decided by the order of the files."""
        around, source = Around(), "none of its files asks for special tokens around a text"
        if self.parts is not None:
            around = _read_template(self.parts.get("post_processor"))
            if any(around):
                source = f"the post-processor of {TOKENIZER_FILE} asks for it"
        elif str(self.settings.get("tokenizer_class")).startswith(_BOS_BY_DEFAULT):
            around = Around((self.special_token("bos") or "<s>",))
            source = f"its class, {self.settings['tokenizer_class']}, does so by default"
        contradictions = []
        for which in ("bos", "eos"):
            asked, token = self.settings.get(f"add_{which}_token"), self.special_token(which)
            if not isinstance(asked, bool) or (asked and token is None):
                continue
            inserted = around.before if which == "bos" else around.after
            if asked or token in inserted:
                source = f"{self.origin} says so (add_{which}_token)"
            if self.parts is not None and asked != (token in inserted):
                contradictions.append(_describe_contradiction(self.origin, which, asked, inserted))
            around = _with_token(around, which, token, asked)
        return Promise(around, source, tuple(contradictions))

    def special_token(self, which: str) -> str | None:
        """Return a special token by its short name, such as `bos`; None where there is none."""
        token = self.settings.get(f"{which}_token")
        content = token.get("content") if isinstance(token, dict) else token
        return content if isinstance(content, str) else None

    @property
    def splits_special_tokens(self) -> bool:
        """Whether a special token that a text spells is to be encoded as plain text."""
        return self.settings.get("split_special_tokens") is True

    @property
    def written_by_transformers(self) -> bool:
        """Whether transformers 5 wrote tokenizer.json itself, from a GGUF file for example."""
        return self.settings.get("backend") == "tokenizers"

    def steps(self, part: str) -> list[dict[str, Any]]:
        """Return the steps of a part, such as `decoder`, with sequences taken apart."""
        return list(_flatten((self.parts or {}).get(part)))


def read_tokenizer_files(
    folder: Path, parts: Mapping[str, Any] | None = None, origin: str = SETTINGS_FILE
) -> TokenizerFiles:
    """Read what the files of a folder's tokenizer promise.

    The `parts` are those of tokenizer.json where it was read before; `origin` is what messages call
    the source of the settings.

    >>> from probes.targets.target import EMBEDDED_FOLDER
    >>> promise = read_tokenizer_files(EMBEDDED_FOLDER).promise
    >>> promise.around.before, promise.source
    (('<s>',), 'the post-processor of tokenizer.json asks for it')
    """
    tokens = _read_if_present(folder / "special_tokens_map.json")
    settings = _read_if_present(folder / SETTINGS_FILE)
    named = {name: token for name, token in tokens.items() if name.endswith("_token")}
    if parts is None and (folder / TOKENIZER_FILE).is_file():
        parts = read_parts(folder / TOKENIZER_FILE)
    return TokenizerFiles(named | settings, parts, origin)


def _read_if_present(file: Path) -> dict[str, Any]:
    return read_object(file) if file.is_file() else {}


def _flatten(step: Any) -> Iterator[dict[str, Any]]:
    """Yield the steps of a part of tokenizer.json, in order."""
    if not isinstance(step, dict):
        return
    inner = [value for value in step.values() if isinstance(value, list)]
    if step.get("type") == "Sequence" and inner:
        for each in inner[0]:
            yield from _flatten(each)
    else:
        yield step


def _read_template(processor: Any) -> Around:
    """Return the special tokens that a post-processor puts around a text."""
    around = Around()
    for step in _flatten(processor):
        before, after = _read_step(step)
        around = Around((*before, *around.before), (*around.after, *after))
    return around


def _read_step(step: Mapping[str, Any]) -> Around:
    match step:
        case {"type": "TemplateProcessing", "single": [*items]}:
            tokens = [
                item["SpecialToken"].get("id") if isinstance(item, dict) and "SpecialToken" in item
                else None
                for item in items
            ]  # fmt: skip
            text = tokens.index(None) if None in tokens else len(tokens)
            return Around(
                tuple(str(token) for token in tokens[:text]),
                tuple(str(token) for token in tokens[text:] if token is not None),
            )
        case {"type": "BertProcessing" | "RobertaProcessing", "cls": [cls, _], "sep": [sep, _]}:
            return Around((str(cls),), (str(sep),))
        case _:
            return Around()


def _with_token(around: Around, which: str, token: str | None, asked: bool) -> Around:
    """Return the tokens around a text with BOS or EOS as the configuration asks."""
    before, after = around
    if which == "bos":
        rest = tuple(each for each in before if each != token)
        return Around((token, *rest) if asked and token else rest, after)
    rest = tuple(each for each in after if each != token)
    return Around(before, (*rest, token) if asked and token else rest)


def _describe_contradiction(origin: str, which: str, asked: bool, inserted: tuple[str, ...]) -> str:
    wanted = which.upper() if asked else f"no {which.upper()}"
    found = f"inserts {' '.join(inserted)}" if inserted else "inserts none"
    return (
        f"{origin} asks for {wanted} (add_{which}_token), "
        f"the post-processor of {TOKENIZER_FILE} {found}"
    )
