"""Figures of the epochs in files: `history.jsonl`, and event files for TensorBoard."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from textclf import artifact

# Names of scalars that differ from those in the history.
_BOARD_NAMES = {"gradient_norms": "gradient_norm", "update_ratios": "update_ratio"}


def scalars(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of an epoch as scalars for TensorBoard and MLflow.

    scalars({"epoch": 1, "loss": 0.4, "gradient_norms": {"head": 2.0}})
    # {"loss": 0.4, "gradient_norm/head": 2.0}
    """
    flat: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, dict):  # of each layer, gate or distance
            board_name = _BOARD_NAMES.get(name, name)
            flat |= {f"{board_name}/{key}": figure for key, figure in value.items()}
        elif name not in ("epoch", "seconds", "is_average"):
            flat[name] = value
    return flat


@contextlib.contextmanager
def history_writer(
    folder: Path, history: list[dict[str, Any]], *, tensorboard: bool
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that writes an epoch's figures to the history and to TensorBoard.

    Args:
        folder: where to write.
        history: figures of the epochs before; they are written again, because a killed training
            may have written one that its newest checkpoint does not have.
        tensorboard: whether to write event files.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(folder / artifact.HISTORY, "w", encoding="utf-8"))
        board = None
        if tensorboard:
            shutil.rmtree(folder / artifact.TENSORBOARD, ignore_errors=True)
            board = tf.summary.create_file_writer(str(folder / artifact.TENSORBOARD))
            stack.callback(board.close)

        def write(figures: dict[str, Any]) -> None:
            file.write(json.dumps(figures) + "\n")
            file.flush()
            if board is not None:
                with board.as_default(step=figures["epoch"]):
                    for name, value in scalars(figures).items():
                        tf.summary.scalar(name, value)

        for figures in history:
            write(figures)
        yield write
