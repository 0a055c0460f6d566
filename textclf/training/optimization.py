"""The optimizer, the learning rate schedule, class weights, and the training step."""

import math
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from textclf import networks
from textclf.config import Training
from textclf.data import Dataset
from textclf.errors import ConfigError
from textclf.tasks import Task

# Token ids int32 [B, T], lengths int32 [B], targets float32 [B, C] and weights float32 [B] to the
# loss float32 [] and the gradient norms float32 [trained variables].
TrainStep = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def make_optimizer(settings: Training) -> keras.optimizers.Optimizer:
    """Return the optimizer that the section `training` describes."""
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=settings.momentum)
    if settings.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rate, momentum=settings.momentum)
    if settings.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    return keras.optimizers.Adam(rate)


def learning_rate(
    settings: Training,
    *,
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    plateau_factor: float,
) -> float:
    """Return the learning rate of a step.

    Args:
        step: steps done before, over all epochs.
        total_steps: maximum number of steps; the end of the schedule `cosine`.
        plateau_factor: factor of the schedule `plateau`, which the loop lowers.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    step -= settings.warmup_steps
    factor = plateau_factor
    if settings.schedule == "cosine":
        share = min(step / max(total_steps - settings.warmup_steps, 1), 1.0)
        factor = 0.5 * (1 + math.cos(math.pi * share))
    elif settings.schedule == "exponential":
        factor = settings.decay_rate ** (step / steps_per_epoch)
    return settings.learning_rate * factor


def weigh_classes(setting: str | dict[str, float], task: Task, dataset: Dataset) -> list[float]:
    """Return the weight of each class in the loss.

    Args:
        setting: `training.class_weights`: "none", "balanced", or a weight for each class.

    Raises:
        ConfigError: the weights are not those of the classes.
    """
    names, train = dataset.class_names, dataset.splits["train"]
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
    return task.balanced_weights(train.num_examples, train.class_counts)


def make_step(
    network: networks.Network,
    optimizer: keras.optimizers.Optimizer,
    task: Task,
    settings: Training,
    *,
    class_weights: Sequence[float],
    strategy: tf.distribute.Strategy,
) -> TrainStep:
    """Return the graph of one training step.

    It computes the mean loss of the batch and its penalty, clips the gradients, and applies them;
    values that are not finite never reach the weights. Every replica of the strategy computes a
    share of the batch.

    Args:
        network, optimizer: made within the strategy's scope.
        class_weights: weight of each class in the loss.
    """
    replica_step = _make_replica_step(
        network, optimizer, task, settings, class_weights, strategy.num_replicas_in_sync
    )

    def train_step(
        token_ids: tf.Tensor, lengths: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        num_rows = tf.shape(lengths)[0]
        batch_size = tf.cast(num_rows, tf.float32)
        if strategy.num_replicas_in_sync == 1:
            return replica_step(token_ids, lengths, targets, weights, batch_size)
        share = -(-num_rows // strategy.num_replicas_in_sync)

        def step_on_share() -> tuple[tf.Tensor, tf.Tensor]:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            rows = replica * share + tf.range(share)
            # If the rows do not suffice, the last replicas repeat row 0 without counting it.
            is_counted = rows < num_rows
            rows = tf.where(is_counted, rows, 0)
            return replica_step(
                tf.gather(token_ids, rows),
                tf.gather(lengths, rows),
                tf.gather(targets, rows),
                tf.where(is_counted, tf.gather(weights, rows), 0.0),
                batch_size,
            )

        total, norms = strategy.run(step_on_share)
        # The values of all replicas are equal.
        total = strategy.experimental_local_results(total)[0]
        norms = strategy.experimental_local_results(norms)[0]
        return total, norms

    signature = [
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None, task.num_outputs], tf.float32),
        tf.TensorSpec([None], tf.float32),
    ]
    return tf.function(train_step, input_signature=signature, autograph=False)


def _make_replica_step(
    network: networks.Network,
    optimizer: keras.optimizers.Optimizer,
    task: Task,
    settings: Training,
    class_weights: Sequence[float],
    num_replicas: int,
) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    variables = network.trainable_variables
    weight_of_class = tf.constant(class_weights, tf.float32)

    def replica_step(
        token_ids: tf.Tensor,  # int32 [share of B, T]
        lengths: tf.Tensor,  # int32 [share of B]
        targets: tf.Tensor,  # float32 [share of B, C]
        weights: tf.Tensor,  # float32 [share of B], 0 for rows that only fill up
        batch_size: tf.Tensor,  # float32 [], rows of all replicas
    ) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = network({"token_ids": token_ids, "lengths": lengths}, training=True)
            losses = task.losses(targets, logits, weight_of_class, settings.label_smoothing)
            loss = tf.reduce_sum(losses * weights) / batch_size
            # Every replica adds its share, so that their sum is the penalty once.
            penalty = tf.add_n(network.losses) if network.losses else tf.zeros([])
            total = loss + penalty / num_replicas
        gradients = [
            tf.convert_to_tensor(gradient)
            for gradient in tape.gradient(total, [v.value for v in variables])
        ]
        if num_replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, total)
        norms = tf.stack([tf.norm(gradient) for gradient in gradients])
        is_finite = tf.math.is_finite(total) & tf.math.is_finite(tf.norm(norms))
        if settings.clip_value is not None:
            limit = settings.clip_value
            gradients = [tf.clip_by_value(gradient, -limit, limit) for gradient in gradients]
        if settings.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, settings.clip_norm)
        # Keras adds up the gradients of all replicas, which are equal here, so each gives its
        # share.
        gradients = [tf.where(is_finite, gradient, 0.0) / num_replicas for gradient in gradients]
        optimizer.apply(gradients, variables)
        return total, norms

    return replica_step
