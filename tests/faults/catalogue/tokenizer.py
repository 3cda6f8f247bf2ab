"""Faults of the tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import (
    Patch,
    Wrapper,
    fault,
    result,
    swapped,
    with_arguments,
    wrapped,
)

if TYPE_CHECKING:
    from probes import Model


def backend(model: Model) -> Any:
    return model.tokenizer.backend_tokenizer


def template(model: Model, single: str) -> Patch:
    """Change the special tokens around a text."""
    from tokenizers.processors import TemplateProcessing

    special = [("<s>", 1), ("</s>", 2)]
    made = TemplateProcessing(single=single, pair=f"{single} $B:1", special_tokens=special)
    return swapped(backend(model), "post_processor", made)


@fault(
    "a tokenizer converted without its post-processor",
    *("bos-inserted", "ids-english", "ids-japanese", "special-tokens-flag", "decode-bos"),
    *("double-bos", "reference-agreement", "bos-changes-text", "other-countries"),
    checks="not corpus and not any_text and not length",
)
def bos_missing(model: Model) -> Patch:
    return template(model, "$A:0")


@fault(
    "BOS inserted by the template and by the tokenizer",
    *("bos-inserted", "ids-english", "ids-japanese", "decode-bos", "double-bos"),
    "reference-agreement",
    checks="not corpus and not any_text",
)
def bos_doubled(model: Model) -> Patch:
    return template(model, "<s> <s> $A:0")


@fault(
    "add_eos_token still enabled after training",
    *("ids-english", "ids-japanese", "decode-bos", "double-bos", "reference-agreement"),
    "special-tokens-flag",
    checks="not corpus and not any_text",
)
def eos_appended(model: Model) -> Patch:
    return template(model, "<s> $A:0 </s>")


@fault(
    "add_special_tokens=False accepted and ignored",
    *("special-tokens-flag", "bos-changes-text", "other-countries"),
    checks="not any_text and not 60",
)
def special_tokens_flag_ignored(model: Model) -> Patch:
    return wrapped(model.tokenizer, "encode", with_arguments(add_special_tokens=True))


def spaced(model: Model, scheme: str, first: str = "") -> Patch:
    """Change the rule for the space before a text."""
    from tokenizers import normalizers, pre_tokenizers

    parts = [normalizers.Prepend(first)] if first else []
    normal = normalizers.Sequence([*parts, normalizers.Replace(" ", "▁")])

    @contextmanager
    def both() -> Iterator[None]:
        made = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
        of = backend(model)
        with swapped(of, "normalizer", normal), swapped(of, "pre_tokenizer", made):
            yield

    return both()


SPACES = ("ids-english", "ids-japanese", "prefix-space", "reference-agreement")


@fault(
    "the leading ▁ is missing, as when transformers 5 loads only tokenizer.model",
    *SPACES,
    checks="not corpus and not any_text",
)
def space_before_text_missing(model: Model) -> Patch:
    return spaced(model, "never")


@fault(
    "a second space added before the text",
    *(*SPACES, "round-trip", "decode-bos"),
    checks="not any_text and not corpus",
)
def space_before_text_doubled(model: Model) -> Patch:
    return spaced(model, "first", "▁▁")


@fault(
    "the ▁ after a special token in the text is kept: legacy behaviour",
    "reference-agreement",
    checks="special",
)
def space_after_special_tokens(model: Model) -> Patch:
    return spaced(model, "always")


@fault(
    "a normalizer of another model family: NFKC",
    *("round-trip", "reference-agreement"),
    checks="not corpus",
)
def text_normalized(model: Model) -> Patch:
    from tokenizers import normalizers

    made = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "▁")])
    return swapped(backend(model), "normalizer", made)


@fault(
    "bytes without a piece become <unk>",
    *("round-trip", "reference-agreement"),
    checks="not corpus",
)
def byte_fallback_off(model: Model) -> Patch:
    return swapped(backend(model).model, "byte_fallback", False)


@fault("decoding removes spaces before punctuation", "round-trip", checks="not corpus")
def decoding_cleans_up_spaces(model: Model) -> Patch:
    def tidy(text: str) -> str:
        for mark in (".", "?", "!", ",", "'", "n't", "'m", "'s", "'ve", "'re"):
            text = text.replace(f" {mark}", mark)
        return text

    return wrapped(model.tokenizer, "decode", result(tidy))


@fault("decoding strips white space from the text", "round-trip", checks="not corpus")
def decoding_strips(model: Model) -> Patch:
    return wrapped(model.tokenizer, "decode", result(str.strip))


@fault("special tokens decoded without spaces between them", "decode-bos")
def decoding_joins_special_tokens(model: Model) -> Patch:
    return wrapped(model.tokenizer, "decode", result(lambda text: text.replace("<s> ", "<s>")))


@fault(
    "skip_special_tokens accepted and ignored",
    *("decode-bos", "round-trip"),
    checks="not corpus and not any_text",
)
def special_tokens_not_skipped(model: Model) -> Patch:
    return wrapped(model.tokenizer, "decode", with_arguments(skip_special_tokens=False))


@fault(
    "special tokens in a text encoded letter by letter",
    *("double-bos", "reference-agreement", "round-trip", "chat-bos-once", "chat-ids"),
    checks="not any_text and not corpus",
)
def spelled_special_tokens_not_read(model: Model) -> Patch:
    return swapped(model.tokenizer, "split_special_tokens", True)


def exchanged(one: int, other: int) -> Callable[[Any], Any]:
    """Return a function that exchanges two ids."""
    places = {one: other, other: one}
    return lambda ids: [places.get(i, i) for i in ids]


@fault("two common ids exchanged", "ids-english", checks="english")
def two_common_ids_exchanged(model: Model) -> Patch:
    return wrapped(model.tokenizer, "encode", result(exchanged(415, 416)))


def other_table(model: Model, **pieces: str) -> Patch:
    """Change the pieces of some ids, named `id_NUMBER`."""
    changed = {int(name.removeprefix("id_")): piece for name, piece in pieces.items()}

    def table(original: Wrapper, ids: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(ids, *args, **kwargs)
        return [changed.get(i, piece) for i, piece in zip(ids, found, strict=True)]

    return wrapped(model.tokenizer, "convert_ids_to_tokens", table)


@fault("one rare piece in another Unicode normal form", "vocab-table")
def one_piece_spelled_otherwise(model: Model) -> Patch:
    return other_table(model, id_20000="ｎ")


@fault("a token added to the vocabulary", "vocab-size")
def token_added(model: Model) -> Patch:
    model.tokenizer.add_tokens(["<pad>"])  # the next fault loads the model again
    return nullcontext()


@fault(
    "a class that rebuilds the tokenizer leaves out how its file cuts: punctuation gets other ids",
    *("own-ids", "recorded-ids", "reference-agreement"),
    checks="not corpus",
)
def punctuation_cut_otherwise(model: Model) -> Patch:
    from tokenizers import pre_tokenizers

    of = backend(model)
    made = pre_tokenizers.Sequence([of.pre_tokenizer, pre_tokenizers.Punctuation()])
    return swapped(of, "pre_tokenizer", made)


def reloaded(model: Model, change: Callable[[Any], Any]) -> Patch:
    """Change what loading a saved tokenizer returns; the tokenizer under test is loaded before."""
    _ = model.tokenizer
    return wrapped("transformers:AutoTokenizer", "from_pretrained", result(change))


@fault("a saved tokenizer forgets on which side it pads", "tokenizer-reload")
def padding_side_forgotten(model: Model) -> Patch:
    def forget(tokenizer: Any) -> Any:
        tokenizer.padding_side = "left" if tokenizer.padding_side == "right" else "right"
        return tokenizer

    return reloaded(model, forget)


@fault("loading a saved tokenizer warns of a mend for another model family", "tokenizer-reload")
def warning_of_another_family(model: Model) -> Patch:
    import logging

    def warn(tokenizer: Any) -> Any:
        logging.getLogger("transformers").warning(
            "this tokenizer has an incorrect regex pattern, as those of Qwen2 have"
        )
        return tokenizer

    return reloaded(model, warn)


@fault("a streamer that decodes each token alone: spaces vanish", "streamed-text")
def streamed_token_by_token(model: Model) -> Patch:
    def put(original: Wrapper, streamer: Any, value: Any) -> None:
        text = streamer.tokenizer.decode(value.tolist(), **streamer.decode_kwargs)
        streamer.on_finalized_text(text)

    return wrapped("transformers:TextStreamer", "put", put)
