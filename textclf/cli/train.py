"""Command `train`: train the model of a configuration."""

import functools
import math
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textclf import trace
from textclf.cli import options
from textclf.cli.terminal import (
    Progress,
    TimeLeft,
    note_all,
    say,
    show_check,
    termination_as_interrupt,
    watch,
)
from textclf.errors import TextclfError, TrainingError
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.config import Config
    from textclf.training import Event, Finished, LinearFitted, Started, WorkerFinished

# Name of an event -> work that ends with it. That of a step depends on its number.
_STAGES = {
    "Started": "building the network",
    "LinearFitted": "linear model",
    "Epoch": "validation",
    "TrackingFailed": "tracking",
    "Finished": "saving",
    "WorkerFinished": "saving",
}


@click.command()
@click.argument("source", metavar="CONFIG|FILE", type=options.path)
@click.argument("output", type=options.path)
@options.set_option
@click.option("--overwrite", is_flag=True, help="Replace an existing trained folder.")
@click.option(
    "--resume", is_flag=True, help="Continue an interrupted training; begin if there is none."
)
def train(
    source: Path, output: Path, overrides: tuple[str, ...], overwrite: bool, resume: bool
) -> None:
    """Train the model of CONFIG and write it to the folder OUTPUT.

    Without a configuration, FILE is the data: CSV, TSV, JSON or Parquet, or a folder
    split/label/*.txt. It is recognised as by `textclf init`, and the configuration is written to
    OUTPUT/config.yaml.

    Checkpoints are written to OUTPUT.unfinished after each epoch and every
    `training.checkpoint_minutes`. Ctrl-C or SIGTERM stops at the next step, writes a checkpoint,
    and saves the best epoch so far. After that, and after a crash, the same command with --resume
    continues to the same result as without the interruption. With --resume, a finished training
    ends at once.

    \b
    Examples:
      textclf train reviews.yaml runs/reviews
      textclf train reviews.csv runs/reviews --set data.label_column=stars
      textclf train reviews.yaml runs/reviews --resume
      textclf train reviews.yaml runs/gru --set model.encoder=gru --set training.epochs=3
    """
    show_check()
    is_config = source.suffix in (".yaml", ".yml")
    if is_config:  # a wrong setting is reported without NumPy
        config = options.load_config(source, overrides)
    else:
        from textclf import recipes

        trace.mark("imports of textclf and checks")
        notes: list[str] = []
        with Progress() as progress:
            config = recipes.load_config(
                source, overrides, on_note=notes.append, on_progress=progress.update
            )
        note_all(notes)
    if not run_training(config, output, overwrite=overwrite, resume=resume):
        return
    if not is_config:
        say(f"configuration: {output / 'config.yaml'}")
    say(f"next: textclf evaluate {shlex.quote(str(output))} --split validation")
    say(f"report: textclf report {shlex.quote(str(output))} {shlex.quote(f'{output}.html')}")
    click.echo(output)


def run_training(
    config: "Config", output: Path, *, overwrite: bool = False, resume: bool = False
) -> bool:
    """Train a model with progress on stderr and write it to a folder.

    Returns:
        True if this process wrote it; False for a worker that is not the chief.

    Raises:
        TextclfError: the training cannot start, or it ended early by interruption or failure.
    """
    from textclf import training

    training.check(config, output, overwrite=overwrite, resume=resume)
    import_tensorflow()
    try:
        with termination_as_interrupt():
            finished = _show_events(config, output, overwrite=overwrite, resume=resume)
    except KeyboardInterrupt:
        left = training.unfinished_training(output)
        raise TrainingError(
            "interrupted; nothing was saved"
            if left is None
            else f"interrupted; there is {left}; continue it with --resume"
        ) from None
    if isinstance(finished, training.WorkerFinished):
        if finished.message:
            raise TextclfError(f"{finished.message}; worker 0 has saved the best epoch")
        say(f"worker {finished.index} is done; worker 0 has written {output}")
        return False
    if finished.message:
        continuation = "; continue with --resume" if finished.is_resumable else ""
        raise TextclfError(
            f"{finished.message}; the best epoch so far ({finished.best_epoch}) is saved in "
            f"{finished.folder}{continuation}"
        )
    if finished.why == "finished before":
        say(f"{finished.folder} is finished: nothing is left to do")
        return True
    if finished.share is not None:
        _say_gain(finished)
    if finished.why == "linear":
        return True
    ended = "stopped early" if finished.why == "early stopping" else "ended"
    say(
        f"{ended} after epoch {finished.epochs}; kept epoch {finished.best_epoch}, the best by "
        f"{config.training.monitor}"
    )
    return True


def _show_events(
    config: "Config", output: Path, *, overwrite: bool, resume: bool
) -> "Finished | WorkerFinished":
    """Train, show the events and return the last one.

    With several workers, only the chief shows the epochs, which are the same for all.
    """
    from textclf import training

    is_chief = training.is_chief(config)
    num_epochs = config.training.epochs
    has_network = config.model.encoder != "none"
    time_left = TimeLeft()
    former: Sequence[dict[str, Any]] = ()
    epoch_notes: Sequence[str] = ()
    needs_head = False
    with Progress() as progress:
        progress.stage("reading the data")
        trace.mark("imports of textclf that need it")
        training_events = functools.partial(
            training.train_events, config, output, overwrite=overwrite, resume=resume
        )
        with watch(
            training_events,
            (training.Started, training.Step),
            progress=progress,
            time_left=time_left,
            num_epochs=num_epochs,
        ) as events:
            for event in events:
                trace.mark(_stage_of(event))
                if isinstance(event, training.TrackingFailed):
                    note_all([event.message])
                    continue
                # The table begins after the lines on data and linear model.
                if needs_head and not isinstance(event, training.Started | training.LinearFitted):
                    progress.clear()
                    _say_head(former, num_epochs)
                    needs_head = False
                if isinstance(event, training.Finished | training.WorkerFinished):
                    finished = event
                elif isinstance(event, training.Started):
                    former, needs_head = event.history, is_chief and has_network
                    if has_network:
                        _start_clock(time_left, event)
                    if is_chief:
                        _say_start(event)
                    else:
                        say("worker 0 shows the epochs")
                elif isinstance(event, training.LinearFitted):
                    _say_linear(event)
                elif isinstance(event, training.Epoch):
                    time_left.add_validation(time.monotonic())
                    if is_chief:
                        _say_epoch(event.figures, num_epochs, event.seconds, is_best=event.is_best)
                        epoch_notes = event.notes
        progress.clear()
        note_all(epoch_notes)  # below the table; notes of earlier epochs may not apply any more
    return finished


def _stage_of(event: "Event") -> str:
    """Return the name of the work that ended with an event, for `trace`."""
    from textclf import training

    if isinstance(event, training.Step):
        return "further steps" if (event.epoch, event.step) > (1, 1) else "first step"
    return _STAGES[type(event).__name__]


def _start_clock(time_left: TimeLeft, event: "Started") -> None:
    num_steps = event.total_steps - event.step
    # A text takes less time in validation than in training.
    share = event.splits["validation"] / max(event.splits["train"], 1)
    time_left.start(
        num_steps=num_steps,
        num_validations=math.ceil(num_steps / event.steps_per_epoch),
        steps_per_validation=share * event.steps_per_epoch,
    )


def _say_start(event: "Started") -> None:
    sizes = ", ".join(f"{name} {n:,}" for name, n in event.splits.items())
    say(f"{len(event.class_names)} classes; examples: {sizes}")
    say(
        f"{event.vocabulary_size:,} token ids; {event.num_weights:,} weights; "
        f"{event.steps_per_epoch:,} steps per epoch"
    )
    note_all(event.notices)


def _say_linear(event: "LinearFitted") -> None:
    selection, report = event.selection, event.validation
    metrics = [name for name in ("accuracy", "micro_f1", "macro_f1") if name in report.metrics]
    scores = ", ".join(f"{name.replace('_f1', ' F1')} {report.get(name):.4f}" for name in metrics)
    say(
        f"linear model: {selection.num_features:,} n-grams, C {selection.strength:g}, "
        f"{selection.seconds:.1f} s; on validation {scores}"
    )
    note_all(selection.notes)
    note_all(event.notices)


def _say_gain(finished: "Finished") -> None:
    assert finished.share is not None
    say(f"mixture: {finished.share:.0%} linear model, {1 - finished.share:.0%} network")
    if (gain := finished.gain) is None:
        say("validation is too small to estimate what the network adds to the linear model")
        return
    metric = gain.metric.replace("_f1", " F1")
    say(
        f"gain of the network over the linear model: {gain.difference:+.4f} {metric} on validation "
        f"({gain.confidence:.0%} interval {gain.low:+.4f} to {gain.high:+.4f})"
    )
    if gain.low <= 0:
        say("no gain is shown; the linear model alone is enough (--set model.encoder=none)")


def _say_head(history: Sequence[dict[str, Any]], epochs: int) -> None:
    """Write the head of the table, and the epochs that were complete before."""
    say(
        f"{'epoch':>7} {'loss':>8} {'val_loss':>9} {'val_accuracy':>13} "
        f"{'val_macro_f1':>13} {'seconds':>8}"
    )
    for figures in history:
        _say_epoch(figures, epochs, figures["seconds"])


def _say_epoch(
    figures: dict[str, Any], epochs: int, seconds: float, *, is_best: bool = False
) -> None:
    number = f"{figures['epoch']}/{epochs}"
    say(
        f"{number:>7} {figures['loss']:>8.4f} {figures['val_loss']:>9.4f} "
        f"{figures['val_accuracy']:>13.4f} {figures['val_macro_f1']:>13.4f} "
        f"{seconds:>8.1f}"
        + ("  average" if figures.get("is_average") else "")
        + ("  best" if is_best else "")
    )
