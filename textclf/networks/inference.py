"""Inference for exported graphs: the function of a network with other kernels.

A `ServingNetwork` reads the layers of a `Network` and does not change them. Its graphs

- run on any machine. Keras chooses a kernel when a call is traced: with a visible GPU it would be
  `CudnnRNNV3`, which a CPU does not have. Here the cells of recurrent layers run in a loop.
- answer small batches quickly. An LSTM runs as one operation, `BlockLSTMV2`: equal to the loop up
  to 1e-6, and a single text takes at most a third of the time. It is not used in training, because
  TensorFlow 2.21 registers the gradient of another operation for it.
- choose when they are called, by the number of rows and by padding. Without padding, no masks
  are computed.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from textclf.errors import ExportError
from textclf.networks.encoder import BidirectionalWithinLengths, reversed_positions
from textclf.networks.features import Features
from textclf.networks.head import (
    AttentionPooling,
    LastPooling,
    MaxMeanPooling,
    MaxPooling,
    MeanPooling,
    Pooling,
)
from textclf.networks.network import Network

# The largest batch of the fused operation. LSTMs of 64 and 128 units on two cores: up to 16 rows it
# was faster with both, at 32 with one of them, and at 64 the loop was faster with both.
MAX_FUSED_ROWS = 16


class ServingNetwork:
    """A network for tracing exported graphs; a drop-in for `Network` in inference.

        serving = ServingNetwork(network)
        logits = serving(features)

    Outputs are equal to the network's up to 1e-5, with the weights of the time of construction.

    Args:
        network: a network with its final weights.

    Attributes:
        variables: the variables that graphs traced here read; keep them as long as such a graph.
    """

    def __init__(self, network: Network):
        self._network = network
        self._encoder = network.encoder
        variables = {variable.path: variable.value for variable in network.parameters}
        self._kernels: dict[int, _Loop] = {}
        for layer in self._encoder.recurrent_layers:
            if isinstance(layer, keras.layers.LSTM):
                fused = self._kernels[id(layer)] = _FusedLstm(layer)
                variables[layer.cell.kernel.path] = fused.joined
                del variables[layer.cell.recurrent_kernel.path]
            else:
                self._kernels[id(layer)] = _Loop(layer)
        self._vectors = None
        if (subwords := self._encoder.subwords) is not None:
            # The n-grams of known tokens are added once, so that only unknown ones take time.
            embeddings = self._encoder.embedding.embeddings
            self._vectors = tf.Variable(subwords.all_vectors(embeddings.value), trainable=False)
            variables[embeddings.path] = self._vectors
        self.variables: list[tf.Variable] = list(variables.values())

    def __call__(self, features: Features) -> tf.Tensor:
        """Return the logits of a batch of texts, float32 [B, C]."""
        return self.logits(self.encode(features))

    def encode(self, features: Features) -> tf.Tensor:
        """Return the pooled vectors of a batch of texts, [B, width]."""
        token_ids, lengths = features["token_ids"], features["lengths"]
        pooled = partial(self._pooled, token_ids, features.get("unknown_subwords"))
        if not any(isinstance(kernel, _FusedLstm) for kernel in self._kernels.values()):
            return pooled(lengths)
        num_rows, num_steps = tf.unstack(tf.shape(token_ids))
        is_padded = tf.reduce_min(lengths) < num_steps  # never true of a single text
        return tf.switch_case(
            tf.where(num_rows > MAX_FUSED_ROWS, 2, tf.cast(is_padded, tf.int32)),
            [
                lambda: pooled(None, is_small=True),
                lambda: pooled(lengths, is_small=True),
                lambda: pooled(lengths),
            ],
        )

    def logits(self, vectors: tf.Tensor) -> tf.Tensor:
        """Return the logits, float32 [B, C], from vectors of `encode`."""
        return self._network.logits(vectors)

    def _embed(self, token_ids: tf.Tensor, unknown_subwords: tf.Tensor | None) -> tf.Tensor:
        """Return the token vectors, [R, T, E]."""
        subwords = self._encoder.subwords
        if subwords is None:
            return self._encoder.embed(token_ids)
        x = tf.gather(self._vectors, subwords.own_ids(token_ids))
        if unknown_subwords is None:
            return x
        unknown = tf.where(token_ids < 0)  # int64 [unknown, 2]
        ngrams = subwords.ngrams(tf.gather_nd(token_ids, unknown), unknown_subwords)
        return tf.tensor_scatter_nd_add(x, unknown, ngrams.mean(subwords.table))

    def _pooled(
        self,
        token_ids: tf.Tensor,
        unknown_subwords: tf.Tensor | None,
        lengths: tf.Tensor | None,
        is_small: bool = False,
    ) -> tf.Tensor:
        """Return [B, width]; without lengths, no row is padded."""
        x = self._embed(token_ids, unknown_subwords)  # [R, T, E]
        for i, layer in enumerate(self._encoder.stack):
            if isinstance(layer, BidirectionalWithinLengths):
                x = self._both_directions(layer, x, lengths, is_small)  # [R, T, 2 units]
            elif isinstance(layer, keras.layers.RNN):
                x = self._kernels[id(layer)](x, is_small)  # [R, T, units]
            else:
                with self._encoder.fixed_seeds():
                    x = layer(x, lengths, training=False)  # [R, T, D]
            if i < len(self._encoder.norms):
                x = self._encoder.norms[i](x)
        if lengths is None:
            return _pool_unpadded(self._network.head.pooling, x)
        return self._network.head.pool(x, lengths)

    def _both_directions(
        self,
        layer: BidirectionalWithinLengths,
        x: tf.Tensor,
        lengths: tf.Tensor | None,
        is_small: bool,
    ) -> tf.Tensor:
        if lengths is None:
            reverse = partial(tf.reverse, axis=[1])
        else:  # `reverse_within_lengths` without its gradient
            positions = reversed_positions(lengths, tf.shape(x)[1])
            reverse = partial(tf.gather, indices=positions, batch_dims=1)
        backward = self._kernels[id(layer.backward_layer)](reverse(x), is_small)
        forward = self._kernels[id(layer.forward_layer)](x, is_small)
        return tf.concat([forward, reverse(backward)], axis=-1)


def check_portable(functions: Iterable[tf.types.experimental.ConcreteFunction]) -> None:
    """Check that graphs contain operations of every TensorFlow only.

    Raises:
        ExportError: a graph runs Python code, needs a GPU, or is compiled by XLA.
    """
    operations = {name for function in functions for name in _special_operations(function)}
    if operations:
        raise ExportError(
            f"the graph contains {', '.join(sorted(operations))}: operations that run Python code, "
            "need cuDNN or are compiled by XLA cannot be served everywhere; remove them from "
            "model.encoder"
        )


def _special_operations(function: Any) -> Iterator[str]:
    graph = function.graph.as_graph_def()
    for node in (*graph.node, *(node for f in graph.library.function for node in f.node_def)):
        if "PyFunc" in node.op or node.op.startswith(("Cudnn", "Xla")):
            yield node.op
        elif node.attr["_XlaMustCompile"].b:
            yield "a function with jit_compile"
    if any(f.attr["_XlaMustCompile"].b for f in graph.library.function):
        yield "a function with jit_compile"


class _Loop:
    """The cell of a recurrent layer in a loop over the time steps: [R, T, E] to [R, T, units]."""

    def __init__(self, layer: keras.layers.RNN):
        # The general layer around the same cell has no cuDNN kernel.
        self._rnn = keras.layers.RNN(layer.cell, return_sequences=True, dtype=layer.dtype_policy)
        self._rnn.build((None, None, layer.cell.kernel.shape[0]))

    def __call__(self, x: tf.Tensor, is_small: bool) -> tf.Tensor:
        return self._run([variable.value for variable in self._rnn.trainable_variables], x)

    def _run(self, weights: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        # The states are dropout seeds: as constants, they are not part of the graph.
        states = [tf.zeros(state.shape, state.dtype) for state in self._rnn.non_trainable_variables]
        outputs, _ = self._rnn.stateless_call(weights, states, x, training=False)
        return outputs


class _FusedLstm(_Loop):
    """An LSTM layer: one operation for a small batch, a loop for a large one.

    Attributes:
        joined: [E + units, 4 units], the input and the recurrent kernel as one variable, as the
            operation requires. The loop reads parts of it, so weights are stored once. Keras and
            the operation have the same order of gates.
    """

    def __init__(self, layer: keras.layers.LSTM):
        super().__init__(layer)
        self._cell = layer.cell
        kernels = [layer.cell.kernel.value, layer.cell.recurrent_kernel.value]
        self.joined = tf.Variable(tf.concat(kernels, axis=0))

    def __call__(self, x: tf.Tensor, is_small: bool) -> tf.Tensor:
        if is_small:
            return self._run_fused(x)
        width = x.shape[-1]
        return self._run([self.joined[:width], self.joined[width:], self._cell.bias.value], x)

    def _run_fused(self, x: tf.Tensor) -> tf.Tensor:
        units = self._cell.units
        unused = tf.zeros([units])
        state = tf.zeros([tf.shape(x)[0], units])
        outputs = tf.raw_ops.BlockLSTMV2(
            seq_len_max=tf.shape(x, tf.int64)[1],
            x=tf.transpose(x, [1, 0, 2]),
            cs_prev=state,
            h_prev=state,
            w=self.joined,
            wci=unused,
            wcf=unused,
            wco=unused,
            b=self._cell.bias,
            use_peephole=False,
            cell_clip=0.0,
        )
        return tf.transpose(outputs.h, [1, 0, 2])  # [T, R, units] -> [R, T, units]


def _pool_unpadded(pooling: Pooling, outputs: tf.Tensor) -> tf.Tensor:
    """Return what a pooling returns for rows without padding, with fewer operations."""
    match pooling:
        case LastPooling():
            return pooling.join_directions(outputs[:, -1], outputs)
        case MaxPooling():
            return tf.reduce_max(outputs, axis=1)
        case MeanPooling():
            return tf.reduce_mean(outputs, axis=1)
        case MaxMeanPooling():
            parts = [tf.reduce_max(outputs, axis=1), tf.reduce_mean(outputs, axis=1)]
            return tf.concat(parts, axis=-1)
        case AttentionPooling():
            # For few rows, a sum of products starts faster than a matrix product.
            weights = tf.nn.softmax(pooling.scores(outputs))
            return tf.reduce_sum(weights[:, :, tf.newaxis] * outputs, axis=1)
    shape = tf.shape(outputs)
    return pooling(outputs, tf.fill([shape[0]], shape[1]))
