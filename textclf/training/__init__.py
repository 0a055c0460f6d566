"""Training: from a configuration to a trained folder, as a stream of events.

    for event in train_events(config, "runs/reviews"):
        ...

    checks         checks that need neither TensorFlow nor the whole data
    state          all that the loop remembers from step to step
    initialization initial weights from a trained folder
    optimization   optimizer, learning rate schedule, class weights, training step
    row_adam       Adam for the token vectors that a batch uses
    language_model auxiliary loss of a language model
    averaging      averages of the weights over a training
    loop           epochs and steps
    validation     logits and figures of the validation split
    diagnostics    notices on data and layers, gradient norms, losses that are not finite
    recurrence     sizes of updates, saturated gates, dead units, gradients in time
    checkpoints    the state in files, from which a training continues
    checkpoint_files
                   these files: written whole, checked, the newest two
    history        figures of the epochs in files
    tracking       events of a training to values for MLflow
    mlflow_store   a run in MLflow, which receives them
    cluster        devices and processes that share a training
    watchdog       ends a worker that waits too long for the others
    work_folder    the folder of an unfinished training, and its lock
    card           decision, validation report and card of the best epoch
    linear_model   the linear model, alone or beside a network
    run            `train_events`, which puts these together
    result         `train`: the result of a whole training
    range_test     the loss while the learning rate rises

Nothing here prints: the caller decides what to show of the events. Only `check`,
`check_output`, `check_store`, `is_chief` and `unfinished_training` are imported at once; the other
names need TensorFlow and are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from textclf.training.checks import check, check_output
from textclf.training.cluster import is_chief
from textclf.training.mlflow_store import check_store
from textclf.training.work_folder import unfinished_training

if TYPE_CHECKING:
    from textclf.training.card import validation_report
    from textclf.training.events import (
        Epoch,
        Event,
        Finished,
        LinearFitted,
        Started,
        Step,
        TrackingFailed,
        WorkerFinished,
    )
    from textclf.training.linear_model import fit_linear
    from textclf.training.range_test import RangeTest, find_learning_rate
    from textclf.training.result import TrainingResult, train
    from textclf.training.run import train_events
    from textclf.training.validation import Validator

_MODULES = {
    "card": ("validation_report",),
    "events": (
        "Epoch",
        "Event",
        "Finished",
        "LinearFitted",
        "Started",
        "Step",
        "TrackingFailed",
        "WorkerFinished",
    ),
    "linear_model": ("fit_linear",),
    "range_test": ("RangeTest", "find_learning_rate"),
    "result": ("TrainingResult", "train"),
    "run": ("train_events",),
    "validation": ("Validator",),
}

__all__ = [
    "Epoch",
    "Event",
    "Finished",
    "LinearFitted",
    "RangeTest",
    "Started",
    "Step",
    "TrackingFailed",
    "TrainingResult",
    "Validator",
    "WorkerFinished",
    "check",
    "check_output",
    "check_store",
    "find_learning_rate",
    "fit_linear",
    "is_chief",
    "train",
    "train_events",
    "unfinished_training",
    "validation_report",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
