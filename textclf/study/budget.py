"""Budget that makes architectures comparable: equal settings, equal weights, or equal time.

Without a budget all architectures have the same settings. A number of weights is converted into
`model.units` and a time into `training.max_steps`, so a run with a seed is the same training on
every machine.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from textclf.config import Config

# Recurrent encoder -> gates of a unit, the candidate state included.
GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}
_MAX_UNITS = 8192
# So large that the time budget, not the number of epochs, ends training.
_UNLIMITED_EPOCHS = 10_000


class Budget(msgspec.Struct, frozen=True):
    """Limit of the weights or of the training time of each architecture.

    Attributes:
        weights: number of weights in the recurrent layers. Embeddings and the output layer are not
            counted: their widths follow from other settings. None: equal units.
        minutes: time of training steps, without validation. None: equal epochs.
    """

    weights: int | None = None
    minutes: float | None = None

    @property
    def derived_settings(self) -> dict[str, str]:
        """Settings that the budget determines, mapped to the budget entry that determines them."""
        settings = {}
        if self.weights is not None:
            settings["model.units"] = "weights"
        if self.minutes is not None:
            settings |= dict.fromkeys(("training.epochs", "training.max_steps"), "minutes")
        return settings


def recurrent_weights(model: Mapping[str, Any]) -> int:
    """Return the number of weights in the recurrent layers.

    With D the input width of a layer, U its units and G its gates, one direction of one layer
    has G (U D + U U + U) weights; a GRU with `reset_after` has another G U.

    Args:
        model: the settings of the section `model`.
    """
    encoder, units = model["encoder"], model["units"]
    if encoder == "bag":
        return 0
    gates, directions = GATES[encoder], 2 if model["bidirectional"] else 1
    biases = 2 if encoder == "gru" and model["reset_after"] else 1
    total, width = 0, model["embedding_dim"]
    for _ in range(model["num_layers"]):
        total += directions * gates * units * (width + units + biases)
        width = directions * units
    return total


def with_weights(config: Config, weights: int) -> Config:
    """Return the configuration with the number of units whose weights are nearest to `weights`.

    Raises:
        ValueError: no allowed number of units comes near, with the possible range; or the encoder
            is a function, whose weights are not known.
    """
    model = config.model.to_dict()
    if model["encoder"] == "bag":
        return config
    if model["encoder"] not in GATES:
        raise ValueError(
            f"the weights of {model['encoder']} are not known; use no budget of weights, or one of "
            f"the encoders {', '.join(GATES)}"
        )

    def count(units: int) -> int:
        return recurrent_weights({**model, "units": units})

    if not count(1) <= weights <= count(_MAX_UNITS):
        raise ValueError(
            f"expected {count(1):,} to {count(_MAX_UNITS):,} weights (1 to {_MAX_UNITS} units)"
        )
    low, high = 1, _MAX_UNITS
    while high - low > 1:
        units = (low + high) // 2
        low, high = (units, high) if count(units) <= weights else (low, units)
    nearest = min((low, high), key=lambda units: abs(count(units) - weights))
    return config.replace({"model.units": nearest})


def with_steps(config: Config, steps: int) -> Config:
    """Return the configuration that trains for `steps` steps unless early stopping ends it."""
    return config.replace({"training.epochs": _UNLIMITED_EPOCHS, "training.max_steps": steps})


def without_linear(config: Config) -> Config:
    """Return the configuration of the network without the linear model of a mixture."""
    return config.replace({"model.linear": "none"}) if config.model.linear != "none" else config


def without_tracking(config: Config) -> Config:
    """Return the configuration of a training that only measures, so it is no run in MLflow."""
    return config.replace({"training.mlflow": False})


def without_end(config: Config) -> Config:
    """Return the configuration that trains until it is stopped from outside."""
    return config.replace(
        {
            "training.epochs": _UNLIMITED_EPOCHS,
            "training.max_steps": None,
            "training.patience_epochs": 0,
        }
    )
