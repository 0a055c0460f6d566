"""Mixture of the linear model and a network, and the gain that the network brings."""

import numpy as np
import pytest
import tensorflow as tf

from textclf import evaluation
from textclf.tasks import Mixture, MultiLabel, OneOf

ONE = OneOf(3)


def simulated(n: int, linear_signal: float, network_signal: float, seed: int = 0) -> tuple:
    """Return classes and the logits of two models, which see the class with independent noise."""
    draw = np.random.default_rng(seed)
    y_true = draw.integers(3, size=n)
    logits = [
        (signal * np.eye(3)[y_true] + draw.normal(size=(n, 3))).astype(np.float32)
        for signal in (linear_signal, network_signal)
    ]
    return y_true, *logits


def test_mixture_gives_the_better_model_the_larger_share():
    assert evaluation.fit_mixture(ONE, *simulated(2000, 3, 0)).share > 0.75
    assert evaluation.fit_mixture(ONE, *simulated(2000, 0, 3)).share < 0.25
    assert evaluation.fit_mixture(ONE, *simulated(2000, 2, 2)).share == pytest.approx(0.5, abs=0.1)


def test_mixture_of_few_rows_stays_near_equal_shares():
    shares = [evaluation.fit_mixture(ONE, *simulated(n, 3, 0)).share for n in (5, 50, 5000)]
    assert 0.5 <= shares[0] < 0.7
    assert shares == sorted(shares)


def test_share_does_not_depend_on_the_scale_of_the_logits():
    y_true, linear, network = simulated(500, 2, 1)
    share = evaluation.fit_mixture(ONE, y_true, linear, network).share
    assert evaluation.fit_mixture(ONE, y_true, 10 * linear, network).share == pytest.approx(share)
    assert evaluation.fit_mixture(ONE, y_true, linear, network / 5).share == pytest.approx(share)


def test_mixture_follows_its_definition_for_arrays_and_tensors():
    mixture = Mixture(share=0.25, linear_temperature=2.0, network_temperature=(0.5, 1.0))
    linear, network = np.array([[4.0, 8.0]], np.float32), np.array([[1.0, 3.0]], np.float32)
    expected = [[0.25 * 4 / 2 + 0.75 * 1 / 0.5, 0.25 * 8 / 2 + 0.75 * 3 / 1]]
    np.testing.assert_allclose(mixture.mix(linear, network), expected)
    np.testing.assert_allclose(mixture.mix(tf.constant(linear), tf.constant(network)), expected)
    assert mixture.mix(linear, network).dtype == np.float32


def test_gain_of_an_informative_network_is_shown_and_of_noise_is_not():
    gain = evaluation.estimate_gain(ONE, *simulated(2000, 1, 3))
    assert gain.metric == "accuracy" and gain.low > 0.1
    noise = evaluation.estimate_gain(ONE, *simulated(2000, 3, 0))
    assert noise.low <= 0 and abs(noise.difference) < 0.01
    assert noise.low <= noise.difference <= noise.high


def test_interval_of_the_gain_of_noise_contains_zero_in_most_simulations():
    # Linear model and network see the same; a network that only copies adds nothing.
    draws = 40
    shown = 0
    for seed in range(draws):
        y_true, linear, _ = simulated(300, 1, 0, seed)
        noise = np.random.default_rng(seed + 1000).normal(size=linear.shape).astype(np.float32)
        gain = evaluation.estimate_gain(ONE, y_true, linear, noise, seed=seed)
        shown += gain.low > 0
    assert shown <= 4, "at most 2.5 % is expected on this side"


def test_gain_of_several_labels_is_in_micro_f1():
    y_true, linear, network = simulated(600, 1, 3)
    gain = evaluation.estimate_gain(MultiLabel(3), np.eye(3, dtype=bool)[y_true], linear, network)
    assert gain.metric == "micro_f1" and gain.low > 0


def test_gain_of_very_few_rows_is_not_estimated():
    assert evaluation.estimate_gain(ONE, *simulated(19, 1, 1)) is None
    assert evaluation.estimate_gain(ONE, *simulated(20, 1, 1)) is not None
