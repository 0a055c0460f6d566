"""Head of a language model: outputs of recurrent layers to the loss of the tokens beside them.

Input and output vectors of a token are the same (Press & Wolf 2017, "Using the Output Embedding to
Improve Language Models"). In training the softmax is over some tokens only (Jean et al. 2015, "On
Using Very Large Target Vocabulary for Neural Machine Translation", section 3).
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from textclf.networks.initializers import derived_seed

# Beginning of the names of weights that a classifier does not have.
PREFIX = "language_model"


class Compared(NamedTuple):
    """Tokens that are compared with outputs.

    Attributes:
        ids: int32 [N], equal for equal tokens.
        vectors: float32 [N, E].
        biases: float32 [N], minus the logarithm of the probability to be a candidate.
    """

    ids: tf.Tensor
    vectors: tf.Tensor
    biases: tf.Tensor


class LanguageModelHead:
    """Weights from the outputs of recurrent layers to token vectors, and a bias of each token.

        head = LanguageModelHead(["forward", "backward"], units=64, width=100, num_tokens=20_000,
                                 seed=0)
        head.token_vectors("forward", outputs)    # [..., 100] from [..., 64]

    Args:
        directions: names of the language models, which share the biases of the tokens.
        units: size of the outputs of each direction.
        width: size of a token vector, E.
        num_tokens: number of token ids, V. A smaller id is a more frequent token.
        seed: of the initial weights.

    Attributes:
        output_bias: float32 [V].
    """

    def __init__(
        self, directions: Sequence[str], *, units: int, width: int, num_tokens: int, seed: int
    ):
        self.output_bias = _variable(np.zeros(num_tokens))
        self._weights = {}
        for name in directions:
            kernel = keras.initializers.GlorotUniform(derived_seed(seed, f"{PREFIX}/{name}"))
            self._weights[name] = (
                _variable(kernel((units, width))),
                _variable(np.zeros(width)),
            )

    @property
    def named_variables(self) -> dict[str, keras.Variable]:
        """All weights by name, always in the same order."""
        named = {f"{PREFIX}/output_bias": self.output_bias}
        for name, (kernel, bias) in self._weights.items():
            named |= {f"{PREFIX}/{name}/kernel": kernel, f"{PREFIX}/{name}/bias": bias}
        return named

    def token_vectors(self, direction: str, outputs: tf.Tensor) -> tf.Tensor:
        """Return what is compared with token vectors, float32 [N, E], from outputs [N, units]."""
        kernel, bias = self._weights[direction]
        return tf.matmul(outputs, kernel.value) + bias.value


class Candidates:
    """Tokens that are drawn as wrong answers, from Zipf's law by the rank of a token.

        candidates = Candidates(num_tokens=20_000, number=1024)
        ids = candidates.draw([seed, step])    # int32 [at most 1024], without repetition

    Args:
        num_tokens: number of token ids, V. A smaller id is a more frequent token.
        number: number of draws; repeated tokens count once.
    """

    def __init__(self, *, num_tokens: int, number: int):
        self._num_tokens = num_tokens
        self._number = number

    def draw(self, seed: Sequence[int | tf.Tensor]) -> tf.Tensor:
        """Return the ids that a seed of two numbers gives."""
        draws = tf.random.stateless_uniform([self._number], seed)
        ranks = tf.exp(draws * np.log(self._num_tokens + 1.0).astype(np.float32)) - 1
        return tf.unique(tf.minimum(tf.cast(ranks, tf.int32), self._num_tokens - 1))[0]

    def probability(self, ids: tf.Tensor) -> tf.Tensor:
        """Return the probability of tokens to be drawn at least once, float32 as `ids`."""
        ranks = tf.cast(ids, tf.float32)
        share = tf.math.log((ranks + 2) / (ranks + 1)) / np.log(self._num_tokens + 1.0)
        return -tf.math.expm1(self._number * tf.math.log1p(-share))


def sampled_losses(outputs: tf.Tensor, targets: Compared, candidates: Compared) -> tf.Tensor:
    """Return the cross entropy of targets among candidates, float32 [N].

    `tf.nn.sampled_softmax_loss` has an operation that keeps a random state, which op determinism
    refuses.

    Args:
        outputs: float32 [N, E], of `LanguageModelHead.token_vectors`.
        targets: the N tokens of the outputs.
        candidates: S tokens; one that is the target of an output does not count for it.
    """
    of_targets = tf.reduce_sum(outputs * targets.vectors, axis=1) + targets.biases  # [N]
    others = tf.matmul(outputs, candidates.vectors, transpose_b=True) + candidates.biases  # [N, S]
    others = tf.where(targets.ids[:, tf.newaxis] == candidates.ids, -1e9, others)
    all_of_them = tf.concat([of_targets[:, tf.newaxis], others], axis=1)
    return tf.reduce_logsumexp(all_of_them, axis=1) - of_targets


def _variable(initial: np.ndarray) -> keras.Variable:
    return keras.Variable(np.asarray(initial, np.float32))
