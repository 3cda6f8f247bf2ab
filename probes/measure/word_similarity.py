"""Measure whether related words have similar vectors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from probes.data.word_lists import WordList
from probes.schema.evidence.words import WordPoint
from probes.stats import permutation, projection, similarity
from probes.stats.permutation import PermutationTest
from probes.stats.projection import Distortion, Projection
from probes.stats.similarity import Floats

UNRELATED = "(unrelated)"  # the name in evidence of the words outside any group
DECIMALS = 4  # decimals of a similarity or a coordinate in evidence


@dataclass(frozen=True)
class GroupSimilarity:
    """The cosine similarity of words within and between groups; the unrelated words come last."""

    words: WordList
    similarity: Floats  # (words, words), cosine of every two
    test: PermutationTest  # of the mean within minus the mean across, without unrelated words
    auc: float  # chance that a pair within a group is more similar than one across
    means: Floats  # (groups, groups), mean cosine between groups; on the diagonal within a group
    cohesion: dict[str, PermutationTest]  # of each group's mean cosine against random words
    unrelated: PermutationTest | None  # the same for the unrelated words; None if there are none
    misplaced: list[str]  # words on average more similar to another group than to their own

    def as_evidence(self) -> dict[str, Any]:
        """Return plain data."""
        tests = dict(self.cohesion)
        if self.unrelated is not None:
            tests[UNRELATED] = self.unrelated
        return {
            "words": [*self.words.all],
            "groups": [*self.words.group_names],
            "cosine_matrix": self.similarity.round(DECIMALS).tolist(),
            "cohesion": [
                {"group": name, "mean_cosine": test.statistic, "p_value": test.p_value}
                for name, test in tests.items()
            ],
            "mean_cosine_between_groups": self.means.round(DECIMALS).tolist(),
            "permutation_test": asdict(self.test),
            "inside_above_across": self.auc,
            "words_nearer_another_group": self.misplaced,
        }


def measure_groups(vectors: npt.NDArray[Any], words: WordList) -> GroupSimilarity:
    """Measure the similarity of vectors, (words, dimensions), in the order of `words.all`.

    >>> from probes.data.word_lists import built_in_word_lists
    >>> words = built_in_word_lists()["english"]
    >>> found = measure_groups(np.eye(8)[[*words.labels, 4, 5, 6, 7]], words)
    >>> found.test.statistic, round(found.test.p_value, 5), found.auc, found.misplaced
    (1.0, 1e-05, 1.0, [])
    """
    cosines = similarity.cosine_matrix(vectors)
    grouped = len(words.grouped)
    inner, labels = cosines[:grouped, :grouped], np.array(words.labels)
    related = similarity.same_group(words.labels)
    unrelated = range(grouped, len(words.all))
    nearest = similarity.mean_by_group(inner, words.labels).argmax(axis=1)
    compare_cohesion = permutation.compare_cohesion_with_chance
    return GroupSimilarity(
        words=words,
        similarity=cosines,
        test=permutation.compare_pairs_with_chance(inner, related),
        auc=similarity.pair_auc(inner, related),
        means=similarity.mean_between_groups(inner, words.labels),
        cohesion={
            name: compare_cohesion(cosines, np.flatnonzero(labels == number).tolist())
            for number, name in enumerate(words.groups)
        },
        unrelated=compare_cohesion(cosines, [*unrelated]) if unrelated else None,
        misplaced=[words.grouped[place] for place in np.flatnonzero(nearest != labels)],
    )


@dataclass(frozen=True)
class WordProjection:
    """Words in their first two principal components; the unrelated words come last."""

    words: WordList
    projection: Projection
    misplaced: list[str]  # words nearer the centroid of another group than that of their own
    test: PermutationTest  # whether groups lie further apart than chance, by their mean silhouette
    centroids: dict[str, Floats]  # of each group, and of the unrelated words if there are any
    distortion: Distortion

    def points(self) -> list[WordPoint]:
        """Return each word with its group and coordinates."""
        places = self.projection.coordinates.round(DECIMALS).tolist()
        return [
            WordPoint(word=word, group=group, x=x, y=y)
            for word, group, (x, y) in zip(
                self.words.all, self.words.group_names, places, strict=True
            )
        ]

    def worst(self) -> dict[str, str] | None:
        """Return the two pairs of words whose distances the projection misorders the most."""
        if self.distortion.worst is None:
            return None
        words = self.words.all
        near, far = (f"{words[one]} - {words[two]}" for one, two in self.distortion.worst)
        return {"looks_nearer": near, "is_nearer": far}


def project_words(vectors: npt.NDArray[Any], words: WordList) -> WordProjection:
    """Project vectors, (words, dimensions), in the order of `words.all`.

    >>> from probes.data.word_lists import built_in_word_lists
    >>> words = built_in_word_lists()["english"]
    >>> corners = np.array([[9.0, 9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, -8.0], [0.0, 0.0]])
    >>> noise = np.random.default_rng(0).normal(size=(20, 2))
    >>> project_words(corners[[*words.labels, *[4] * 4]] + noise, words).misplaced
    []
    """
    grouped, labels = len(words.grouped), np.array(words.labels)
    projected = projection.project_2d(vectors)
    places = projected.coordinates
    inner = places[:grouped]
    centroids = {
        name: inner[labels == number].mean(axis=0) for number, name in enumerate(words.groups)
    }
    nearest = cdist(inner, [*centroids.values()]).argmin(axis=1)
    if words.unrelated:
        centroids[UNRELATED] = places[grouped:].mean(axis=0)
    distances = projection.distance_matrix(places)
    return WordProjection(
        words=words,
        projection=projected,
        misplaced=[words.grouped[place] for place in np.flatnonzero(nearest != labels)],
        test=permutation.compare_silhouette_with_chance(
            distances[:grouped, :grouped], words.labels
        ),
        centroids=centroids,
        distortion=projection.measure_distortion(distances, projection.distance_matrix(vectors)),
    )
