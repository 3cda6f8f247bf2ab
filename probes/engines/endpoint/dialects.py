"""What each kind of server calls things, what it answers, and what it does if not asked.

Facts of vLLM 0.32, of llama.cpp's server of October 2026 and of transformers serve 5.23. Any other
server is asked for what OpenAI's API documents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from probes._util.redaction import quote_redacted
from probes.schema.sampling import PLAIN, Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probes.engines.endpoint.client import Client


@dataclass(frozen=True)
class Dialect:
    """One kind of server."""

    name: str
    capabilities: frozenset[str] = frozenset()
    """What it offers beyond generation."""
    most_logprobs: int = 20
    """Most likely tokens that it lists at one position."""
    tokenize: str = ""
    """The path that encodes a text; empty if there is none."""
    text_field: str = "prompt"
    """The name of the text in a request to that path."""
    special_field: str = "add_special_tokens"
    """The name of the flag there that adds special tokens."""
    render: str = ""
    """The path that renders messages under the chat template; empty if there is none."""
    always: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every request for a text."""
    neutral: Mapping[str, Any] = field(default_factory=dict)
    """Fields that switch off what the server would do to logits without being asked."""
    wrapper: str = ""
    """The name of a field that takes all settings, as JSON in a text; empty if each is a field."""
    settings: frozenset[str] = frozenset({"temperature", "top_p"})
    """Settings of sampling that it takes, by transformers' names."""
    repetition_penalty: str = ""
    """Its name of that setting; empty if it has none."""
    stop_ids: str = ""
    """Its name of ids that end a text; empty if it takes none."""
    keeps_seeds: bool = False
    """Whether it documents that a seed decides what a request draws."""
    draws_by_rank: bool = False
    """Whether it draws by a token's place in a sum that begins with the most likely one."""
    penalizes_prompt: bool = False
    """Whether penalties count the tokens of a prompt, up to the last 64."""
    temperature_first: bool = True
    """Whether it divides by the temperature before it filters."""
    takes_generation_config: bool = False
    """Whether it applies the generation_config.json of the model that it serves."""
    precision: str = ""
    """The dtype that it keeps keys and values in, where that is not the weights'."""
    defaults: Sampling | None = PLAIN
    """What it documents to do with a request that names no setting; None is greedy decoding."""


_FILTERS = frozenset({"temperature", "top_p", "top_k", "min_p"})

VLLM = Dialect(
    name="vLLM",
    capabilities=frozenset({"token-ids", "logprobs", "prompt-logprobs"}),
    tokenize="/tokenize",
    render="/tokenize",
    always={"return_token_ids": True, "return_tokens_as_token_ids": True},
    neutral={
        **{"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
        **{"presence_penalty": 0.0, "frequency_penalty": 0.0},
    },
    settings=_FILTERS,
    repetition_penalty="repetition_penalty",
    stop_ids="stop_token_ids",
    keeps_seeds=True,
    takes_generation_config=True,
)

LLAMA_CPP = Dialect(
    name="llama.cpp",
    capabilities=frozenset({"token-ids", "logprobs"}),
    most_logprobs=100,
    tokenize="/tokenize",
    text_field="content",
    special_field="add_special",
    render="/apply-template",
    always={"return_tokens": True},
    neutral={
        **{"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
        **{"presence_penalty": 0.0, "frequency_penalty": 0.0},
    },
    settings=_FILTERS,
    repetition_penalty="repeat_penalty",
    keeps_seeds=True,
    draws_by_rank=True,
    penalizes_prompt=True,
    temperature_first=False,
    precision="float16",
    defaults=Sampling(temperature=0.8, top_p=0.95, top_k=40, min_p=0.05),
)
"""It filters the distribution at temperature 1, then divides by the temperature."""

OPENAI = Dialect(
    name="OpenAI-compatible",
    neutral={"temperature": 1.0, "top_p": 1.0},
)

SGLANG = Dialect(name="SGLang", neutral=OPENAI.neutral, takes_generation_config=True)
"""As its documentation says; it was not at hand."""

TRANSFORMERS = Dialect(
    name="transformers serve",
    neutral={"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0},
    wrapper="generation_config",
    settings=_FILTERS,
    repetition_penalty="repetition_penalty",
    defaults=None,
)
"""It decodes greedily unless a whole generation_config says otherwise, and refuses fields that it
does not know. A seed is that of the whole process, which requests share."""

_VERSIONS = {"vLLM": ("/version", "version"), "llama.cpp": ("/props", "build_info")}
"""Where a server tells its version."""

_LASTING = ("root", "parent", "max_model_len", "quantization")
"""What servers say of a model in their list that changes only with the model."""

_OWNERS = {"vllm": VLLM, "llamacpp": LLAMA_CPP, "sglang": SGLANG}


def list_served(models: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a server's list of models, those that can be read.

    >>> list_served({"data": [{"id": "tuned"}, None]}), list_served({"error": "no list"})
    ([{'id': 'tuned'}], [])
    """
    listed = models.get("data")
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def describe_served(listed: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return what a list of models says of one that stays the same; empty if it is not there.

    >>> describe_served([{"id": "tuned", "created": 1, "root": "m/7b"}], "tuned")
    "'tuned' (root 'm/7b')"
    """
    entry = next((each for each in listed if each.get("id") == name), None)
    if entry is None:
        return ""
    named = [
        f"{key} {quote_redacted(str(entry[key]))}" for key in _LASTING if entry.get(key) is not None
    ]
    return quote_redacted(name) + (f" ({', '.join(named)})" if named else "")


def find_context_length(listed: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """Return how many tokens a list of models says that one can see; None where it does not.

    >>> find_context_length([{"id": "tuned", "max_model_len": 512}], "tuned")
    512
    """
    entry = next((each for each in listed if each.get("id") == name), {})
    found = entry.get("max_model_len")
    return found if isinstance(found, int) and found > 1 else None


def recognize(client: Client, models: Mapping[str, Any]) -> tuple[Dialect, str]:
    """Return what kind of server answers at an address, and its version if it tells one.

    `models` is its list of models.
    """
    owners = [str(each.get("owned_by")) for each in list_served(models)]
    dialect = next((_OWNERS[owner] for owner in owners if owner in _OWNERS), None)
    if dialect is None and client.find("/props").get("default_generation_settings"):
        dialect = LLAMA_CPP
    paths = client.find("/openapi.json").get("paths") if dialect is None else None
    if isinstance(paths, dict) and "/load_model" in paths:
        dialect = TRANSFORMERS
    path, key = _VERSIONS.get(dialect.name if dialect else "", ("", ""))
    return dialect or OPENAI, str(client.find(path).get(key) or "") if path else ""


def read_stated_defaults(client: Client) -> dict[str, float]:
    """Return the settings that llama.cpp says it applies where a request names none."""
    settings = client.find("/props").get("default_generation_settings")
    params = settings.get("params") if isinstance(settings, dict) else None
    if not isinstance(params, dict):
        return {}
    names = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")
    values = {name: params.get(name) for name in names}
    return {name: float(v) for name, v in values.items() if isinstance(v, (int, float))}


NOT_QUANTIZED = (None, "F32", "F16", "BF16")
"""How llama.cpp says that weights are stored which are not quantized."""


def read_storage(client: Client) -> str | None:
    """Return how the weights are stored that llama.cpp computes with; None if it tells none."""
    stored = str(client.find("/props").get("model_ftype") or "")
    return stored.replace("(guessed)", "").strip().removeprefix("all ") or None
