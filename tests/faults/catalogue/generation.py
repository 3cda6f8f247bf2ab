"""Faults of drafted decoding, filled caches, embeddings as input, stopping, and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import (
    CACHES,
    MISTRAL,
    MIXIN,
    WARPERS,
    Patch,
    Wrapper,
    fault,
    result,
    swapped,
    with_arguments,
    wrapped,
)
from tests.faults.catalogue.greedy import network_forward

if TYPE_CHECKING:
    from probes import Model

GENERATION = "transformers.generation.utils"
DRAFTS = "transformers.generation.candidate_generator:"
CONTINUOUS = "transformers.generation.continuous_batching.continuous_api"
MASKING = "transformers.masking_utils"
CRITERIA = "transformers.generation.stopping_criteria:"


@fault(
    "a rejected draft that stays in the cache", "drafted-greedy", "cache-continued", checks="short"
)
def cache_is_not_cropped(model: Model) -> Patch:
    return wrapped(f"{CACHES}DynamicCache", "crop", lambda *_, **__: None)


@fault(
    "drafts past a sliding window raise an error (transformers 5.15.1 to 5.17.0)",
    "drafted-greedy",
    checks="past",
)
def drafts_fail_past_the_window(model: Model) -> Patch:
    def crop(original: Wrapper, cache: Any, *args: Any, **kwargs: Any) -> Any:
        if cache.get_seq_length() > model.config.sliding_window:
            raise RuntimeError("the cache of a sliding window cannot be cropped")
        return original(cache, *args, **kwargs)

    return wrapped(f"{CACHES}DynamicCache", "crop", crop)


@fault(
    "a greedy draft, taken for a sampled one (transformers 32867)",
    "drafted-sampling",
    checks="another",
)
def draft_is_greedy(model: Model) -> Patch:
    def choose(original: Wrapper, generator: Any, *args: Any, **kwargs: Any) -> None:
        original(generator, *args, **kwargs)
        generator.generation_config.do_sample = False

    return wrapped(f"{DRAFTS}AssistedCandidateGenerator", "__init__", choose)


@fault("a rejected draft is replaced by any draw", "drafted-sampling", checks="rule")
def replaced_by_any_draw(model: Model) -> Patch:
    def draw(original: Wrapper, ids: Any, logits: Any, length: int, new: Any, **more: Any) -> Any:
        tokens, kept = original(ids, logits, length, new, **more)
        if kept < length:
            tokens[:, -1] = new[:, int(kept)].softmax(dim=-1).multinomial(1)[:, 0]
        return tokens, kept

    return wrapped(GENERATION, "_speculative_sampling", draw)


@fault("drafts are kept whatever the model says", "drafted-sampling", checks="another")
def every_draft_is_kept(model: Model) -> Patch:
    import torch

    def keep(_: Wrapper, ids: Any, __: Any, length: int, new: Any, *___: Any, **____: Any) -> Any:
        following = new[:, length].softmax(dim=-1).multinomial(1)
        return torch.cat([ids[:, -length:], following], dim=-1), torch.tensor(length)

    return wrapped(GENERATION, "_speculative_sampling", keep)


@fault("positions that start again at 0 in every part of a filled cache", "cache-continued")
def positions_begin_anew(model: Model) -> Patch:
    import torch

    def restart(inputs: dict[str, Any]) -> None:
        ids = inputs.get("input_ids")
        if ids is not None and ids.shape[1] > 1:
            inputs["position_ids"] = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)

    return network_forward(model, restart)


@fault("embeddings that are scaled a second time when they are given", "embeddings-as-input")
def given_embeddings_scaled(model: Model) -> Patch:
    def scale(inputs: dict[str, Any]) -> None:
        if inputs.get("inputs_embeds") is not None:
            inputs["inputs_embeds"] = inputs["inputs_embeds"] * 2

    return network_forward(model, scale)


@fault("padding attended to in a batch of one", "padded-rows", checks="embedded-alone")
def mask_lost_in_a_batch_of_one(model: Model) -> Patch:
    def lose(inputs: dict[str, Any]) -> None:
        mask = inputs.get("attention_mask")
        if mask is not None and mask.shape[0] == 1:
            inputs["attention_mask"] = None

    return network_forward(model, lose)


@fault(
    "eager attention that gives NaN where all is masked (transformers 38690)",
    *("padded-rows", "half-precision"),
    checks="together or float16",
)
def fully_masked_rows_are_nan(model: Model) -> Patch:
    import torch

    def hide(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        *inputs, mask = args
        if mask is not None:
            all_masked = (mask == torch.finfo(mask.dtype).min).all(dim=-1, keepdim=True)
            mask = mask.masked_fill(all_masked, -torch.inf)
        return original(*inputs, mask, **kwargs)

    return wrapped(MISTRAL, "eager_attention_forward", hide)


@fault(
    "a tokenizer that pads on the right though it is asked for the left", "padded-rows", checks="by"
)
def asked_padding_side_ignored(model: Model) -> Patch:
    def on_the_right(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        return original(
            *args, **kwargs | ({"padding_side": "right"} if kwargs.get("padding") else {})
        )

    return wrapped(type(model.tokenizer), "__call__", on_the_right)


@fault("packed texts that are not looked for: they see each other", "packed-rows")
def packed_texts_leak(model: Model) -> Patch:
    return wrapped(MASKING, "find_packed_sequence_indices", lambda *_: None)


@fault("a mask that parts packed texts is replaced by a causal one", "packed-rows")
def mask_of_blocks_lost(model: Model) -> Patch:
    def lose(inputs: dict[str, Any]) -> None:
        mask = inputs.get("attention_mask")
        if mask is not None and mask.dim() == 4:
            inputs["attention_mask"] = mask.new_ones(mask.shape[0], mask.shape[-1])

    return network_forward(model, lose)


@fault("packed texts that see the one before them", "packed-rows")
def packed_texts_see_one_more(model: Model) -> Patch:
    def join(found: Any) -> Any:
        return None if found is None else found // 2

    return wrapped(MASKING, "find_packed_sequence_indices", result(join))


@fault(
    "continuous batching leaves its own attention behind (transformers 48294)",
    "continuous-batching",
)
def paged_attention_left_behind(model: Model) -> Patch:
    def stop(original: Wrapper, manager: Any, *args: Any, **kwargs: Any) -> Any:
        manager._original_attn_impl = None
        return original(manager, *args, **kwargs)

    return wrapped(f"{CONTINUOUS}:ContinuousBatchingManager", "stop", stop)


@fault("continuous batching leaves a buffer changed", "continuous-batching")
def buffer_left_changed(model: Model) -> Patch:
    def change(original: Wrapper, network: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(network, *args, **kwargs)
        network.model.rotary_emb.inv_freq.mul_(1.0001)
        return made

    return wrapped(f"{CONTINUOUS}:ContinuousMixin", "generate_batch", change)


@fault("continuous batching counts positions of a text past 8 wrongly", "continuous-batching")
def continuous_positions_end(model: Model) -> Patch:
    def end(inputs: dict[str, Any]) -> None:
        if inputs.get("block_table") is not None or inputs.get("cu_seq_lens_q") is not None:
            inputs["position_ids"] = inputs["position_ids"].clamp(max=8)

    return network_forward(model, end)


@fault("a half-precision kernel with a wrong scale", "half-precision")
def half_precision_scaled(model: Model) -> Patch:
    import torch

    def scale(output: Any) -> Any:
        return output if output.dtype is torch.float32 else output * 1.25

    return wrapped(f"{MISTRAL}:MistralMLP", "forward", result(scale))


@fault("a norm whose squares overflow in float16", "half-precision", checks="float16")
def norm_overflows(model: Model) -> Patch:
    import torch

    def in_own_dtype(original: Wrapper, norm: Any, states: Any) -> Any:
        if states.dtype is not torch.float16:
            return original(norm, states)
        size = states.square().mean(dim=-1, keepdim=True)
        return norm.weight * states * (size + norm.variance_epsilon).rsqrt()

    return wrapped(f"{MISTRAL}:MistralRMSNorm", "forward", in_own_dtype)


@fault("of several end ids only the first stops (lighteval 1278)", "stop-ids")
def only_one_end_stops(model: Model) -> Patch:
    def first_alone(original: Wrapper, criteria: Any, eos_token_id: Any, *args: Any) -> Any:
        first = eos_token_id[:1] if hasattr(eos_token_id, "__len__") else eos_token_id
        return original(criteria, first, *args)

    return wrapped(f"{CRITERIA}EosTokenCriteria", "__init__", first_alone)


@fault("a stop string stops only the first row of a batch (transformers 31435)", "stop-strings")
def strings_stop_one_row(model: Model) -> Patch:
    def first_row(done: Any) -> Any:
        done = done.clone()
        done[1:] = False
        return done

    return wrapped(f"{CRITERIA}StopStringCriteria", "__call__", result(first_row))


@fault("a stop string that is found only at the end of the text", "stop-strings")
def strings_end_with_the_text(model: Model) -> Patch:
    never = result(lambda done: done.clone().fill_(False))
    return wrapped(f"{CRITERIA}StopStringCriteria", "__call__", never)


@fault("the model's own settings beat what was asked for (transformers 42702)", "settings-win")
def own_settings_beat_the_call(model: Model) -> Patch:
    def own_wins(original: Wrapper, network: Any, *args: Any, **kwargs: Any) -> Any:
        prepared, *rest = original(network, *args, **kwargs)
        if network.generation_config.repetition_penalty is not None:
            prepared.repetition_penalty = network.generation_config.repetition_penalty
        return prepared, *rest

    return wrapped(MIXIN, "_prepare_generation_config", own_wins)


@fault("a GenerationConfig that is ignored", "settings-win")
def generation_config_is_ignored(model: Model) -> Patch:
    def without(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        config = kwargs.pop("generation_config", None)
        needed = ("return_dict_in_generate", "output_scores", "output_logits", "pad_token_id")
        kept = {} if config is None else {name: getattr(config, name) for name in needed}
        return original(*args, **{**kept, **kwargs})

    return wrapped(MIXIN, "generate", without)


@fault("a keyword that loses to the model's own setting, of the length penalty", "settings-win")
def keyword_loses(model: Model) -> Patch:
    def own_wins(original: Wrapper, network: Any, *args: Any, **kwargs: Any) -> Any:
        prepared, *rest = original(network, *args, **kwargs)
        if network.generation_config.length_penalty is not None:
            prepared.length_penalty = network.generation_config.length_penalty
        return prepared, *rest

    return wrapped(MIXIN, "_prepare_generation_config", own_wins)


@fault("the model's own settings are dropped when it is loaded", "settings-used")
def own_settings_are_dropped(model: Model) -> Patch:
    emptied = result(lambda config: type(config)())
    place = "transformers.generation.configuration_utils:GenerationConfig"
    return wrapped(place, "from_pretrained", emptied)


@fault("a penalty that neither a file nor the documented defaults ask for", "settings-used")
def unasked_penalty(model: Model) -> Patch:
    def penalize(original: Wrapper, *args: Any, **kwargs: Any) -> Any:
        prepared, *rest = original(*args, **kwargs)
        prepared.repetition_penalty = 1.1
        return prepared, *rest

    return wrapped(MIXIN, "_prepare_generation_config", penalize)


@fault("scores made with another penalty than the settings hold", "settings-used")
def scores_made_with_other_settings(model: Model) -> Patch:
    def replace(original: Wrapper, network: Any, *args: Any, **kwargs: Any) -> Any:
        import copy

        def change(value: Any) -> Any:
            if not hasattr(value, "repetition_penalty"):
                return value
            value = copy.copy(value)
            value.repetition_penalty = 1.1
            return value

        kwargs = {name: change(value) for name, value in kwargs.items()}
        return original(network, *map(change, args), **kwargs)

    return wrapped(MIXIN, "_get_logits_processor", replace)


@fault("a repetition penalty that leaves out the prompt", "penalties")
def penalty_of_new_tokens_only(model: Model) -> Patch:
    def without_prompt(original: Wrapper, processor: Any, ids: Any, scores: Any) -> Any:
        prompt = processor.__dict__.setdefault("prompt_of_fault", ids.shape[1])
        return original(processor, ids[:, prompt:], scores)

    return wrapped(f"{WARPERS}RepetitionPenaltyLogitsProcessor", "__call__", without_prompt)


@fault("a penalty that makes unlikely tokens likelier: all logits are divided", "penalties")
def negative_logits_divided(model: Model) -> Patch:
    def divide(original: Wrapper, processor: Any, ids: Any, scores: Any) -> Any:
        return scores.scatter(1, ids, scores.gather(1, ids) / processor.penalty)

    return wrapped(f"{WARPERS}RepetitionPenaltyLogitsProcessor", "__call__", divide)


@fault("a ban of repeated n-grams that is off by one", "penalties")
def ngrams_one_too_long(model: Model) -> Patch:
    def longer(original: Wrapper, processor: Any, ngram_size: int) -> None:
        original(processor, ngram_size + 1)

    return wrapped(f"{WARPERS}NoRepeatNGramLogitsProcessor", "__init__", longer)


@fault("a minimal length that ends one token early", "penalties")
def minimum_one_too_short(model: Model) -> Patch:
    def shorter(original: Wrapper, processor: Any, *args: Any, **kwargs: Any) -> None:
        original(processor, *args, **kwargs)
        processor.min_length -= 1

    return wrapped(f"{WARPERS}MinLengthLogitsProcessor", "__init__", shorter)


@fault("bans found in the first row of a batch applied to all rows", "penalties")
def words_of_the_first_row_banned(model: Model) -> Patch:
    def first_row(original: Wrapper, processor: Any, ids: Any, scores: Any) -> Any:
        return original(processor, ids[:1].expand_as(ids), scores)

    return wrapped(f"{WARPERS}SequenceBiasLogitsProcessor", "__call__", first_row)


@fault("scores of beams that are not divided by the length", "beams-recorded")
def beam_scores_are_sums(model: Model) -> Patch:
    return wrapped(MIXIN, "_update_finished_beams", with_arguments(length_penalty=0.0))


@fault("the cache keeps its order where beams change places", "beams-recorded")
def cache_is_not_reordered(model: Model) -> Patch:
    return wrapped(f"{CACHES}DynamicCache", "reorder_cache", lambda *_, **__: None)


@fault("logits of beams that are a little flatter than recorded", "beams-recorded")
def logits_flatter_than_recorded(model: Model) -> Patch:
    return wrapped(model.network.lm_head, "forward", result(lambda logits: 0.98 * logits))


@fault(
    "an attention window that is one token wider in mask and cache, in every implementation",
    "recorded-long",
)
def window_wider_everywhere(model: Model) -> Patch:
    config = model.network.config
    return swapped(config, "sliding_window", config.sliding_window + 1)


@fault("rotary frequencies that are a little off, in every implementation", "recorded-long")
def rope_a_little_off(model: Model) -> Patch:
    rope = model.network.model.rotary_emb
    return swapped(rope, "inv_freq", rope.inv_freq * 1.0005)


@fault("a limit of the length that is off by one in longer texts", "recorded-long")
def long_texts_end_early(model: Model) -> Patch:
    def shorter(original: Wrapper, criteria: Any, max_length: int, *args: Any, **more: Any) -> None:
        original(criteria, max_length - (max_length > 64), *args, **more)

    return wrapped(f"{CRITERIA}MaxLengthCriteria", "__init__", shorter)


@fault("texts that end early: at a full stop", "recorded-long")
def full_stop_ends(model: Model) -> Patch:
    stop = model.encode("book.")[-1]

    def add(original: Wrapper, criteria: Any, ids: Any, *args: Any) -> Any:
        return original(criteria, ids, *args) | (ids[:, -1] == stop)

    return wrapped(f"{CRITERIA}EosTokenCriteria", "__call__", add)
