"""The loop: from a configuration to a trained folder, as a stream of events.

    for event in train(config, "runs/reviews"):
        ...

It prints nothing. Who runs it decides what to show: `Started`, `Step` and `Epoch` tell how it
goes, `Finished` where the result is.
"""

from textclf.training.events import Epoch, Event, Finished, Started, Step
from textclf.training.run import check, train

__all__ = ["Epoch", "Event", "Finished", "Started", "Step", "check", "train"]
