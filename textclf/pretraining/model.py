"""Language models: a recurrent layer that predicts the next token, and its training step.

Input and output vectors of a token are the same (Press & Wolf 2017, "Using the Output Embedding to
Improve Language Models"). A step computes the sampled softmax (Jean et al. 2015, section 3); the
perplexity is that of the whole softmax.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from textclf import networks
from textclf.networks.initializers import derived_seed
from textclf.training.row_adam import RowAdam

# Name of the weights that a classifier does not have, in the file of weights.
PREFIX = "language_model"
# What is drawn in a step has its seed: that of the training, plus this, plus the direction.
_CANDIDATES, _DROPOUT = 0, 100


class Direction(NamedTuple):
    """A language model of one direction, which shares the token vectors with the other one.

    Attributes:
        name: "forward" or "backward".
        layers: the recurrent layers, from the bottom up; each returns its outputs and its state.
        kernel, bias: from the outputs of the last layer to a token vector, float32 [units, E] and
            [E].
    """

    name: str
    layers: list[keras.layers.RNN]
    kernel: keras.Variable
    bias: keras.Variable


# A state of each layer of each direction: its tensors, float32 [B, units] each.
State = list[list[list[Any]]]


class LanguageModel:
    """Language models of the recurrent layers of a network, forward and, if it has them, backward.

        model = LanguageModel(network, seed=0)

    Args:
        network: a `networks.Network` with recurrent layers and without dropout in them; its head
            is not used. With backward layers, it has one layer in each direction.
        seed: of the initial weights.

    Attributes:
        directions: the language models.
        table: token vectors, float32 [V, E].
        output_bias: float32 [V], of each token as a target, shared by the directions.
    """

    def __init__(self, network: networks.Network, *, seed: int):
        encoder = network.encoder
        self._encoder = encoder
        self.table = encoder.embedding.embeddings
        layers = encoder.recurrent_layers
        stacks = {"forward": layers}
        if len(encoder.stack) < len(layers):  # one layer of two directions
            stacks = {"forward": layers[:1], "backward": layers[1:]}
        num_tokens, width = self.table.shape
        self.directions = []
        for name, stack in stacks.items():
            for layer in stack:
                layer.return_state = True
            kernel = keras.initializers.GlorotUniform(derived_seed(seed, f"{PREFIX}/{name}"))
            self.directions.append(
                Direction(
                    name,
                    stack,
                    _variable(kernel((stack[-1].units, width))),
                    _variable(np.zeros(width)),
                )
            )
        self.output_bias = _variable(np.zeros(num_tokens))

    @property
    def variables(self) -> list[keras.Variable]:
        """All trained weights but the table, always in the same order."""
        layers = [*self._encoder.stack, *self._encoder.norms]
        return [
            *(variable for layer in layers for variable in layer.trainable_variables),
            *(v for direction in self.directions for v in (direction.kernel, direction.bias)),
            self.output_bias,
        ]

    def initial_state(self, num_streams: int) -> State:
        """Return the state at the start of a pass: zeros."""
        return [
            [
                [np.zeros([num_streams, layer.units], np.float32) for _ in _states(layer)]
                for layer in direction.layers
            ]
            for direction in self.directions
        ]

    def outputs(
        self, number: int, vectors: tf.Tensor, state: list[list[tf.Tensor]]
    ) -> tuple[tf.Tensor, list[list[tf.Tensor]]]:
        """Return the outputs of the last layer of a direction, and the state after them.

        Args:
            number: of the direction.
            vectors: token vectors, float32 [B, T, E].
            state: of its layers.

        Returns:
            float32 [B, T, units] and the new state.
        """
        x, after = vectors, []
        for i, layer in enumerate(self.directions[number].layers):
            x, *values = layer(x, initial_state=state[i], training=False)
            after.append(values)
            if i < len(self._encoder.norms):
                x = self._encoder.norms[i](x)
        return x, after

    def token_vectors(self, number: int, outputs: tf.Tensor) -> tf.Tensor:
        """Return the vectors that are compared with those of the tokens, [..., E]."""
        direction = self.directions[number]
        return tf.tensordot(outputs, direction.kernel.value, 1) + direction.bias.value

    def weights(self) -> dict[str, np.ndarray]:
        """Return all weights by name; those of the encoder have the names of a classifier's."""
        layers = [*self._encoder.stack, *self._encoder.norms]
        encoder = [self.table, *(v for layer in layers for v in layer.weights)]
        own = {f"{PREFIX}/output_bias": self.output_bias}
        for direction in self.directions:
            own[f"{PREFIX}/{direction.name}/kernel"] = direction.kernel
            own[f"{PREFIX}/{direction.name}/bias"] = direction.bias
        named = {variable.path: variable for variable in encoder} | own
        return {name: variable.numpy() for name, variable in named.items()}


class _Compared(NamedTuple):
    """Tokens that are compared with the outputs of a language model.

    Attributes:
        ids: int32 [N], equal for equal tokens.
        vectors: float32 [N, E].
        biases: float32 [N], minus the logarithm of the probability to be a candidate.
    """

    ids: tf.Tensor
    vectors: tf.Tensor
    biases: tf.Tensor


def _sampled_losses(outputs: tf.Tensor, targets: _Compared, candidates: _Compared) -> tf.Tensor:
    """Return the cross entropy of targets among candidates, float32 [N] (Jean et al. 2015).

    `tf.nn.sampled_softmax_loss` has an operation that keeps a random state, which op
    determinism refuses.

    Args:
        outputs: float32 [N, E].
        targets: of the outputs; N tokens.
        candidates: S tokens; those that are the target of an output do not count for it.
    """
    of_targets = tf.reduce_sum(outputs * targets.vectors, axis=1) + targets.biases  # [N]
    others = tf.matmul(outputs, candidates.vectors, transpose_b=True) + candidates.biases  # [N, S]
    is_target = targets.ids[:, tf.newaxis] == candidates.ids
    others = tf.where(is_target, -1e9, others)
    all_of_them = tf.concat([of_targets[:, tf.newaxis], others], axis=1)
    return tf.reduce_logsumexp(all_of_them, axis=1) - of_targets


class Step:
    """The graph of one training step.

        step = Step(model, num_candidates=1024, dropout=0.1, clip_norm=1.0, seed=0)
        loss, norm, state = step(windows, state, rate=0.002, number=0)

    The loss is the mean over tokens and directions. Candidates are drawn from Zipf's law by the
    rank of a token, and repeated ones count once. Candidates and dropout masks depend on seed and
    number only, so that a training which continues draws the same ones.

    Args:
        model: its weights are trained with Adam.
        num_candidates: draws of tokens with which each target is compared, S.
        dropout: of token vectors and outputs.
        clip_norm: largest norm of the gradient over all weights.
        seed: of candidates and dropout.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        num_candidates: int,
        dropout: float,
        clip_norm: float,
        seed: int,
    ):
        self._model = model
        self._num_candidates = num_candidates
        self._dropout, self._clip_norm, self._seed = dropout, clip_norm, seed
        self._adam = keras.optimizers.Adam()
        self._adam.build(model.variables)
        self._row_adam = RowAdam(model.table, 1e-3)
        self._graph = tf.function(self._train, autograph=False)

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of the optimizer, always in the same order."""
        return [*self._row_adam.variables, *self._adam.variables]

    def flush(self) -> None:
        """Bring all token vectors up to date; before they are read."""
        self._row_adam.flush()

    def __call__(
        self, windows: np.ndarray, state: State, *, rate: float, number: int
    ) -> tuple[float, float, State]:
        """Train on the next windows.

        Args:
            windows: int32 [directions, B, T + 1].
            state: of the model before them.
            rate: learning rate.
            number: of the step, from 0, over all passes.

        Returns:
            Loss and gradient norm; if one of them is not finite, the weights are unchanged. The
            state after the windows.
        """
        loss, norm, after = self._graph(
            tf.constant(windows),
            state,
            tf.constant(rate, tf.float32),
            tf.constant(number, tf.int32),
        )
        return float(loss), float(norm), after

    def _train(
        self, windows: tf.Tensor, state: State, rate: tf.Tensor, number: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, State]:
        model = self._model
        candidates = [self._candidates(number, i) for i, _ in enumerate(model.directions)]
        ids = [tf.reshape(windows, [-1]), *candidates]
        self._row_adam.learning_rate.assign(rate)
        self._adam.learning_rate.assign(rate)
        rows = self._row_adam.gather(tf.concat(ids, 0))
        # From here on, a token is the number of its row among those of the step.
        in_rows = tf.split(rows.positions, [tf.size(part) for part in ids], num=len(ids))
        windows_in_rows = tf.reshape(in_rows[0], tf.shape(windows))
        variables = [variable.value for variable in model.variables]
        losses, after = [], []
        with tf.GradientTape() as tape:
            tape.watch(rows.values)
            biases = tf.gather(model.output_bias.value, rows.ids)
            for i, _ in enumerate(model.directions):
                inputs, targets = windows_in_rows[i, :, :-1], windows_in_rows[i, :, 1:]
                vectors = self._drop(tf.gather(rows.values, inputs), number, 2 * i)
                outputs, new = model.outputs(i, vectors, state[i])
                outputs = self._drop(outputs, number, 2 * i + 1)
                after.append(new)
                flat = tf.reshape(outputs, [-1, outputs.shape[-1]])  # [B * T, units]
                compared = [
                    _Compared(
                        in_row,
                        tf.gather(rows.values, in_row),
                        tf.gather(biases, in_row) - tf.math.log(self._inclusion(tokens)),
                    )
                    for in_row, tokens in (
                        (tf.reshape(targets, [-1]), tf.reshape(windows[i, :, 1:], [-1])),
                        (in_rows[1 + i], candidates[i]),
                    )
                ]
                of_tokens = _sampled_losses(model.token_vectors(i, flat), *compared)  # [B * T]
                losses.append(tf.reduce_mean(of_tokens))
            loss = tf.add_n(losses) / len(losses)
        gradients = tape.gradient(loss, [rows.values, *variables])
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        gradients, norm = tf.clip_by_global_norm(gradients, self._clip_norm)

        def update() -> tf.Tensor:
            self._row_adam.apply(gradients[0], rows)
            self._adam.apply(gradients[1:], model.variables)
            return tf.constant(0)

        is_finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        tf.cond(is_finite, update, lambda: tf.constant(0))
        return loss, norm, after

    def _candidates(self, number: tf.Tensor, direction: int) -> tf.Tensor:
        """Return the candidates of a step, without repetition: int32 [at most S]."""
        seed = [self._seed + _CANDIDATES + direction, 2 * number]
        draws = tf.random.stateless_uniform([self._num_candidates], seed)
        num_tokens = self._model.table.shape[0]
        ranks = tf.exp(draws * np.log(num_tokens + 1.0).astype(np.float32)) - 1
        return tf.unique(tf.minimum(tf.cast(ranks, tf.int32), num_tokens - 1))[0]

    def _inclusion(self, ids: tf.Tensor) -> tf.Tensor:
        """Return the probability of tokens to be among the candidates, float32 as `ids`."""
        ranks = tf.cast(ids, tf.float32)
        share = tf.math.log((ranks + 2) / (ranks + 1)) / np.log(self._model.table.shape[0] + 1.0)
        return -tf.math.expm1(self._num_candidates * tf.math.log1p(-share))

    def _drop(self, x: tf.Tensor, number: tf.Tensor, index: int) -> tf.Tensor:
        if not self._dropout:
            return x
        seed = [self._seed + _DROPOUT + index, 2 * number + 1]
        return tf.nn.experimental.stateless_dropout(x, self._dropout, seed)


class Perplexity:
    """The perplexity of a language model on texts: exp of the mean cross entropy of their tokens.

        perplexity = Perplexity(model)
        perplexity([windows, ...])    # [143.2, 139.8], forward and backward

    Args:
        model: read at each call.
    """

    def __init__(self, model: LanguageModel):
        self._model = model
        self._graph = tf.function(self._sums, autograph=False)

    def __call__(self, steps: Sequence[np.ndarray]) -> list[float]:
        """Return the perplexity of each direction.

        Args:
            steps: windows of consecutive steps, int32 [directions, B, T + 1].
        """
        state = self._model.initial_state(steps[0].shape[1])
        total = np.zeros(len(self._model.directions))
        for windows in steps:
            sums, state = self._graph(tf.constant(windows), state)
            total += sums.numpy()
        count = sum(windows[0, :, 1:].size for windows in steps)
        return np.exp(total / count).tolist()

    def _sums(self, windows: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Return the sums of the cross entropies, float32 [directions], and the state after."""
        model, sums, after = self._model, [], []
        for i, _ in enumerate(model.directions):
            vectors = tf.gather(model.table.value, windows[i, :, :-1])
            outputs, new = model.outputs(i, vectors, state[i])
            after.append(new)
            flat = tf.reshape(model.token_vectors(i, outputs), [-1, model.table.shape[1]])
            logits = tf.matmul(flat, model.table.value, transpose_b=True)  # [B * T, V]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.reshape(windows[i, :, 1:], [-1]), logits + model.output_bias.value
            )
            sums.append(tf.reduce_sum(losses))
        return tf.stack(sums), after


def _states(layer: keras.layers.RNN) -> Sequence[int]:
    """Return the sizes of the states of a layer: two for an LSTM, one otherwise."""
    size = layer.cell.state_size
    return [size] if isinstance(size, int) else list(size)


def _variable(initial: Any) -> keras.Variable:
    return keras.Variable(np.asarray(initial, np.float32))
