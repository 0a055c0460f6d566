"""Training: from a configuration to a trained folder, as a stream of events.

    for event in train_events(config, "runs/reviews"):
        ...

    state          all that the loop remembers from step to step
    optimization   optimizer, learning rate schedule, training step
    loop           epochs and steps
    validation     logits and figures of the validation split
    diagnostics    notices, gradient norms, losses that are not finite
    cluster        devices that share a training
    card           decision, validation report and card of the best epoch
    run            `train` and `train_events`, which put these together

Nothing here prints: the caller decides what to show of the events.
"""

from textclf.training.card import validation_report
from textclf.training.events import Epoch, Event, Finished, Started, Step
from textclf.training.run import TrainingResult, check, train, train_events
from textclf.training.validation import Validator

__all__ = [
    "Epoch",
    "Event",
    "Finished",
    "Started",
    "Step",
    "TrainingResult",
    "Validator",
    "check",
    "train",
    "train_events",
    "validation_report",
]
