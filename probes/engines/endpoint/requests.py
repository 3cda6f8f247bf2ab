"""Bodies of requests for a text, in the words of a kind of server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from probes.errors import UndecidableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probes.engines.base import Prompt
    from probes.engines.endpoint.dialects import Dialect
    from probes.schema.sampling import Sampling

DEFAULT_NEW_TOKENS = 16
"""How many tokens OpenAI's API documents for a request that names no length."""

_IGNORED = frozenset({"output_logits", "no_repeat_ngram_size"})
"""Arguments of other engines that no endpoint has, where their value asks for nothing."""


def build_body(
    dialect: Dialect, model: str, prompt: Prompt, length: int, top_logprobs: int | None
) -> dict[str, Any]:
    """Return the body of a request that continues a prompt.

    >>> from probes.engines.endpoint.dialects import OPENAI
    >>> build_body(OPENAI, "tuned", "Once", 4, None)
    {'model': 'tuned', 'max_tokens': 4, 'prompt': 'Once'}
    """
    body: dict[str, Any] = {"model": model, "max_tokens": length, **dialect.always}
    body["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
    if "logprobs" in dialect.capabilities:  # llama.cpp tells ids beside log-probabilities alone
        body["logprobs"] = min(top_logprobs or 1, dialect.most_logprobs)
    return body


def translate_settings(
    dialect: Dialect, sampling: Sampling | None, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields of a request for settings by transformers' names.

    Raises UndecidableError where this kind of server does not take one of them.

    >>> from probes.engines.endpoint.dialects import OPENAI
    >>> translate_settings(OPENAI, None, {"do_sample": False, "stop_strings": ["."]})
    {'temperature': 0.0, 'top_p': 1.0, 'stop': ['.']}
    """
    rest = {name: value for name, value in arguments.items() if name not in _IGNORED}
    greedy = rest.pop("do_sample", None) is False
    fields: dict[str, Any] = {}
    if greedy or sampling is not None:
        fields |= dialect.neutral
    if greedy:
        fields["temperature"] = 0.0
    elif sampling is not None:
        settings = sampling.arguments()
        settings.pop("do_sample")
        fields |= {name: settings[name] for name in settings.keys() & dialect.settings}
        neutral = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
        missing = {
            name for name, value in settings.items() if value != neutral.get(name)
        } - dialect.settings
        if missing:
            raise UndecidableError(
                f"its engine, {dialect.name}, takes no {', '.join(sorted(missing))}"
            )
    penalty = rest.pop("repetition_penalty", None)
    if penalty is not None and dialect.repetition_penalty:
        fields[dialect.repetition_penalty] = penalty
    for name in ("presence_penalty", "frequency_penalty"):
        if name in rest and name in dialect.neutral:
            fields[name] = rest.pop(name)
    if dialect.wrapper and fields:
        fields = {dialect.wrapper: _wrap(fields)}
    if "stop_strings" in rest:
        fields["stop"] = list(rest.pop("stop_strings"))
        rest.pop("tokenizer", None)
    if dialect.stop_ids and "eos_token_id" in rest:
        fields[dialect.stop_ids] = list(rest.pop("eos_token_id"))
    if rest:
        raise UndecidableError(f"its engine, {dialect.name}, takes no {', '.join(sorted(rest))}")
    return fields


def _wrap(fields: Mapping[str, Any]) -> str:
    """Return settings as the JSON of a generation_config of transformers.

    >>> _wrap({"temperature": 0.0, "top_p": 1.0}), _wrap({"temperature": 0.5})
    ('{"do_sample": false, "top_p": 1.0}', '{"do_sample": true, "temperature": 0.5}')
    """
    samples = fields.get("temperature") != 0
    rest = {name: each for name, each in fields.items() if samples or name != "temperature"}
    return json.dumps({"do_sample": samples} | rest)
