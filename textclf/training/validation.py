"""Validation after each epoch: logits of the split, and the figures that follow from them."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from textclf import batches, evaluation, networks
from textclf.tasks import Task
from textclf.training.cluster import Cluster

_BATCH_SIZE = 256


class Validator:
    """Computes the logits of a validation split and their figures.

    Args:
        network: gives the logits.
        task: of the data.
        shards: the encoded split.
        cluster: its workers compute a share of the batches each.
        is_trained: whether it is the network that is being trained. Another one computes with the
            weights that `logits` receives, for instance in float32 beside a training in float16.

    Attributes:
        targets: bool [n, C], the classes of each example.
    """

    def __init__(
        self,
        network: networks.Network,
        task: Task,
        shards: batches.Shards,
        *,
        cluster: Cluster | None = None,
        is_trained: bool = True,
    ):
        self._cluster = cluster
        self._network = network
        self._is_trained = is_trained
        self._task = task
        self._shards = shards
        self._batches = batches.ordered_batches(shards, batch_size=_BATCH_SIZE)
        self._logits_of = tf.function(
            lambda features: network(features, training=False),
            input_signature=[self._batches.element_spec.features],
            autograph=False,
        )
        self.targets = self._collect(lambda batch: batch.targets) > 0

    def logits(self, weights: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """Return the logits of all examples, float32 [n, C].

        Args:
            weights: of the network by name; default: its current ones. They are not assigned to a
                network that is being trained, which has them.
        """
        if weights is not None and not self._is_trained:
            for name, variable in self._network.named_parameters.items():
                variable.assign(weights[name])
        logits = self._collect(lambda batch: self._logits_of(batch.features), self._cluster)
        if self._cluster is None:
            return logits
        return self._cluster.sum(logits, "the validation of the other workers")

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

    def _collect(
        self, values_of: Callable[[batches.Batch], tf.Tensor], cluster: Cluster | None = None
    ) -> np.ndarray:
        """Return values of all examples in the order of the rows, float32 [n, C].

        Args:
            cluster: leave zeros in the batches of its other workers.
        """
        index, num_workers = (cluster.index, cluster.num_workers) if cluster else (0, 1)
        values = np.zeros((self._shards.num_examples, self._task.num_outputs), np.float32)
        for number, batch in enumerate(self._batches):
            if number % num_workers == index:
                values[batch.rows.numpy()] = values_of(batch).numpy()
        return values
