"""A training that kills itself, in a separate process.

    python tests/killed_training.py SETTINGS_JSON OUTPUT KIND NUMBER

It runs `train_events(settings, output, resume=True)` and sends itself SIGKILL:

    KIND event   at the event of that number of the stream of events
    KIND file    at that number of `open`, `os.rename`, `os.mkdir` or `os.remove` below the folder
                 of the output
    KIND none    never; `OUTPUT.counts.json` tells how many of both there were
"""

import json
import os
import signal
import sys
from pathlib import Path

from textclf.startup import import_tensorflow

FILE_CALLS = ("open", "os.rename", "os.mkdir", "os.remove")


def train(settings: dict, output: str, kind: str, number: int) -> None:
    """Run the training."""
    import_tensorflow()
    import tensorflow as tf

    from textclf import training
    from textclf.config import Config

    # As in conftest.py, so that a training can continue in the process of the tests.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    counts = {"event": 0, "file": 0}

    def count(name: str) -> None:
        counts[name] += 1
        if kind == name and counts[name] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple) -> None:
        if event in FILE_CALLS and str(arguments[0]).startswith(str(Path(output).parent)):
            count("file")

    sys.addaudithook(audit)
    for _ in training.train_events(Config.from_dict(settings), output, resume=True):
        count("event")
    Path(f"{output}.counts.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    train(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
