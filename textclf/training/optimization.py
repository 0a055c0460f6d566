"""The optimizer, the learning rate schedule, class weights, and the training step."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from textclf import batches, networks
from textclf.config import Training
from textclf.data import Dataset
from textclf.errors import ConfigError
from textclf.tasks import Task
from textclf.training.averaging import MovingAverage
from textclf.training.language_model import LanguageModelLoss
from textclf.training.recurrence import read_value
from textclf.training.row_adam import NgramAdam, RowAdam, Rows

# The first scale of the loss for float16, and the steps without overflow after which it doubles:
# the values of Micikevicius et al. (2018), "Mixed Precision Training".
_FIRST_SCALE = 2.0**15
_STEPS_TO_DOUBLE = 2000

# Of the effective number of texts of a class, see `weigh_classes`.
_EFFECTIVE_BASE = 0.999

# Dropout masks of a step: a layer may draw this many before it repeats those of the next step.
_DRAWS_PER_STEP = 64
_SEED_STATE = "seed_generator_state"  # Keras' name of the variable of a `SeedGenerator`


# === Optimizer ===


class _Group(NamedTuple):
    """Weights that share a Keras optimizer.

    Attributes:
        variables: trained weights.
        optimizer: built for them; a `RowAdam` or `NgramAdam` for one table of vectors.
        depth: of the network.
        factor: of the learning rate.
    """

    variables: list[keras.Variable]
    optimizer: keras.optimizers.Optimizer | RowAdam | NgramAdam
    depth: int
    factor: float


class Optimizer:
    """The optimizer of a network, which may treat its layers differently.

        optimizer = Optimizer(network, settings)
        optimizer.assign_rate(0.001)
        optimizer.apply(gradients, lowest=0)

    With `training.layer_decay` or `training.freeze_epochs`, each depth of the network has its own
    Keras optimizer: a smaller learning rate multiplies the update, while a smaller gradient would
    change nothing in Adam; and a frozen layer has neither updates nor moments nor weight decay,
    and its bias correction begins with its first update. Layers are frozen from the bottom up to
    a depth `lowest`, see `lowest_depth`. The learning rate of depth `l`, from 0
    for the embedding to L for the head, is multiplied by `layer_decay ** (L - l)` (Howard & Ruder
    2018, "Universal Language Model Fine-tuning", section 3.2).

    Adam computes only the token vectors that a batch uses, see `RowAdam`, unless the gradient of a
    step is a sum over parts or replicas, a step may be skipped, or an average needs all vectors
    after each step. With Adam, n-gram vectors are always trained by `NgramAdam`.

    Args:
        network: its trained weights are updated; made within the strategy's scope, as this object.
        settings: section `training`.
        num_replicas: of the strategy.
        more: further weights, which are trained as those of the head.
    """

    def __init__(
        self,
        network: networks.Network,
        settings: Training,
        *,
        num_replicas: int = 1,
        more: Sequence[keras.Variable] = (),
    ):
        table = network.encoder.embedding.embeddings
        is_by_row = (
            settings.optimizer == "adam"
            and settings.accumulate_steps == num_replicas == 1
            and settings.precision != "mixed_float16"
            and settings.average != "ema"
            and table.trainable
        )
        rate = settings.learning_rate
        self._row_adam = RowAdam(table, rate) if is_by_row else None
        self._subwords, ngram_adam = network.encoder.subwords, None
        if self._subwords is not None and settings.optimizer == "adam":
            ngram_adam = NgramAdam(self._subwords.table.embeddings, rate)
        by_row = [optimizer for optimizer in (self._row_adam, ngram_adam) if optimizer]
        depths = network.trained_by_depth
        depths[-1] = [*depths[-1], *more]
        if settings.layer_decay == 1 and not settings.freeze_epochs:
            depths = [[variable for group in depths for variable in group]]
        last = len(depths) - 1
        self._groups = []
        for depth, variables in enumerate(depths):
            factor = settings.layer_decay ** (last - depth)
            for row_optimizer in by_row if depth == 0 else ():
                self._groups.append(_Group([row_optimizer.table], row_optimizer, depth, factor))
                variables = [v for v in variables if v is not row_optimizer.table]
            if variables:
                optimizer = make_optimizer(settings)
                optimizer.build(variables)
                self._groups.append(_Group(variables, optimizer, depth, factor))
        self._settings = settings
        # The table whose gradient may be some rows without repetition; None without one.
        self.ngram_table = ngram_adam.table if ngram_adam else None

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables of the state, always in the same order."""
        return [variable for group in self._groups for variable in group.optimizer.variables]

    def lowest_depth(self, epoch: int) -> int:
        """Return the lowest depth that an epoch, from 1, trains; 0 if it trains all layers.

        In the first `training.freeze_epochs` it is that of the head. Afterwards it is 0, or with
        `training.unfreezing: gradual` one less in each epoch (Howard & Ruder 2018, section 3.3).
        """
        head = self._groups[-1].depth
        num_unfrozen = epoch - self._settings.freeze_epochs
        if num_unfrozen <= 0:
            return head
        return max(head - num_unfrozen, 0) if self._settings.unfreezing == "gradual" else 0

    def trained(self, *, lowest: int) -> list[keras.Variable]:
        """Return the weights from a depth on, which a step changes."""
        return [variable for group in self._from(lowest) for variable in group.variables]

    def _from(self, lowest: int) -> list[_Group]:
        return [group for group in self._groups if group.depth >= lowest]

    def assign_rate(self, rate: float | tf.Tensor) -> None:
        """Set the learning rate of the head; the layers below have theirs from it."""
        for group in self._groups:
            group.optimizer.learning_rate.assign(rate * group.factor)

    def gather(self, token_ids: tf.Tensor, *, lowest: int) -> Rows | None:
        """Return the token vectors of a batch, to be called before the network reads them.

        Returns:
            None if all vectors are updated at every step, or none.
        """
        if self._row_adam is None or lowest:
            return None
        if self._subwords is not None:
            # The network reads each distinct token once, in this order.
            distinct, _ = tf.unique(tf.reshape(token_ids, [-1]))
            token_ids = self._subwords.own_ids(distinct)
        return self._row_adam.gather(token_ids)

    def apply(self, gradients: Sequence, *, lowest: int, rows: Rows | None = None) -> None:
        """Update the weights `trained(lowest=...)` with their gradients, in the same order.

        Args:
            rows: of `gather`; the gradient of the token vectors is that of these rows.
        """
        start = 0
        for group in self._from(lowest):
            stop = start + len(group.variables)
            if isinstance(group.optimizer, RowAdam):
                assert rows is not None
                group.optimizer.apply(gradients[start], rows)
            elif isinstance(group.optimizer, NgramAdam):
                group.optimizer.apply(gradients[start])
            else:
                group.optimizer.apply(gradients[start:stop], group.variables)
            start = stop

    def flush(self) -> None:
        """Make the updates that are still to be made; before all token vectors are read."""
        if self._row_adam is not None:
            self._row_adam.flush()

    def current_value(self, variable: keras.Variable, ids: tf.Tensor | None = None) -> tf.Tensor:
        """Return the value that a trained weight has after `flush`, and change nothing.

        Args:
            ids: int32 [N], the rows to return; default: all.
        """
        if self._row_adam is not None and variable is self._row_adam.table:
            return self._row_adam.current_values(ids)
        return read_value(variable, ids)


def make_optimizer(settings: Training) -> keras.optimizers.Optimizer:
    """Return the Keras optimizer that the section `training` describes."""
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=settings.momentum)
    if settings.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rate, momentum=settings.momentum)
    if settings.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    return keras.optimizers.Adam(rate)


# === Schedule and class weights ===


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

    The effective number of n texts is (1 - b^n) / (1 - b) with b = 0.999: nearly n for few texts,
    and at most 1,000. The weights are inverse to it, with a mean of 1 (Cui et al. 2019,
    "Class-Balanced Loss Based on Effective Number of Samples").

    Args:
        setting: `training.class_weights`: "none", "balanced", "effective", or a weight for each
            class.

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
    if setting == "effective":
        counts = np.maximum(train.class_counts, 1).astype(np.float64)
        weights = 1 / (1 - _EFFECTIVE_BASE**counts)
        return [float(weight) for weight in weights / weights.mean()]
    return task.balanced_weights(train.num_examples, train.class_counts)


# === Training step ===


class LossScale:
    """The factor of the loss in float16, which keeps small gradients from becoming zero.

    It doubles after 2,000 steps without an overflow and halves at each overflow, whose step is
    skipped (Micikevicius et al. 2018, section 3.2).

    Attributes:
        value: float32 [], the factor.
    """

    def __init__(self) -> None:
        self.value = keras.Variable(_FIRST_SCALE, trainable=False, name="loss_scale")
        self._steps = keras.Variable(0, trainable=False, dtype="int64", name="loss_scale_steps")

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of the state."""
        return [self.value, self._steps]

    def update(self, is_finite: tf.Tensor) -> None:
        """Adjust the factor after a step whose gradients were finite or not, bool []."""
        steps = tf.where(is_finite, self._steps.value + 1, tf.zeros([], tf.int64))
        doubles = steps >= _STEPS_TO_DOUBLE
        grown = tf.where(doubles, self.value.value * 2, self.value.value)
        self.value.assign(tf.where(is_finite, grown, tf.maximum(self.value.value / 2, 1.0)))
        self._steps.assign(tf.where(doubles, tf.zeros_like(steps), steps))


class Steps(NamedTuple):
    """Results of training steps.

    Attributes:
        losses: float32 [steps].
        norms: gradient norm of each trained variable, float32 [steps, variables]: before clipping,
            and 0 for frozen ones.
        num_examples: int32 [steps], of each batch.
        last_rows: int32 [B], `Batch.rows` of the last step.
    """

    losses: np.ndarray
    norms: np.ndarray
    num_examples: np.ndarray
    last_rows: np.ndarray


class TrainStep:
    """The graph of training steps.

        train_step = TrainStep(
            network, optimizer, task, settings, class_weights=[1.0, 1.0], strategy=strategy
        )
        steps = train_step(iter(batches), [0.001, 0.001], step=0, lowest=0)

    A call computes several steps, because calling a graph and reading its results is a large part
    of a step on short texts. With several replicas, a call is one step.

    A step computes the mean loss of the batch and its penalty, clips the gradients, and applies
    them; values that are not finite never reach the weights. Every replica of the strategy computes
    a share of the batch, in `training.accumulate_steps` parts one after the other. Each part has
    its own dropout masks, which depend on the seed, the step and the part only.

    Args:
        network, optimizer, average, language_model: made within the strategy's scope.
        class_weights: weight of each class in the loss.

    Attributes:
        average: the moving average of the weights, updated after each step; None without one.
    """

    def __init__(
        self,
        network: networks.Network,
        optimizer: Optimizer,
        task: Task,
        settings: Training,
        *,
        class_weights: Sequence[float],
        strategy: tf.distribute.Strategy,
        average: MovingAverage | None = None,
        language_model: LanguageModelLoss | None = None,
    ):
        self._language_model = language_model
        self._network = network
        self._optimizer = optimizer
        self._task = task
        self._settings = settings
        self._weight_of_class = tf.constant(class_weights, tf.float32)
        self._strategy = strategy
        self.average = average
        self._num_parts = settings.accumulate_steps * strategy.num_replicas_in_sync
        self._is_loop = strategy.num_replicas_in_sync == 1
        self._seeds = [
            (state, int(state.numpy()[0]))
            for state in network.dropout_states
            if state.name == _SEED_STATE
        ]
        self._loss_scale = None
        if settings.precision == "mixed_float16":
            with strategy.scope():
                self._loss_scale = LossScale()
        # By the lowest trained depth; each is traced when it is called for the first time.
        self._graphs: dict[int, Any] = {}

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of the state that are neither the network's nor the optimizer's."""
        return [
            *(self._loss_scale.variables if self._loss_scale else ()),
            *(self.average.variables if self.average else ()),
            *(self._language_model.variables if self._language_model else ()),
        ]

    @property
    def tracing_count(self) -> int:
        """Number of traced graphs: one for each lowest depth, whatever the shapes."""
        return sum(graph.experimental_get_tracing_count() for graph in self._graphs.values())

    def __call__(self, iterator: Any, rates: Sequence[float], *, step: int, lowest: int) -> Steps:
        """Train on the next batches of an iterator.

        Args:
            iterator: of a `tf.data.Dataset` of `Batch`es; it must have as many as there are rates.
            rates: learning rate of each step; one with several replicas.
            step: steps done before, over all epochs.
            lowest: depth of the lowest trained layer, see `Optimizer.lowest_depth`.

        Returns:
            The steps up to the first one whose loss or gradient is not finite.
        """
        if lowest not in self._graphs:
            self._graphs[lowest] = tf.function(
                self._graph(lowest),
                input_signature=[
                    tf.data.IteratorSpec(iterator.element_spec),
                    tf.TensorSpec([None], tf.float32),
                    tf.TensorSpec([], tf.int64),
                ],
                autograph=False,
            )
        results = self._graphs[lowest](
            iterator, tf.constant(rates, tf.float32), tf.constant(step, tf.int64)
        )
        return Steps(*(value.numpy() for value in results))

    def _graph(self, lowest: int) -> Callable[..., tuple[tf.Tensor, ...]]:
        train = self._one_step(lowest)
        num_variables = len(self._network.trainable_variables)

        def train_steps(
            iterator: Iterator, rates: tf.Tensor, step: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            if not self._is_loop:
                batch = next(iterator)
                loss, norms = train(batch, rates[0], step)
                return loss[tf.newaxis], norms[tf.newaxis], tf.shape(batch.rows), batch.rows
            num_steps = tf.size(rates)

            def body(
                i: tf.Tensor, _: tf.Tensor, rows: tf.Tensor, *arrays: tf.TensorArray
            ) -> tuple[Any, ...]:
                batch = next(iterator)
                loss, norms = train(batch, rates[i], step + tf.cast(i, tf.int64))
                is_finite = tf.math.is_finite(loss) & tf.reduce_all(tf.math.is_finite(norms))
                values = loss, norms, tf.size(batch.rows)
                written = [array.write(i, v) for array, v in zip(arrays, values, strict=True)]
                return i + 1, is_finite, batch.rows, *written

            first = (
                tf.constant(0),
                tf.constant(True),
                tf.zeros([0], tf.int32),
                tf.TensorArray(tf.float32, num_steps, element_shape=[]),
                tf.TensorArray(tf.float32, num_steps, element_shape=[num_variables]),
                tf.TensorArray(tf.int32, num_steps, element_shape=[]),
            )
            shapes: list[Any] = [tf.TensorShape([]), tf.TensorShape([]), tf.TensorShape([None])]
            done, _, rows, *arrays = tf.while_loop(
                lambda i, is_finite, *_: (i < num_steps) & is_finite,
                body,
                first,
                shape_invariants=(*shapes, *[tf.TensorShape(None)] * 3),
                parallel_iterations=1,
            )
            return *(array.stack()[:done] for array in arrays), rows

        return train_steps

    def _one_step(self, lowest: int) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
        """Return a function of a batch, a rate and a step, which gives the loss and the norms."""
        variables = self._optimizer.trained(lowest=lowest)
        strategy = self._strategy

        def first(values: Any) -> Any:
            # The values of all replicas are equal.
            return strategy.experimental_local_results(values)[0]

        def train(
            batch: batches.Batch, rate: tf.Tensor, step: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            self._optimizer.assign_rate(rate)
            token_ids, lengths = batch.features["token_ids"], batch.features["lengths"]
            values = token_ids, lengths, batch.targets, batch.weights
            unknown_subwords = batch.features.get("unknown_subwords")
            ids = token_ids
            if self._language_model is not None:
                candidates = self._language_model.draw(step)
                ids = tf.concat([tf.reshape(token_ids, [-1]), candidates], axis=0)
            rows = self._optimizer.gather(ids, lowest=lowest)
            total, norms, gradients = strategy.run(
                lambda: self._replica_gradients(variables, values, unknown_subwords, rows, step)
            )
            total, norms = first(total), first(norms)
            gradients = [first(gradient) for gradient in gradients]

            def update() -> tf.Tensor:
                # Outside of `strategy.run`, where Keras would sum the gradients of the replicas.
                self._optimizer.apply(gradients, lowest=lowest, rows=rows)
                if self.average is not None:
                    self.average.update(step)
                return tf.constant(0)

            if self._loss_scale is None:
                update()
            else:
                is_finite = tf.math.is_finite(total) & tf.math.is_finite(tf.norm(norms))
                tf.cond(is_finite, update, lambda: tf.constant(0))
                self._loss_scale.update(is_finite)
            return total, self._norms_of_all(norms, variables)

        return train

    def _norms_of_all(self, norms: tf.Tensor, variables: list[keras.Variable]) -> tf.Tensor:
        """Return the norms in the order of the network's trained variables, 0 for frozen ones."""
        positions = {id(variable): index for index, variable in enumerate(variables)}
        return tf.stack(
            [
                norms[positions[id(v)]] if id(v) in positions else tf.zeros([])
                for v in self._network.trainable_variables
            ]
        )

    def _replica_gradients(
        self,
        variables: list[keras.Variable],
        batch: tuple[tf.Tensor, ...],
        unknown_subwords: tf.Tensor | None,
        rows: Rows | None,
        step: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Return the loss, the gradient norms, and the clipped gradients, of the whole batch.

        Args:
            batch: token ids int32 [B, T], lengths int32 [B], targets float32 [B, C] and weights
                float32 [B].
            unknown_subwords: of the whole batch, as in `networks.Features`.
            rows: of `Optimizer.gather`.
            step: int64 [], steps done before.
        """
        settings = self._settings
        context = tf.distribute.get_replica_context()
        num_in_replica = settings.accumulate_steps
        first_part = context.replica_id_in_sync_group * num_in_replica
        if num_in_replica == 1:
            total, gradients = self._part_gradients(
                variables, batch, unknown_subwords, rows, step, first_part
            )
        else:
            _, total, gradients = tf.while_loop(
                lambda part, *_: part < first_part + num_in_replica,
                lambda part, total, gradients: (
                    part + 1,
                    *_add(
                        (total, gradients),
                        self._part_gradients(variables, batch, unknown_subwords, None, step, part),
                    ),
                ),
                (first_part, tf.zeros([]), [tf.zeros(variable.shape) for variable in variables]),
                parallel_iterations=1,  # several parts at once would need the memory of all
            )
        slices = gradients
        gradients = [g.values if isinstance(g, tf.IndexedSlices) else g for g in slices]
        if self._strategy.num_replicas_in_sync > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, total)
        if self._loss_scale is not None:
            scale = self._loss_scale.value.value
            total, gradients = total / scale, [gradient / scale for gradient in gradients]
        norms = tf.stack([tf.norm(gradient) for gradient in gradients])
        norm = tf.norm(norms)
        is_finite = tf.math.is_finite(total) & tf.math.is_finite(norm)
        if settings.clip_value is not None:
            limit = settings.clip_value
            gradients = [tf.clip_by_value(gradient, -limit, limit) for gradient in gradients]
            norm = tf.linalg.global_norm(gradients)
        if settings.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, settings.clip_norm, norm)
        gradients = [tf.where(is_finite, gradient, 0.0) for gradient in gradients]
        for i, gradient in enumerate(slices):
            if isinstance(gradient, tf.IndexedSlices):
                gradients[i] = tf.IndexedSlices(gradients[i], gradient.indices)
        return total, norms, gradients

    def _part_gradients(
        self,
        variables: list[keras.Variable],
        batch: tuple[tf.Tensor, ...],
        unknown_subwords: tf.Tensor | None,
        rows: Rows | None,
        step: tf.Tensor,
        part: tf.Tensor,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return what a part of the batch adds to the loss and to its gradients.

        Args:
            part: int32 [], from 0, over all replicas.
        """
        batch_size = tf.cast(tf.shape(batch[1])[0], tf.float32)
        token_ids, lengths, targets, weights = _rows_of_part(batch, part, self._num_parts)
        features: networks.Features = {"token_ids": token_ids, "lengths": lengths}
        if unknown_subwords is not None:
            features["unknown_subwords"] = unknown_subwords
        self._set_dropout(step, part)
        with tf.GradientTape() as tape:
            losses = self._losses(features, targets, step)
            loss = tf.reduce_sum(losses * weights) / batch_size
            # Every part adds its share, so that their sum is the penalty once.
            penalties = self._network.losses
            penalty = tf.add_n(penalties) if penalties else tf.zeros([])
            total = loss + penalty / self._num_parts
            if self._loss_scale is not None:
                total *= self._loss_scale.value.value
        gradients = tape.gradient(total, [variable.value for variable in variables])
        # The language model reads token vectors several times, in an order of TensorFlow's.
        table = self._network.encoder.embedding.embeddings
        table_size = None if self._language_model is None else table.shape[0]
        # A sum over parts is dense.
        ngrams = self._optimizer.ngram_table if self._num_parts == 1 else None
        return total, [
            rows.sum_gradient(gradient, table_size=table_size)
            if rows is not None and variable is table
            else gradient
            if variable is ngrams
            else tf.convert_to_tensor(gradient)
            for variable, gradient in zip(variables, gradients, strict=True)
        ]

    def _losses(
        self, features: networks.Features, targets: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """Return the loss of each text of a batch, float32 [B].

        Args:
            targets: float32 [B, C].
            step: int64 [], steps done before, for what is drawn at random.
        """
        outputs = self._network.encoder(features, training=True)  # [R, T, D]
        vectors = self._network.head.pool(outputs, features["lengths"])
        losses = self._task.losses(
            targets,
            self._network.logits(vectors, training=True),
            self._weight_of_class,
            self._settings.label_smoothing,
        )
        if self._language_model is None:
            return losses
        token_ids, lengths = features["token_ids"], features["lengths"]
        candidates = self._language_model.draw(step)
        return losses + self._language_model.losses(outputs, token_ids, lengths, candidates)

    def _set_dropout(self, step: tf.Tensor, part: tf.Tensor) -> None:
        """Set the states of the dropout layers to those of a part of a step.

        A state is the layer's seed and the number of its next mask.
        """
        number = (step * self._num_parts + tf.cast(part, tf.int64)) * _DRAWS_PER_STEP
        for state, seed in self._seeds:
            state.assign(tf.stack([tf.constant(seed, tf.int64), number]))


def _rows_of_part(
    rows: tuple[tf.Tensor, ...], part: tf.Tensor, num_parts: int
) -> tuple[tf.Tensor, ...]:
    """Return a part of the rows of a batch; their last tensor is the weight of each row.

    If the rows do not suffice, the last parts repeat row 0 with weight 0.
    """
    if num_parts == 1:
        return rows
    num_rows = tf.shape(rows[0])[0]
    share = -(-num_rows // num_parts)
    positions = part * share + tf.range(share)
    is_counted = positions < num_rows
    positions = tf.where(is_counted, positions, 0)
    *others, weights = (tf.gather(values, positions) for values in rows)
    return *others, tf.where(is_counted, weights, 0.0)


def _add(sums: tuple, values: tuple) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Add the loss and the gradients of a part to their sums."""
    return sums[0] + values[0], [a + b for a, b in zip(sums[1], values[1], strict=True)]
