"""Training from a configuration to a trained folder: data, loop and files put together."""

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from textclf import (
    artifact,
    batches,
    classifier,
    evaluation,
    linear,
    recipes,
)
from textclf.config import Config, absolute_paths
from textclf.display import Document, Notes, Table, to_html
from textclf.errors import TrainingError
from textclf.tasks import Decision
from textclf.training import diagnostics
from textclf.training.card import make_card, num_weights, validation_report
from textclf.training.checkpoints import Restored
from textclf.training.checks import check, check_output
from textclf.training.cluster import open_cluster
from textclf.training.events import Epoch, Event, Finished, LinearFitted, Started, WorkerFinished
from textclf.training.history import history_writer
from textclf.training.linear_model import fit_linear, fitted_before
from textclf.training.loop import Interrupted, Loop
from textclf.training.setup import Setup, set_up, tensorflow_errors
from textclf.training.state import State
from textclf.training.work_folder import (
    WorkFolder,
    unfinished_training,
    work_folder,
    worker_folder,
)


class TrainingResult(msgspec.Struct, frozen=True):
    """Result of a training that is over.

    Attributes:
        folder: the trained folder.
        best_epoch: the epoch whose weights it holds.
        validation: the report of that epoch on the validation split.
        history: the figures of each epoch, as in `history.jsonl`.
        why: how the training ended, see `Finished`.
        message: for "interrupted" and "not finite", a sentence for the user.
        notices: sentences for the user, from before the first epoch.
        notes: those on the last epoch, see `Epoch`.
    """

    folder: Path
    best_epoch: int
    validation: evaluation.Report
    history: tuple[dict[str, Any], ...]
    why: str
    message: str
    notices: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """Return the result as HTML, which a notebook shows for the last value of a cell."""
        names = [
            name
            for name in ("epoch", "loss", "val_loss", "val_accuracy", "val_macro_f1")
            if any(name in figures for figures in self.history)
        ]
        rows = [
            [
                *(f"{figures[n]:,}" if n == "epoch" else f"{figures[n]:.4f}" for n in names),
                "best" if figures["epoch"] == self.best_epoch else "",
            ]
            for figures in self.history
        ]
        sentences = [*([self.message] if self.message else []), *self.notices, *self.notes]
        parts: list[Table | Notes] = [Table([*names, ""], rows, "r" * len(names) + "t")]
        parts += [Notes("Notes", sentences)] if sentences else []
        return to_html(Document(f"Training of {self.folder}: ended by {self.why}", parts))


def train(
    config: Config | str | os.PathLike,
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: batches.Progress = lambda stage, done, total: None,
) -> TrainingResult:
    """Train a classifier and write its folder.

        result = train("reviews.csv", "runs/reviews")
        result = train(config, "runs/small")
        result.validation.get("accuracy")

    Args:
        config: the experiment; or a configuration or a data file, as for `recipes.load_config`.
        output, overwrite, resume, on_progress: as for `train_events`.

    Raises:
        TextclfError: as for `train_events` and `recipes.load_config`; with several workers, at the
            end of those that are not the chief.
    """
    history: list[dict[str, Any]] = []
    notices: tuple[str, ...] = ()
    epoch_notes: tuple[str, ...] = ()
    finished = None
    if not isinstance(config, Config):
        notes: list[str] = []
        config = recipes.load_config(config, on_note=notes.append)
        notices += tuple(notes)
    for event in train_events(
        config, output, overwrite=overwrite, resume=resume, on_progress=on_progress
    ):
        if isinstance(event, Started | LinearFitted):
            notices += event.notices
        if isinstance(event, Started):
            history += event.history
        if isinstance(event, Epoch):
            history.append(event.figures)
            epoch_notes = event.notes
        elif isinstance(event, Finished):
            finished = event
    if finished is None:
        raise TrainingError(
            "this process is not the chief of the workers and has no result; read the events of "
            "`train_events` instead"
        )
    return TrainingResult(
        folder=finished.folder,
        best_epoch=finished.best_epoch,
        validation=finished.validation,
        history=tuple(history),
        why=finished.why,
        message=finished.message,
        notices=notices,
        notes=epoch_notes,
    )


def train_events(
    config: Config,
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
    resume: bool = False,
    linear_model: linear.Fitted | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: batches.Progress = lambda stage, done, total: None,
    max_steps_per_call: int | None = None,
) -> Generator[Event, None, None]:
    """Check the settings, then return the events of a training that happens while they are read.

        for event in train_events(config, "runs/reviews"):
            print(event)

    Args:
        config: the experiment.
        output: the folder to write; replaced only with `overwrite`, and only by a complete one.
        resume: continue the unfinished training of this folder, bit for bit as if it had never
            been interrupted; begin where nothing was saved; of a finished training, only
            `Finished` is yielded.
        linear_model: a result of `fit_linear` on the same data and settings, for several trainings
            that share it; default: it is fitted if the settings ask for it.
        should_stop: called every quarter of a second, between two steps; if it returns true, a
            checkpoint is written and the best epoch so far is saved.
        on_progress: called with stage, done and total before the first step.
        max_steps_per_call: the most steps that TensorFlow computes at a time, whose events come
            together; default: as many as take a quarter of a second. With 1, `should_stop` is
            called before every step, and weights can be read after each.

    Yields:
        `Started`, then `Step` and `Epoch` events, and `Finished` at the end; `WorkerFinished` in a
        worker that is not the chief.

    Raises:
        TextclfError: an error in settings or data, or a training that has no complete epoch. What
            can be checked before the data are read is raised by the call itself.
        ValueError: `linear_model` was fitted to other data or with another `text.linear_length`.
    """
    check(config, output, overwrite=overwrite, resume=resume)
    return _events(
        config,
        Path(output),
        overwrite,
        resume,
        linear_model,
        should_stop,
        on_progress,
        max_steps_per_call,
    )


def _events(
    config: Config,
    output: Path,
    overwrite: bool,
    resume: bool,
    linear_model: linear.Fitted | None,
    should_stop: Callable[[], bool],
    on_progress: batches.Progress,
    max_steps_per_call: int | None,
) -> Generator[Event, None, None]:
    if resume and (finished := _finished_before(output)) is not None:
        yield finished
        return
    paths = absolute_paths(config)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    with contextlib.ExitStack() as stack:
        stack.enter_context(tensorflow_errors())
        # First of all: TensorFlow connects to other processes only before it computes anything.
        cluster = stack.enter_context(open_cluster(config))
        if cluster.is_chief:
            work = stack.enter_context(work_folder(output, resume=resume))
            # Again, now that the lock is held: another training may have ended in between.
            check_output(output, overwrite=overwrite, resume=resume, is_locked=True)
        else:
            work = stack.enter_context(worker_folder(output))
        setup = set_up(config, work, cluster, on_progress)
        restored = _restore(setup)
        state = restored.state if restored else State()
        yield _started(setup, state, restored.notices if restored else ())
        fitted, linear_decision = None, None
        # The other workers wait for their chief without a time limit only at the end.
        fits_first = cluster.num_workers == 1
        if fits_first:
            fitted, linear_decision = yield from _linear_model(
                setup, work, linear_model, on_progress
            )
        why, message = "linear", ""
        with history_writer(
            work.path, state.history, tensorboard=config.training.tensorboard
        ) as write_history:
            if setup.loop is not None:
                events = setup.loop.run(
                    state,
                    should_stop,
                    restored.iterator_path if restored else None,
                    max_steps_per_call,
                )
                why, message = yield from _epochs(setup.loop, events, state, write_history)
        work.is_resumable = why == "interrupted"
        if setup.loop is not None and state.best is None:
            saved = "; continue with --resume" if work.is_resumable else ", so nothing was saved"
            raise TrainingError(f"{message}; no epoch was complete{saved}")
        if not cluster.is_chief:
            cluster.wait_for_chief()
            yield WorkerFinished(cluster.index, message)
            return
        if not fits_first:
            fitted, linear_decision = yield from _linear_model(
                setup, work, linear_model, on_progress
            )
        card = make_card(
            config,
            dataset=setup.dataset,
            prepared=setup.prepared,
            vocabulary_size=setup.vocabulary_size,
            summary=_summary(setup, state, why),
            y_true=_validation_classes(setup, fitted),
            network_logits=state.best.logits if state.best else None,
            fitted=fitted,
            linear_decision=linear_decision,
        )
        try:
            classifier.save(
                output,
                config=config,
                card=card,
                vocabulary_path=setup.prepared.vocabulary_path,
                weights=state.best.weights if state.best else {},
                linear_arrays=fitted.model.arrays if fitted else {},
                extra_files=_extra_files(work.path),
                paths=paths,
                overwrite=overwrite or resume,
                staging=work.path,
            )
        except BaseException:  # the last checkpoint allows to write the folder again
            work.is_resumable = True
            raise
        cluster.release_workers()
    yield _finished(output, card, why, message, is_resumable=work.is_resumable)


def _restore(setup: "Setup") -> Restored | None:
    """Set network and optimizer to the newest whole checkpoint, in all workers; None without one.

    Raises:
        TrainingError: the checkpoint is of another network, or a worker cannot read it.
    """
    if setup.loop is None:
        return None
    checkpoints, cluster = setup.loop.checkpoints, setup.loop.cluster
    restored = checkpoints.restore() if cluster.is_chief else None
    number = restored.number if restored else 0
    common = cluster.sum(np.array([number], np.float32), "the chief to read the checkpoint")
    if cluster.is_chief or not common[0]:
        return restored
    return checkpoints.restore_number(int(common[0]))


def _linear_model(
    setup: "Setup",
    work: WorkFolder,
    linear_model: linear.Fitted | None,
    on_progress: batches.Progress,
) -> Generator[Event, None, tuple[linear.Fitted | None, Decision | None]]:
    """Fit the linear model, if there is one; return it with its decision, and yield its event."""
    config = setup.config
    if not config.has_linear_model:
        return None, None
    fitted = linear_model or fitted_before(work)
    if fitted is None:
        fitted = fit_linear(config, setup.dataset, folder=work.path, on_progress=on_progress)
        linear.save_fitted(fitted, work.linear_model)
    _check_linear(setup, fitted)
    decision = evaluation.fit_decision(
        setup.dataset.task, fitted.validation_classes, fitted.validation_logits
    )
    yield LinearFitted(
        fitted.selection,
        _linear_report(setup, fitted, decision),
        tuple(diagnostics.linear_notices(config, setup.dataset, setup.prepared, fitted.selection)),
    )
    return fitted, decision


def _finished(
    output: Path, card: artifact.Card, why: str, message: str, *, is_resumable: bool = False
) -> Finished:
    assert card.validation is not None
    return Finished(
        folder=output,
        best_epoch=card.training.best_epoch,
        epochs=card.training.epochs,
        why=why,
        message=message,
        validation=card.validation,
        share=None if card.mixture is None else card.mixture.share,
        gain=card.gain,
        is_resumable=is_resumable,
    )


def _finished_before(output: Path) -> Finished | None:
    """Return the last event of a training that is finished already, if it is."""
    if unfinished_training(output) is not None or not (output / artifact.CARD).exists():
        return None
    return _finished(output, artifact.read_card(output), "finished before", "")


def _started(setup: Setup, state: State, notices: tuple[str, ...]) -> Started:
    loop = setup.loop
    return Started(
        class_names=setup.dataset.class_names,
        splits={name: split.num_examples for name, split in setup.dataset.splits.items()},
        vocabulary_size=setup.vocabulary_size,
        num_weights=num_weights(loop.network) if loop else 0,
        steps_per_epoch=loop.steps_per_epoch if loop else 0,
        total_steps=loop.total_steps if loop else 0,
        step=state.step,
        history=tuple(state.history),
        notices=(*setup.notices, *notices),
    )


def _summary(setup: Setup, state: State, why: str) -> artifact.TrainingSummary:
    return artifact.TrainingSummary(
        best_epoch=state.best.epoch if state.best else 0,
        epochs=state.epoch,
        ended_by=why,
        is_average=bool(state.best and state.best.is_average),
        num_weights=num_weights(setup.loop.network) if setup.loop else 0,
    )


def _validation_classes(setup: Setup, fitted: linear.Fitted | None) -> np.ndarray:
    """Return the classes of the validation split, int64 [n] or bool [n, C]."""
    if setup.loop is not None:
        return setup.dataset.task.true_classes(setup.loop.validator.targets)
    assert fitted is not None
    return fitted.validation_classes


def _check_linear(setup: Setup, fitted: linear.Fitted) -> None:
    """Check that a linear model fits the validation split and the length limit."""
    if (
        not np.array_equal(fitted.validation_classes, _validation_classes(setup, fitted))
        or fitted.model.num_classes != setup.dataset.task.num_outputs
        or fitted.model.max_tokens != setup.config.text.linear_length
    ):
        raise ValueError("linear_model was fitted to other data or with other settings")


def _linear_report(setup: Setup, fitted: linear.Fitted, decision: Decision) -> evaluation.Report:
    """Return the report of the linear model alone on the validation split."""
    return validation_report(
        setup.dataset.task,
        fitted.validation_classes,
        fitted.validation_logits,
        decision,
        config=setup.config,
        class_names=setup.dataset.class_names,
    )


def _epochs(
    loop: Loop,
    events: Iterator[Event],
    state: State,
    write_history: Callable[[dict[str, Any]], None],
) -> Generator[Event, None, tuple[str, str]]:
    """Yield the events of the loop; return how the training ended and a message, see `Finished`."""
    try:
        for event in events:
            if isinstance(event, Epoch):
                write_history(state.history[-1])
            yield event
    except Interrupted as interruption:
        return interruption.why, str(interruption)
    if state.stopped_early:
        return "early stopping", ""
    if state.step < loop.steps_per_epoch * loop.settings.epochs:
        return "steps", ""
    return "epochs", ""


def _extra_files(work: Path) -> dict[str, Path]:
    """Return the files that were written during the training, by their name in its folder."""
    names = (artifact.HISTORY, artifact.TENSORBOARD)
    return {name: work / name for name in names if (work / name).exists()}
