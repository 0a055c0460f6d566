"""Losses, and the class weights in them."""

import numpy as np
import tensorflow as tf

from textclf import data
from textclf.errors import ConfigError


def example_losses(
    targets: tf.Tensor,
    logits: tf.Tensor,
    class_weights: tf.Tensor,
    multi_label: bool,
    label_smoothing: float,
) -> tf.Tensor:
    """Negative log-likelihood of each example, float32 [batch].

    One-of: softmax cross-entropy, times the weight of the true class. Multi-label: the sum over
    the classes of the sigmoid cross-entropy, whose positive term has the class's weight.
    Label smoothing s as in Szegedy et al. 2016: targets (1 - s) y + s / classes.

    Args:
        targets: float32 [batch, classes].
        logits: float32 [batch, classes].
        class_weights: float32 [classes].
    """
    if multi_label:
        losses = tf.nn.weighted_cross_entropy_with_logits(targets, logits, class_weights)
        return tf.reduce_sum(losses, axis=1)
    weights = tf.linalg.matvec(targets, class_weights)  # [batch]
    if label_smoothing:
        num_classes = tf.cast(tf.shape(targets)[1], tf.float32)
        targets = (1 - label_smoothing) * targets + label_smoothing / num_classes
    return weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def probabilities(logits: np.ndarray, multi_label: bool) -> np.ndarray:
    """float32 [n, classes] to the same; logits are divided by a temperature before."""
    if multi_label:
        return tf.sigmoid(logits).numpy()
    return tf.nn.softmax(logits).numpy()


def weigh_classes(
    setting: str | dict[str, float], dataset: data.Dataset, counts: np.ndarray
) -> list[float]:
    names = dataset.class_names
    if isinstance(setting, dict):
        if set(setting) != set(names):
            raise ConfigError(
                [
                    "training.class_weights: expected a weight for each of "
                    f"{', '.join(names)}, found {', '.join(setting)}"
                ]
            )
        return [float(setting[name]) for name in names]
    if setting == "none":
        return [1.0] * len(names)
    n = dataset.splits["train"].num_examples
    if dataset.multi_label:  # a positive example weighs as all negative ones of its class
        return [float(max(n - count, 1) / max(count, 1)) for count in counts]
    return [float(n / (len(names) * max(count, 1))) for count in counts]
