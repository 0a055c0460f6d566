"""Measurements of a network in training: sizes of updates, gates, dead units, gradients in time.

They only read the network, so they change nothing in the training.

- *Update ratio*: norm of an update divided by the norm of the weights, at a few steps per epoch.
- *Saturated gates*: share of gate values near 0 or 1, where the gradient of the sigmoid is small.
- *Dead units*: units with the same output for every token.
- *Gradient by distance*: gradient of the last forward state with respect to the input k tokens
  earlier. It falls towards zero where the network forgets (Bengio et al. 1994, "Learning long-term
  dependencies with gradient descent is difficult").

The last three are measured on the same few training texts after each epoch.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import keras
import numpy as np
import tensorflow as tf
import threadpoolctl  # type: ignore[import-untyped]

from textclf import batches, networks
from textclf.networks import cells

DISTANCES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# Texts on which gates are measured: at most 32, and few of a small training split.
_MAX_TEXTS, _MIN_TEXTS, _SHARE_OF_TEXTS = 32, 8, 0.01
# Updates are measured at one of 32 steps, but at one to eight steps in every epoch.
_STEPS_PER_SAMPLE, _MAX_SAMPLES = 32, 8
# Updates of the token vectors are measured on so many of them.
_MAX_ROWS = 4096
# A gate is saturated below 0.05 or above 0.95, a tanh beyond 0.95 in absolute value.
_GATE_LIMIT = 0.95
_DEAD_DEVIATION = 1e-3  # states lie between -1 and 1


class Diagnosis:
    """Measurements of a network in training.

        diagnosis = Diagnosis(network, sample_texts(shards), steps_per_epoch=100)
        before = diagnosis.weights_before(0)
        ...  # the first step of an epoch
        norms = diagnosis.update_norms(before)
        ...
        figures = diagnosis.figures()

    It computes with NumPy: on so few texts this is faster than tracing a graph, and it does not
    depend on the precision of the training.

    Args:
        network: is being trained.
        texts: see `sample_texts`.
        steps_per_epoch: number of steps of an epoch.
        current_value: gives the value of a weight between two steps, if its variable does not hold
            it; see `Optimizer.current_value`.
    """

    def __init__(
        self,
        network: networks.Network,
        texts: networks.Features,
        *,
        steps_per_epoch: int,
        current_value: Callable[[keras.Variable, tf.Tensor | None], tf.Tensor] | None = None,
    ):
        self._current_value = current_value or read_value
        self._variables = network.trainable_variables
        self._encoder = network.encoder
        self._steps_per_epoch = steps_per_epoch
        self._sampled_steps = sampled_steps(steps_per_epoch)
        self._texts = texts
        self._lengths = texts["lengths"].numpy()
        # NumPy's threads wait for each other in every small product. Where other processes use the
        # cores, this took a hundred times as long as one thread.
        controller = threadpoolctl.ThreadpoolController()
        self._one_thread = functools.partial(controller.limit, limits=1, user_api="blas")

    def weights_before(self, step: int) -> list[np.ndarray] | None:
        """Return the trained weights if a step is sampled, else None.

        Args:
            step: steps done before in this epoch.
        """
        if step not in self._sampled_steps:
            return None
        return self._weights()

    def steps_until_sample(self, step: int) -> int:
        """Return how many steps can be made before weights are read again, at least 1.

        Args:
            step: steps done before in this epoch.
        """
        later = [sampled - step for sampled in self._sampled_steps if sampled >= step]
        return max(min(later, default=self._steps_per_epoch), 1)

    def update_norms(self, before: Sequence[np.ndarray]) -> np.ndarray:
        """Return the norms of the changes and of the weights before, float32 [2, variables]."""
        changes = [new - old for new, old in zip(self._weights(), before, strict=True)]
        with self._one_thread():
            return np.array([[np.linalg.norm(x) for x in each] for each in (changes, before)])

    def _weights(self) -> list[np.ndarray]:
        return [
            np.asarray(self._current_value(variable, _sampled_rows(variable)))
            for variable in self._variables
        ]

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the figures of the recurrent layers; empty without such layers.

        - `saturated_gates`: share of saturated values by layer and gate; for a SimpleRNN, of its
          states.
        - `dead_units`: share of the units by layer.
        - `gradient_by_distance`: mean gradient norm of the last state of the top forward layer, by
          the number of tokens between it and an input of the layer.
        """
        if not self._encoder.recurrent_layers:
            return {}
        with self._one_thread():
            return self._figures()

    def _figures(self) -> dict[str, dict[str, float]]:
        layers, lengths = self._encoder.recurrent_layers, self._lengths
        texts = self._texts
        x = self._encoder.token_vectors(texts["token_ids"], texts.get("unknown_subwords")).numpy()
        pairs = list(inputs_and_states(self._encoder, x, lengths))
        is_real = np.arange(x.shape[1]) < lengths[:, np.newaxis]  # [B, T]
        saturated, dead = {}, {}
        for layer, (x, h) in zip(layers, pairs, strict=True):
            name = layer.cell.path  # as in `diagnostics.norms_by_layer`
            for gate, share in saturation(layer, x, h, is_real).items():
                saturated[f"{name}/{gate}"] = share
            dead[name] = dead_share(h, is_real)
        top = -2 if isinstance(self._encoder.stack[-1], networks.BidirectionalWithinLengths) else -1
        return {
            "saturated_gates": saturated,
            "dead_units": dead,
            "gradient_by_distance": gradient_by_distance(layers[top], *pairs[top], lengths),
        }


def sample_texts(shards: batches.Shards) -> networks.Features:
    """Return the training texts on which gates are measured, as one batch."""
    share = math.ceil(_SHARE_OF_TEXTS * shards.num_examples)
    size = min(max(share, _MIN_TEXTS), _MAX_TEXTS)
    return cast(networks.Features, batches.sample_batch(shards, size=size).features)


def sampled_steps(steps_per_epoch: int) -> frozenset[int]:
    """Return the steps of an epoch, from 0, whose updates are measured: middles of equal parts."""
    number = min(max(steps_per_epoch // _STEPS_PER_SAMPLE, 1), _MAX_SAMPLES)
    return frozenset((2 * i + 1) * steps_per_epoch // (2 * number) for i in range(number))


def _sampled_rows(variable: keras.Variable) -> tf.Tensor | None:
    """Return the rows of a large table that are measured, spread evenly; None for all rows."""
    if variable.shape[0] <= _MAX_ROWS:
        return None
    return tf.constant(np.linspace(0, variable.shape[0] - 1, _MAX_ROWS, dtype=np.int32))


def read_value(variable: keras.Variable, ids: tf.Tensor | None = None) -> tf.Tensor:
    """Return the value of a variable, or some of its rows, int32 [N]."""
    if ids is None:
        return tf.convert_to_tensor(variable.value)
    return tf.gather(variable.value, ids)


def _read(variable: keras.Variable) -> np.ndarray:
    # A read of a variable is a snapshot, which `asarray` does not copy on a CPU.
    return np.asarray(read_value(variable))


def inputs_and_states(
    encoder: networks.Encoder, x: np.ndarray, lengths: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield inputs and states of each recurrent layer, in the order in which it reads.

    Args:
        encoder: its stack has recurrent layers only.
        x: token vectors, float32 [B, T, E].
        lengths: int32 [B].

    Yields:
        float32 [B, T, E] and [B, T, units], meaningless in the padding.
    """
    for i, layer in enumerate(encoder.stack):
        if isinstance(layer, networks.BidirectionalWithinLengths):
            forward = cells.states(layer.forward_layer, x)
            yield x, forward
            reversed_x = _reversed_within(x, lengths)
            backward = cells.states(layer.backward_layer, reversed_x)
            yield reversed_x, backward
            outputs = np.concatenate([forward, _reversed_within(backward, lengths)], axis=-1)
        else:
            outputs = cells.states(layer, x)
            yield x, outputs
        x = _normalized(encoder.norms[i], outputs) if i < len(encoder.norms) else outputs


def _normalized(norm: keras.layers.LayerNormalization, x: np.ndarray) -> np.ndarray:
    """Return what a layer normalisation returns, float32 [B, T, D]."""
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + norm.epsilon)
    return (x - x.mean(axis=-1, keepdims=True)) / deviation * _read(norm.gamma) + _read(norm.beta)


def _reversed_within(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return rows [B, T, D], each reversed within its length int32 [B]."""
    rows = rows.copy()
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = row[:length][::-1].copy()
    return rows


def saturation(
    layer: keras.layers.RNN, x: np.ndarray, h: np.ndarray, is_real: np.ndarray
) -> dict[str, float]:
    """Return the share of saturated values at the real positions by gate.

    Args:
        layer, x, h: as for `cells.gates`.
        is_real: bool [B, T].
    """
    if gates := cells.gates(layer, x, h):
        distances = {gate: np.abs(2 * value - 1) for gate, value in gates.items()}
        limit = 2 * _GATE_LIMIT - 1
    else:
        distances, limit = {"state": np.abs(h)}, _GATE_LIMIT
    return {gate: float(np.mean(value[is_real] > limit)) for gate, value in distances.items()}


def dead_share(h: np.ndarray, is_real: np.ndarray) -> float:
    """Return the share of units whose state hardly varies over the real positions.

    Args:
        h: states, float32 [B, T, units].
        is_real: bool [B, T].
    """
    deviations = h[is_real].std(axis=0, dtype=np.float64)
    return float(np.mean(deviations < _DEAD_DEVIATION))


def gradient_by_distance(
    layer: keras.layers.RNN, x: np.ndarray, h: np.ndarray, lengths: np.ndarray
) -> dict[str, float]:
    """Return the mean gradient norm of the last state by the distance of the input.

    The norm is |d(s . h[n - 1]) / d x[n - 1 - k]| for the distance k, with n the length and s a
    fixed vector of random signs. Distances that fewer than half of the texts have, and norms that
    are not finite, are left out.

    Args:
        layer, x, h: as for `cells.gates`.
        lengths: int32 [B].
    """
    upstream = np.zeros_like(h)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], layer.units)
    upstream[np.arange(len(h)), lengths - 1] = signs
    with np.errstate(all="ignore"):  # an exploding gradient becomes infinite
        gradients = cells.input_gradients(layer, x, h, upstream=upstream)
        # The square of a float32 is zero from 1e-23.
        norms = np.linalg.norm(gradients.astype(np.float64), axis=2)
    means = {}
    for distance in DISTANCES:
        (rows,) = np.nonzero(lengths > distance)
        if len(rows) < len(lengths) / 2:
            break
        mean = float(np.mean(norms[rows, lengths[rows] - 1 - distance]))
        if math.isfinite(mean):
            means[str(distance)] = mean
    return means
