"""Checkpoints: the whole state of a running training, from which it continues bit for bit.

A checkpoint is a folder:

    arrays.npz       variables of network and optimizer, norms of gradients and
                     updates, the best epoch
    iterator.*       the position in the epoch's batches with the shuffle buffer, as TensorFlow
                     stores it; missing between two epochs
    checkpoint.json  numbers of the state, and the checksums of the other files

Writing one only reads: it changes nothing in the training.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf

from textclf import artifact
from textclf.errors import ArtifactError, TrainingError
from textclf.training.state import BestEpoch, EpochMean, EpochSums, State
from textclf.training.work_folder import CHECKPOINT, FORMAT, Position, checkpoint_folders

_ARRAYS = "arrays.npz"
_ITERATOR = "iterator"
_NUM_KEPT = 2


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


class _Manifest(msgspec.Struct, kw_only=True):
    """Content of `checkpoint.json`.

    Attributes:
        format: number of the format.
        position: where the training was.
        files: SHA-256 of the other files by name.
        numbers: the numbers of the state.
    """

    format: int
    position: Position
    files: dict[str, str]
    numbers: _Numbers


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
        self._folder = folder
        self._variables = variables
        self._seconds = 60 * minutes
        self._saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """True if the interval has passed since the last checkpoint."""
        return time.monotonic() - self._saved_at >= self._seconds

    def save(self, state: State, iterator: Iterator | None) -> None:
        """Write a checkpoint beside the others, then remove all but the newest two.

        Args:
            state: of the training.
            iterator: of the epoch's batches; None between two epochs.

        Raises:
            ArtifactError: it cannot be written, for instance because the disk is full. The
                former ones are unchanged.
        """
        former = checkpoint_folders(self._folder)
        number = int(former[-1].name) + 1 if former else 1
        with artifact.write_folder(self._folder / f"{number:06d}", overwrite=False) as folder:
            np.savez(folder / _ARRAYS, **self._arrays(state))
            if iterator is not None:
                try:
                    tf.train.Checkpoint(iterator=iterator).write(str(folder / _ITERATOR))
                except tf.errors.OpError as error:  # for instance a full disk
                    raise OSError(None, str(error.message).split("\n")[0]) from error
            manifest = _Manifest(
                format=FORMAT,
                position=Position(epoch=state.epoch, step=state.step),
                files=artifact.checksums(folder),
                numbers=_numbers(state),
            )
            (folder / CHECKPOINT).write_bytes(msgspec.json.encode(manifest))
        for folder in former[: 1 - _NUM_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)
        self._saved_at = time.monotonic()

    def restore(self) -> "Restored | None":
        """Set the variables to the newest whole checkpoint; None if there is none.

        Raises:
            TrainingError: it is a checkpoint of another network.
        """
        notices = []
        for folder in reversed(checkpoint_folders(self._folder)):
            try:
                manifest = _checked_manifest(folder)
            except ArtifactError:
                notices.append(f"the checkpoint {folder} is damaged and was skipped")
                shutil.rmtree(folder)
                continue
            return self._read(folder, manifest, tuple(notices))
        return Restored(State(), None, tuple(notices)) if notices else None

    def restore_number(self, number: int) -> "Restored":
        """Set the variables to the checkpoint that the chief of several workers has restored.

        Raises:
            TrainingError: it cannot be read here.
        """
        folder = self._folder / f"{number:06d}"
        try:
            manifest = _checked_manifest(folder)
        except ArtifactError as error:
            raise TrainingError(
                f"{folder}: this worker cannot read the checkpoint with which worker 0 continues "
                f"({error}); give all workers the same OUTPUT in a shared folder"
            ) from error
        return self._read(folder, manifest, ())

    def _read(self, folder: Path, manifest: _Manifest, notices: tuple[str, ...]) -> "Restored":
        with np.load(folder / _ARRAYS) as arrays:
            self._assign(folder, arrays)
            state = _state(manifest.numbers, arrays)
        has_iterator = any(name.startswith(_ITERATOR) for name in manifest.files)
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


def _checked_manifest(folder: Path) -> _Manifest:
    """Return the manifest of a checkpoint whose files fit it; ArtifactError if they do not."""
    try:
        manifest = msgspec.json.decode((folder / CHECKPOINT).read_bytes(), type=_Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise ArtifactError(f"{folder / CHECKPOINT}: cannot be read ({error})") from error
    artifact.check_files(folder, manifest.files)
    return manifest


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
