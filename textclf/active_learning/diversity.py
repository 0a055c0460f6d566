"""Choice of uncertain texts that differ from each other."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

# Candidates for each text that is chosen: 10 is the smallest factor of Zhdanov (2019).
CANDIDATES_PER_TEXT = 10
# From this number of texts, k-means reads the candidates in small batches.
_MANY_TEXTS = 1000
_DIMENSIONS = 100
_MAX_FEATURES = 50_000
# The beginning of a long text is enough to determine its topic.
_MAX_CHARACTERS = 10_000
# Words, and single Han characters and kana, in unigrams and bigrams.
_TOKEN = r"[^\W\u2e80-\u9fff\uf900-\ufaff]+|[\u2e80-\u9fff\uf900-\ufaff]"


def choose_diverse(
    texts: Sequence[str], uncertainty: np.ndarray, n: int, *, seed: int = 0
) -> np.ndarray:
    """Return the indices of `n` uncertain texts that differ from each other, int64 [n], ascending.

        choose_diverse(["good", "good!", "bad"], np.array([0.9, 0.9, 0.8]), 2)

    The texts are divided into n clusters by k-means, with larger weights for more uncertain texts,
    and the text closest to the centre of each cluster is chosen: Zhdanov (2019), "Diverse
    mini-batch active learning". The vectors are TF-IDF of words and Han characters, reduced by
    latent semantic analysis (Deerwester et al. 1990).

    Args:
        texts: the candidates.
        uncertainty: float [candidates], at least 0, greater for more uncertain texts.
        n: at most the number of candidates.
        seed: of the analysis and of k-means. Equal seeds choose equal texts.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if n >= len(texts):
        return np.arange(len(texts))
    # One thread: sums have the same order in every run, and products this small are faster.
    with threadpool_limits(1):
        vectors = _vectors(texts, seed)
        chosen = set(_next_to_centres(vectors, uncertainty, n, seed))
    # If clusters are empty, the most uncertain of the other texts are added.
    for index in np.argsort(-uncertainty, kind="stable").tolist():
        if len(chosen) == n:
            break
        chosen.add(index)
    return np.array(sorted(chosen), np.int64)


def _vectors(texts: Sequence[str], seed: int) -> np.ndarray:
    """Return vectors of length 1, or 0 for a text without words: float64 [texts, dimensions]."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    vectorizer = TfidfVectorizer(
        token_pattern=_TOKEN, ngram_range=(1, 2), sublinear_tf=True, max_features=_MAX_FEATURES
    )
    try:
        matrix = vectorizer.fit_transform([text[:_MAX_CHARACTERS] for text in texts])
    except ValueError:  # no text has a word
        return np.zeros((len(texts), 1))
    dimensions = min(_DIMENSIONS, *(size - 1 for size in matrix.shape))
    if dimensions < 1:
        return matrix.toarray()
    with warnings.catch_warnings():
        # If all texts have the same words, the variance is 0.
        warnings.simplefilter("ignore", RuntimeWarning)
        reduced = TruncatedSVD(dimensions, random_state=seed).fit_transform(matrix)
    return normalize(reduced)


def _next_to_centres(
    vectors: np.ndarray, uncertainty: np.ndarray, n: int, seed: int
) -> Sequence[int]:
    """Return the index of the text closest to the centre of each cluster that has texts."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    kind: Any = KMeans if n < _MANY_TEXTS else MiniBatchKMeans
    k_means = kind(n, n_init=1, max_iter=100, random_state=seed)
    # k-means fails if all weights are 0.
    weights = uncertainty + 1e-9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct texts than clusters
        clusters = k_means.fit_predict(vectors, sample_weight=weights)
    distances = np.linalg.norm(vectors - k_means.cluster_centers_[clusters], axis=1)
    # By cluster, then distance; of equally distant texts the most uncertain one.
    order = np.lexsort((-uncertainty, distances.round(9), clusters))
    _, first = np.unique(clusters[order], return_index=True)
    return order[first].tolist()
