"""Branches: buckets and sums of hashed n-grams."""

import numpy as np
import pytest
import tensorflow as tf
from small_networks import NUM_CLASSES, features, make


def ngram_branch(num_buckets: int):
    [branch] = make("bag", pooling="mean", ngram_buckets=num_buckets).branches
    return branch


def test_ngram_buckets_and_sums_follow_the_definition():
    layer = ngram_branch(1000)

    def hashed(*ids: int) -> int:
        value = len(ids)
        for token_id in ids:
            value = (value * 1_583_458_089 + token_id) % (2**31 - 1)  # Python ints never overflow
        return value % 1000

    big = 2**31 - 1  # the largest possible id
    rows = [[5, 6, 7, big], [8, 9, 0, 0], [3, 0, 0, 0]]
    buckets, real = layer.buckets(tf.constant(rows), tf.constant([4, 2, 1]))
    expected = [
        {(5,), (6,), (7,), (big,), (5, 6), (6, 7), (7, big), (5, 6, 7), (6, 7, big)},
        {(8,), (9,), (8, 9)},
        {(3,)},
    ]
    for row in range(3):
        actual = sorted(buckets[row].numpy()[real[row].numpy()])
        assert actual == sorted(hashed(*ngram) for ngram in expected[row])
    # The sum of the rows, scaled by 8 / sqrt(n).
    layer.table.assign(np.random.default_rng(0).normal(size=(1000, NUM_CLASSES)))
    sums = [sum(layer.table.numpy()[hashed(*g)] for g in ngrams) for ngrams in expected]
    scales = [8 / np.sqrt(len(ngrams)) for ngrams in expected]
    np.testing.assert_allclose(
        layer(features(rows, [4, 2, 1])),
        [s * scale for s, scale in zip(sums, scales, strict=True)],
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("width", [1, 2, 3])
def test_texts_shorter_than_n_have_no_ngrams_of_n_tokens(width):
    _, real = ngram_branch(50).buckets(tf.ones([1, width], tf.int32), tf.constant([width]))
    assert int(tf.reduce_sum(tf.cast(real, tf.int32))) == {1: 1, 2: 3, 3: 6}[width]


def test_ngrams_are_spread_evenly_over_the_buckets():
    token_ids = np.random.default_rng(0).integers(2, 20_000, size=(1, 4096), dtype=np.int32)
    buckets, _ = ngram_branch(4096).buckets(token_ids, np.array([4096], np.int32))
    counts = np.bincount(buckets[0], minlength=4096)
    # 12,285 n-grams at random leave exp(-3) = 5 % of the buckets empty.
    assert 0.04 < (counts == 0).mean() < 0.06 and counts.max() < 20
