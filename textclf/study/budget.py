"""What every cell is allowed, so that the comparison is fair: settings, weights, or time.

By default cells have the same settings. A number of weights is turned into `model.units`, a time
into `training.max_steps`: a cell with a seed is then the same training on any machine.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from textclf.config import Config, from_dict

_GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}
_MOST_UNITS = 8192
# A time ends a training, and no number of epochs before it.
_EPOCHS = 10_000


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a cell may use up.

    Attributes:
        weights: numbers in the recurrent layers, which are what differs between cells. The
            embeddings stay as they are; the last layer reads as many units as come out. None for
            the same units.
        minutes: of training steps, without validation; None for the same epochs.
    """

    weights: int | None = None
    minutes: float | None = None

    @property
    def settled(self) -> dict[str, str]:
        """The settings that follow from it, with the entry from which they follow."""
        found = {}
        if self.weights is not None:
            found["model.units"] = "weights"
        if self.minutes is not None:
            found |= dict.fromkeys(("training.epochs", "training.max_steps"), "minutes")
        return found


def recurrent_weights(model: Mapping[str, Any]) -> int:
    """How many numbers the recurrent layers hold.

    With D the width of what a layer reads, U its units and G its gates, one direction of one layer
    has G (U D + U U + U), and a GRU with `reset_after` another G U.

    Args:
        model: the settings of section `model`.
    """
    encoder, units = model["encoder"], model["units"]
    if encoder == "bag":
        return 0
    gates, directions = _GATES[encoder], 2 if model["bidirectional"] else 1
    biases = 2 if encoder == "gru" and model["reset_after"] else 1
    total, width = 0, model["embedding_dim"]
    for _ in range(model["num_layers"]):
        total += directions * gates * units * (width + units + biases)
        width = directions * units
    return total


def with_weights(config: Config, weights: int) -> Config:
    """The configuration with the units whose number of weights is nearest.

    Raises:
        ValueError: one unit has more, or no allowed number of units has as many.
    """
    model = config.model.to_dict()
    if model["encoder"] == "bag":
        return config

    def count(units: int) -> int:
        return recurrent_weights({**model, "units": units})

    if not count(1) <= weights <= count(_MOST_UNITS):
        raise ValueError(
            f"expected {count(1):,} to {count(_MOST_UNITS):,} weights, of 1 to {_MOST_UNITS} units"
        )
    low, high = 1, _MOST_UNITS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= weights else (low, middle)
    units = min((low, high), key=lambda each: abs(count(each) - weights))
    return from_dict(config.to_dict(), [f"model.units={units}"])[0]


def with_steps(config: Config, steps: int) -> Config:
    """The configuration that trains so many steps, if early stopping does not end it before."""
    overrides = [f"training.epochs={_EPOCHS}", f"training.max_steps={steps}"]
    return from_dict(config.to_dict(), overrides)[0]


def without_end(config: Config) -> Config:
    """The configuration that trains until it is stopped."""
    overrides = [
        f"training.epochs={_EPOCHS}",
        "training.max_steps=",
        "training.patience_epochs=0",
    ]
    return from_dict(config.to_dict(), overrides)[0]
