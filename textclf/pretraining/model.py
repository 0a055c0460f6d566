"""Language models: recurrent layers that predict the next token, and their training step.

A step computes the loss among some candidates; the perplexity is that of the whole softmax.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from textclf import networks
from textclf.training.row_adam import RowAdam

# What is drawn in a step has its seed: that of the training, plus this, plus the direction.
_CANDIDATES, _DROPOUT = 0, 100


class Direction(NamedTuple):
    """A language model of one direction, which shares the token vectors with the other one.

    Attributes:
        name: "forward" or "backward".
        layers: the recurrent layers, from the bottom up; each returns its outputs and its state.
    """

    name: str
    layers: list[keras.layers.RNN]


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
        head: outputs of the layers to token vectors.
    """

    def __init__(self, network: networks.Network, *, seed: int):
        encoder = network.encoder
        self._encoder = encoder
        self.table = encoder.embedding.embeddings
        layers = encoder.recurrent_layers
        stacks = {"forward": layers}
        if len(encoder.stack) < len(layers):  # one layer of two directions
            stacks = {"forward": layers[:1], "backward": layers[1:]}
        for layer in layers:
            layer.return_state = True
        self.directions = [Direction(name, stack) for name, stack in stacks.items()]
        num_tokens, width = self.table.shape
        self.head = networks.LanguageModelHead(
            list(stacks), units=layers[-1].units, width=width, num_tokens=num_tokens, seed=seed
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """All trained weights but the table, always in the same order."""
        layers = [*self._encoder.stack, *self._encoder.norms]
        of_layers = [variable for layer in layers for variable in layer.trainable_variables]
        return [*of_layers, *self.head.named_variables.values()]

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

    def weights(self) -> dict[str, np.ndarray]:
        """Return all weights by name; those of the encoder have the names of a classifier's."""
        layers = [*self._encoder.stack, *self._encoder.norms]
        encoder = [self.table, *(v for layer in layers for v in layer.weights)]
        named = {variable.path: variable for variable in encoder} | self.head.named_variables
        return {name: variable.numpy() for name, variable in named.items()}


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
        self._candidates = networks.Candidates(
            num_tokens=model.table.shape[0], number=num_candidates
        )
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
        candidates = [
            self._candidates.draw([self._seed + _CANDIDATES + i, 2 * number])
            for i, _ in enumerate(model.directions)
        ]
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
            biases = tf.gather(model.head.output_bias.value, rows.ids)

            def compared(in_rows: tf.Tensor, tokens: tf.Tensor) -> networks.Compared:
                correction = tf.math.log(self._candidates.probability(tokens))
                return networks.Compared(
                    in_rows,
                    tf.gather(rows.values, in_rows),
                    tf.gather(biases, in_rows) - correction,
                )

            for i, direction in enumerate(model.directions):
                inputs, targets = windows_in_rows[i, :, :-1], windows_in_rows[i, :, 1:]
                vectors = self._drop(tf.gather(rows.values, inputs), number, 2 * i)
                outputs, new = model.outputs(i, vectors, state[i])
                outputs = self._drop(outputs, number, 2 * i + 1)
                after.append(new)
                flat = tf.reshape(outputs, [-1, outputs.shape[-1]])  # [B * T, units]
                of_tokens = networks.sampled_losses(
                    model.head.token_vectors(direction.name, flat),
                    compared(tf.reshape(targets, [-1]), tf.reshape(windows[i, :, 1:], [-1])),
                    compared(in_rows[1 + i], candidates[i]),
                )  # [B * T]
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
        for i, direction in enumerate(model.directions):
            vectors = tf.gather(model.table.value, windows[i, :, :-1])
            outputs, new = model.outputs(i, vectors, state[i])
            after.append(new)
            flat = tf.reshape(outputs, [-1, outputs.shape[-1]])
            vectors = model.head.token_vectors(direction.name, flat)
            logits = tf.matmul(vectors, model.table.value, transpose_b=True)  # [B * T, V]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.reshape(windows[i, :, 1:], [-1]), logits + model.head.output_bias.value
            )
            sums.append(tf.reduce_sum(losses))
        return tf.stack(sums), after


def _states(layer: keras.layers.RNN) -> Sequence[int]:
    """Return the sizes of the states of a layer: two for an LSTM, one otherwise."""
    size = layer.cell.state_size
    return [size] if isinstance(size, int) else list(size)
