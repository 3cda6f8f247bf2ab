"""Claims: meaning in the embedding rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from probes import measure, stats
from probes.data import word_lists
from probes.engines.session_cache import once_per_session
from probes.schema.evidence.words import (
    EmbeddingPlane,
    EmbeddingSimilarities,
    HeadSimilarities,
    LayerSimilarities,
    SharedPieces,
    WordPlane,
    WordSimilarities,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from probes import Model
    from probes.data.word_lists import WordList
    from probes.measure.embeddings import Storage
    from probes.measure.word_similarity import GroupSimilarity, WordProjection

Evidence = dict[str, Any]

FLOAT32 = float(np.finfo(np.float32).eps)

CHANCE = 0.05
"""Unrelated words are a group if fewer random choices of words than this are as much alike."""


def english() -> WordList:
    """The published words."""
    return word_lists.built_in_word_lists()["english"]


def lists(model: Model) -> tuple[WordList, ...]:
    """The target's lists of words: claims are decided on the first."""
    return word_lists.load_word_lists(model.target.words)


@once_per_session
def measure_groups(model: Model, words: WordList) -> GroupSimilarity:
    """How alike the words are by their embedding rows: measured once a session."""
    return measure.word_similarity.measure_groups(
        measure.embeddings.word_vectors(model, words.all), words
    )


@once_per_session
def measure_projection(model: Model, words: WordList) -> WordProjection:
    """The words' embedding rows in two principal components: measured once a session."""
    vectors = measure.embeddings.word_vectors(model, words.all)
    assert np.ptp(vectors, axis=0).any(), "all words have one and the same vector"
    return measure.word_similarity.project_words(vectors, words)


def hidden_vectors(model: Model, words: WordList) -> npt.NDArray[np.float32]:
    return measure.embeddings.hidden_vectors(model, words.all)


def kept_as(stored: Storage) -> str:
    """How an embedding is stored that cannot be read row by row."""
    return f"the embedding is quantized: it is kept as {stored.dtype} of the shape {stored.shape}"


def close(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> bool:
    """Whether two vectors are the same but for rounding in float32."""
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-4, atol=1e-6)


# --- word-vectors --------------------------------------------------------------------------------


@pytest.mark.claim("word-vectors")
def test_a_words_vector_is_the_mean_of_its_pieces_rows(model: Model, evidence: Evidence) -> None:
    words = [word for each in lists(model) for word in each.all]
    stored = measure.embeddings.describe_storage(model.embedding())
    evidence["embedding"] = stored
    assert not stored.quantized, kept_as(stored)
    import torch  # not while claims are collected

    vectors = measure.embeddings.word_vectors(model, words)
    evidence["shape"], evidence["dtype"] = list(vectors.shape), vectors.dtype.name
    evidence["pieces"] = {
        word: model.tokens(measure.embeddings.word_ids(model, word)) for word in words
    }
    shape = (len(words), model.hidden_size)
    assert vectors.shape == shape, f"the vectors' shape is {vectors.shape}, not {shape}"
    assert vectors.dtype == np.float32, f"the vectors are {vectors.dtype}, not float32"
    scale = measure.embeddings.lookup_scale(model) or 1.0
    evidence["scaled_by"] = scale
    eps = torch.finfo(model.embedding().dtype).eps
    for word, vector in zip(words, vectors, strict=True):
        _, ids = measure.tokenizer.without_special_tokens(model, word)
        rows = measure.embeddings.look_up(model, ids).double().cpu().numpy() / scale
        special = set(ids) & set(model.special_token_ids)
        assert not special, f"{word!r} has special tokens among its pieces: ids {special}"
        # A mean of n rows is rounded n times in float32, a scaled row once in its own dtype.
        rounding = (len(ids) * FLOAT32 + (scale != 1) * eps) * np.abs(rows).mean(axis=0)
        assert (np.abs(vector - rows.mean(axis=0)) <= rounding).all(), (
            f"the vector of {word!r} is not the mean of its pieces' rows"
        )


@pytest.mark.claim("word-vectors")
@pytest.mark.needs("mistral-tokenizer")
def test_the_published_words_are_one_piece_each_and_their_vector_is_its_row(
    model: Model, evidence: Evidence
) -> None:
    words = english().all
    ids = [measure.embeddings.word_ids(model, word) for word in words]
    evidence["ids"] = dict(zip(words, ids, strict=True))
    found = [model.tokens(each) for each in ids]
    other = [
        f"{word!r} as {pieces}"
        for word, pieces in zip(words, found, strict=True)
        if pieces != [measure.spelling.SPACE + word]
    ]
    assert not other, f"words are not one piece with a space first: {', '.join(other)}"
    vectors = measure.embeddings.word_vectors(model, words)
    rows = model.embedding([i for each in ids for i in each]).float().cpu().numpy()
    evidence["shape"] = list(vectors.shape)
    shape = (20, model.hidden_size)
    assert vectors.shape == shape, f"the vectors' shape is {vectors.shape}, not {shape}"
    other = [
        word for word, *pair in zip(words, vectors, rows, strict=True) if np.any(pair[0] != pair[1])
    ]
    assert not other, f"the vectors of {other} are not their rows"


@pytest.mark.claim("word-vectors")
@pytest.mark.needs("nf4", "config", "variants")
def test_the_embedding_of_a_4_bit_model_is_not_quantized(
    in_nf4: Model, unquantized: Model, evidence: Evidence
) -> None:
    stored = measure.embeddings.describe_storage(in_nf4.embedding())
    evidence.update(asdict(stored))
    assert not stored.quantized, kept_as(stored)
    shape = [in_nf4.config.vocab_size, in_nf4.hidden_size]
    assert stored.shape == shape, f"the embedding's shape is {stored.shape}, not {shape}"
    rows = unquantized.embedding().to(in_nf4.embedding())
    full = list(rows.shape)
    assert stored.shape == full, f"the embedding's shape is {stored.shape}, unquantized {full}"
    evidence["elements_that_differ"] = differ = int((rows != in_nf4.embedding()).sum())
    assert differ == 0, (
        f"{differ} elements are not those of the unquantized model at this precision"
    )


# --- cosine --------------------------------------------------------------------------------------


def groups_verdict(found: GroupSimilarity) -> None:
    """What must be so for words to be in groups by cosine."""
    test, inside = found.test, np.diag(found.means)
    across = np.where(np.eye(len(inside), dtype=bool), -np.inf, found.means).max(axis=1)
    assert test.p_value < stats.permutation.ALPHA, (
        f"{test.p_value:.1%} of random groupings are as clear: inside groups the cosine is "
        f"{test.statistic:.2g} above that across"
    )
    loose = [
        name
        for name, own, other in zip(found.cohesion, inside, across, strict=True)
        if not own > other
    ]
    assert not loose, f"no more alike inside than with another group: {', '.join(loose)}"


@pytest.mark.claim("cosine-groups")
def test_words_are_closer_to_their_own_group_than_to_others(
    model: Model, evidence: Evidence
) -> None:
    first, *others = lists(model)
    found = measure_groups(model, first)
    evidence.update(found.as_evidence())
    other_lists = {
        words.name: WordSimilarities(**measure_groups(model, words).as_evidence())
        for words in others
    }
    evidence.update(EmbeddingSimilarities(**evidence, other_lists=other_lists).as_evidence())
    groups_verdict(found)
    assert not found.misplaced, f"nearer another group: {', '.join(found.misplaced)}"


@pytest.mark.claim("cosine-groups")
def test_the_unrelated_words_are_not_a_group(model: Model, evidence: Evidence) -> None:
    words = lists(model)[0]
    found = measure_groups(model, words)
    if found.unrelated is None:
        pytest.skip("the list of words has no unrelated ones")
    groups = {name: test.statistic for name, test in found.cohesion.items()}
    evidence["unrelated"] = [*words.unrelated]
    evidence["cohesion_of_unrelated"] = found.unrelated
    evidence["cohesion_of_groups"] = groups
    alike, least = found.unrelated.statistic, min(groups.values())
    assert alike < least, (
        f"the unrelated words are as much alike ({alike:.3f}) as a group ({least:.3f})"
    )
    assert found.unrelated.p_value >= CHANCE, (
        f"the unrelated words are a group: only {found.unrelated.p_value:.1%} of random choices of "
        f"words are as much alike ({alike:.3f})"
    )


@pytest.mark.claim("cosine-exceptions")
def test_fish_and_cow_are_the_animals_least_like_dog_and_cat(
    model: Model, evidence: Evidence
) -> None:
    animals = english().groups["animals"]
    cosines = stats.similarity.cosine_matrix(measure.embeddings.word_vectors(model, animals))
    evidence["words"] = [*animals]
    evidence["cosine_matrix"] = cosines.round(4).tolist()
    dog, cat, *least = (animals.index(word) for word in ("dog", "cat", "cow", "fish"))
    own, other = cosines[dog, cat], cosines[np.ix_([dog, cat], least)].max()
    assert own > other, (
        f"dog and cat are {own:.3f} alike, but one of them and fish or cow {other:.3f}"
    )


# --- principal components ------------------------------------------------------------------------


@pytest.mark.claim("pca-groups")
def test_words_lie_nearest_the_centroid_of_their_own_group(
    model: Model, evidence: Evidence
) -> None:
    first, *others = lists(model)
    found = measure_projection(model, first)
    other_lists = {words.name: plane(measure_projection(model, words)) for words in others}
    evidence.update(plane(found).as_evidence())
    evidence.update(EmbeddingPlane(**evidence, other_lists=other_lists).as_evidence())
    assert found.test.p_value < stats.permutation.ALPHA, (
        f"{found.test.p_value:.1%} of random groupings lie as clearly apart: the silhouette is "
        f"{found.test.statistic:.3f}"
    )
    assert not found.misplaced, f"nearer another group's centroid: {', '.join(found.misplaced)}"


def variance_shares(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The share of the variance in each principal component, without scikit-learn."""
    points = vectors.astype(np.float64)
    squares = np.linalg.svd(points - points.mean(axis=0), compute_uv=False) ** 2
    shares: npt.NDArray[np.float64] = squares / squares.sum()
    return shares


def plane(found: WordProjection) -> WordPlane:
    more = {"silhouette_test": asdict(found.test), "words_nearer_another_centroid": found.misplaced}
    return WordPlane(
        points=found.points(), explained_variance=found.projection.shares.tolist(), **more
    )


@pytest.mark.claim("pca-loss")
def test_two_components_keep_a_part_and_disagree_with_the_full_distances(
    model: Model, evidence: Evidence
) -> None:
    words = lists(model)[0]
    found = measure_projection(model, words)
    projection, distortion = found.projection, found.distortion
    evidence["explained_variance"] = projection.shares.tolist()
    evidence["share_kept"] = projection.share
    evidence["rank_correlation_of_distances"] = distortion.rank_correlation
    evidence["share_of_pairs_turned_round"] = distortion.misordered
    evidence["turned_round_the_most"] = found.worst()
    strongest = projection.axes[[0, 1], np.abs(projection.axes).argmax(axis=1)]
    assert 0 < projection.share < 1 - 1e-6, (
        f"two components keep {projection.share:.1%} of the variance"
    )
    shares = variance_shares(measure.embeddings.word_vectors(model, words.all))
    assert projection.shares == pytest.approx(shares[:2], rel=1e-6), "not the first components"
    spread = projection.coordinates.var(axis=0)
    parts, stated = spread / spread.sum(), projection.shares / projection.share
    assert parts == pytest.approx(stated, rel=1e-6), (
        f"the picture's spread is not that of its components' shares: {parts - stated} apart"
    )
    assert (strongest > 0).all(), "a component points the other way: the picture is flipped"
    assert distortion.longest <= 1 + 1e-9, (
        "two words lie farther apart in the picture than they are"
    )
    assert distortion.rank_correlation < 1, "all distances keep their order"
    assert distortion.misordered > 0, "no two distances change their order"


@pytest.mark.claim("pca-odd-distance")
def test_royalty_is_farther_from_people_than_people_from_the_unrelated(
    model: Model, evidence: Evidence
) -> None:
    centroids = measure_projection(model, english()).centroids
    people = centroids["people"]
    evidence["royalty_to_people"] = far = float(np.linalg.norm(centroids["royalty"] - people))
    evidence["people_to_unrelated"] = near = float(
        np.linalg.norm(centroids[measure.word_similarity.UNRELATED] - people)
    )
    assert far > near, f"royalty is {far:.3f} from people, the unrelated words are {near:.3f}"


# --- beyond the embedding ------------------------------------------------------------------------


@pytest.mark.claim("other-vectors")
def test_the_output_heads_rows_group_the_words(model: Model, evidence: Evidence) -> None:
    words = lists(model)[0]
    found = measure.word_similarity.measure_groups(
        measure.embeddings.head_vectors(model, words.all), words
    )
    similarities = HeadSimilarities(
        **found.as_evidence(), tied_to_the_embedding=bool(measure.embeddings.is_tied(model.network))
    )
    evidence.update(similarities.as_evidence())
    groups_verdict(found)


@pytest.mark.claim("other-vectors")
def test_hidden_states_of_a_middle_layer_group_the_words(model: Model, evidence: Evidence) -> None:
    words = lists(model)[0]
    found = measure.word_similarity.measure_groups(hidden_vectors(model, words), words)
    similarities = LayerSimilarities(
        **found.as_evidence(), layer=measure.embeddings.middle_layer(model)
    )
    evidence.update(similarities.as_evidence())
    evidence["mean_inside_minus_across_in_the_embedding"] = measure_groups(
        model, words
    ).test.statistic
    groups_verdict(found)


@pytest.mark.claim("shared-pieces")
def test_words_that_share_a_piece_are_closer_than_those_that_share_none(
    model: Model, evidence: Evidence
) -> None:
    words = word_lists.built_in_word_lists()["japanese"].all
    cosines = stats.similarity.cosine_matrix(measure.embeddings.word_vectors(model, words))
    shared = measure.embeddings.find_shared_pieces(model, words)
    test = stats.permutation.compare_pairs_with_chance(cosines, shared)
    pieces = {word: model.tokens(measure.embeddings.word_ids(model, word)) for word in words}
    evidence["pairs_that_share"] = int(stats.similarity.upper_triangle(shared).sum())
    evidence["permutation_test"] = test
    evidence.update(
        SharedPieces(pieces=pieces, cosine_matrix=cosines.round(4).tolist()).as_evidence()
    )
    assert test.p_value < stats.permutation.ALPHA, (
        f"{test.p_value:.1%} of random choices of pairs are as clear: of words that share a piece "
        f"the cosine is {test.statistic:.2g} above that of others"
    )


@pytest.mark.claim("shared-pieces")
def test_the_same_pieces_in_another_order_have_the_same_vector(
    model: Model, evidence: Evidence
) -> None:
    words = ("女王", "王女")
    one, two = (measure.embeddings.word_ids(model, word) for word in words)
    evidence["ids"] = {words[0]: one, words[1]: two}
    assert sorted(one) == sorted(two), f"{words[0]} and {words[1]} have other pieces: {one}, {two}"
    assert one != two, f"{words[0]} and {words[1]} have the same ids: {one}"
    first, second = measure.embeddings.word_vectors(model, words)
    evidence["largest_difference"] = apart = float(np.abs(first - second).max())
    assert close(first, second), f"their vectors are {apart:.2g} apart"
