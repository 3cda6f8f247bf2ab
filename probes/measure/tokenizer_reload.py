"""Save a tokenizer, load it again, and name what is different."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import transformers

from probes._util.garbage import pause_cycle_search
from probes.data.tokenizer_texts import corpus
from probes.measure.sentencepiece_reference import Disagreement
from probes.measure.tokenizer_corpus import encode_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.engines.transformers.engine import TransformersEngine

TEXTS = 2_000
"""How many texts of the corpus are encoded by the tokenizer that is loaded again."""

_ONE_WORD = re.compile(r"([a-z]{4,})\d*").fullmatch

SETTINGS = ("special_tokens_map", "chat_template", "padding_side", "truncation_side")


@dataclass(frozen=True)
class Reloaded:
    """What a tokenizer is after it was saved and loaded again."""

    texts: int
    """How many texts were encoded."""
    differing: list[Disagreement]
    """All texts that have other ids than before."""
    changed: dict[str, tuple[Any, Any]]
    """Settings that are different: before and after."""
    warnings: list[str]
    """What the library warned of while it was loaded again."""
    foreign: list[str]
    """Those warnings that name another model family than the target's."""


def save_and_reload(model: TransformersEngine) -> Reloaded:
    """Save a target's tokenizer beside its configuration and load it again from there.

    >>> again = save_and_reload(load("embedded"))
    >>> again.differing, again.changed, again.foreign
    ([], {}, [])
    """
    tokenizer = model.tokenizer
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        load: Any = transformers.AutoTokenizer.from_pretrained
        with _collect_warnings() as said, pause_cycle_search():
            again = load(folder, local_files_only=True, trust_remote_code=False)
        return Reloaded(
            TEXTS,
            _find_other_ids(model, again),
            _find_changes(tokenizer, again),
            said,
            [line for line in said if names_another_family(line, _own_names(model))],
        )


def _find_other_ids(model: TransformersEngine, again: Any) -> list[Disagreement]:
    texts = corpus()[:: max(1, len(corpus()) // TEXTS)]
    plain: Any = again(list(texts), add_special_tokens=False)["input_ids"]
    found = [
        Disagreement(text, list(after), before)
        for text, before, after in zip(texts, encode_all(model, texts), plain, strict=True)
        if list(after) != before
    ]
    for text in ("", texts[0]):  # with special tokens
        before, after = model.encode(text), list(again.encode(text))
        if before != after:
            found.append(Disagreement(text, after, before))
    return found


def _find_changes(tokenizer: Any, again: Any) -> dict[str, tuple[Any, Any]]:
    values = {
        name: (getattr(tokenizer, name, None), getattr(again, name, None)) for name in SETTINGS
    }
    values["vocabulary"] = (len(tokenizer), len(again))
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def names_another_family(warning: str, own: str) -> bool:
    """Return whether a warning names a model family of transformers that is not in `own`.

    >>> warning = "incorrect regex pattern: see the discussion of mistralai/Mistral-Small-3.1"
    >>> names_another_family(warning, "qwen2 Qwen2Tokenizer")
    True
    >>> names_another_family(warning, "mistral LlamaTokenizer")
    False
    """
    # Names of several words, such as encoder-decoder, may be plain words of a sentence.
    families = {found[1] for name in transformers.CONFIG_MAPPING if (found := _ONE_WORD(name))}
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+", warning)}
    return any(family not in own.lower() for family in families & words)


def _own_names(model: TransformersEngine) -> str:
    """Return the names by which a warning may call a target's own family."""
    settings = model.tokenizer_files.settings
    kinds = (type(each).__name__ for each in (model.tokenizer, model.config))
    return " ".join([*kinds, str(model.config.model_type), str(settings.get("tokenizer_class"))])


@contextmanager
def _collect_warnings() -> Iterator[list[str]]:
    """Collect what transformers logs as a warning, and what Python warns of."""
    said: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    log, collector = logging.getLogger("transformers"), Collector(logging.WARNING)
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_warning()
    log.addHandler(collector)
    try:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            yield said
        said += [str(each.message) for each in raised]
    finally:
        log.removeHandler(collector)
        transformers.utils.logging.set_verbosity(verbosity)
