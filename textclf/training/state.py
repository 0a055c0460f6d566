"""The state of a training: all that the loop remembers from step to step."""

from typing import Any

import msgspec
import numpy as np


class BestEpoch(msgspec.Struct, frozen=True):
    """The epoch with the best validation score so far.

    Attributes:
        epoch: from 1.
        score: the monitored figure, negated if lower is better.
        weights: the network's weights by name.
        logits: float32 [validation examples, C].
        is_average: whether the weights are an average, see `training.average`.
    """

    epoch: int
    score: float
    weights: dict[str, np.ndarray]
    logits: np.ndarray
    is_average: bool = False


class EpochMean(msgspec.Struct, frozen=True):
    """The mean of the weights after several epochs, for `training.average: swa`.

    Attributes:
        number: of epochs.
        score: of the first of them, the best epoch without averaging so far.
        weights: by name.
    """

    number: int
    score: float
    weights: dict[str, np.ndarray]


class EpochSums(msgspec.Struct):
    """Sums over the steps of the epoch so far.

    Attributes:
        steps: steps done.
        loss: sum of the losses of all examples.
        examples: number of examples.
        norms: gradient norms of each step, float32 [trained variables].
        updates: of some steps, the norms of the updates and of the weights before, float32 [2,
            trained variables].
        skipped: steps that were skipped, see `State.skipped_in_row`.
    """

    steps: int = 0
    loss: float = 0.0
    examples: int = 0
    norms: list[np.ndarray] = msgspec.field(default_factory=list)
    updates: list[np.ndarray] = msgspec.field(default_factory=list)
    skipped: int = 0

    @property
    def mean_loss(self) -> float:
        return self.loss / self.examples if self.examples else 0.0

    def add(self, loss: float, num_examples: int, norms: np.ndarray) -> None:
        """Add a step: its mean loss, its number of examples and its gradient norms."""
        self.steps += 1
        self.loss += loss * num_examples
        self.examples += num_examples
        self.norms.append(norms)

    def skip(self) -> None:
        """Count a step that was skipped."""
        self.steps += 1
        self.skipped += 1


class State(msgspec.Struct):
    """Progress of a training.

    Together with the network's weights, its dropout states, the optimizer's variables and the
    iterator of the epoch's batches, this is everything that a checkpoint holds.

    Attributes:
        epoch: the current epoch, from 1; 0 before the first.
        is_in_epoch: whether the epoch is not complete: steps or its validation are missing.
        step: training steps done, over all epochs.
        sums: of the current epoch.
        best: None before the first complete epoch.
        mean: only with `training.average: swa`.
        epochs_without_gain: complete epochs since the best one.
        plateau_factor: factor of the learning rate of the schedule `plateau`.
        learning_rate: of the last step.
        skipped_in_row: the last steps, whose gradients overflowed in float16, so that they changed
            no weights.
        stopped_early: whether early stopping ended the training.
        history: figures of the complete epochs.
        seconds: duration of the current epoch so far, interruptions not included.
    """

    epoch: int = 0
    is_in_epoch: bool = False
    step: int = 0
    sums: EpochSums = msgspec.field(default_factory=EpochSums)
    best: BestEpoch | None = None
    mean: EpochMean | None = None
    epochs_without_gain: int = 0
    plateau_factor: float = 1.0
    learning_rate: float = 0.0
    skipped_in_row: int = 0
    stopped_early: bool = False
    history: list[dict[str, Any]] = msgspec.field(default_factory=list)
    seconds: float = 0.0

    def begin_epoch(self) -> None:
        """Count the epoch and clear the sums."""
        self.epoch += 1
        self.is_in_epoch = True
        self.sums = EpochSums()
        self.seconds = 0.0

    def end_epoch(self, figures: dict[str, Any]) -> None:
        """Add the figures of the epoch, which is complete."""
        self.is_in_epoch = False
        self.history.append(figures)
