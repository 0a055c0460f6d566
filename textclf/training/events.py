"""What happens in a training, in the order in which it happens."""

import dataclasses
from pathlib import Path
from typing import Any

from textclf.evaluation import Report


@dataclasses.dataclass(frozen=True)
class Started:
    """Data, vocabulary and network are ready.

    Attributes:
        class_names: the classes in order.
        splits: examples in each split.
        vocabulary_size: ids, padding and unknown included.
        num_weights: numbers in the network.
        steps_per_epoch: steps of one pass.
        total_steps: the most that will be made.
        notices: what a person should know before the long work, as sentences.
    """

    class_names: tuple[str, ...]
    splits: dict[str, int]
    vocabulary_size: int
    num_weights: int
    steps_per_epoch: int
    total_steps: int
    notices: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Step:
    """One step is done; `step` counts from 1 within the epoch, `epoch` from 1."""

    epoch: int
    step: int
    steps_per_epoch: int
    loss: float


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One pass and its validation are done.

    Attributes:
        epoch: counts from 1.
        figures: what goes into the history: losses, validation scores, learning rate, and the
            mean norm of the gradient by layer.
        is_best: whether these weights are the best so far.
        seconds: time of the pass and of its validation.
    """

    epoch: int
    figures: dict[str, Any]
    is_best: bool
    seconds: float


@dataclasses.dataclass(frozen=True)
class Finished:
    """The trained folder is written.

    Attributes:
        folder: where.
        best_epoch: the epoch whose weights it holds.
        epochs: epochs that were run.
        why: "epochs", "steps" (`training.max_steps`), "early stopping", "interrupted" or "not
            finite".
        message: for the last two, a sentence for the user.
        validation: the validation report of the best epoch.
        notices: what a person should know about it, as sentences.
    """

    folder: Path
    best_epoch: int
    epochs: int
    why: str
    message: str
    validation: Report
    notices: tuple[str, ...]


Event = Started | Step | Epoch | Finished
