"""Poolings: examples worked by hand."""

import numpy as np
import pytest
import tensorflow as tf
from small_networks import make

# Three positions with two features each; two positions are real.
OUTPUTS = np.array([[[1.0, -5.0], [-3.0, -2.0], [9.0, 9.0]]], np.float32)


@pytest.mark.parametrize(
    ("pooling", "bidirectional", "expected"),
    [
        ("last", False, [-3.0, -2.0]),
        ("last", True, [-3.0, -5.0]),  # feature 0 read forward, feature 1 backward
        ("max", True, [1.0, -2.0]),
        ("mean", True, [-1.0, -3.5]),
        ("max_mean", True, [1.0, -2.0, -1.0, -3.5]),
    ],
)
def test_pooling_matches_a_calculation_by_hand(pooling, bidirectional, expected):
    layer = make("lstm", pooling=pooling, bidirectional=bidirectional).head.pooling
    np.testing.assert_allclose(layer(tf.constant(OUTPUTS), tf.constant([2])), [expected])


def test_attention_pooling_matches_a_calculation_by_hand():
    layer = make("lstm", pooling="attention", units=1).head.pooling
    kernel = np.array([[0.5, -1.0], [0.25, 0.75]])
    bias, query = np.array([0.1, -0.2]), np.array([[2.0], [-1.0]])
    layer.set_weights([kernel, bias, query])
    real = OUTPUTS[0, :2]
    scores = (np.tanh(real @ kernel + bias) @ query)[:, 0]
    weights = np.exp(scores) / np.exp(scores).sum()
    assert abs(weights[0] - 0.5) > 0.1, "the weights of the positions must differ"
    pooled = layer(tf.constant(OUTPUTS), tf.constant([2]))
    np.testing.assert_allclose(pooled, [weights @ real], rtol=1e-6)
