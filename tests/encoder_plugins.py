"""Functions for `model.encoder: encoder_plugins:NAME` in the tests of plug-ins."""

import keras
import numpy as np
import tensorflow as tf

arguments: list[dict] = []  # of the calls of `convolution`


class Convolution(keras.layers.Layer):
    def __init__(self, units, dropout, seed):
        super().__init__()
        self.convolution = keras.layers.Conv1D(
            units, 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(seed)
        )
        self.dropout = keras.layers.Dropout(dropout, seed=seed)

    def call(self, x, lengths, training=False):
        return self.convolution(self.dropout(self.visible(x, lengths), training=training))

    def visible(self, x, lengths):
        return x * tf.sequence_mask(lengths, tf.shape(x)[1], x.dtype)[:, :, tf.newaxis]


def convolution(*, units, num_layers, bidirectional, dropout, seed):
    arguments.append(
        {
            "units": units,
            "num_layers": num_layers,
            "bidirectional": bidirectional,
            "dropout": dropout,
            "seed": seed,
        }
    )
    return Convolution(units, dropout, seed)


class WrittenMask(Convolution):
    """Writes a dropout mask of each part of a batch to the file `masks`: replica, 64 values."""

    def call(self, x, lengths, training=False):
        if training:
            mask = tf.cast(self.dropout(tf.ones([64]), training=True) > 0, tf.int32)
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            values = tf.strings.reduce_join(tf.strings.as_string(mask))
            tf.print(replica, values, output_stream="file://masks")
        return super().call(x, lengths, training)


class WithoutMask(Convolution):
    def visible(self, x, lengths):
        return x


class MeanOfBatch(Convolution):
    def visible(self, x, lengths):
        return super().visible(x - tf.reduce_mean(x[:, :1], axis=0, keepdims=True), lengths)


class OnePosition(Convolution):
    def call(self, x, lengths, training=False):
        return super().call(x, lengths, training)[:, 0]


class PythonCode(Convolution):
    def visible(self, x, lengths):
        y = super().visible(x, lengths)
        return tf.ensure_shape(tf.numpy_function(np.abs, [y], y.dtype), y.shape)


class Compiled(Convolution):
    def visible(self, x, lengths):
        return tf.function(super().visible, jit_compile=True)(x, lengths)


class Recurrent(keras.layers.Layer):
    """A GRU with masks, default initializers and dropout, which uses its seed in every call."""

    def __init__(self, units, dropout, seed):
        super().__init__()
        self.gru = keras.layers.GRU(units, return_sequences=True, dropout=dropout, seed=seed)

    def call(self, x, lengths, training=False):
        return self.gru(x, mask=tf.sequence_mask(lengths, tf.shape(x)[1]), training=training)


def _function(layer_type):
    def function(*, units, num_layers, bidirectional, dropout, seed):
        return layer_type(units, dropout, seed)

    return function


written_mask = _function(WrittenMask)
without_mask = _function(WithoutMask)
mean_of_batch = _function(MeanOfBatch)
one_position = _function(OnePosition)
python_code = _function(PythonCode)
compiled = _function(Compiled)
recurrent = _function(Recurrent)
no_lengths = _function(lambda units, dropout, seed: keras.layers.Dense(units))
no_layer = _function(lambda units, dropout, seed: "a string")


def fewer_arguments(units):
    return keras.layers.Dense(units)
