"""Averages of the weights over a training, which often score better than the last weights.

- `MovingAverage` (`training.average: ema`): exponential moving average, updated at every step
  (Polyak & Juditsky 1992; with the warm-up of the decay that TensorFlow's
  `ExponentialMovingAverage` has).
- `mean_of_epochs` (`training.average: swa`): mean of the weights after several epochs (Izmailov et
  al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization").
"""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from textclf import networks


class MovingAverage:
    """Exponential moving average of the trained weights of a network.

    The decay of step t, from 0, is the smaller one of `decay` and (1 + t) / (10 + t), so that the
    first steps count little.

    Args:
        network: made within the strategy's scope, as this object.
        decay: of the average; `training.average_decay`.
    """

    def __init__(self, network: networks.Network, decay: float):
        self._decay = decay
        trained = {id(variable) for variable in network.trainable_variables}
        self._pairs = {
            # A copy: Keras would use the variable of the weight itself.
            name: (variable, keras.Variable(variable.numpy(), trainable=False, name="average"))
            for name, variable in network.named_parameters.items()
            if id(variable) in trained
        }

    @property
    def variables(self) -> list[keras.Variable]:
        """The averages, in the order of the weights."""
        return [average for _, average in self._pairs.values()]

    def update(self, step: tf.Tensor) -> None:
        """Move the averages towards the weights after a step, int64 [], from 0."""
        t = tf.cast(step, tf.float32)
        share = 1 - tf.minimum(self._decay, (1 + t) / (10 + t))
        for variable, average in self._pairs.values():
            average.assign(average.value + share * (variable.value - average.value))

    def weights(self, current: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the averages by name, and the current values of weights that are not trained."""
        averages = {name: average.numpy() for name, (_, average) in self._pairs.items()}
        return {**current, **averages}


def mean_of_epochs(
    mean: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], number: int
) -> dict[str, np.ndarray]:
    """Return the mean of the weights of several epochs.

    Args:
        mean: of the epochs before.
        weights: of the last epoch.
        number: of epochs, the last one included.
    """
    return {
        name: (value + (weights[name] - value) / number).astype(value.dtype)
        for name, value in mean.items()
    }
