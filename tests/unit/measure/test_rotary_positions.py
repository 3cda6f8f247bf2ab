"""Rotary positions of small networks, against the text of their config.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import transformers
from packaging.version import Version

import probes
from probes.errors import UndecidableError
from probes.measure import rotary_positions
from probes.measure.rotary_positions import compare_rotary_positions
from probes.measure.rotary_settings import read_rotations
from tests.support import model_folders as folders

if TYPE_CHECKING:
    from pathlib import Path

    from probes.measure.rotary_agreement import RotaryAgreement

READS_NEW_KEYS = Version(transformers.__version__) >= Version("5")

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}


def worst(folder: Path) -> RotaryAgreement:
    return max(compare_rotary_positions(probes.load(str(folder))), key=lambda each: each.share)


def test_base_under_its_old_key_is_used(tmp_path: Path) -> None:
    assert worst(folders.rope_base_under_old_key(tmp_path / "old")).share < 1


def test_base_under_its_new_key_is_used_since_transformers_5(tmp_path: Path) -> None:
    found = worst(folders.rope_base_under_new_key(tmp_path / "new"))
    assert (found.share < 1) is READS_NEW_KEYS
    if not READS_NEW_KEYS:
        assert found.describe() == (
            f"{found.place}: frequencies are not what config.json says: of base 10,000, and "
            "rope_parameters.rope_theta is 500,000"
        )


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 2.5},
        {"rope_type": "dynamic", "factor": 2.0},
        LLAMA3,
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048},
    ],
    ids=lambda each: each["rope_type"],
)
def test_scaling_is_what_the_configuration_says(tmp_path: Path, scaling: dict[str, Any]) -> None:
    folder = folders.llama_with_rope(tmp_path / "old", rope_theta=50_000.0, rope_scaling=scaling)
    assert worst(folder).share < 1


def test_unknown_type_is_named() -> None:
    with pytest.raises(UndecidableError, match="type 'spiral'"):
        read_rotations({"rope_theta": 1e4, "rope_scaling": {"type": "spiral"}})


def test_types_of_layers_without_a_description_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    own = read_rotations

    def describe_other_layers(config: Any) -> Any:
        return {"chunked_attention": next(iter(own(config).values()))}

    monkeypatch.setattr(rotary_positions, "read_rotations", describe_other_layers)
    with pytest.raises(
        UndecidableError, match=r"for model\.rotary_emb, and .* describes those for chunked_att"
    ):
        compare_rotary_positions(probes.load("embedded"))
