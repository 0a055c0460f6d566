"""Validation after each epoch: logits of the split, and the figures that follow from them."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from textclf import batches, evaluation, networks
from textclf.tasks import Task

_BATCH_SIZE = 256


class Validator:
    """Computes the logits of a validation split and their figures.

    Attributes:
        targets: bool [n, C], the classes of each example.
    """

    def __init__(self, network: networks.Network, task: Task, shards: batches.Shards):
        self._task = task
        self._shards = shards
        self._batches = batches.ordered_batches(shards, batch_size=_BATCH_SIZE)
        self._logits_of = tf.function(
            lambda token_ids, lengths: network(
                {"token_ids": token_ids, "lengths": lengths}, training=False
            ),
            input_signature=[
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None], tf.int32),
            ],
            autograph=False,
        )
        self.targets = self._collect(lambda batch: batch.targets) > 0

    def logits(self) -> np.ndarray:
        """Return the logits of all examples with the current weights, float32 [n, C]."""
        return self._collect(
            lambda batch: self._logits_of(batch.features["token_ids"], batch.features["lengths"])
        )

    def figures(self, logits: np.ndarray) -> dict[str, float]:
        """Return `val_loss`, `val_accuracy` and `val_macro_f1` of logits float32 [n, C].

        Multi-label: thresholds are chosen on these logits; accuracy counts an example whose
        classes are all right.
        """
        task = self._task
        loss = task.losses(
            tf.constant(self.targets, tf.float32), tf.constant(logits), tf.ones([task.num_outputs])
        )
        p = task.probabilities(tf.constant(logits)).numpy()
        y_true = task.true_classes(self.targets)
        y_pred = task.select(p, evaluation.fit_thresholds(task, y_true, p))
        is_right = task.indicators(y_pred) == self.targets
        return {
            "val_loss": float(np.mean(loss.numpy())),
            "val_accuracy": float(is_right.all(axis=1).mean()),
            "val_macro_f1": evaluation.macro_f1(task, y_true, y_pred),
        }

    def _collect(self, values_of: Callable[[batches.Batch], tf.Tensor]) -> np.ndarray:
        """Return values of all examples in the order of the rows, float32 [n, C]."""
        values = np.empty((self._shards.num_examples, self._task.num_outputs), np.float32)
        for batch in self._batches:
            values[batch.rows.numpy()] = values_of(batch).numpy()
        return values
