"""Faults that the claims about meaning must find: each turns the right claim red."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import probes
from probes.data import published
from probes.measure import embeddings, word_similarity
from probes.stats import projection
from probes.targets.preflight import preflight
from probes.targets.resolve import resolve
from tests.claims import test_meaning as claims
from tests.claims import test_vocabulary as vocabulary
from tests.support import model_folders

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from probes import Model

    Check = Callable[[Model, dict[str, Any]], None]

SOUND: list[Check] = [
    claims.test_a_words_vector_is_the_mean_of_its_pieces_rows,
    claims.test_the_published_words_are_one_piece_each_and_their_vector_is_its_row,
    claims.test_words_are_closer_to_their_own_group_than_to_others,
    claims.test_the_unrelated_words_are_not_a_group,
    claims.test_words_lie_nearest_the_centroid_of_their_own_group,
    claims.test_two_components_keep_a_part_and_disagree_with_the_full_distances,
    claims.test_the_output_heads_rows_group_the_words,
    claims.test_hidden_states_of_a_middle_layer_group_the_words,
    claims.test_words_that_share_a_piece_are_closer_than_those_that_share_none,
    claims.test_the_same_pieces_in_another_order_have_the_same_vector,
]


def red(check: Check, model: Model, match: str | None = None) -> None:
    """The check must fail."""
    with pytest.raises(AssertionError, match=match):
        check(model, {})


def move_rows(model: Model, places: dict[str, str]) -> None:
    """Give words each other's rows: of the embedding and of the head that is tied to it."""
    weight = model.embedding()
    to, source = (
        [embeddings.word_ids(model, word)[0] for word in side] for side in (places, places.values())
    )
    weight[to] = weight[source].clone()


def replaced_embedding(model: Model, weight: Any) -> None:
    from torch import nn

    layer = nn.Embedding(1, 1)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    model.network.set_input_embeddings(layer)


@pytest.mark.parametrize("check", SOUND, ids=lambda check: check.__name__)
def test_sound_model_passes_meaning_checks(own_model: Model, check: Check) -> None:
    check(own_model, {})


def test_rows_scaled_by_the_architecture_hold_and_a_wrong_scale_is_found(tmp_path: Path) -> None:
    folder = model_folders.gemma3(tmp_path / "gemma3")
    model = probes.Model(preflight(resolve(str(folder))))
    words: Check = claims.test_a_words_vector_is_the_mean_of_its_pieces_rows
    rows: Check = vocabulary.test_every_id_finds_its_own_row
    evidence: dict[str, Any] = {}
    words(model, evidence)
    rows(model, evidence)
    assert evidence["scaled_by"] == 8.0
    layer: Any = model.network.get_input_embeddings()
    layer.embed_scale.mul_(1.001)
    red(words, model, "is not the mean")
    red(rows, model, "do not find their row")


# --- the rows ------------------------------------------------------------------------------------


def shuffled(model: Model) -> None:
    """One word of each group in every new one: no trace of the groups is left."""
    words = claims.english().grouped
    square = np.array(words).reshape(4, 4)
    move_rows(model, dict(zip(words, square.T.ravel().tolist(), strict=True)))


@pytest.mark.parametrize(
    "check",
    [
        claims.test_words_are_closer_to_their_own_group_than_to_others,
        claims.test_words_lie_nearest_the_centroid_of_their_own_group,
        claims.test_the_output_heads_rows_group_the_words,
        claims.test_hidden_states_of_a_middle_layer_group_the_words,
    ],
    ids=lambda check: check.__name__,
)
def test_shuffled_rows_are_found(own_model: Model, check: Check) -> None:
    shuffled(own_model)
    red(check, own_model)


def test_swapped_rows_are_found_and_named(own_model: Model) -> None:
    move_rows(own_model, {"king": "dog", "dog": "king"})
    red(
        claims.test_words_are_closer_to_their_own_group_than_to_others,
        own_model,
        "nearer another group: king, dog",
    )
    red(
        claims.test_words_lie_nearest_the_centroid_of_their_own_group,
        own_model,
        "nearer another group's centroid: king, dog",
    )


def test_negated_row_is_found(own_model: Model) -> None:
    (king,) = embeddings.word_ids(own_model, "king")
    own_model.embedding()[king] *= -1
    red(
        claims.test_words_are_closer_to_their_own_group_than_to_others,
        own_model,
        "no more alike inside than with another group: royalty|nearer another group: king",
    )
    red(claims.test_words_lie_nearest_the_centroid_of_their_own_group, own_model, "centroid: king")


def test_unrelated_words_that_form_a_group_are_found(own_model: Model) -> None:
    move_rows(own_model, dict.fromkeys(claims.english().unrelated, "king"))
    red(claims.test_the_unrelated_words_are_not_a_group, own_model)


def test_rolled_hidden_states_are_found(own_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = claims.hidden_vectors

    def forgetful(model: Model, words: Any) -> Any:
        return np.roll(sound(model, words), 2, axis=0)

    monkeypatch.setattr(claims, "hidden_vectors", forgetful)
    red(claims.test_hidden_states_of_a_middle_layer_group_the_words, own_model)


# --- the words -----------------------------------------------------------------------------------

WRONG_WORDS = """
[mixed]
unrelated = ["table", "idea", "character", "sea"]
[mixed.groups]
a = ["king", "baseball", "man", "dog"]
b = ["queen", "soccer", "boy", "cat"]
c = ["prince", "tennis", "woman", "cow"]
d = ["princess", "basketball", "lady", "fish"]
"""


@pytest.mark.parametrize(
    "check",
    [
        claims.test_words_are_closer_to_their_own_group_than_to_others,
        claims.test_words_lie_nearest_the_centroid_of_their_own_group,
        claims.test_hidden_states_of_a_middle_layer_group_the_words,
    ],
    ids=lambda check: check.__name__,
)
def test_wrong_word_list_is_found(tmp_path: Path, check: Check) -> None:
    file = tmp_path / "words.toml"
    file.write_text(WRONG_WORDS, encoding="utf-8")
    model = probes.Model(preflight(resolve("embedded", overrides={"words": str(file)})))
    red(check, model)


def test_special_tokens_in_word_ids_are_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "word_ids", lambda model, word: model.encode(word))
    red(claims.test_a_words_vector_is_the_mean_of_its_pieces_rows, own_model, "king")


def test_vector_that_is_no_mean_is_found(own_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_piece(weight: Any, ids: list[list[int]]) -> Any:
        return np.stack([weight[each[0]].float().numpy() for each in ids])

    monkeypatch.setattr(embeddings, "_average_rows", first_piece)
    red(claims.test_a_words_vector_is_the_mean_of_its_pieces_rows, own_model, "王")
    red(claims.test_words_that_share_a_piece_are_closer_than_those_that_share_none, own_model)


def test_means_in_half_precision_are_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_half(weight: Any, ids: list[list[int]]) -> Any:
        return np.stack([weight[each].half().mean(0).numpy() for each in ids])

    monkeypatch.setattr(embeddings, "_average_rows", in_half)
    red(claims.test_a_words_vector_is_the_mean_of_its_pieces_rows, own_model, "float16")


# --- a 4-bit embedding ---------------------------------------------------------------------------


def test_packed_4_bit_embedding_is_found(own_model: Model) -> None:
    import torch

    rows = own_model.embedding()
    replaced_embedding(own_model, torch.zeros(rows.numel() // 2, 1, dtype=torch.uint8))
    red(claims.test_a_words_vector_is_the_mean_of_its_pieces_rows, own_model, "quantized")
    with pytest.raises(AssertionError, match="quantized"):
        claims.test_the_embedding_of_a_4_bit_model_is_not_quantized(own_model, own_model, {})


def test_embedding_rounded_to_4_bits_is_found(own_model: Model, model: Model) -> None:
    """Unpacked again its dtype and shape are right: only its numbers tell."""
    rows = own_model.embedding()
    step = rows.abs().amax(dim=1, keepdim=True) / 7
    replaced_embedding(own_model, (rows / step).round() * step)
    with pytest.raises(AssertionError, match="not those of the unquantized model"):
        claims.test_the_embedding_of_a_4_bit_model_is_not_quantized(own_model, model, {})


# --- principal components ------------------------------------------------------------------------


def flipped(picture: Any) -> Any:
    return replace(picture, axes=-picture.axes, coordinates=-picture.coordinates)


def stretched(picture: Any) -> Any:
    return replace(picture, coordinates=2 * picture.coordinates)


def turned(picture: Any) -> Any:
    """The two components exchanged in the picture, not in their shares."""
    return replace(picture, coordinates=picture.coordinates[:, ::-1])


def overstated(picture: Any) -> Any:
    """The shares among the two components only, as if no other variance were lost."""
    return replace(picture, shares=picture.shares / picture.share)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (flipped, "the picture is flipped"),
        (stretched, "farther apart in the picture"),
        (turned, None),
        (overstated, None),
    ],
    ids=["flipped", "stretched", "turned", "overstated"],
)
def test_wrong_projection_is_found(
    own_model: Model,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Any], Any],
    message: str | None,
) -> None:
    sound = projection.project_2d
    monkeypatch.setattr(projection, "project_2d", lambda vectors: fault(sound(vectors)))
    red(
        claims.test_two_components_keep_a_part_and_disagree_with_the_full_distances,
        own_model,
        message,
    )


# --- claims about the weights of Mistral-7B, decided here on rows made to fit ---------------------


def test_cosine_exceptions_follow_the_rows(own_model: Model) -> None:
    animals = claims.english().groups["animals"]
    dog, cat, cow, fish = (embeddings.word_ids(own_model, word)[0] for word in animals)
    rows = own_model.embedding()
    rows[[cow, fish]] += 0.5 * rows[[cow, fish]].norm(dim=1, keepdim=True)
    rows[cat] = 0.9 * rows[dog] + 0.1 * rows[cat]
    check = claims.test_fish_and_cow_are_the_animals_least_like_dog_and_cat
    check(own_model, {})
    rows[fish] = rows[dog]
    red(check, own_model)


def test_row_0_holds_only_when_published(own_model: Model) -> None:
    expected = published.load_outputs().embedding_row_0
    row = own_model.embedding()[0]
    red(vocabulary.test_row_0_is_the_published_one, own_model, "row 0 begins with")
    row[:3], row[-3:] = row.new_tensor(expected.begins), row.new_tensor(expected.ends)
    vocabulary.test_row_0_is_the_published_one(own_model, {})
    row[-1] *= 1.001
    red(vocabulary.test_row_0_is_the_published_one, own_model, "row 0 ends with")


def test_odd_distance_follows_the_centroids(monkeypatch: pytest.MonkeyPatch) -> None:
    words = claims.english()
    corners = {
        "royalty": (9, 0),
        "sports": (0, 5),
        "people": (0, 0),
        "animals": (0, -6),
        "": (-2, 0),
    }
    noise = 0.1 * np.random.default_rng(0).normal(size=(20, 2))
    check: Any = claims.test_royalty_is_farther_from_people_than_people_from_the_unrelated

    def project(*_: object) -> Any:
        vectors = np.array([corners[name] for name in words.group_names]) + noise
        return word_similarity.project_words(vectors, words)

    monkeypatch.setattr(claims, "measure_projection", project)
    check(None, {})
    corners[""], corners["royalty"] = (-9, 0), (2, 0)
    red(check, None)  # type: ignore[arg-type]
