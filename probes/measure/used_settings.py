"""List the settings that `generate()` uses without arguments, and their sources."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import GenerationConfig

from probes._util.jsonfile import read_object
from probes.engines.transformers.engine import TransformersEngine
from probes.schema.evidence.settings import (
    ARCHITECTURE,
    LIBRARY,
    REPLACED,
    UsedSetting,
    UsedSettings,
)

GENERATION, MODEL = "generation_config.json", "config.json"
METADATA = ("transformers_version", "generation_kwargs")
"""Entries of a GenerationConfig that are no settings, besides those that begin with `_`."""

TEXTLESS = (
    *("cache_implementation", "cache_config", "max_cache_len", "use_cache", "prefill_chunk_size"),
    *("compile_config", "disable_compile", "low_memory", "continuous_batching_config"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    *("return_dict_in_generate", "return_legacy_cache"),
)
"""Settings that change how a text is made or returned, not the text: the library may replace the
value of a file, as it does where a kind of cache is gone."""

SAMPLING_ONLY = (
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
"""Settings of `generate` that do nothing without sampling."""


class UnseenSettingsError(Exception):
    """This version of the library prepares its settings where they cannot be read."""


class _SettingsSeen(Exception):  # noqa: N818  # ends a call of generate() on purpose
    pass


@dataclass(frozen=True)
class IgnoredSetting:
    """A setting in a model's file that `generate()` does not use."""

    name: str
    value: Any
    file: str
    reason: str


@dataclass(frozen=True)
class Account:
    """Where the settings of `generate()` come from."""

    used: UsedSettings
    ignored: list[IgnoredSetting]
    complaints: list[str] = field(default_factory=list)
    """Values that are neither a file's nor a default, and values of files that were lost."""


def account_for_settings(model: TransformersEngine) -> Account:
    """Compare the settings that `generate()` prepares without arguments with the model's files.

    Without a `generation_config.json`, `config.json` decides. A null leaves a setting to the
    library.

    >>> account = account_for_settings(load("embedded"))
    >>> account.used.by_name["eos_token_id"].source
    'generation_config.json'
    >>> account.used.by_name["top_k"].source, account.complaints
    ('library default', [])
    """
    prepared, defaults = prepare_settings(model), library_defaults()
    known = {*defaults}
    own, config = _read_file(model, GENERATION), _read_file(model, MODEL)
    deciding = config if own is None else own
    used, complaints = {}, []
    for name in sorted(known):
        value, default = prepared.get(name), defaults[name]
        source = _find_source(model, name, value, default, own, config)
        asked = deciding.get(name)
        if source is None and name in TEXTLESS:
            source = REPLACED
        if source is None:
            file = MODEL if own is None else GENERATION
            expected = f"{file} sets {asked!r}" if asked is not None else f"its default {default!r}"
            complaints.append(f"{name}: generate() uses {value!r}, not {expected}")
            source = "unknown"
        if value is not None:
            used[name] = UsedSetting(name=name, value=value, source=source, default=default)
    ignored = [
        *_list_ignored(deciding if own is not None else {}, known, prepared, used),
        *_list_beaten(config if own is not None else {}, known, used),
    ]
    order = sorted(used, key=lambda name: (used[name].source == LIBRARY, name))
    return Account(UsedSettings(used_settings=[used[name] for name in order]), ignored, complaints)


def prepare_settings(model: TransformersEngine, **arguments: Any) -> dict[str, Any]:
    """Return the settings that `generate()` prepares from arguments, before any forward pass.

    Raises UnseenSettingsError where the library has no such step.
    """
    network = model.network
    prepare = getattr(network, "_prepare_generation_config", None)
    if prepare is None:
        raise UnseenSettingsError(
            f"transformers {transformers.__version__} prepares settings where none can read them"
        )
    seen: list[Any] = []

    def stop_after(*args: Any, **kwargs: Any) -> Any:
        prepared = prepare(*args, **kwargs)
        seen.append(copy.deepcopy(prepared[0] if isinstance(prepared, tuple) else prepared))
        raise _SettingsSeen

    network._prepare_generation_config = stop_after
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ids = torch.tensor([[0]], device=model.device)
            network.generate(ids, attention_mask=torch.ones_like(ids), **arguments)
    except _SettingsSeen:
        pass
    finally:
        del network._prepare_generation_config
    return _as_plain(seen[0].to_dict())


def library_defaults() -> dict[str, Any]:
    """Return the value of each setting where neither a file nor an argument gives one."""
    config = GenerationConfig()
    plain = _as_plain(config.to_dict())
    # From version 5 on an empty configuration is completed when generate() is called.
    complete = getattr(config, "_get_default_generation_params", dict)
    return plain | _as_plain({n: v for n, v in complete().items() if plain.get(n) is None})


def _read_file(model: TransformersEngine, name: str) -> Any:
    """Return the content of a model's file; None where it has no such file."""
    if model.target.random is not None:  # the folder is of another network
        return model.config.to_dict() if name == MODEL else None
    file = model.checkpoint.folder / name
    return read_object(file) if file.is_file() else None if name == GENERATION else {}


def _find_source(
    model: TransformersEngine,
    name: str,
    value: Any,
    default: Any,
    own: Mapping[str, Any] | None,
    config: Mapping[str, Any],
) -> str | None:
    """Return where a value comes from; None if it is not what the files and defaults promise."""
    file, asked = (MODEL, config) if own is None else (GENERATION, own)
    if asked.get(name) is not None:
        if _agrees(value, asked[name]):
            return file
        # A file that the library derived from config.json says so: up to 4.57 that was read again.
        derived = own is not None and own.get("_from_model_config")
        return MODEL if derived and value == config.get(name) is not None else None
    if value == default:
        return LIBRARY
    if value is None and name in asked:  # up to 4.57 a null is a value of its own
        return file
    if own is None or own.get("_from_model_config"):
        parts = (model.config.get_text_config(), model.config)
        nested = config.get("text_config") or {}
        if value is not None and value in (config.get(name), nested.get(name)):
            return MODEL
        if any(value == getattr(part, name, None) for part in parts):
            return ARCHITECTURE
    return None


def _list_ignored(
    asked: Mapping[str, Any],
    known: set[str],
    prepared: Mapping[str, Any],
    used: Mapping[str, UsedSetting],
) -> list[IgnoredSetting]:
    """List the entries of generation_config.json that have no effect."""
    version, found = transformers.__version__, []
    for name, value in asked.items():
        if name in METADATA or name.startswith("_") or value is None:
            continue
        if name not in known:
            reason = f"transformers {version} has no setting of this name"
        elif prepared.get(name) != value and name in TEXTLESS:
            now = used[name].value if name in used else None
            reason = f"transformers {version} uses {now!r} instead"
        elif name in SAMPLING_ONLY and not prepared.get("do_sample"):
            reason = "it has an effect only where do_sample is true"
        else:
            continue
        found.append(IgnoredSetting(name, value, GENERATION, reason))
    return found


def _list_beaten(
    config: Mapping[str, Any], known: set[str], used: Mapping[str, UsedSetting]
) -> list[IgnoredSetting]:
    """List the settings of config.json that are not those used."""
    return [
        IgnoredSetting(name, config[name], MODEL, f"{GENERATION} is read instead")
        for name in sorted(known & {*config})
        if config[name] is not None and (name not in used or used[name].value != config[name])
    ]


def _agrees(value: Any, asked: Any) -> bool:
    """Whether a value is what a file asks for; the library adds parts that the file leaves out."""
    if isinstance(value, dict) and isinstance(asked, dict):
        return all(value.get(part) == each for part, each in asked.items())
    return bool(value == asked)


def _as_plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON holds them, without metadata."""
    kept = {
        name: value
        for name, value in settings.items()
        if name not in METADATA and not name.startswith("_")
    }
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=_parts))
    return plain


def _parts(value: Any) -> Any:
    """Return the parts of a setting that is an object of the library, as JSON holds them."""
    return value.to_dict() if hasattr(value, "to_dict") else str(value)
