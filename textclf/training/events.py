"""Events of a training, in the order in which they happen."""

from pathlib import Path
from typing import Any

import msgspec

from textclf.evaluation import Gain, Report
from textclf.linear import Selection


class Started(msgspec.Struct, frozen=True):
    """Data, vocabulary and network are ready.

    Attributes:
        class_names: the classes in order.
        splits: number of examples of each split.
        vocabulary_size: number of token ids, padding and unknown included.
        num_weights: number of scalars in the network.
        steps_per_epoch: steps of one epoch; 0 without a network.
        total_steps: maximum number of training steps; 0 without a network.
        step: steps done before; 0 unless the training continues.
        history: figures of the epochs that were complete before.
        notices: sentences for the user, before the long work.
    """

    class_names: tuple[str, ...]
    splits: dict[str, int]
    vocabulary_size: int
    num_weights: int
    steps_per_epoch: int
    total_steps: int
    step: int
    history: tuple[dict[str, Any], ...]
    notices: tuple[str, ...]


class LinearFitted(msgspec.Struct, frozen=True):
    """The linear model is fitted.

    Attributes:
        selection: how it was fitted.
        validation: its report on the validation split.
        notices: sentences for the user.
    """

    selection: Selection
    validation: Report
    notices: tuple[str, ...]


class Step(msgspec.Struct, frozen=True):
    """One training step is done.

    Attributes:
        epoch: from 1.
        step: from 1, within the epoch.
        loss: mean loss of the batch.
        mean_loss: mean loss of the epoch's examples so far.
    """

    epoch: int
    step: int
    steps_per_epoch: int
    loss: float
    mean_loss: float


class Epoch(msgspec.Struct, frozen=True):
    """One epoch and its validation are done.

    Attributes:
        epoch: from 1.
        figures: a line of the history: losses, validation scores, learning rate, and by layer the
            mean gradient norm and update ratio; see `recurrence.Diagnosis` for those of recurrent
            layers.
        is_best: whether these weights are the best so far.
        seconds: duration of the epoch and its validation.
        notes: sentences for the user on layers that do not learn well; usually none.
    """

    epoch: int
    figures: dict[str, Any]
    is_best: bool
    seconds: float
    notes: tuple[str, ...] = ()


class TrackingFailed(msgspec.Struct, frozen=True):
    """The values of an event could not be sent to MLflow; the training continues.

    It comes before that event: at the first failure, and at the end if values are lost.

    Attributes:
        message: a sentence for the user.
    """

    message: str


class WorkerFinished(msgspec.Struct, frozen=True):
    """A worker that is not the chief has nothing left to do; it is its last event.

    Attributes:
        index: of the worker, from 1.
        message: for a training that ended early, a sentence for the user.
    """

    index: int
    message: str


class Finished(msgspec.Struct, frozen=True):
    """The trained folder is written.

    Attributes:
        folder: its path.
        best_epoch: the epoch whose weights it holds.
        epochs: number of epochs that began.
        why: "epochs", "steps" (`training.max_steps`), "early stopping", "interrupted", "not
            finite", "linear" without a network, or "finished before" where nothing was left to
            do.
        message: for "interrupted" and "not finite", a sentence for the user.
        validation: the validation report of the best epoch.
        share: of the linear model in the mixture; None without a mixture.
        gain: what the network adds to the linear model; None without both.
        is_resumable: whether the training can be continued with `resume`.
    """

    folder: Path
    best_epoch: int
    epochs: int
    why: str
    message: str
    validation: Report
    share: float | None = None
    gain: Gain | None = None
    is_resumable: bool = False


Event = Started | LinearFitted | Step | Epoch | TrackingFailed | WorkerFinished | Finished
