"""Losses and regularisers that textclf has no setting for, to be measured by `recipes.py`.

Each replaces the loss of a training step. All that is drawn depends on the step only.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

SEED = 7
# Share of outputs and of recurrent weights that are zeroed.
OUTPUT_DROPOUT, WEIGHT_DROPOUT = 0.3, 0.3
# Exponent of the focal loss, beta of the effective number, and alpha of mixup.
FOCUS, EFFECTIVE, MIXUP = 2.0, 0.999, 0.2


def use(train_step: Any, name: str, dataset: Any) -> None:
    """Let a `TrainStep`, which was not called before, use a technique."""
    counts = dataset.splits["train"].class_counts.astype(np.float64)
    technique = TECHNIQUES[name](train_step, counts, dataset.splits["train"].num_examples)
    if technique is not None:
        train_step._losses = technique


def _task_losses(step: Any, targets: Any, logits: Any) -> Any:
    return step._task.losses(targets, logits, step._weight_of_class, step._settings.label_smoothing)


# === Regularisers ===


def variational_outputs(step: Any, *_: Any) -> Callable:
    """Zero features of the encoder's outputs at all positions of a text (Gal & Ghahramani 2016)."""
    import tensorflow as tf

    def losses(features: Any, targets: Any, number: Any) -> Any:
        outputs = step._network.encoder(features, True)
        shape = [tf.shape(outputs)[0], 1, outputs.shape[-1]]
        mask = tf.nn.experimental.stateless_dropout(
            tf.ones(shape), OUTPUT_DROPOUT, [SEED, tf.cast(number, tf.int32)]
        )
        vectors = step._network.head.pool(outputs * mask, features["lengths"])
        return _task_losses(step, targets, step._network.logits(vectors, True))

    return losses


def weight_dropout(step: Any, *_: Any) -> Callable:
    """Zero entries of the recurrent kernels (Merity et al. 2018)."""
    import keras
    import tensorflow as tf

    kernels = [layer.cell.recurrent_kernel for layer in step._network.encoder.recurrent_layers]

    def losses(features: Any, targets: Any, number: Any) -> Any:
        dropped = [
            tf.nn.experimental.stateless_dropout(
                kernel.value, WEIGHT_DROPOUT, [SEED + i, tf.cast(number, tf.int32)]
            )
            for i, kernel in enumerate(kernels)
        ]
        with keras.StatelessScope(list(zip(kernels, dropped, strict=True))):
            logits = step._network(features, training=True)
        return _task_losses(step, targets, logits)

    return losses


def _adversarial(norm: float) -> Callable:
    def make(step: Any, *_: Any) -> Callable:
        """Add the loss at token vectors moved along its gradient (Miyato et al. 2017)."""
        import tensorflow as tf

        network = step._network

        def losses(features: Any, targets: Any, number: Any) -> Any:
            x, lengths = network.encoder.embed(features["token_ids"], True), features["lengths"]

            def losses_at(x: Any) -> Any:
                outputs = network.encoder.encode_vectors(x, lengths, True)
                vectors = network.head.pool(outputs, lengths)
                return _task_losses(step, targets, network.logits(vectors, True))

            with tf.GradientTape() as tape:
                tape.watch(x)
                clean = losses_at(x)
            gradient = tape.gradient(tf.reduce_sum(clean), x)
            size = tf.sqrt(tf.reduce_sum(tf.square(gradient), axis=[1, 2], keepdims=True))
            # Vectors are not normalised: the norm is relative to that of a text's vectors.
            scale = tf.sqrt(tf.reduce_sum(tf.square(x), axis=[1, 2], keepdims=True))
            moved = x + tf.stop_gradient(norm * scale * gradient / (size + 1e-12))
            return (clean + losses_at(moved)) / 2

        return losses

    return make


def _r_drop(weight: float) -> Callable:
    def make(step: Any, *_: Any) -> Callable:
        """Add the divergence of two passes with other dropout masks (Liang et al. 2021)."""
        import tensorflow as tf

        def losses(features: Any, targets: Any, number: Any) -> Any:
            first = step._network(features, training=True)
            second = step._network(features, training=True)
            both = [_task_losses(step, targets, logits) for logits in (first, second)]
            p, q = tf.nn.log_softmax(first), tf.nn.log_softmax(second)
            divergence = tf.reduce_sum((tf.exp(p) - tf.exp(q)) * (p - q), axis=1) / 2
            return (both[0] + both[1]) / 2 + weight * divergence

        return losses

    return make


def mixup(step: Any, *_: Any) -> Callable:
    """Mix pooled vectors and targets of pairs of texts (Guo et al. 2019, after the encoder)."""
    import tensorflow as tf

    def losses(features: Any, targets: Any, number: Any) -> Any:
        seed = [SEED, tf.cast(number, tf.int32)]
        vectors = step._network.encode(features, True)
        rows = tf.shape(vectors)[0]
        gammas = tf.random.stateless_gamma([2, rows], seed, MIXUP)
        share = tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1])
        share = tf.maximum(share, 1 - share)[:, tf.newaxis]  # [B, 1]
        order = tf.argsort(tf.random.stateless_uniform([rows], seed))
        mixed = share * vectors + (1 - share) * tf.gather(vectors, order)
        goals = share * targets + (1 - share) * tf.gather(targets, order)
        return _task_losses(step, goals, step._network.logits(mixed, True))

    return losses


# === Imbalance ===


def focal(step: Any, *_: Any) -> Callable:
    """Give less weight to texts that are classified well (Lin et al. 2017)."""
    import tensorflow as tf

    def losses(features: Any, targets: Any, number: Any) -> Any:
        logits = step._network(features, training=True)
        if step._task.is_multi_label:
            p = tf.sigmoid(logits)
            of_target = targets * p + (1 - targets) * (1 - p)
            each = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
            return tf.reduce_sum((1 - of_target) ** FOCUS * each, axis=1)
        of_target = tf.reduce_sum(targets * tf.nn.softmax(logits), axis=1)
        return (1 - of_target) ** FOCUS * _task_losses(step, targets, logits)

    return losses


def effective_number(step: Any, counts: np.ndarray, num_examples: int) -> None:
    """Weigh classes by the inverse of their effective number (Cui et al. 2019)."""
    import tensorflow as tf

    weights = (1 - EFFECTIVE) / (1 - EFFECTIVE ** np.maximum(counts, 1))
    weights = weights / weights.mean()
    step._weight_of_class = tf.constant(weights, tf.float32)


def balanced_weights(step: Any, counts: np.ndarray, num_examples: int) -> None:
    """Weigh classes as `training.class_weights: balanced`."""
    import tensorflow as tf

    weights = step._task.balanced_weights(num_examples, counts)
    step._weight_of_class = tf.constant(weights, tf.float32)


def logit_adjustment(step: Any, counts: np.ndarray, num_examples: int) -> Callable:
    """Add the logarithm of the class shares to the logits in the loss (Menon et al. 2021)."""
    import tensorflow as tf

    shares = np.maximum(counts, 1) / num_examples
    if step._task.is_multi_label:
        shares = shares / (1 - np.minimum(shares, 0.999))  # the odds
    adjustment = tf.constant(np.log(shares), tf.float32)

    def losses(features: Any, targets: Any, number: Any) -> Any:
        logits = step._network(features, training=True)
        return _task_losses(step, targets, logits + adjustment)

    return losses


TECHNIQUES: dict[str, Callable] = {
    "variational": variational_outputs,
    "weightdrop": weight_dropout,
    "adversarial1": _adversarial(0.1),
    "adversarial3": _adversarial(0.3),
    "rdrop1": _r_drop(1.0),
    "rdrop4": _r_drop(4.0),
    "mixup": mixup,
    "focal": focal,
    "effective": effective_number,
    "balanced": balanced_weights,
    "adjusted": logit_adjustment,
}
