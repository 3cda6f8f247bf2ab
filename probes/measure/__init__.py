"""Measurements: each takes an engine and returns plain data. Most need torch.

In examples `load` is `probes.load`.
"""

from typing import TYPE_CHECKING

from probes._util.lazy import import_on_use

if TYPE_CHECKING:
    from probes.measure import asking as asking
    from probes.measure import bare_network as bare_network
    from probes.measure import beams as beams
    from probes.measure import bytes_read as bytes_read
    from probes.measure import chat as chat
    from probes.measure import chat_ids as chat_ids
    from probes.measure import chat_prompts as chat_prompts
    from probes.measure import chat_special_tokens as chat_special_tokens
    from probes.measure import continuations as continuations
    from probes.measure import continued_cache as continued_cache
    from probes.measure import continuous_batching as continuous_batching
    from probes.measure import determinism as determinism
    from probes.measure import differing_layer as differing_layer
    from probes.measure import distribution as distribution
    from probes.measure import drafted_sampling as drafted_sampling
    from probes.measure import drafted_texts as drafted_texts
    from probes.measure import drafts as drafts
    from probes.measure import embeddings as embeddings
    from probes.measure import engine_answers as engine_answers
    from probes.measure import engine_chats as engine_chats
    from probes.measure import engine_ids as engine_ids
    from probes.measure import engine_logprobs as engine_logprobs
    from probes.measure import engine_prompts as engine_prompts
    from probes.measure import engine_records as engine_records
    from probes.measure import engine_replicas as engine_replicas
    from probes.measure import engine_sampling as engine_sampling
    from probes.measure import engine_streams as engine_streams
    from probes.measure import engine_texts as engine_texts
    from probes.measure import generation_defaults as generation_defaults
    from probes.measure import greedy as greedy
    from probes.measure import greedy_differences as greedy_differences
    from probes.measure import half_precision as half_precision
    from probes.measure import input_embeddings as input_embeddings
    from probes.measure import knowledge as knowledge
    from probes.measure import listed_steps as listed_steps
    from probes.measure import long_outputs as long_outputs
    from probes.measure import model_reload as model_reload
    from probes.measure import network_contents as network_contents
    from probes.measure import own_template as own_template
    from probes.measure import packed_rows as packed_rows
    from probes.measure import padded_rows as padded_rows
    from probes.measure import penalties as penalties
    from probes.measure import quantization as quantization
    from probes.measure import quantization_cost as quantization_cost
    from probes.measure import quantized_cache as quantized_cache
    from probes.measure import quantized_layers as quantized_layers
    from probes.measure import quantized_weights as quantized_weights
    from probes.measure import recorded_outputs as recorded_outputs
    from probes.measure import reference_prompts as reference_prompts
    from probes.measure import repetition as repetition
    from probes.measure import reproduction as reproduction
    from probes.measure import resized_vocabulary as resized_vocabulary
    from probes.measure import rotary_agreement as rotary_agreement
    from probes.measure import rotary_frequencies as rotary_frequencies
    from probes.measure import rotary_positions as rotary_positions
    from probes.measure import rotary_settings as rotary_settings
    from probes.measure import rounding_noise as rounding_noise
    from probes.measure import row_counts as row_counts
    from probes.measure import sampling_filters as sampling_filters
    from probes.measure import sampling_fit as sampling_fit
    from probes.measure import scored_windows as scored_windows
    from probes.measure import sentencepiece_reference as sentencepiece_reference
    from probes.measure import served_answers as served_answers
    from probes.measure import served_draws as served_draws
    from probes.measure import served_penalties as served_penalties
    from probes.measure import served_seeds as served_seeds
    from probes.measure import served_texts as served_texts
    from probes.measure import served_variety as served_variety
    from probes.measure import settings as settings
    from probes.measure import settings_effect as settings_effect
    from probes.measure import spelling as spelling
    from probes.measure import stopping as stopping
    from probes.measure import stored_values as stored_values
    from probes.measure import stored_weights as stored_weights
    from probes.measure import stories as stories
    from probes.measure import streamed_text as streamed_text
    from probes.measure import throughput as throughput
    from probes.measure import token_trace as token_trace
    from probes.measure import tokenizer as tokenizer
    from probes.measure import tokenizer_corpus as tokenizer_corpus
    from probes.measure import tokenizer_reload as tokenizer_reload
    from probes.measure import used_settings as used_settings
    from probes.measure import variety as variety
    from probes.measure import word_similarity as word_similarity
else:
    __getattr__ = import_on_use(__name__)
