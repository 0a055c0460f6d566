"""Mixture of the linear model and a network, and the gain that the network brings."""

import json

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from textclf import evaluation
from textclf.report import format_report
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


def softmax(logits: np.ndarray) -> np.ndarray:
    return tf.nn.softmax(logits).numpy()


def test_measured_gain_is_the_difference_of_the_scores_with_a_paired_interval():
    y_true = np.array([0, 1] * 20)
    linear = np.tile([[0.9, 0.1]], (40, 1))  # right in 20 of 40
    mixture = linear.copy()
    mixture[[1, 3, 5, 7, 9, 11]] = [0.2, 0.8]  # corrects 6 texts
    mixture[[0, 2]] = [0.4, 0.6]  # and breaks 2
    gain = evaluation.measure_gain(OneOf(2), y_true, mixture, linear)
    differences = np.array([1] * 6 + [-1] * 2 + [0] * 32)
    width = stats.t.ppf(0.975, 39) * differences.std(ddof=1) / np.sqrt(40)
    assert (gain.metric, gain.linear, gain.confidence) == ("accuracy", 0.5, 0.95)
    found = (gain.difference, gain.low, gain.high)
    assert found == pytest.approx((0.1, 0.1 - width, 0.1 + width))
    assert gain.verdict == "no gain shown"
    assert evaluation.measure_gain(OneOf(2), y_true[:19], mixture[:19], linear[:19]) is None


def test_verdict_of_a_gain_names_gain_loss_or_neither():
    y_true, weak, strong = simulated(500, 0, 3)
    for mixture, linear, verdict in (
        (strong, weak, "a gain is shown"),
        (weak, strong, "a loss is shown"),
        (weak, weak, "no gain shown"),
    ):
        gain = evaluation.measure_gain(ONE, y_true, softmax(mixture), softmax(linear))
        assert gain.verdict == verdict


def test_measured_gain_of_several_labels_uses_the_thresholds_of_each_model():
    y_true = np.eye(3, dtype=bool)[np.arange(60) % 3]
    p = np.where(y_true, 0.4, 0.2)
    kwargs = {"mixture_thresholds": [0.3] * 3, "linear_thresholds": [0.5] * 3}
    gain = evaluation.measure_gain(MultiLabel(3), y_true, p, p, **kwargs)
    assert (gain.metric, gain.linear, gain.difference) == ("micro_f1", 0, 1)


def gain_report() -> evaluation.Report:
    y_true, linear, network = simulated(200, 1, 3)
    p, linear_p = softmax(linear + network), softmax(linear)
    return evaluation.evaluate(
        y_true, p, class_names=["a", "b", "c"], multi_label=False, linear_p=linear_p, confidence=0.9
    )


def test_report_shows_the_gain_as_text_and_as_html():
    report = gain_report()
    gain = report.gain
    assert gain.confidence == 0.9
    assert gain.linear + gain.difference == pytest.approx(report.get("accuracy"))
    text = format_report(report)
    lines = text[text.index("Gain of the network") :].splitlines()
    assert lines[2].split() == ["linear", "model", "alone", f"{gain.linear:.4f}"]
    assert lines[3].split() == ["mixture", f"{report.get('accuracy'):.4f}"]
    interval = f"90 % interval {gain.low:+.4f} to {gain.high:+.4f}: a gain is shown"
    assert lines[4].split(maxsplit=2) == ["difference", f"{gain.difference:+.4f}", interval]
    assert "Gain of the network" in report._repr_html_() and interval in report._repr_html_()


def test_report_with_a_gain_survives_json_and_one_without_is_as_before():
    report = gain_report()
    assert evaluation.Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    older = report.to_dict()
    del older["gain"]
    assert evaluation.Report.from_dict(older).gain is None
    assert "Gain" not in format_report(evaluation.Report.from_dict(older))


def test_probabilities_of_the_linear_model_must_have_the_shape_of_the_mixture():
    with pytest.raises(ValueError, match=r"linear_p \(2, 3\) must have the shape of p, \(2, 2\)"):
        evaluation.evaluate(
            [0, 1], np.eye(2), class_names=["a", "b"], multi_label=False, linear_p=np.eye(3)[:2]
        )
