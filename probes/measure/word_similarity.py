"""Do words that belong together lie together? What is measured of their vectors, as evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.stats import geometry

if TYPE_CHECKING:
    import numpy.typing as npt

    from probes.data.word_lists import WordList

UNRELATED = "(unrelated)"
"""What evidence calls the words of no group."""

DECIMALS = 4
"""To how many decimals evidence keeps a similarity or a coordinate."""


@dataclass(frozen=True)
class Groups:
    """How alike the words of groups are, by cosine.

    Attributes:
        words: the groups.
        similarity: (words, words), cosine of every two, the unrelated ones last.
        test: are words of one group more alike than words of different groups? Over the words of
            groups alone; the statistic is the mean inside minus the mean across.
        overlap: chance that a pair inside a group is more alike than one across.
        means: (groups, groups), mean cosine between groups; on the diagonal each one's cohesion.
        cohesion: for each group, whether its words are more alike than as many words taken at
            random from all; the statistic is their mean cosine.
        unrelated: the same for the unrelated words; None if there are none.
        strays: words that are on average more alike to another group than to the rest of theirs.
    """

    words: WordList
    similarity: geometry.Floats
    test: geometry.Test
    overlap: float
    means: geometry.Floats
    cohesion: dict[str, geometry.Test]
    unrelated: geometry.Test | None
    strays: list[str]

    def as_evidence(self) -> dict[str, Any]:
        """The same as plain data."""
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
            "inside_above_across": self.overlap,
            "words_nearer_another_group": self.strays,
        }


def groups(vectors: npt.NDArray[Any], words: WordList) -> Groups:
    """Measure how alike the words of groups are.

    Args:
        vectors: (words, dimensions), in the order of `words.all`.
        words: the groups.

    >>> from probes.data.word_lists import built_in_word_lists
    >>> words = built_in_word_lists()["english"]
    >>> found = groups(np.eye(8)[[*words.labels, 4, 5, 6, 7]], words)
    >>> found.test.statistic, round(found.test.p_value, 5), found.overlap, found.strays
    (1.0, 1e-05, 1.0, [])
    """
    similarity = geometry.cosine_matrix(vectors)
    grouped = len(words.grouped)
    inner, labels = similarity[:grouped, :grouped], np.array(words.labels)
    related = geometry.same_group(words.labels)
    unrelated = range(grouped, len(words.all))
    return Groups(
        words=words,
        similarity=similarity,
        test=geometry.pair_test(inner, related),
        overlap=geometry.overlap(inner, related),
        means=geometry.group_means(inner, words.labels),
        cohesion={
            name: geometry.cohesion_test(similarity, np.flatnonzero(labels == number).tolist())
            for number, name in enumerate(words.groups)
        },
        unrelated=geometry.cohesion_test(similarity, [*unrelated]) if unrelated else None,
        strays=_strays(inner, words),
    )


def _strays(inner: geometry.Floats, words: WordList) -> list[str]:
    """The words that are more alike to another group than to the rest of their own."""
    labels = np.array(words.labels)
    member = np.eye(labels.max() + 1)[labels]
    sums = (inner - np.diag(np.diag(inner))) @ member
    means = sums / (member.sum(axis=0) - member)
    nearest = means.argmax(axis=1)
    return [
        word for word, near, own in zip(words.grouped, nearest, labels, strict=True) if near != own
    ]


@dataclass(frozen=True)
class Scene:
    """Words in their first two principal components.

    Attributes:
        words: the groups.
        picture: where they lie, the unrelated ones last.
        shares: share of the variance in every component, computed without scikit-learn.
        nearest: for each word of a group the name of the group whose centroid is nearest.
        test: do groups lie apart by more than chance? The statistic is the mean silhouette.
        centres: the centroid of each group, and of the unrelated words if there are any.
        loss: what the picture does to distances.
    """

    words: WordList
    picture: geometry.Picture
    shares: geometry.Floats
    nearest: list[str]
    test: geometry.Test
    centres: dict[str, geometry.Floats]
    loss: geometry.Loss

    @property
    def strays(self) -> list[str]:
        """The words that lie nearer another group's centroid than their own."""
        own = self.words.group_names
        return [
            word
            for word, near, name in zip(self.words.grouped, self.nearest, own, strict=False)
            if near != name
        ]

    def points(self) -> list[dict[str, Any]]:
        """Each word with its group and place, for a picture."""
        places = self.picture.coordinates.round(DECIMALS).tolist()
        return [
            {"word": word, "group": group, "x": x, "y": y}
            for word, group, (x, y) in zip(
                self.words.all, self.words.group_names, places, strict=True
            )
        ]

    def worst(self) -> dict[str, str] | None:
        """The two pairs of words that the picture turns round the most."""
        if self.loss.worst is None:
            return None
        words = self.words.all
        near, far = (f"{words[one]} - {words[two]}" for one, two in self.loss.worst)
        return {"looks_nearer": near, "is_nearer": far}


def scene(vectors: npt.NDArray[Any], words: WordList) -> Scene:
    """See words in their first two principal components.

    Args:
        vectors: (words, dimensions), in the order of `words.all`.
        words: the groups.

    >>> from probes.data.word_lists import built_in_word_lists
    >>> words = built_in_word_lists()["english"]
    >>> corners = np.array([[9.0, 9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, -8.0], [0.0, 0.0]])
    >>> noise = np.random.default_rng(0).normal(size=(20, 2))
    >>> scene(corners[[*words.labels, *[4] * 4]] + noise, words).strays
    []
    """
    grouped = len(words.grouped)
    picture = geometry.pca_2d(vectors)
    places = picture.coordinates
    inner = places[:grouped]
    names = [*words.groups]
    nearest = geometry.centroid_distances(inner, words.labels).argmin(axis=1)
    centres = dict(zip(names, geometry.centroids(inner, words.labels), strict=True))
    if words.unrelated:
        centres[UNRELATED] = places[grouped:].mean(axis=0)
    flat = geometry.distances(places)
    return Scene(
        words=words,
        picture=picture,
        shares=geometry.variance_shares(vectors),
        nearest=[names[number] for number in nearest],
        test=geometry.silhouette_test(flat[:grouped, :grouped], words.labels),
        centres=centres,
        loss=geometry.loss(flat, geometry.distances(vectors)),
    )
