"""Checkpoints: the whole state of a running training, from which it continues bit for bit.

In the files of a checkpoint (`checkpoint_files`), the arrays are variables of network and
optimizer, norms of gradients and updates, and the best epoch; the numbers are those of the state;
`iterator.*` is the position in the epoch's batches with the shuffle buffer, as TensorFlow stores
it, which is missing between two epochs.

Writing one only reads: it changes nothing in the training.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf

from textclf.errors import ArtifactError, TrainingError
from textclf.training.checkpoint_files import CheckpointFiles, Stored
from textclf.training.state import BestEpoch, EpochMean, EpochSums, State
from textclf.training.work_folder import Position

_ITERATOR = "iterator"


class _Numbers(msgspec.Struct, kw_only=True):
    """The numbers of a `State`, and of its best epoch."""

    step: int
    epoch: int
    is_in_epoch: bool
    steps_in_epoch: int
    loss_sum: float
    num_examples: int
    num_skipped: int
    skipped_in_row: int
    best_epoch: int | None
    best_score: float | None
    best_is_average: bool
    num_in_mean: int | None
    mean_score: float | None
    epochs_without_gain: int
    plateau_factor: float
    learning_rate: float
    history: list[dict[str, Any]]
    seconds: float


class Checkpoints:
    """Writes checkpoints of a training, and reads the newest one.

        checkpoints = Checkpoints(folder, [*network.variables, *optimizer.variables], minutes=10)
        checkpoints.save(state, iterator)
        restored = checkpoints.restore()

    Args:
        folder: holds a folder for each checkpoint.
        variables: all variables that the training changes, in a fixed order.
        minutes: interval after which `is_due` is true.
    """

    def __init__(self, folder: Path, variables: list[keras.Variable], *, minutes: float):
        self._files = CheckpointFiles(folder, minutes=minutes)
        self._variables = variables

    @property
    def is_due(self) -> bool:
        """True if the interval has passed since the last checkpoint."""
        return self._files.is_due

    def save(self, state: State, iterator: Iterator | None) -> None:
        """Write a checkpoint beside the others, then remove all but the newest two.

        Args:
            state: of the training.
            iterator: of the epoch's batches; None between two epochs.

        Raises:
            ArtifactError: it cannot be written, for instance because the disk is full. The
                former ones are unchanged.
        """

        def write_iterator(folder: Path) -> None:
            if iterator is None:
                return
            try:
                tf.train.Checkpoint(iterator=iterator).write(str(folder / _ITERATOR))
            except tf.errors.OpError as error:  # for instance a full disk
                raise OSError(None, str(error.message).split("\n")[0]) from error

        self._files.write(
            self._arrays(state),
            msgspec.to_builtins(_numbers(state)),
            Position(epoch=state.epoch, step=state.step),
            write_iterator,
        )

    def restore(self) -> "Restored | None":
        """Set the variables to the newest whole checkpoint; None if there is none.

        Raises:
            TrainingError: it is a checkpoint of another network.
        """
        stored, notices = self._files.newest()
        if stored is None:
            return Restored(State(), None, notices) if notices else None
        return self._read(stored, notices)

    def restore_number(self, number: int) -> "Restored":
        """Set the variables to the checkpoint that the chief of several workers has restored.

        Raises:
            TrainingError: it cannot be read here.
        """
        folder = self._files.folder / f"{number:06d}"
        try:
            stored = self._files.read(folder)
        except ArtifactError as error:
            raise TrainingError(
                f"{folder}: this worker cannot read the checkpoint with which worker 0 continues "
                f"({error}); give all workers the same OUTPUT in a shared folder"
            ) from error
        return self._read(stored, ())

    def _read(self, stored: Stored, notices: tuple[str, ...]) -> "Restored":
        folder = stored.folder
        numbers = msgspec.convert(stored.manifest.numbers, _Numbers)
        with stored.arrays() as arrays:
            self._assign(folder, arrays)
            state = _state(numbers, arrays)
        has_iterator = any(name.startswith(_ITERATOR) for name in stored.manifest.files)
        iterator_path = folder / _ITERATOR if has_iterator else None
        return Restored(state, iterator_path, notices, int(folder.name))

    def _arrays(self, state: State) -> dict[str, Any]:
        arrays: dict[str, Any] = {
            f"variable/{i}": variable.numpy() for i, variable in enumerate(self._variables)
        }
        arrays["norms"] = np.array(state.sums.norms, np.float32)
        arrays["updates"] = np.array(state.sums.updates, np.float32)
        if state.best is not None:
            arrays["best_logits"] = state.best.logits
            arrays |= {f"best/{name}": value for name, value in state.best.weights.items()}
        if state.mean is not None:
            arrays |= {f"mean/{name}": value for name, value in state.mean.weights.items()}
        return arrays

    def _assign(self, folder: Path, arrays: Any) -> None:
        stored = {name: arrays[name].shape for name in arrays if name.startswith("variable/")}
        expected = {f"variable/{i}": tuple(v.shape) for i, v in enumerate(self._variables)}
        if stored != expected:
            raise TrainingError(
                f"{folder}: is a checkpoint of another network; start again with --overwrite"
            )
        for i, variable in enumerate(self._variables):
            variable.assign(arrays[f"variable/{i}"])


class Restored(msgspec.Struct, frozen=True):
    """State of a training that continues.

    Attributes:
        state: as it was when the checkpoint was written.
        iterator_path: where the iterator of the batches is stored; None between two epochs.
        notices: sentences for the user.
        number: of the checkpoint; 0 if all were damaged.
    """

    state: State
    iterator_path: Path | None
    notices: tuple[str, ...]
    number: int = 0


def restore_iterator(iterator: Iterator, path: Path) -> None:
    """Move an iterator over an epoch's batches to the position that a checkpoint stores."""
    tf.train.Checkpoint(iterator=iterator).read(str(path)).assert_consumed()


def _numbers(state: State) -> _Numbers:
    best, mean = state.best, state.mean
    return _Numbers(
        step=state.step,
        epoch=state.epoch,
        is_in_epoch=state.is_in_epoch,
        steps_in_epoch=state.sums.steps,
        loss_sum=state.sums.loss,
        num_examples=state.sums.examples,
        best_epoch=best.epoch if best else None,
        best_score=best.score if best else None,
        best_is_average=bool(best and best.is_average),
        num_in_mean=mean.number if mean else None,
        mean_score=mean.score if mean else None,
        num_skipped=state.sums.skipped,
        skipped_in_row=state.skipped_in_row,
        epochs_without_gain=state.epochs_without_gain,
        plateau_factor=state.plateau_factor,
        learning_rate=state.learning_rate,
        history=state.history,
        seconds=state.seconds,
    )


def _state(numbers: _Numbers, arrays: Any) -> State:
    def weights(prefix: str) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)
        }

    best, mean = None, None
    if numbers.best_epoch is not None:
        assert numbers.best_score is not None
        best = BestEpoch(
            numbers.best_epoch,
            numbers.best_score,
            weights("best/"),
            arrays["best_logits"],
            numbers.best_is_average,
        )
    if numbers.num_in_mean is not None:
        assert numbers.mean_score is not None
        mean = EpochMean(numbers.num_in_mean, numbers.mean_score, weights("mean/"))
    return State(
        epoch=numbers.epoch,
        is_in_epoch=numbers.is_in_epoch,
        step=numbers.step,
        sums=EpochSums(
            steps=numbers.steps_in_epoch,
            loss=numbers.loss_sum,
            examples=numbers.num_examples,
            norms=list(arrays["norms"]),
            updates=list(arrays["updates"]),
            skipped=numbers.num_skipped,
        ),
        best=best,
        mean=mean,
        skipped_in_row=numbers.skipped_in_row,
        epochs_without_gain=numbers.epochs_without_gain,
        plateau_factor=numbers.plateau_factor,
        learning_rate=numbers.learning_rate,
        history=numbers.history,
        seconds=numbers.seconds,
    )
