"""A training that kills itself, in a separate process, and the result of a training.

    python tests/killed_training.py SETTINGS_JSON OUTPUT KIND NUMBER

It runs `train_events(settings, output, resume=True)` and sends itself SIGKILL:

    KIND event   at the event of that number of the stream of events
    KIND open, rename, mkdir, remove
                 at the call of that number for a file below the folder of the output
    KIND file    at that number of any of these calls
    KIND none    never; `OUTPUT.counts.json` tells how many of each there were

benchmarks/resume.py uses both functions too.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textclf.startup import import_tensorflow

# Name in Python's table of audit events -> kind.
FILE_CALLS = {"open": "open", "os.rename": "rename", "os.mkdir": "mkdir", "os.remove": "remove"}
TEXTS = ("not bad at all", "", "很好看！", "never again, and not good")


def train(
    settings: dict[str, Any],
    output: Path,
    kind: str,
    number: int = 0,
    on_event: Callable[[Any], None] = lambda event: None,
) -> dict[str, int]:
    """Run the training and return how many of each kind there were."""
    import_tensorflow()
    import tensorflow as tf

    from textclf import training
    from textclf.config import Config

    # As in conftest.py, so that a training can continue in the process of the tests.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    counts = dict.fromkeys(("event", "file", *FILE_CALLS.values()), 0)

    def count(name: str) -> None:
        counts[name] += 1
        if kind == name and counts[name] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple) -> None:
        if event in FILE_CALLS and str(arguments[0]).startswith(str(output.parent)):
            count(FILE_CALLS[event])
            count("file")

    sys.addaudithook(audit)
    # One step in a call, so that each run has the same number of checkpoints.
    for event in training.train_events(
        Config.from_dict(settings), output, resume=True, max_steps_per_call=1
    ):
        on_event(event)
        count("event")
    return counts


def result_of(output: Path) -> dict[str, Any]:
    """Return all that must be equal in two trained folders."""
    from click.testing import CliRunner

    from textclf import artifact
    from textclf.cli import main

    files = {
        name: (output / name).read_bytes()
        for name in ("vocabulary.txt", "weights.npz", "linear.npz")
        if (output / name).exists()
    }
    lines = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    card = artifact.read_card(output)
    predicted = CliRunner().invoke(main, ["predict", str(output), "--json", "--", *TEXTS])
    assert predicted.exit_code == 0, predicted.output
    return {
        **files,
        "history": [{k: v for k, v in line.items() if k != "seconds"} for line in lines],
        "decision": card.decision,
        "mixture": card.mixture,
        "training": card.training,
        "predicted": predicted.stdout_bytes,
    }


if __name__ == "__main__":
    output = Path(sys.argv[2])
    counts = train(json.loads(sys.argv[1]), output, sys.argv[3], int(sys.argv[4]))
    Path(f"{output}.counts.json").write_text(json.dumps(counts))
