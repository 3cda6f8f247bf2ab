"""Faults: small, named, reversible ways of breaking what the claims guard.

Each stands for something that went wrong in a real stack, and names the claims that must fail
while it lasts. Nothing is imported from torch or transformers before a fault is made.
"""

from __future__ import annotations

import functools
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from probes import Model

Patch = AbstractContextManager[Any]
Wrapper = Callable[..., Any]
"""Called in place of a function, with that function first."""

# As our loader sees it: the package replaces itself.
LIBRARY = "probes.engines.transformers.model:transformers"
MIXIN = "transformers.generation.utils:GenerationMixin"
WARPERS = "transformers.generation.logits_process:"
MISTRAL = "transformers.models.mistral.modeling_mistral"
CACHES = "transformers.cache_utils:"


@dataclass(frozen=True)
class Fault:
    """One way of breaking the stack under test.

    Attributes:
        name: what is broken.
        stands_for: the real case it stands for, in one line.
        claims: the claims that must fail while it lasts.
        checks: pytest's `-k` expression for the checks that are enough to see it; all if empty.
        apply: breaks the stack, for a freshly loaded model, until the context ends.
    """

    name: str
    stands_for: str
    claims: tuple[str, ...]
    checks: str
    apply: Callable[[Model], Patch]


CATALOGUE: dict[str, Fault] = {}
"""Every fault by its name, in the order of the claims they are for."""


UNSEEN = (
    "Draws that differ from their law by less than a test's smallest shift, which its evidence "
    "states: 0.3 % of probability moved from the likeliest token to the others where 2,000,000 are "
    "drawn from 16 tokens, mostly 2 to 4 % elsewhere.",
    "A dropped token drawn about once in 10,000 draws or more rarely: one run may not meet it.",
    "A network that is wrong in every way of computing it, by the same amount, where no recorded "
    "outputs of it lie beside the claims: they compare caches, paddings, attention implementations "
    "and threads with one another, and with what was recorded, not with a second implementation.",
    "Weights changed by so little that no answer changes: that takes a comparison with an earlier "
    "record of the same target.",
)
"""What no claim catches, and why."""

ON_STAND_INS = {
    "default-text": ("another text published", "test_record_faults.py"),
    "embedding-row-0": ("a component of the row 0.1 % larger", "test_embedding_faults.py"),
    "cosine-exceptions": ("dog's row in the place of fish's", "test_embedding_faults.py"),
    "pca-odd-distance": (
        "royalty nearer people than the unrelated words are",
        "test_embedding_faults.py",
    ),
    "bos-recorded": ("another text published", "test_record_faults.py"),
    "stories-recorded": ("other stories told", "test_task_faults.py"),
}
"""Claims about the weights of Mistral-7B: what they were seen red under, on stand-ins for those."""

COMPARED = {
    "again": ("nothing", "the same: rounding explains all that moved"),
    "one-thread": ("one thread in the place of all", "the same: rounding explains all that moved"),
    "noisy-weights": (
        "every weight by about 0.5 %",
        "the distributions drifted, `recorded-texts` newly fails",
    ),
    "bfloat16": (
        "weights in bfloat16 in the place of float32",
        "the distributions drifted, no claim newly fails (`recorded-texts` left out)",
    ),
    "top-p-before-top-k": (
        "top-p before top-k",
        "`filter-order` newly fails, the rest is the same",
    ),
}
"""By a second run's name: what changed since the first, and what comparing the two says."""


def fault(
    stands_for: str, *claims: str, checks: str = ""
) -> Callable[[Callable[[Model], Patch]], Callable[[Model], Patch]]:
    """Enter a function that makes a patch into the catalogue, under its own name."""

    def enter(apply: Callable[[Model], Patch]) -> Callable[[Model], Patch]:
        name = apply.__name__.replace("_", "-")
        CATALOGUE[name] = Fault(name, stands_for, claims, checks, apply)
        return apply

    return enter


def wrapped(owner: Any, name: str, wrapper: Wrapper) -> Patch:
    """Call `wrapper(original, ...)` wherever `owner.name(...)` is called.

    Args:
        owner: an object, or where to find it: `package.module:Class`.
        name: of the function.
        wrapper: what is called in its place.
    """
    owner = pkgutil.resolve_name(owner) if isinstance(owner, str) else owner
    original = getattr(owner, name)

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    return mock.patch.object(owner, name, staticmethod(replacement) if static else replacement)


def result(change: Callable[[Any], Any]) -> Wrapper:
    """A wrapper that changes what the original returns."""
    return lambda original, *args, **kwargs: change(original(*args, **kwargs))


def with_arguments(**forced: Any) -> Wrapper:
    """A wrapper that calls the original with these keyword arguments, whatever was given."""
    return lambda original, *args, **kwargs: original(*args, **(kwargs | forced))


@contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for an attribute, be it one that a compiled object computes."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


# --- loading and the default generation ----------------------------------------------------------


def nf4_with(**forced: Any) -> Patch:
    return wrapped(LIBRARY, "BitsAndBytesConfig", with_arguments(**forced))


@fault("a configuration that says fp4, bitsandbytes' default type", "load-nf4", checks="nearest")
def fp4_instead_of_nf4(model: Model) -> Patch:
    return nf4_with(bnb_4bit_quant_type="fp4")


@fault(
    "memory saved by quantizing the scales as well, unasked", "load-nf4", checks="memory or nearest"
)
def scales_quantized_too(model: Model) -> Patch:
    return nf4_with(bnb_4bit_use_double_quant=True)


@fault("a list of layers to skip that names one too many", "load-nf4", checks="no_others")
def one_decoder_layer_left_out(model: Model) -> Patch:
    return nf4_with(llm_int8_skip_modules=["lm_head", "model.layers.0.mlp.down_proj"])


def flip_a_weight(network: Any) -> None:
    """Turn over one byte, two weights, of the first 4-bit layer."""
    stored = next(p for p in network.parameters() if getattr(p, "quant_state", None) is not None)
    stored.data.view(-1)[0] ^= 0xFF


@fault("bytes of packed weights corrupted on their way to memory", "load-nf4", checks="nearest")
def one_packed_byte_wrong(model: Model) -> Patch:
    def load(original: Wrapper, **arguments: Any) -> Any:
        network, loading = original(**arguments)
        if "quantization_config" in arguments:
            flip_a_weight(network)
        return network, loading

    return wrapped("transformers:AutoModelForCausalLM", "from_pretrained", load)


@fault("moving 4-bit weights quantized them once more (bitsandbytes)", "load-to-device")
def moving_changes_a_weight(model: Model) -> Patch:
    def moved(original: Wrapper, network: Any, *args: Any, **kwargs: Any) -> Any:
        network = original(network, *args, **kwargs)
        if any(getattr(p, "quant_state", None) is not None for p in network.parameters()):
            flip_a_weight(network)
        return network

    return wrapped("transformers:PreTrainedModel", "to", moved)


def defaults(**changed: Any) -> Patch:
    """Other global defaults of `generate`."""
    owner = "transformers:GenerationConfig"
    return wrapped(owner, "_get_default_generation_params", result(lambda d: d | changed))


@fault("20 tokens by default, prompt included, as up to transformers 4.46", "default-length")
def default_length_includes_the_prompt(model: Model) -> Patch:
    forced = with_arguments(has_default_max_length=False)
    return wrapped(MIXIN, "_prepare_generated_length", forced)


@fault("a default of 21 new tokens: off by one", "default-length")
def default_length_one_more(model: Model) -> Patch:
    return defaults(max_length=21)


@fault("generation settings that come with the weights switch sampling on", "default-length")
def sampling_by_default(model: Model) -> Patch:
    return defaults(do_sample=True, temperature=1.4)


@fault("a tokenizer given a pad token to silence a warning", "pad-token", checks="no_pad")
def pad_token_added(model: Model) -> Patch:
    return swapped(model.tokenizer, "pad_token", "<unk>")


@fault("rows that ended filled with id 0", "pad-token", checks="pads_with")
def padding_with_id_0(model: Model) -> Patch:
    import torch

    def prepared(original: Wrapper, network: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        original(network, config, *args, **kwargs)
        config._pad_token_tensor = torch.tensor(0)

    return wrapped(MIXIN, "_prepare_special_tokens", prepared)


# --- tokenizer -----------------------------------------------------------------------------------


def backend(model: Model) -> Any:
    return model.tokenizer.backend_tokenizer


def template(model: Model, single: str) -> Patch:
    """Other special tokens around a text."""
    from tokenizers.processors import TemplateProcessing

    special = [("<s>", 1), ("</s>", 2)]
    made = TemplateProcessing(single=single, pair=f"{single} $B:1", special_tokens=special)
    return swapped(backend(model), "post_processor", made)


@fault(
    "a tokenizer converted without its post-processor",
    *("bos-inserted", "ids-english", "ids-japanese", "special-tokens-flag", "decode-bos"),
    *("double-bos", "reference-agreement", "bos-changes-text", "other-countries"),
    checks="not fuzzed and not any_text and not length",
)
def bos_missing(model: Model) -> Patch:
    return template(model, "$A:0")


@fault(
    "BOS inserted by the template and by the tokenizer",
    *("bos-inserted", "ids-english", "ids-japanese", "decode-bos", "double-bos"),
    "reference-agreement",
    checks="not fuzzed and not any_text",
)
def bos_doubled(model: Model) -> Patch:
    return template(model, "<s> <s> $A:0")


@fault(
    "add_eos_token left on after training",
    *("ids-english", "ids-japanese", "decode-bos", "double-bos", "reference-agreement"),
    "special-tokens-flag",
    checks="not fuzzed and not any_text",
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
    """Another rule for the space before a text."""
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
    "the leading ▁ lost, as where transformers 5 loads tokenizer.model alone",
    *SPACES,
    checks="not fuzzed and not any_text",
)
def space_before_text_missing(model: Model) -> Patch:
    return spaced(model, "never")


@fault(
    "a space added to a text that already gets one",
    *(*SPACES, "round-trip", "decode-bos"),
    checks="not fuzzed and not any_text",
)
def space_before_text_doubled(model: Model) -> Patch:
    return spaced(model, "first", "▁▁")


@fault(
    "the ▁ after a spelled special token kept: legacy behaviour",
    "reference-agreement",
    checks="special",
)
def space_after_special_tokens(model: Model) -> Patch:
    return spaced(model, "always")


@fault("a normalizer of another model family: NFKC", "round-trip", "reference-agreement")
def text_normalized(model: Model) -> Patch:
    from tokenizers import normalizers

    made = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "▁")])
    return swapped(backend(model), "normalizer", made)


@fault("bytes without a piece become <unk>", "round-trip", "reference-agreement")
def byte_fallback_off(model: Model) -> Patch:
    return swapped(backend(model).model, "byte_fallback", False)


@fault("decoding tidies up spaces before punctuation", "round-trip")
def decoding_cleans_up_spaces(model: Model) -> Patch:
    def tidy(text: str) -> str:
        for mark in (".", "?", "!", ",", "'", "n't", "'m", "'s", "'ve", "'re"):
            text = text.replace(f" {mark}", mark)
        return text

    return wrapped(model.tokenizer, "decode", result(tidy))


@fault("decoding strips the text it gives back", "round-trip")
def decoding_strips(model: Model) -> Patch:
    return wrapped(model.tokenizer, "decode", result(str.strip))


@fault("special tokens decoded without spaces between", "decode-bos")
def decoding_joins_special_tokens(model: Model) -> Patch:
    return wrapped(model.tokenizer, "decode", result(lambda text: text.replace("<s> ", "<s>")))


@fault("skip_special_tokens accepted and ignored", "decode-bos", "round-trip")
def special_tokens_not_skipped(model: Model) -> Patch:
    return wrapped(model.tokenizer, "decode", with_arguments(skip_special_tokens=False))


@fault(
    "special tokens in a text encoded letter by letter",
    *("double-bos", "reference-agreement", "round-trip"),
    checks="not any_text",
)
def spelled_special_tokens_not_read(model: Model) -> Patch:
    return swapped(model.tokenizer, "split_special_tokens", True)


def exchanged(one: int, other: int) -> Callable[[Any], Any]:
    """A pass over ids that puts each of two in the other's place."""
    places = {one: other, other: one}
    return lambda ids: [places.get(i, i) for i in ids]


@fault("two common ids exchanged", "ids-english", checks="english")
def two_common_ids_exchanged(model: Model) -> Patch:
    return wrapped(model.tokenizer, "encode", result(exchanged(415, 416)))


def other_table(model: Model, **pieces: str) -> Patch:
    """Other pieces for some ids, named `id_NUMBER`."""
    changed = {int(name.removeprefix("id_")): piece for name, piece in pieces.items()}

    def table(original: Wrapper, ids: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(ids, *args, **kwargs)
        return [changed.get(i, piece) for i, piece in zip(ids, found, strict=True)]

    return wrapped(model.tokenizer, "convert_ids_to_tokens", table)


@fault("one rare piece spelled with another normal form", "vocab-table")
def one_piece_spelled_otherwise(model: Model) -> Patch:
    return other_table(model, id_20000="ｎ")


@fault("a token added to the vocabulary", "vocab-size")
def token_added(model: Model) -> Patch:
    model.tokenizer.add_tokens(["<pad>"])  # the model is loaded anew for the next fault
    return nullcontext()


# --- vocabulary and embedding matrix -------------------------------------------------------------


def embedding_layer(model: Model) -> Any:
    return model.network.get_input_embeddings()


@fault("rows added to a multiple of 64, the configuration not", "embedding-shape")
def embedding_padded(model: Model) -> Patch:
    import torch

    layer = embedding_layer(model)
    rows = torch.nn.functional.pad(layer.weight.detach(), (0, 0, 0, 64))
    return mock.patch.dict(layer._parameters, weight=torch.nn.Parameter(rows))


@fault("ids shifted by one at the lookup", "embedding-lookup")
def embedding_lookup_off_by_one(model: Model) -> Patch:
    layer = embedding_layer(model)
    rows = len(layer.weight)
    return wrapped(layer, "forward", lambda original, ids: original((ids + 1) % rows))


@fault("rows scaled by the root of the width, as Gemma's are", "embedding-lookup")
def embedding_scaled(model: Model) -> Patch:
    layer = embedding_layer(model)
    return wrapped(layer, "forward", result(lambda rows: rows * math.sqrt(rows.shape[-1])))


@fault("one row of the table not its own: a token added over another", "embedding-lookup")
def one_embedding_row_repeated(model: Model) -> Patch:
    layer = embedding_layer(model)

    def lookup(original: Wrapper, ids: Any) -> Any:
        return original(ids.masked_fill(ids == 31_999, 31_998))

    return wrapped(layer, "forward", lookup)


# --- filters -------------------------------------------------------------------------------------


def warper(name: str, change: Callable[[Any, Any], Any]) -> Patch:
    """Another rule for one of the library's filters: from the filter and the scores."""
    return wrapped(f"{WARPERS}{name}LogitsWarper", "__call__", lambda _, w, __, s: change(w, s))


@fault("a hidden-state norm that leaves too little to tell tokens apart", "nucleus-adapts")
def logits_all_equally_flat(model: Model) -> Patch:
    # Every step's top is as sharp as any other's: the nucleus no longer says how sure the model is.
    return warper("TopP", lambda _, scores: keep(scores, 20))


def keep(scores: Any, count: int) -> Any:
    """Scores of the `count` likeliest tokens, the others dropped."""
    least = scores.topk(min(count, scores.shape[-1])).values[..., -1:]
    return scores.masked_fill(scores < least, -math.inf)


@fault(
    "the logits multiplied by the temperature",
    *("temperature-formula", "temperature-shape", "filter-order"),
    checks="not composition",
)
def temperature_inverted(model: Model) -> Patch:
    return warper("Temperature", lambda w, scores: scores * w.temperature)


@fault("a temperature 2 % off", "temperature-formula", "filter-order")
def temperature_2_percent_high(model: Model) -> Patch:
    return warper("Temperature", lambda w, scores: scores / (1.02 * w.temperature))


@fault("a temperature 0.01 % off", "temperature-formula")
def temperature_a_hundredth_percent_high(model: Model) -> Patch:
    return warper("Temperature", lambda w, scores: scores / (1.0001 * w.temperature))


@fault("logits divided in half precision", "temperature-formula")
def temperature_in_half_precision(model: Model) -> Patch:
    return warper("Temperature", lambda w, scores: (scores / w.temperature).half().to(scores.dtype))


@fault("k + 1 tokens kept: off by one", "top-k")
def top_k_keeps_one_more(model: Model) -> Patch:
    return warper("TopK", lambda w, scores: keep(scores, w.top_k + 1))


def exactly_k(scores: Any, count: int) -> Any:
    chosen = scores.topk(min(count, scores.shape[-1])).indices
    return scores.new_full(scores.shape, -math.inf).scatter(-1, chosen, scores.gather(-1, chosen))


@fault("tokens tied with the k-th dropped", "top-k", checks="ties")
def top_k_drops_ties(model: Model) -> Patch:
    return warper("TopK", lambda w, scores: exactly_k(scores, w.top_k))


def nucleus(more: int = 0, at_boundary: bool = False) -> Callable[[Any, Any], Any]:
    """A nucleus of some tokens more or fewer, or one that takes what follows a sum equal to p."""

    def kept(w: Any, scores: Any) -> Any:
        in_order, order = scores.sort(descending=False)
        mass = in_order.softmax(dim=-1).cumsum(dim=-1)
        drop = mass < 1 - w.top_p if at_boundary else mass <= 1 - w.top_p
        drop = drop.roll(-more, dims=-1)
        if more < 0:
            drop[..., :-more] = True
        drop[..., -1:] = False
        return scores.masked_fill(drop.scatter(1, order, drop), -math.inf)

    return kept


@fault("the nucleus one token too large", "top-p-reference", "hidden-top-k", "filter-order")
def top_p_keeps_one_more(model: Model) -> Patch:
    return warper("TopP", nucleus(more=1))


@fault("the nucleus one token too small", "top-p-reference")
def top_p_keeps_one_fewer(model: Model) -> Patch:
    return warper("TopP", nucleus(more=-1))


@fault(
    "one token more only where the sum meets p exactly (transformers 18976)",
    "top-p-reference",
    checks="exactly",
)
def top_p_keeps_one_more_at_the_boundary(model: Model) -> Patch:
    return warper("TopP", nucleus(at_boundary=True))


def processors(change: Callable[[list[Any]], list[Any]]) -> Patch:
    """Other filters than `generate` put together."""
    from transformers import LogitsProcessorList

    made = result(lambda found: LogitsProcessorList(change(list(found))))
    return wrapped(MIXIN, "_get_logits_processor", made)


def is_temperature(processor: Any) -> bool:
    return type(processor).__name__.startswith("Temperature")


@fault(
    "the temperature applied after top-k and top-p (transformers 8686)",
    *("filter-order", "samples-follow-distribution"),
    checks="in_order or (wide-hot and first_tokens)",
)
def temperature_last(model: Model) -> Patch:
    return processors(lambda found: sorted(found, key=is_temperature))


@fault(
    "top-p before top-k",
    "filter-order",
    checks="in_order",
)
def top_p_before_top_k(model: Model) -> Patch:
    return processors(
        lambda found: sorted(found, key=lambda p: type(p).__name__.startswith("TopK"))
    )


@fault(
    "sampling settings accepted and ignored",
    *("temperature-formula", "top-k", "hidden-top-k", "filter-order", "collapse"),
    *("heat-wide-varies-more", "samples-follow-distribution"),
    checks="generate or top_k_50 or five or wide_hot or (min-p and Once)",
)
def filters_not_applied(model: Model) -> Patch:
    return processors(lambda _: [])


@fault("another hidden top_k, 40", "hidden-top-k")
def hidden_top_k_of_40(model: Model) -> Patch:
    return defaults(top_k=40)


@fault("the hidden top_k gone, as has long been asked for (transformers 38549)", "hidden-top-k")
def hidden_top_k_off(model: Model) -> Patch:
    return defaults(top_k=0)


@fault("top_k=0 taken for the default", "hidden-top-k", "temperature-formula")
def top_k_0_not_off(model: Model) -> Patch:
    def prepared(original: Wrapper, network: Any, *args: Any, **kwargs: Any) -> Any:
        return original(
            network, *args, **{k: v for k, v in kwargs.items() if (k, v) != ("top_k", 0)}
        )

    return wrapped(MIXIN, "_prepare_generation_config", prepared)


@fault("settings of the weights' own inherited where none were given", "hidden-top-k")
def min_p_inherited(model: Model) -> Patch:
    return swapped(model.network.generation_config, "min_p", 0.05)


# --- sampling ------------------------------------------------------------------------------------


def drawing(draw: Wrapper) -> Patch:
    """Another way to draw from probabilities; the original comes first."""
    return wrapped("torch", "multinomial", draw)


ONE_DRAWN_TEST = "first_tokens and Once"


@fault(
    "sampling 5 % sharper than asked for",
    "samples-follow-distribution",
    checks=ONE_DRAWN_TEST,
)
def sampling_5_percent_sharper(model: Model) -> Patch:
    return drawing(lambda original, p, **kwargs: original(p.pow(1.05), **kwargs))


@fault(
    "sampling 1 % sharper than asked for",
    "samples-follow-distribution",
    checks="two_million",
)
def sampling_1_percent_sharper(model: Model) -> Patch:
    return drawing(lambda original, p, **kwargs: original(p.pow(1.01), **kwargs))


@fault(
    "the likeliest token drawn 4 % too often",
    "samples-follow-distribution",
    checks=ONE_DRAWN_TEST,
)
def likeliest_token_drawn_too_often(model: Model) -> Patch:
    def draw(original: Wrapper, p: Any, **kwargs: Any) -> Any:
        import torch

        first = torch.rand(len(p), 1, device=p.device) < 0.04
        return torch.where(first, p.argmax(dim=-1, keepdim=True), original(p, **kwargs))

    return drawing(draw)


@fault(
    "a token of probability 0 in one draw of 1,000 (pytorch 192812: 85 in 20,000)",
    "samples-follow-distribution",
    checks=ONE_DRAWN_TEST,
)
def dropped_tokens_drawn(model: Model) -> Patch:
    def draw(original: Wrapper, p: Any, **kwargs: Any) -> Any:
        import torch

        drawn = original(p, **kwargs)
        any_token = torch.randint_like(drawn, p.shape[-1])
        return torch.where(torch.rand(drawn.shape) < 1e-3, any_token, drawn)

    return drawing(draw)


@fault(
    "all rows of a batch draw the same number",
    "samples-follow-distribution",
    checks=ONE_DRAWN_TEST,
)
def rows_share_their_draw(model: Model) -> Patch:
    return drawing(lambda original, p, **kwargs: original(p[:1], **kwargs).expand(len(p), 1))


@fault(
    "the second token drawn from the first one's distribution: a stale graph",
    "samples-follow-distribution",
    checks="pairs",
)
def second_draw_from_stale_probabilities(model: Model) -> Patch:
    last: list[Any] = []

    def draw(original: Wrapper, p: Any, **kwargs: Any) -> Any:
        stale = last.pop() if last else None
        if stale is not None and stale.shape == p.shape:
            return original(stale, **kwargs)
        last.append(p)
        return original(p, **kwargs)

    return drawing(draw)


@fault("a generator seeded by the clock, whatever seed was set", "seeded")
def seed_ignored(model: Model) -> Patch:
    def draw(original: Wrapper, p: Any, **kwargs: Any) -> Any:
        import torch

        generator = torch.Generator(p.device)
        generator.seed()
        return original(p, generator=generator, **kwargs)

    return drawing(draw)


@fault("every seed taken for the same", "seeded")
def one_seed_for_all(model: Model) -> Patch:
    return wrapped(LIBRARY, "set_seed", lambda original, _: original(0))


@fault(
    "sampling asked for, greedy given",
    *("samples-follow-distribution", "seeded", "heat-wide-varies-more", "greedy-repeats"),
    checks="min-p or seed or vary_more or long_greedy",
)
def sampling_is_greedy(model: Model) -> Patch:
    return drawing(lambda _, p, **__: p.argmax(dim=-1, keepdim=True))


@fault(
    "a model trained until it knows one continuation only: logits far too sharp",
    *("heat-varies", "heat-wide-varies-more", "greedy-repeats"),
    "stories-sampled",
)
def logits_far_too_sharp(model: Model) -> Patch:
    return wrapped(model.network.lm_head, "forward", result(lambda logits: 50 * logits))


# --- greedy --------------------------------------------------------------------------------------


def second_if_close(margin: float) -> Wrapper:
    """Choosing the second-best token where it is close."""

    def choose(original: Wrapper, scores: Any, *args: Any, **kwargs: Any) -> Any:
        import torch

        if not scores.is_floating_point() or scores.dim() != 2:
            return original(scores, *args, **kwargs)
        best = scores.topk(2, dim=-1)
        close = best.values[:, 0] - best.values[:, 1] < margin
        return torch.where(close, best.indices[:, 1], best.indices[:, 0])

    return choose


@fault("the second-best token taken where it is close", "greedy-argmax", checks="20")
def greedy_takes_a_close_second(model: Model) -> Patch:
    return wrapped("torch", "argmax", second_if_close(0.1))


@fault("the second-best token taken where it is close", "default-length")
def default_takes_a_close_second(model: Model) -> Patch:
    return wrapped("torch", "argmax", second_if_close(1.0))


@fault(
    "kernels that sum in another order each time, far too coarsely",
    *("greedy-deterministic", "stories-greedy"),
)
def logits_noisy(model: Model) -> Patch:
    import torch

    noisy = result(lambda logits: logits + 0.5 * torch.randn_like(logits))
    return wrapped(model.network.lm_head, "forward", noisy)


def network_forward(model: Model, change: Callable[[dict[str, Any]], None]) -> Patch:
    """Other inputs for the decoder: `change` edits its keyword arguments."""

    def forward(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        change(kwargs)
        return original(*args, **kwargs)

    return wrapped(model.network.model, "forward", forward)


@fault(
    "padding attended to: a left-padded batch answers otherwise (transformers 22707)",
    "greedy-deterministic",
    checks="alone",
)
def padding_attended_to(model: Model) -> Patch:
    return network_forward(model, lambda inputs: inputs.update(attention_mask=None))


@fault(
    "positions off by one after the prompt, in padded rows", "greedy-deterministic", checks="alone"
)
def positions_off_by_one_where_padded(model: Model) -> Patch:
    def shift(inputs: dict[str, Any]) -> None:
        positions, mask = inputs.get("position_ids"), inputs.get("attention_mask")
        if positions is None or positions.shape[-1] > 1:
            return
        if mask is not None and mask.dim() == 2:  # a static cache has its own, made for the kernel
            inputs["position_ids"] = positions + (mask[:, :1] == 0)

    return network_forward(model, shift)


@fault("a static cache that hands out a key too old", "greedy-deterministic", checks="caches")
def static_cache_stale(model: Model) -> Patch:
    stale = result(lambda states: (states[0].roll(1, dims=-2), states[1]))
    return wrapped(f"{CACHES}StaticSlidingWindowLayer", "update", stale)


@fault("without a cache the beginning of the text is lost", "greedy-deterministic", checks="caches")
def context_lost_without_cache(model: Model) -> Patch:
    def cut(inputs: dict[str, Any]) -> None:
        if not inputs.get("use_cache") and inputs.get("attention_mask") is not None:
            inputs["attention_mask"] = inputs["attention_mask"].clone()
            inputs["attention_mask"][:, :-3] = 0

    return network_forward(model, cut)


def window(change: Callable[[Any], int | None]) -> Patch:
    """Another attention window, from the configuration."""
    import copy

    def mask(original: Wrapper, config: Any, **kwargs: Any) -> Any:
        config = copy.copy(config)
        config.sliding_window = change(config)
        return original(config=config, **kwargs)

    return wrapped(MISTRAL, "create_sliding_window_causal_mask", mask)


@fault("eager attention without the sliding window", "greedy-deterministic", checks="window")
def window_ignored_by_eager(model: Model) -> Patch:
    return window(lambda c: 10**6 if c._attn_implementation == "eager" else c.sliding_window)


@fault(
    "the sliding window ignored by SDPA (transformers 28980)",
    "greedy-deterministic",
    checks="window",
)
def window_ignored_by_sdpa(model: Model) -> Patch:
    return window(lambda c: 10**6 if c._attn_implementation == "sdpa" else c.sliding_window)


@fault(
    "the window off by one in one attention implementation",
    "greedy-deterministic",
    checks="window",
)
def window_off_by_one_in_eager(model: Model) -> Patch:
    return window(lambda c: c.sliding_window - (c._attn_implementation == "eager"))


@fault(
    "the sliding cache one short at the window's edge (transformers 37574)",
    "greedy-deterministic",
    checks="window",
)
def sliding_cache_one_short(model: Model) -> Patch:
    def forget(states: Any) -> Any:
        keys, values = states
        if keys.shape[-2] >= 64:
            values = values.clone()
            values[:, :, 0] = 0
        return keys, values

    return wrapped(f"{CACHES}DynamicSlidingWindowLayer", "update", result(forget))


@fault("eager attention with its scale forgotten", "greedy-deterministic", checks="attention")
def attention_scale_wrong_in_eager(model: Model) -> Patch:
    def attention(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        return original(*args, **(kwargs | {"scaling": 1.02 * kwargs["scaling"]}))

    return wrapped(MISTRAL, "eager_attention_forward", attention)


@fault(
    "another kernel from five rows on, far too coarse (bitsandbytes 0.50 chooses them by rows)",
    "greedy-deterministic",
    checks="number_of_rows",
)
def kernels_chosen_by_rows(model: Model) -> Patch:
    def forward(original: Wrapper, hidden: Any) -> Any:
        logits = original(hidden)
        return logits if len(hidden) < 5 else 1.01 * logits

    return wrapped(model.network.lm_head, "forward", forward)


@fault("rows of a batch that leak into each other", "greedy-deterministic", checks="any_batch")
def rows_leak_into_each_other(model: Model) -> Patch:
    def forward(original: Wrapper, hidden: Any) -> Any:
        return original(hidden + 0.01 * hidden.mean(dim=0, keepdim=True))

    return wrapped(model.network.lm_head, "forward", forward)


@fault("another result with another number of threads", "greedy-deterministic", checks="threads")
def threads_change_the_result(model: Model) -> Patch:
    import torch

    present = torch.get_num_threads()

    def forward(original: Wrapper, hidden: Any) -> Any:
        return original(hidden if torch.get_num_threads() == present else 0.99 * hidden)

    return wrapped(model.network.lm_head, "forward", forward)


@fault("a step that goes on from a wrong cache", "greedy-argmax", checks="own")
def cache_loses_its_first_token(model: Model) -> Patch:
    def forget(states: Any) -> Any:
        keys, values = states
        return keys, values.index_fill(2, values.new_tensor([0], dtype=int), 0)

    return wrapped(f"{CACHES}DynamicSlidingWindowLayer", "update", result(forget))


# --- the architecture ----------------------------------------------------------------------------

FIRST_LAYER = "model.layers.0"


def inside(model: Model, part: str, change: Callable[[Any], Any]) -> Patch:
    """Another output of a part of the network, by its dotted path."""
    return wrapped(model.network.get_submodule(part), "forward", result(change))


@fault(
    "positions turned by another base: a rope_theta lost with the configuration's new keys "
    "(transformers 5 renamed it to rope_parameters)",
    "recorded-texts",
)
def rope_base_wrong(model: Model) -> Patch:
    rope = model.network.model.rotary_emb
    return swapped(rope, "inv_freq", rope.inv_freq * rope.inv_freq**0.25)


@fault(
    "positions turned in half precision: wrong far from the beginning (transformers 25306)",
    "recorded-texts",
)
def rope_in_half_precision(model: Model) -> Patch:
    import torch

    half = result(lambda turns: tuple(t.to(torch.bfloat16).to(t.dtype) for t in turns))
    return wrapped(model.network.model.rotary_emb, "forward", half)


@fault("norm weights stored less 1, as Gemma's are, and taken as they are", "recorded-texts")
def norm_weights_one_too_large(model: Model) -> Patch:
    weight = model.network.get_submodule(f"{FIRST_LAYER}.input_layernorm").weight
    return swapped(weight, "data", weight.data + 1)


@fault("a norm's epsilon a thousand times too large", "recorded-texts")
def norm_epsilon_too_large(model: Model) -> Patch:
    norm = model.network.get_submodule(f"{FIRST_LAYER}.input_layernorm")
    return swapped(norm, "variance_epsilon", 1e-2)


@fault("heads of keys given to the wrong group of queries", "recorded-texts")
def key_heads_in_another_order(model: Model) -> Patch:
    width = model.network.config.head_dim
    return inside(model, f"{FIRST_LAYER}.self_attn.k_proj", lambda keys: keys.roll(width, dims=-1))


@fault("a prompt's tokens see those after them: a causal mask lost", "greedy-argmax")
def prompt_sees_ahead(model: Model) -> Patch:
    def attend(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        return original(*args, **(kwargs | {"is_causal": False}))

    return wrapped("torch.nn.functional", "scaled_dot_product_attention", attend)


@fault("dropout left on: a network not put into evaluation mode", "greedy-deterministic")
def dropout_left_on(model: Model) -> Patch:
    import torch

    return inside(
        model, f"{FIRST_LAYER}.mlp", lambda hidden: torch.nn.functional.dropout(hidden, 0.1)
    )


@fault("an output head that computes in bf16: near-ties become ties", "recorded-texts")
def head_in_bf16(model: Model) -> Patch:
    import torch

    return inside(model, "lm_head", lambda logits: logits.to(torch.bfloat16).to(logits.dtype))


@fault("rows of two words exchanged: Tokyo answers for Paris", "next-token")
def two_rows_exchanged(model: Model) -> Patch:
    weight = embedding_layer(model).weight
    rows = [model.encode(word, special_tokens=False)[0] for word in ("Tokyo", "Paris")]
    data = weight.data.clone()
    data[rows] = data[rows[::-1]]
    return swapped(weight, "data", data)


@fault("weights quantized once more, to 8 bits a tensor", "recorded-texts")
def weights_quantized_to_8_bits(model: Model) -> Patch:
    weight = model.network.get_submodule(f"{FIRST_LAYER}.mlp.down_proj").weight
    step = weight.data.abs().max() / 127
    return swapped(weight, "data", (weight.data / step).round() * step)


@fault("a repetition penalty that comes with the weights", "default-length")
def repetition_penalized(model: Model) -> Patch:
    return swapped(model.network.generation_config, "repetition_penalty", 1.3)


@fault("the end of a text ignored: it goes on after its end-of-sequence token", "pad-token")
def end_ignored(model: Model) -> Patch:
    import torch

    stop = "transformers.generation.stopping_criteria:EosTokenCriteria"
    return wrapped(stop, "__call__", result(torch.zeros_like))


# --- knowledge and beams -------------------------------------------------------------------------


@fault(
    "weights of another model, or rows in another order: what was learnt is lost",
    *("next-token", "bos-changes-text", "other-countries"),
    checks="tokyo or bos",
)
def knowledge_lost(model: Model) -> Patch:
    import torch

    weight = embedding_layer(model).weight
    order = torch.randperm(len(weight), generator=torch.Generator().manual_seed(0))
    return swapped(weight, "data", weight.data[order])


@fault(
    "rows of the embedding shifted by one: a token removed from the middle of the vocabulary",
    *("cosine-groups", "pca-groups", "other-vectors", "recorded-texts", "recorded-numbers"),
    *("knowledge-accuracy", "knowledge-dose", "task-settings"),
)
def embedding_rows_shifted(model: Model) -> Patch:
    weight = embedding_layer(model).weight
    return swapped(weight, "data", weight.data.roll(1, dims=0))


@fault("shares of the variance that add up to 1 although components are left out", "pca-loss")
def variance_overstated(model: Model) -> Patch:
    def overstated(fitted: Any) -> Any:
        fitted.explained_variance_ratio_ /= fitted.explained_variance_ratio_.sum()
        return fitted

    return wrapped("sklearn.decomposition:PCA", "fit", result(overstated))


@fault(
    "words and parts of words added to the vocabulary: they no longer split as they did",
    *("word-vectors", "shared-pieces"),
    checks="one_piece_each or same_pieces",
)
def pieces_added(model: Model) -> Patch:
    model.tokenizer.add_tokens(["女王", "in"])  # the model is loaded anew for the next fault
    return nullcontext()


@fault("a search over one beam that takes a path of its own", "beam-one")
def one_beam_penalizes_repetition(model: Model) -> Patch:
    return beams(lambda n: {"repetition_penalty": 1.5} if n == 1 else {})


def beams(change: Callable[[int], dict[str, Any]]) -> Patch:
    """Other arguments of `generate`, from the number of beams asked for."""

    def generate(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        asked = kwargs.get("num_beams")
        return original(*args, **(kwargs if asked is None else kwargs | change(asked)))

    return wrapped(MIXIN, "generate", generate)


@fault("the worst beam returned", "beam-likelihood")
def worst_beam_returned(model: Model) -> Patch:
    def generate(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        count = kwargs.get("num_beams", 1)
        if count == 1:
            return original(*args, **kwargs)
        output = original(*args, **(kwargs | {"num_return_sequences": count}))
        output.sequences = output.sequences[-1:]
        return output

    return wrapped(MIXIN, "generate", generate)


@fault("a number of beams accepted and ignored", "beam-likelihood")
def beams_ignored(model: Model) -> Patch:
    return beams(lambda _: {"num_beams": 1})


@fault("a cache that does not follow its beams", "beam-likelihood")
def beams_keep_another_cache(model: Model) -> Patch:
    return wrapped(f"{CACHES}Cache", "reorder_cache", lambda *_: None)
