"""Where the settings of `generate()` come from, with settings in both files of a model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

import probes
from probes.measure import greedy, settings_effect, used_settings
from probes.plugin.summary import format_own_settings
from probes.report.text.comparison import describe_difference
from probes.schema.evidence.settings import UsedSetting, UsedSettings
from probes.targets.preflight import preflight
from probes.targets.resolve import resolve
from tests.claims.test_generation import test_each_of_several_end_ids_stops_any_row as stop_ids
from tests.support import model_folders as folders
from tests.support.comparing import differences
from tests.support.samples import check, header, planned

PROMPT = "The capital of Japan is"

PENALTIES: dict[str, Any] = {
    "repetition_penalty": 1.2,
    "no_repeat_ngram_size": 3,
    "bad_words_ids": [[415], [349, 11790]],
    "suppress_tokens": [7],
    "begin_suppress_tokens": [11790],
    "min_new_tokens": 3,
    "exponential_decay_length_penalty": [0, 1.1],
    "forced_eos_token_id": 2,
}


def load(folder: Path) -> probes.Model:
    return probes.Model(preflight(resolve(str(folder))))


def sources(account: used_settings.Account) -> dict[str, tuple[Any, str]]:
    return {each.name: (each.value, each.source) for each in account.used.used_settings}


def test_settings_of_config_json_are_used_without_another_file(tmp_path: Path) -> None:
    model = load(folders.with_settings(tmp_path / "model", top_k=5, **PENALTIES))
    account = used_settings.account_for_settings(model)
    found = sources(account)
    assert account.complaints == []
    assert found["top_k"] == (5, "config.json")
    assert all(found[name] == (value, "config.json") for name, value in PENALTIES.items())
    assert found["temperature"] == (1.0, "library default")
    ids = model.encode_prompt(PROMPT)
    drawn = torch.get_rng_state()
    assert settings_effect.find_wrong_scores(model, ids, account.used) == ("", [])
    assert torch.equal(torch.get_rng_state(), drawn)
    model.network.generation_config = GenerationConfig(eos_token_id=2, bos_token_id=1)
    (*_, last) = used_settings.account_for_settings(model).complaints
    assert last == "top_k: generate() uses 50, not config.json sets 5"


def test_generation_config_beats_config_json(tmp_path: Path) -> None:
    sampled = {"do_sample": True, "temperature": 0.5, "top_k": 7, "top_p": 0.9, "min_p": 0.01}
    folder = folders.with_settings(
        tmp_path / "model", {**sampled, "unknown": 3}, top_k=5, repetition_penalty=1.3
    )
    model = load(folder)
    account = used_settings.account_for_settings(model)
    assert sources(account)["top_k"] == (7, "generation_config.json")
    assert [(each.name, each.file) for each in account.ignored] == [
        ("unknown", "generation_config.json"),
        ("repetition_penalty", "config.json"),
        ("top_k", "config.json"),
    ]
    ids = model.encode_prompt(PROMPT)
    assert settings_effect.find_wrong_scores(model, ids, account.used) == ("", [])
    model.network.generation_config.top_k = 5
    (complaint,) = used_settings.account_for_settings(model).complaints
    assert complaint == "top_k: generate() uses 5, not generation_config.json sets 7"


def test_settings_without_a_reference_are_named(tmp_path: Path) -> None:
    model = load(folders.with_settings(tmp_path / "model", {"do_sample": True, "typical_p": 0.9}))
    account = used_settings.account_for_settings(model)
    assert settings_effect.find_wrong_scores(model, [1], account.used) == ("", ["typical_p"])


def test_list_of_end_ids_is_used_and_each_stops(tmp_path: Path) -> None:
    model = load(folders.with_settings(tmp_path / "model", {"eos_token_id": [2, 28723]}))
    account = used_settings.account_for_settings(model)
    assert sources(account)["eos_token_id"] == ([2, 28723], "generation_config.json")
    texts = partial(greedy.generate_greedy, model, [PROMPT, "Once upon a time,"])
    assert model.eos_token_ids == [2, 28723]
    stop_ids(model, texts, {})


def used(*settings: UsedSetting) -> UsedSettings:
    return UsedSettings(used_settings=[*settings])


def setting(name: str, value: Any, source: str, default: Any) -> UsedSetting:
    return UsedSetting(name=name, value=value, source=source, default=default)


TOP_K = setting("top_k", 50, "library default", 50)
WARM = setting("temperature", 0.7, "generation_config.json", 1.0)


def test_comparison_names_each_changed_setting() -> None:
    old, new = used(TOP_K, WARM), used(WARM.model_copy(update={"value": 0.71}))
    found = differences(old, new, claim="settings-used")
    assert [(each.name, describe_difference(each), each.outcome.value) for each in found] == [
        ("top_k", "50 (library default) → none", "changed"),
        ("temperature", "0.7 (generation_config.json) → 0.71 (generation_config.json)", "changed"),
    ]
    assert describe_difference(found[0], "ja") == "50 (ライブラリの既定値) → なし"
    assert differences(old, old, claim="settings-used") == []


@pytest.mark.parametrize(
    ("old", "new", "outcomes"),
    [
        # transformers 4.57 sets False where 5 has no value.
        ([setting("token_healing", False, "library default", False)], [], []),
        ([setting("token_healing", False, "config.json", False)], [], ["changed"]),
        ([setting("token_healing", True, "library default", True)], [], ["changed"]),
        ([setting("min_length", 0, "library default", 0)], [], ["changed"]),
        ([TOP_K], [TOP_K.model_copy(update={"source": "config.json"})], ["drifted"]),
    ],
)
def test_comparison_of_settings_that_only_the_library_sets(
    old: list[UsedSetting], new: list[UsedSetting], outcomes: list[str]
) -> None:
    found = differences(used(*old), used(*new), claim="settings-used")
    assert [each.outcome.value for each in found] == outcomes


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ([TOP_K], ""),
        (
            [
                setting("eos_token_id", 0, "config.json", None),
                setting("output_attentions", False, "config.json", None),
                WARM,
                setting("top_p", 0.9, "generation_config.json", 1.0),
            ],
            "generate() on embedded uses: eos_token_id 0 (config.json); temperature 0.7, top_p 0.9 "
            "(generation_config.json)",
        ),
    ],
)
def test_summary_names_settings_that_are_not_the_librarys(
    settings: list[UsedSetting], line: str
) -> None:
    evidence = (check(values=used(*settings).as_evidence()),)
    record = header(planned("settings-used", evidence=evidence))
    assert format_own_settings(record) == line
