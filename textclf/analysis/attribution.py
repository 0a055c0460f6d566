"""Attribution of the score of a class to the tokens of a text.

The score is a weighted sum of the logits (`tasks.Task.score_weights`), so each model of a mixture
adds a part of it:

- The network: integrated gradients on the token vectors (Sundararajan, Taly & Yan 2017, "Axiomatic
  attribution for deep networks"). A token adds the sum over the entries of its vector x of

      x * integral over a from 0 to 1 of d score / d x at a x

  The path leads from zero vectors to the vectors of the text. The integral is computed by
  Gauss-Legendre quadrature. If it were exact, the parts of all tokens would add up to the score
  minus that of the zero vectors (completeness); the difference is reported.
- The linear model: exact contributions, see `LinearReading.contributions`.

Recurrent layers run in NumPy (`networks.cells`), because tracing a graph for their gradients takes
seconds. A test compares the gradients with finite differences and the layers with those of Keras.
"""

from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
import threadpoolctl  # type: ignore[import-untyped]

from textclf import networks, text
from textclf.analysis.explanation import (
    NUM_STEPS,
    Attribution,
    Explanation,
    Explanations,
    Token,
    class_ids_of,
)
from textclf.artifact import Card
from textclf.linear import LinearModel, LinearReading
from textclf.networks import cells
from textclf.progress import OnProgress, no_progress

# Rows times positions in one pass through the network.
_MAX_POSITIONS = 8192


def explain_texts(
    texts: Sequence[bytes],
    *,
    text_encoder: text.TextEncoder,
    network: networks.Network | None,
    linear: LinearModel | None,
    card: Card,
    class_names: Sequence[str] | None = None,
    num_steps: int = NUM_STEPS,
    on_progress: OnProgress = no_progress,
) -> Explanations:
    """Return the explanation of each text.

    Args:
        texts: UTF-8.
        text_encoder, network, linear, card: parts of a classifier, with at least one model.
        class_names: classes to explain; None for those that the model selects, or the most probable
            one if it selects none.
        num_steps: number of steps of the integrated gradients, at least 1.
        on_progress: called with a description, the number of texts done and their total.

    Raises:
        DataError: a class name is not a class of the model.
        ValueError: `num_steps` is less than 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; expected at least 1")
    class_ids = None if class_names is None else class_ids_of(class_names, card.class_names)
    explainer = _Explainer(text_encoder, network, linear, card, num_steps)
    explanations = []
    # One thread: small products are slower with several.
    with threadpoolctl.threadpool_limits(1, "blas"):
        for number, data in enumerate(texts):
            explanations.append(explainer.explain(data, class_ids))
            on_progress("explaining texts", number + 1, len(texts))
    return Explanations(explanations)


class _Explainer:
    """Explanations by one classifier; the arguments are those of `explain_texts`."""

    def __init__(
        self,
        text_encoder: text.TextEncoder,
        network: networks.Network | None,
        linear: LinearModel | None,
        card: Card,
        num_steps: int,
    ):
        self._text_encoder, self._network, self._linear = text_encoder, network, linear
        self._card, self._num_steps = card, num_steps
        scales = (1.0, 1.0) if card.mixture is None else card.mixture.scales()
        weights_of = card.task.score_weights
        # float32 [C, C] each: weights of the logits in the scores, row by class.
        self._linear_weights, self._network_weights = (
            weights_of(card.temperature, scale) for scale in scales
        )

    def explain(self, data: bytes, class_ids: Sequence[int] | None) -> Explanation:
        """Return the explanation of a text for some classes; None: those that the model selects."""
        one = tf.constant(1, tf.int64)
        tokens, positions = self._text_encoder.tokenizer.split_tokens(tf.constant([data]))
        encoded = self._text_encoder.encode_tokens(tokens, positions, one)
        vectors = reading = network_logits = None
        if self._linear is not None:
            reading = self._linear.read(tokens)
        if self._network is not None:
            vectors = self._network.encoder.embed(
                encoded.token_ids, unknown_subwords=encoded.unknown_subwords
            )
            network_logits = _logits(self._network, vectors)
        logits = self._mixed(reading, network_logits)
        answer = self._card.task.decide(logits, self._card.decision)
        label_id, selected = int(answer["label_id"][0]), answer["selected"][0].numpy()
        if class_ids is None:
            class_ids = np.flatnonzero(selected).tolist() or [label_id]
        network, network_starts = self._network_parts(vectors, positions[:, 1], class_ids)
        linear, linear_starts = self._linear_parts(reading, len(tokens), class_ids)
        scores = (
            self._card.task.score_weights(self._card.temperature)[class_ids].astype(np.float64)
            @ logits.numpy()[0]
        )
        attributions = tuple(
            Attribution(
                class_name=self._card.class_names[class_id],
                probability=float(answer["probabilities"][0, class_id]),
                is_selected=bool(selected[class_id]),
                score=float(scores[k]),
                network_start=float(network_starts[k]),
                linear_start=float(linear_starts[k]),
                network=tuple(network[:, k].tolist()),
                linear=tuple(linear[:, k].tolist()),
                completeness_error=float(
                    scores[k] - network_starts[k] - linear_starts[k]
                    - network[:, k].sum() - linear[:, k].sum()
                ),
            )
            for k, class_id in enumerate(class_ids)
        )  # fmt: skip
        return Explanation(
            text=data.decode("utf-8", "replace"),
            label=self._card.class_names[label_id],
            is_multi_label=self._card.multi_label,
            score_name=self._card.task.score_name,
            tokens=self._tokens(tokens, positions[:, 1]),
            attributions=attributions,
            has_network=self._network is not None,
            has_linear=self._linear is not None,
            num_steps=0 if self._network is None else self._num_steps,
        )

    def _mixed(self, reading: LinearReading | None, network_logits: tf.Tensor | None) -> tf.Tensor:
        """Return the logits of the classifier, float32 [1, C]."""
        if reading is None:
            return network_logits
        linear_logits = tf.constant(reading.logits[np.newaxis], tf.float32)
        if self._card.mixture is None:
            return linear_logits
        return self._card.mixture.mix(linear_logits, network_logits)

    def _tokens(self, tokens: tf.Tensor, position: tf.Tensor) -> tuple[Token, ...]:
        known = self._text_encoder.is_known(tokens).numpy()
        num_tokens = len(tokens)
        linear_limit = 0 if self._linear is None else self._linear.max_tokens
        columns = self._columns(position)
        return tuple(
            Token(
                text=token.decode("utf-8", "replace"),
                is_known=bool(known[i]),
                network_reads=bool(columns[i] >= 0),
                linear_reads=i < linear_limit,
            )
            for i, token in zip(range(num_tokens), tokens.numpy().tolist(), strict=True)
        )

    def _columns(self, position: tf.Tensor) -> np.ndarray:
        """Return the positions of the tokens in the rows of the network, int64 [N]; -1: none."""
        if self._network is None:
            return np.full(len(position), -1)
        return self._text_encoder.columns(position, tf.size(position, tf.int64)).numpy()

    def _network_parts(
        self, vectors: tf.Tensor | None, position: tf.Tensor, class_ids: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what each token adds, float64 [N, K], and the starts, float64 [K]."""
        parts = np.zeros((len(position), len(class_ids)))
        if vectors is None:
            return parts, np.zeros(len(class_ids))
        assert self._network is not None
        weights = self._network_weights[list(class_ids)]
        if not len(position):  # the network reads one unknown token instead
            logits = _logits(self._network, vectors)
            return parts, weights.astype(np.float64) @ logits.numpy()[0]
        starts = weights.astype(np.float64) @ _logits(self._network, 0 * vectors).numpy()[0]
        columns = self._columns(position)
        by_column = integrated_gradients(
            self._network, vectors[0], weights, num_steps=self._num_steps
        )
        is_read = columns >= 0
        parts[is_read] = by_column[columns[is_read]]
        return parts, starts

    def _linear_parts(
        self, reading: LinearReading | None, num_tokens: int, class_ids: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what each token adds, float64 [N, K], and the starts, float64 [K]."""
        if reading is None:
            return np.zeros((num_tokens, len(class_ids))), np.zeros(len(class_ids))
        weights = self._linear_weights[list(class_ids)].astype(np.float64)
        return reading.contributions(weights), weights @ reading.bias


def integrated_gradients(
    network: networks.Network, vectors: tf.Tensor, weights: np.ndarray, *, num_steps: int
) -> np.ndarray:
    """Return what each token vector of a text adds to weighted sums of the logits.

    Args:
        network: in inference, without dropout.
        vectors: float [T, E], of `Encoder.embed`.
        weights: float32 [K, C].
        num_steps: number of nodes of the integral.

    Returns:
        float64 [T, K].
    """
    nodes, node_weights = np.polynomial.legendre.leggauss(num_steps)  # from -1 to 1
    nodes, node_weights = (nodes + 1) / 2, node_weights / 2
    num_tokens = len(vectors)
    rows = [(k, step) for k in range(len(weights)) for step in range(num_steps)]
    gradients = np.zeros((len(weights), *vectors.shape))  # [K, T, E]
    for part in _parts(rows, max(_MAX_POSITIONS // num_tokens, 1)):
        of_class, of_step = np.array(part).T
        alphas = tf.constant(nodes[of_step], vectors.dtype)[:, tf.newaxis, tf.newaxis]
        x = alphas * vectors  # [R, T, E]
        _, gradient = score_gradients(network, x, tf.constant(weights[of_class]))
        weighted = gradient.numpy() * node_weights[of_step, np.newaxis, np.newaxis]
        np.add.at(gradients, of_class, weighted)
    return (gradients * vectors.numpy()).sum(axis=-1).T


def _parts(rows: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def score_gradients(
    network: networks.Network, x: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return weighted sums of the logits and their gradients with respect to token vectors.

    Args:
        x: float [R, T, E], token vectors of rows without padding.
        weights: float [R, C].

    Returns:
        float [R] and [R, T, E].
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits = _logits(network, x)
        scores = tf.reduce_sum(tf.cast(weights, logits.dtype) * logits, axis=1)
    return scores, tape.gradient(scores, x)


def _logits(network: networks.Network, x: tf.Tensor) -> tf.Tensor:
    """Return the logits of token vectors [R, T, E] of rows without padding, [R, C]."""
    encoder = network.encoder
    lengths = tf.fill([len(x)], x.shape[1])
    with encoder.fixed_seeds():
        for i, layer in enumerate(encoder.stack):
            if isinstance(layer, networks.BidirectionalWithinLengths):
                backward = _states(layer.backward_layer, tf.reverse(x, [1]))
                forward = _states(layer.forward_layer, x)
                x = tf.concat([forward, tf.reverse(backward, [1])], axis=-1)
            elif isinstance(layer, keras.layers.RNN):
                x = _states(layer, x)
            else:
                x = layer(x, lengths, training=False)
            if i < len(encoder.norms):
                x = encoder.norms[i](x)
    return network.logits(network.head.pool(x, lengths))


def _states(layer: keras.layers.RNN, x: tf.Tensor) -> tf.Tensor:
    """Return the states of a recurrent layer, [R, T, units], from [R, T, E], with a gradient."""

    inputs = x.numpy()
    h = cells.states(layer, inputs)

    @tf.custom_gradient
    def states(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.constant(
                cells.input_gradients(layer, inputs, h, upstream=upstream.numpy()), x.dtype
            )

        return tf.constant(h, x.dtype), gradient

    return states(x)
