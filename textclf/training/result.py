"""Result of a whole training, for callers that do not read its events."""

import os
from pathlib import Path
from typing import Any

import msgspec

from textclf import evaluation, recipes
from textclf.config import Config
from textclf.display import Document, Notes, Table, to_html
from textclf.errors import TrainingError
from textclf.progress import OnProgress, no_progress
from textclf.training.events import Epoch, Finished, LinearFitted, Started, TrackingFailed
from textclf.training.run import train_events


class TrainingResult(msgspec.Struct, frozen=True):
    """Result of a training that is over.

    Attributes:
        folder: the trained folder.
        best_epoch: the epoch whose weights it holds.
        validation: the report of that epoch on the validation split.
        history: the figures of each epoch, as in `history.jsonl`.
        why: how the training ended, see `Finished`.
        message: for "interrupted" and "not finite", a sentence for the user.
        notices: sentences for the user, from before the first epoch and on MLflow.
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
    on_progress: OnProgress = no_progress,
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
        if isinstance(event, TrackingFailed):
            notices += (event.message,)
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
