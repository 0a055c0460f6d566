"""Adam for tables of vectors, computed only for the rows that a batch uses."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

# The defaults of Keras' Adam, from Kingma & Ba (2015); epsilon is Keras'.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7
# While a row is not used, each update of it is this fraction of the one before.
_DECAY = _BETA_1 / np.sqrt(_BETA_2)


class Rows(NamedTuple):
    """Rows of a table that a batch uses, up to date.

    Attributes:
        ids: int32 [U], without repetition.
        positions: int32 [N], the row of each token of the batch.
        values, first_moments, second_moments: float32 [U, E].
    """

    ids: tf.Tensor
    positions: tf.Tensor
    values: tf.Tensor
    first_moments: tf.Tensor
    second_moments: tf.Tensor

    def sum_gradient(
        self, gradient: tf.IndexedSlices, *, table_size: int | None = None
    ) -> tf.Tensor:
        """Return the gradient of each row, float32 [U, E], from that of each token.

        Args:
            gradient: its values are in the order of the tokens of `gather`.
            table_size: rows of the table; if given, the values may have any order.
        """
        number, positions = tf.size(self.ids), self.positions
        if table_size is not None:
            position_of = tf.scatter_nd(self.ids[:, tf.newaxis], tf.range(number), [table_size])
            positions = tf.gather(position_of, gradient.indices)
        return tf.math.unsorted_segment_sum(gradient.values, positions, number)


class RowAdam:
    """Adam for a table of vectors, computed only for the rows that a batch uses.

        rows = optimizer.gather(token_ids)  # before the batch reads the table
        ...
        optimizer.apply(rows.sum_gradient(gradient), rows)

    Adam changes a row also in the steps whose batches do not use it, because its moments decay
    slowly. Here these updates are made when the row is used again, before it is read, in closed
    form: after step s, without gradients, step s + i subtracts

        rate * b1^i m / (sqrt(b2^i v) + epsilon)  =  rate * d^i * m / (sqrt(v) + epsilon),

    where `d = b1 / sqrt(b2)`, `m` and `v` are the moments after step s, and `rate` contains the
    learning rate of step s + i and its bias correction. The only approximation is that epsilon on
    the right is not divided by sqrt(b2^i), which is .995 after ten steps, when the updates have
    fallen to a third. So training is that of dense Adam (Kingma & Ba 2015), in a time that depends
    on the batch and not on the vocabulary. Keras' own Adam updates all rows.

    All rows are brought up to date after so many steps, and when `flush` is called.

    Args:
        table: float32 [V, E], trained.
        rate: first learning rate.
        steps_to_flush: the most steps without a flush.

    Attributes:
        table: see above.
    """

    def __init__(self, table: keras.Variable, rate: float, *, steps_to_flush: int = 4096):
        self._steps_to_flush = steps_to_flush
        self.table = table
        self.learning_rate = keras.Variable(rate, trainable=False, name="learning_rate")
        self._first_moments = _state(table.shape, "float32", "first_moments")
        self._second_moments = _state(table.shape, "float32", "second_moments")
        self._num_updates = _state((), "int64", "num_updates")
        # Steps since the last flush, in all and before the last update of each row.
        self._steps = _state((), "int32", "steps")
        self._updated_at = _state(table.shape[:1], "int32", "updated_at")
        # Sum of the factors of the updates that a row lacks, by the step of its last update.
        self._lacking = _state((steps_to_flush + 1,), "float32", "lacking")
        # Not a decorator: TensorFlow would keep every table in memory.
        self._flush_graph = tf.function(self._flush, autograph=False)

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables of the state, always in the same order."""
        return [
            self.learning_rate,
            self._first_moments,
            self._second_moments,
            self._num_updates,
            self._steps,
            self._updated_at,
            self._lacking,
        ]

    def gather(self, token_ids: tf.Tensor) -> Rows:
        """Bring the rows of a batch up to date, in the table too, and return them.

        Args:
            token_ids: int32 of any shape, N ids.
        """
        ids, positions = tf.unique(tf.reshape(token_ids, [-1]))  # [U], [N]
        values, first, second = self._current(ids)  # [U, E] each
        self.table.value.scatter_update(tf.IndexedSlices(values, ids))
        return Rows(ids, positions, values, first, second)

    def apply(self, gradient: tf.Tensor, rows: Rows) -> None:
        """Update the rows that `gather` has returned in this step.

        Args:
            gradient: float32 [U, E].
        """
        number = tf.cast(self._num_updates.value + 1, tf.float32)
        correction = tf.sqrt(1 - tf.pow(_BETA_2, number)) / (1 - tf.pow(_BETA_1, number))
        rate = self.learning_rate.value * correction
        first = rows.first_moments + (gradient - rows.first_moments) * (1 - _BETA_1)
        second = rows.second_moments + (tf.square(gradient) - rows.second_moments) * (1 - _BETA_2)
        values = rows.values - first * rate / (tf.sqrt(second) + _EPSILON)
        steps = self._steps.value + 1
        for variable, new in (
            (self.table, values),
            (self._first_moments, first),
            (self._second_moments, second),
            (self._updated_at, tf.fill(tf.shape(rows.ids), steps)),
        ):
            variable.value.scatter_update(tf.IndexedSlices(new, rows.ids))
        age = steps - tf.range(self._steps_to_flush + 1)  # steps since the last update, by its step
        factors = rate * tf.pow(tf.constant(_DECAY, tf.float32), tf.cast(age, tf.float32))
        self._lacking.assign(self._lacking.value + tf.where(age > 0, factors, 0.0))
        self._num_updates.assign(self._num_updates.value + 1)
        self._steps.assign(steps)
        tf.cond(steps == self._steps_to_flush, self._flush, lambda: tf.constant(0))

    def flush(self) -> None:
        """Bring all rows up to date."""
        self._flush_graph()

    def current_values(self, ids: tf.Tensor | None = None) -> tf.Tensor:
        """Return the table as it is when all rows are up to date, and change nothing.

        Args:
            ids: int32 [N], the rows to return; default: all.
        """
        return self._current(ids)[0]

    def _flush(self) -> tf.Tensor:
        values, first, second = self._current()
        self.table.assign(values)
        self._first_moments.assign(first)
        self._second_moments.assign(second)
        for variable in (self._steps, self._updated_at, self._lacking):
            variable.assign(tf.zeros_like(variable.value))
        return tf.constant(0)

    def _current(self, ids: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return values and moments of rows after the updates that they lack, float32 [U, E]."""
        variables = self.table, self._first_moments, self._second_moments, self._updated_at
        values, first, second, updated_at = (
            variable.value if ids is None else tf.gather(variable.value, ids)
            for variable in variables
        )
        factors = tf.gather(self._lacking.value, updated_at)[:, tf.newaxis]  # [U, 1]
        age = tf.cast(self._steps.value - updated_at, tf.float32)[:, tf.newaxis]
        values = values - factors * first / (tf.sqrt(second) + _EPSILON)
        return values, first * tf.pow(_BETA_1, age), second * tf.pow(_BETA_2, age)


class NgramAdam:
    """Adam without momentum, with one second moment for each row of a table.

        optimizer.apply(tf.IndexedSlices(values, indices))

    A row without a gradient does not change, so nothing is to be made up for as in `RowAdam`, and a
    step takes a third of its time and memory. The second moment of a row is that of the mean square
    of its gradient; it decays at every step, b2^i in i steps without a gradient. One learning rate
    for each row is that of the embedding tables of Naumov et al. (2019), "Deep Learning
    Recommendation Model for Personalization and Recommendation Systems".

    Args:
        table: float32 [V, E], trained.
        rate: first learning rate.
    """

    def __init__(self, table: keras.Variable, rate: float):
        self.table = table
        self.learning_rate = keras.Variable(rate, trainable=False, name="learning_rate")
        self._second_moments = _state(table.shape[:1], "float32", "second_moments")
        self._num_updates = _state((), "int64", "num_updates")
        # Updates of the table up to the last one of each row.
        self._updated_at = _state(table.shape[:1], "int64", "updated_at")

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables of the state, always in the same order."""
        return [self.learning_rate, self._second_moments, self._num_updates, self._updated_at]

    def apply(self, gradient: tf.Tensor | tf.IndexedSlices) -> None:
        """Update the table.

        Args:
            gradient: float32 [V, E]; or of some rows, without repetition.
        """
        if not isinstance(gradient, tf.IndexedSlices):
            gradient = tf.IndexedSlices(gradient, tf.range(self.table.shape[0]))
        values, ids = gradient.values, gradient.indices
        step = self._num_updates.value + 1
        age = tf.cast(step - tf.gather(self._updated_at.value, ids), tf.float32)  # [rows], from 1
        kept = tf.gather(self._second_moments.value, ids) * tf.pow(_BETA_2, age)
        second = kept + (1 - _BETA_2) * tf.reduce_mean(tf.square(values), axis=1)
        correction = tf.sqrt(1 - tf.pow(_BETA_2, tf.cast(step, tf.float32)))
        rates = self.learning_rate.value * correction / (tf.sqrt(second) + _EPSILON)
        self.table.value.scatter_sub(tf.IndexedSlices(values * rates[:, tf.newaxis], ids))
        self._second_moments.value.scatter_update(tf.IndexedSlices(second, ids))
        self._updated_at.value.scatter_update(tf.IndexedSlices(tf.fill(tf.shape(ids), step), ids))
        self._num_updates.assign(step)


def _state(shape: tuple[int, ...], dtype: str, name: str) -> keras.Variable:
    return keras.Variable(np.zeros(shape, dtype), trainable=False, dtype=dtype, name=name)
