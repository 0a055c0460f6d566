"""Language models: recurrent layers trained to predict the next token of unlabelled texts.

    for event in pretrain_events(config, "runs/lm", texts=["unlabelled.txt"]):
        print(event)

A classifier begins with their weights by `training.init_from` (Dai & Le 2015, "Semi-supervised
Sequence Learning"; Howard & Ruder 2018, "Universal Language Model Fine-tuning").

    tokens    token ids of many texts in one file, and contiguous streams of them
    model     the language models, their training step and their perplexity
    corpus    the texts: read, checked, compared with validation and test, encoded
    run       from a configuration to the folder of a language model, as a stream of events

`check` needs no TensorFlow; the other names are imported when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from textclf.pretraining.checks import check

if TYPE_CHECKING:
    from textclf.pretraining.events import Event, Finished, Measured, Started, Step
    from textclf.pretraining.run import pretrain, pretrain_events

_MODULES = {
    "Event": "events",
    "Finished": "events",
    "Measured": "events",
    "Started": "events",
    "Step": "events",
    "pretrain": "run",
    "pretrain_events": "run",
}

__all__ = [
    "Event",
    "Finished",
    "Measured",
    "Started",
    "Step",
    "check",
    "pretrain",
    "pretrain_events",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
