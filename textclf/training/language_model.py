"""Auxiliary loss of a language model in the training of a classifier.

Rei (2017), "Semi-supervised Multitask Learning for Sequence Labeling"; Howard & Ruder (2018) train
the two losses one after the other instead.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from textclf import artifact, networks

_NUM_CANDIDATES = 512
# Beside the seeds of the dropout masks.
_SEED = 1000


class LanguageModelLoss:
    """Loss of the token after each position, and with backward layers of the one before.

        language_model = LanguageModelLoss(network, weight=0.1, seed=0)
        candidates = language_model.draw(step)
        losses = language_model.losses(outputs, token_ids, lengths, candidates)    # [R]

    A bidirectional network has one recurrent layer: the second one would read both sides.

    Args:
        network: its token vectors are those of the language model.
        weight: factor of the loss.
        seed: of initial weights and candidates.
    """

    def __init__(self, network: networks.Network, *, weight: float, seed: int):
        encoder = network.encoder
        self._table = encoder.embedding.embeddings
        num_tokens, width = self._table.shape
        layers = encoder.recurrent_layers
        is_bidirectional = len(layers) > len(encoder.stack)
        self._units = layers[-1].units
        self._directions = ["forward", "backward"] if is_bidirectional else ["forward"]
        self._head = networks.LanguageModelHead(
            self._directions, units=self._units, width=width, num_tokens=num_tokens, seed=seed
        )
        self._candidates = networks.Candidates(num_tokens=num_tokens, number=_NUM_CANDIDATES)
        self._weight, self._seed = weight, seed

    @property
    def variables(self) -> list[keras.Variable]:
        """The weights that the classifier does not have."""
        return list(self._head.named_variables.values())

    def copy_weights(self, folder: Path) -> None:
        """Begin with the weights of a language model that has the same token ids."""
        with np.load(folder / artifact.WEIGHTS) as arrays:
            for name, variable in self._head.named_variables.items():
                if name in arrays and arrays[name].shape == tuple(variable.shape):
                    variable.assign(arrays[name])

    def draw(self, step: tf.Tensor) -> tf.Tensor:
        """Return the candidates of a step, int32 [S].

        Args:
            step: int64 [], steps done before.
        """
        return self._candidates.draw([self._seed + _SEED, tf.cast(step, tf.int32)])

    def losses(
        self, outputs: tf.Tensor, token_ids: tf.Tensor, lengths: tf.Tensor, candidates: tf.Tensor
    ) -> tf.Tensor:
        """Return the weighted mean loss of the tokens of each row, float32 [R].

        Args:
            outputs: of the recurrent layers, float [R, T, D].
            token_ids: int32 [R, T].
            lengths: int32 [R]; a row with one token has the loss 0.
            candidates: of `draw`.
        """
        outputs = tf.cast(outputs, tf.float32)
        num_steps = tf.shape(token_ids)[1]
        # Position t and the one after it, as far as both are real.
        is_pair = tf.range(1, num_steps) < lengths[:, tf.newaxis]  # [R, T - 1]
        pairs = tf.where(is_pair)  # int64 [N, 2]
        compared_candidates = self._compared(candidates)
        total = tf.zeros([tf.size(pairs) // 2])
        for i, direction in enumerate(self._directions):
            ids = token_ids[:, :-1] if direction == "backward" else token_ids[:, 1:]
            read = outputs[:, 1:] if direction == "backward" else outputs[:, :-1]
            x = tf.gather_nd(read[:, :, i * self._units : (i + 1) * self._units], pairs)
            total += networks.sampled_losses(
                self._head.token_vectors(direction, x),
                self._compared(tf.gather_nd(ids, pairs)),
                compared_candidates,
            )
        sums = tf.math.unsorted_segment_sum(total, pairs[:, 0], tf.shape(token_ids)[0])
        count = tf.cast(tf.maximum(lengths - 1, 1) * len(self._directions), tf.float32)
        return self._weight * sums / count

    def _compared(self, ids: tf.Tensor) -> networks.Compared:
        correction = tf.math.log(self._candidates.probability(ids))
        return networks.Compared(
            ids,
            tf.gather(self._table.value, ids),
            tf.gather(self._head.output_bias.value, ids) - correction,
        )
