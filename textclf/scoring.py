"""Scoring of trained models, with and without the rows whose text is also in the training split.

result = score("runs/reviews")                    # the test split of the training data
result = score("runs/reviews", "new.csv")         # all rows of a file
result.report.get("accuracy"), result.without_leaked
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from textclf import artifact, data
from textclf.artifact import Card
from textclf.config import Overrides, read_trained_paths
from textclf.evaluation import Report
from textclf.model_data import DataToScore, OnNote, data_to_score
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.classifier import Predictor

OnProgress = Callable[[str, int, int], None]  # called with a stage, and what is done of a total


class ScoringResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports of a model on a split.

    Attributes:
        split: the split; `test` for a file.
        report: all rows.
        without_leaked: the rows whose text is not in the training split; None if these are all
            rows or no row.
        num_leaked: number of rows whose text is in the training split too.
        num_dropped: number of rows that are left out because the model does not have their label.
    """

    split: str
    report: Report
    without_leaked: Report | None
    num_leaked: int
    num_dropped: int


def score(
    model: str | os.PathLike,
    source: str | os.PathLike | None = None,
    *,
    split: str | None = None,
    overrides: Overrides = (),
    on_note: OnNote = lambda note: None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> ScoringResult:
    """Score a model on its training data, on a file or on another source.

        result = textclf.score("runs/reviews", "new.csv", overrides={"data.label_column": "stars"})
        result.report.get("accuracy")

    Classes are matched by name. A file is read with the settings of the training; if they do not
    fit, separator and quoting are detected. The training data are found from any folder, unless
    they were moved.

    Args:
        model: a trained folder, or an exported version.
        source: a file (all rows are scored) or another value of data.source; default: the data
            of the training.
        split: the split to score, of a source with several; default: test.
        overrides: "section.setting" -> value, in the sections `data` and `evaluation`.
        on_note: called with notes, such as the number of rows that are left out.
        on_progress: called with a stage, the rows done and their total.

    Raises:
        ConfigError: an override is invalid for these data.
        DataError: the data cannot be read or scored, or have no such split.
        ArtifactError: the folder does not contain a model.
    """
    card = artifact.read_model_card(model)
    to_score = data_to_score(
        card,
        source,
        paths=read_trained_paths(model),
        split=split,
        overrides=overrides,
        on_note=on_note,
    )
    dataset = open_data(card, to_score, on_note=on_note, on_progress=on_progress)
    import_tensorflow()
    from textclf import classifier

    predictor = classifier.load_predictor(model)
    return score_dataset(
        predictor, dataset, to_score.split, on_progress=on_progress, **to_score.settings
    )


def open_data(
    card: Card,
    to_score: DataToScore,
    *,
    on_note: OnNote = lambda note: None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> data.Dataset:
    """Read the data on which a model is scored.

    Args:
        card: the card of the model.
        to_score: the checked data.
        on_note: called with notes about rows that are left out and about changed training data.
        on_progress: called with a stage, the rows read and their total.

    Raises:
        DataError: the data cannot be used, or have no such split.
    """
    dataset = data.open_dataset(to_score.section, on_progress=on_progress)
    dataset.check_split(to_score.split)
    if dropped := dataset.findings.dropped_unknown_labels.get(to_score.split, 0):
        rows = "1 row is" if dropped == 1 else f"{dropped:,} rows are"
        on_note(f"{rows} left out because the model does not have the label")
    if to_score.is_training_data and dataset.fingerprint != card.data.fingerprint:
        on_note(
            "these are not the training data, or they have changed; this split may contain rows "
            "that were used for training"
        )
    return dataset


def score_dataset(
    predictor: "Predictor",
    dataset: data.Dataset,
    split: str = "test",
    *,
    on_progress: OnProgress = lambda stage, done, total: None,
    **settings: Any,
) -> ScoringResult:
    """Score a loaded model on a split of a data set.

        score_dataset(textclf.load("runs/reviews"), dataset, "validation")

    Args:
        settings: keyword arguments of `evaluation.evaluate`.

    Raises:
        DataError: the data have no such split, or a class that the model does not have.
    """
    scores = predictor.score(dataset, split, on_progress)
    report = predictor.report(scores, **settings)
    leaked, without_leaked = dataset.leaked(split), None
    if 0 < leaked.sum() < len(leaked):
        without_leaked = predictor.report(scores.take(~leaked), **settings)
    return ScoringResult(
        split=split,
        report=report,
        without_leaked=without_leaked,
        num_leaked=int(leaked.sum()),
        num_dropped=dataset.findings.dropped_unknown_labels.get(split, 0),
    )
