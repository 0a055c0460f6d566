"""Scoring of trained models, and the analysis of their mistakes.

result = score("runs/reviews")                    # the test split of the training data
result = score("runs/reviews", "new.csv")         # all rows of a file
result.report.get("accuracy"), result.without_leaked
score("runs/reviews", details=Details(by=("country",), errors="errors.csv")).slices

slicing          groups of examples by column, length, unknown tokens and script
example_files    files with a row for each example
"""

import os
from typing import TYPE_CHECKING, Any

import msgspec

from textclf import artifact, data
from textclf.artifact import Card
from textclf.config import Overrides, read_trained_paths
from textclf.errors import DataError, check_all
from textclf.evaluation import Report
from textclf.model_data import DataToScore, OnNote, data_to_score
from textclf.progress import OnProgress, no_progress
from textclf.scoring.example_files import check_example_file, write_errors, write_predictions
from textclf.scoring.slicing import COMPUTED, group_examples
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.classifier import Predictor, Scores
    from textclf.evaluation import ClassCurves, Slice


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """Optional parts of an analysis of mistakes.

    Attributes:
        by: columns of the data whose values make slices, and `length`, `unknown_fraction` and
            `script`; a column of the data with such a name takes precedence.
        errors: file .csv or .jsonl for every example with its text, the highest loss first.
        predictions: file .csv or .jsonl for every example without its text, in order.
        overwrite: whether existing files may be replaced.
        curves: whether precision-recall and ROC curves are computed.
    """

    by: tuple[str, ...] = ()
    errors: str | os.PathLike | None = None
    predictions: str | os.PathLike | None = None
    overwrite: bool = False
    curves: bool = False


_NO_DETAILS = Details()


class ScoringResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports of a model on a split.

    Attributes:
        split: the split; `test` for a file.
        report: all rows.
        without_leaked: the rows whose text is not in the training split; None if these are all
            rows or no row.
        num_leaked: number of rows whose text is in the training split too; None if the data have no
            training split, such as a file.
        num_dropped: number of rows that are left out because their label is not one of the model.
        slices: scores of the slices of `Details.by`, in their order.
        curves: curves of each class, with `Details.curves`.
    """

    split: str
    report: Report
    without_leaked: Report | None
    num_leaked: int | None
    num_dropped: int
    slices: "tuple[Slice, ...]" = ()
    curves: "tuple[ClassCurves, ...]" = ()

    @property
    def slice_warnings(self) -> list[str]:
        """Sentences on the slices that are significantly worse than the rest."""
        from textclf.evaluation import warnings_of

        metric = self.report.length_metric.replace("_f1", " F1")
        return warnings_of(self.slices, metric, self.report.confidence)


def score(
    model: str | os.PathLike,
    source: str | os.PathLike | None = None,
    *,
    split: str | None = None,
    overrides: Overrides = (),
    details: Details = _NO_DETAILS,
    on_note: OnNote = lambda note: None,
    on_progress: OnProgress = no_progress,
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
        details: slices, curves and files of the examples.
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
    check_details(details, to_score)
    dataset = open_data(card, to_score, on_note=on_note, on_progress=on_progress)
    import_tensorflow()
    from textclf import classifier

    predictor = classifier.load_predictor(model)
    return score_dataset(
        predictor,
        dataset,
        to_score.split,
        details=details,
        on_progress=on_progress,
        **to_score.settings,
    )


def check_details(details: Details, to_score: DataToScore) -> None:
    """Check the files and the columns of an analysis before the data are read.

    Raises:
        DataError: all errors, one per line.
    """
    section, overwrite = to_score.section, details.overwrite
    paths = [path for path in (details.errors, details.predictions) if path is not None]

    def check_columns() -> None:
        if details.by:
            data.check_columns(section, to_score.split, details.by, others=COMPUTED)

    def check_difference() -> None:
        if len({os.path.realpath(os.path.expanduser(path)) for path in paths}) < len(paths):
            raise DataError(f"{paths[0]}: is named twice; write the predictions to another file")

    check_all(
        *(
            lambda path=path: check_example_file(path, section, overwrite=overwrite)
            for path in paths
        ),  # type: ignore[misc]
        check_difference,
        check_columns,
    )


def open_data(
    card: Card,
    to_score: DataToScore,
    *,
    on_note: OnNote = lambda note: None,
    on_progress: OnProgress = no_progress,
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
    details: Details = _NO_DETAILS,
    on_progress: OnProgress = no_progress,
    **settings: Any,
) -> ScoringResult:
    """Score a loaded model on a split of a data set.

        score_dataset(textclf.load("runs/reviews"), dataset, "validation")

    Args:
        details: slices, curves and files of the examples, checked with `check_details`.
        settings: keyword arguments of `evaluation.evaluate`.

    Raises:
        DataError: the data have no such split, or a class that the model does not have.
    """
    scores = predictor.score(dataset, split, on_progress)
    return report_scores(
        predictor, dataset, split, scores, details=details, on_progress=on_progress, **settings
    )


def report_scores(
    predictor: "Predictor",
    dataset: data.Dataset,
    split: str,
    scores: "Scores",
    *,
    details: Details = _NO_DETAILS,
    on_progress: OnProgress = no_progress,
    **settings: Any,
) -> ScoringResult:
    """Return the reports of a split from the scores that `predictor.score` returned.

        report_scores(predictor, dataset, "test", predictor.score(dataset, "test"))

    Args:
        details, settings: see `score_dataset`.
    """
    report = predictor.report(scores, **settings)
    leaked, without_leaked = dataset.leaked(split), None
    if 0 < leaked.sum() < len(leaked):
        without_leaked = predictor.report(scores.take(~leaked), **settings)
    result = ScoringResult(
        split=split,
        report=report,
        without_leaked=without_leaked,
        num_leaked=int(leaked.sum()) if "train" in dataset.splits else None,
        num_dropped=dataset.findings.dropped_unknown_labels.get(split, 0),
        slices=_score_slices(predictor, dataset, split, scores, details.by, settings, on_progress),
        curves=_curves(predictor, scores) if details.curves else (),
    )
    for path, write in ((details.errors, write_errors), (details.predictions, write_predictions)):
        if path is not None:
            write(
                path,
                dataset,
                split,
                predictor.card,
                scores,
                overwrite=details.overwrite,
                on_progress=on_progress,
            )
    return result


def _score_slices(
    predictor: "Predictor",
    dataset: data.Dataset,
    split: str,
    scores: "Scores",
    by: tuple[str, ...],
    settings: dict[str, Any],
    on_progress: OnProgress,
) -> "tuple[Slice, ...]":
    if not by:
        return ()
    from textclf import evaluation

    task = predictor.card.task
    num_ranges = settings.get("length_bins", 4)
    groupings = group_examples(dataset, split, scores, by, num_ranges, on_progress)
    y_pred = task.select(scores.p, predictor.card.decision.thresholds)
    names = ("confidence", "bootstrap_samples", "seed")
    of_slices = {name: settings[name] for name in names if name in settings}
    return evaluation.score_slices(task, scores.y_true, y_pred, groupings, **of_slices)


def _curves(predictor: "Predictor", scores: "Scores") -> "tuple[ClassCurves, ...]":
    from textclf import evaluation

    is_positive = predictor.card.task.indicators(scores.y_true)
    return evaluation.class_curves(is_positive, scores.p, predictor.class_names)
