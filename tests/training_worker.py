"""A training in a separate process, with what it computed and wrote.

    python tests/training_worker.py SETTINGS_JSON OUTPUT [--devices 2] [--kill-at STEP] [--terminate]

It continues the training, or begins it, and prints a line of JSON:

    losses    of each step
    step      steps done before
    written   paths of the files that Python opened for writing, made or removed near OUTPUT
    notices   sentences for the user
    ended     class of the last event

`--devices` divides the processor into logical devices. `--kill-at` sends SIGKILL to this process
after a step, counted over all epochs; `--terminate` sends SIGTERM before the first one.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from textclf.startup import import_tensorflow

_WRITING = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0}  # argument with the path


def train(
    settings: dict[str, Any], output: Path, *, kill_at: int | None, terminates: bool
) -> dict[str, Any]:
    """Run the training and return what is printed."""
    from textclf import training
    from textclf.config import Config

    written = set()

    def audit(event: str, arguments: tuple) -> None:
        is_writing = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if is_writing or event in _WRITING:
            path = str(arguments[_WRITING.get(event, 0)])
            if path.startswith(str(output.parent)):
                written.add(path)

    sys.addaudithook(audit)
    losses, step, notices = [], 0, []
    for event in training.train_events(Config.from_dict(settings), output, resume=True):
        if isinstance(event, training.Started):
            step, notices = event.step, list(event.notices)
            if terminates:
                os.kill(os.getpid(), signal.SIGTERM)
        if isinstance(event, training.Step):
            losses.append(event.loss)
            if step + len(losses) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    return {
        "losses": losses,
        "step": step,
        "written": sorted(written),
        "notices": notices,
        "ended": type(event).__name__,
    }


def divide_processor(number: int) -> None:
    """Divide the processor into logical devices."""
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * number
    tf.config.set_logical_device_configuration(processor, devices)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("output", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--terminate", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CONFIG", "")  # no operation runs before the devices are known
    import_tensorflow()
    if arguments.devices > 1:
        divide_processor(arguments.devices)
    result = train(
        arguments.settings,
        arguments.output,
        kill_at=arguments.kill_at,
        terminates=arguments.terminate,
    )
    print(json.dumps(result))
