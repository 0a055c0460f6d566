"""Search for label errors: folds, probabilities, suspects, and the reasons in words."""

import time
from collections.abc import Sequence

import numpy as np

from textclf import data
from textclf.config import Config, with_paths
from textclf.data import Dataset
from textclf.display import count_of, excerpt
from textclf.errors import check_all, format_list
from textclf.label_errors.folds import Rows, check_rows, make_folds, read_rows
from textclf.label_errors.out_of_fold import check_model, predict_out_of_fold
from textclf.label_errors.result import LabelErrors, SuspectRow
from textclf.label_errors.suspects import (
    Suspect,
    add_conflicts,
    check_installed,
    conflicts,
    find_suspects,
)
from textclf.progress import OnProgress, no_progress
from textclf.startup import import_tensorflow

NUM_FOLDS = 5
_MAX_CONFLICTS = 5  # locations of equal texts with other labels
_MAX_CHANGES = 4  # labels in a reason


def check(config: Config, *, model_kind: str = "linear") -> None:
    """Run the checks that do not read all of the data.

    Args:
        config, model_kind: see `find_label_errors`.

    Raises:
        TextclfError: with every error.
    """
    check_all(
        check_installed,
        lambda: check_model(config, model_kind),
        lambda: data.check_sources(with_paths(config).data),
    )


def find_label_errors(
    config: Config,
    *,
    model_kind: str = "linear",
    num_folds: int = NUM_FOLDS,
    dataset: Dataset | None = None,
    on_progress: OnProgress = no_progress,
) -> LabelErrors:
    """Return the rows of train whose labels are probably wrong, most likely wrong first.

        result = find_label_errors(config)
        for suspect in result.suspects[:20]:
            print(suspect.location, suspect.text, suspect.reason)

    Each row gets its probabilities from a model that was trained on the other folds of train. Equal
    texts are always in the same fold. Labels that disagree with the probabilities are ranked by
    confident learning, see `suspects`. Rows that cannot be read, empty texts, and classes with
    fewer different texts than folds are not judged; the notes count them. Validation and test are
    not read.

    Args:
        config: the experiment.
        model_kind: "linear" for the linear model; "network" for the network or the mixture of the
            configuration, which takes `num_folds` trainings.
        num_folds: 2 to 100.
        dataset: the data of the configuration; default: they are opened without their bad rows.
        on_progress: called with a stage, what is done and the total.

    Raises:
        TextclfError: the data or settings cannot be used, or cleanlab is not installed.
        ValueError: `num_folds` is not between 2 and 100.
    """
    if not 2 <= num_folds <= 100:
        raise ValueError(f"num_folds is {num_folds}; expected 2 to 100")
    check(config, model_kind=model_kind)
    if dataset is None:
        section = with_paths(config).data
        dataset = data.open_dataset(section, on_progress=on_progress, skip_bad_rows=True)
    dataset.check_split("train")
    rows = read_rows(dataset, on_progress)
    judged = check_rows(dataset, rows, num_folds)
    folds = make_folds(dataset.task, rows, num_folds, config.training.seed)
    import_tensorflow()
    started = time.monotonic()
    p = predict_out_of_fold(
        config, dataset, rows, folds, judged, model_kind=model_kind, on_progress=on_progress
    )
    seconds = time.monotonic() - started
    on_progress("ranking the suspects", 0, 0)
    judged_rows = _judged_rows(rows, judged)
    suspects = _suspects(p, rows, judged, judged_rows)
    groups = [g for g in conflicts(rows.y, rows.text_ids) if not rows.is_empty[g[0]]]
    predicted = p >= 0.5 if dataset.multi_label else p.argmax(axis=1)
    agrees = (predicted == rows.y).reshape(len(p), -1).all(axis=1)[judged_rows]
    return LabelErrors(
        class_names=dataset.class_names,
        multi_label=dataset.multi_label,
        model_kind=model_kind,
        num_folds=num_folds,
        num_rows=len(p),
        num_judged=len(judged_rows),
        agreement=float(agrees.mean()),
        num_conflicts=len(groups),
        suspects=_describe(suspects, groups, p, rows, dataset, on_progress),
        notes=tuple(_notes(dataset, rows, judged, num_folds)),
        seconds=round(seconds, 1),
    )


def _judged_rows(rows: Rows, judged: np.ndarray) -> np.ndarray:
    """Return the rows whose labels are judged, int64 [m]."""
    is_judged = ~rows.is_empty
    if rows.y.ndim == 1:
        is_judged &= judged[rows.y]
    return np.flatnonzero(is_judged)


def _suspects(
    p: np.ndarray, rows: Rows, judged: np.ndarray, judged_rows: np.ndarray
) -> list[Suspect]:
    """Return the suspects, with row numbers as indices."""
    multi_label = rows.y.ndim == 2
    columns = np.flatnonzero(judged) if multi_label else np.arange(p.shape[1])
    y = rows.y[np.ix_(judged_rows, columns)] if multi_label else rows.y[judged_rows]
    arguments = p[np.ix_(judged_rows, columns)], y
    ranked = find_suspects(*arguments, multi_label=multi_label)
    ranked = add_conflicts(ranked, *arguments, rows.text_ids[judged_rows], multi_label=multi_label)
    suspects = []
    for suspect in ranked:
        row = int(judged_rows[suspect.index])
        label_ids = np.flatnonzero(rows.y[row]).tolist() if multi_label else suspect.label_ids
        # Labels that are not judged do not change.
        kept = [c for c in label_ids if not judged[c]] if multi_label else []
        suggested = sorted([*kept, *columns[list(suspect.suggested_ids)].tolist()])
        suspects.append(
            Suspect(
                index=row,
                label_ids=tuple(label_ids),
                suggested_ids=tuple(suggested),
                quality=suspect.quality,
            )
        )
    return suspects


# === Description of the suspects ===


def _describe(
    suspects: Sequence[Suspect],
    conflicting: Sequence[np.ndarray],
    p: np.ndarray,
    rows: Rows,
    dataset: Dataset,
    on_progress: OnProgress,
) -> tuple[SuspectRow, ...]:
    """Return the suspects with locations, texts and reasons.

    Args:
        suspects: with row numbers as indices.
        conflicting: rows of each text that has different labels, see `conflicts`.
        p, rows, dataset: of train.
        on_progress: called with a stage, the rows read and their total.
    """
    wanted = {suspect.index for suspect in suspects}
    excerpts = {}
    total = len(p)
    for example in dataset.examples("train"):
        if example.row in wanted:
            excerpts[example.row] = excerpt(example.text)
        if example.row % 1024 == 0:
            on_progress("reading the suspects", example.row, total)
    location = dataset.locations("train")
    groups = {int(rows.text_ids[group[0]]): group for group in conflicting}
    described = []
    for suspect in suspects:
        row = suspect.index
        group = groups.get(int(rows.text_ids[row]), np.zeros(0, np.int64))
        differs = rows.y[group] != rows.y[row]
        others = group[differs.any(axis=1) if dataset.multi_label else differs]
        equal = ""
        if len(others):
            label = _names(rows.y[others[0]], dataset)
            equal = f"an equal text in {location(int(others[0]))} has {label}"
            if len(others) > 1:
                equal = (
                    f"{len(others)} equal texts have other labels, such as {label} in "
                    f"{location(int(others[0]))}"
                )
        described.append(
            SuspectRow(
                row=row,
                location=location(row),
                text=excerpts[row],
                labels=tuple(dataset.class_names[c] for c in suspect.label_ids),
                suggested_labels=tuple(dataset.class_names[c] for c in suspect.suggested_ids),
                p_labels=_rounded(p[row, list(suspect.label_ids)]),
                p_suggested=_rounded(p[row, list(suspect.suggested_ids)]),
                quality=round(suspect.quality, 4),
                conflicts=tuple(location(int(other)) for other in others[:_MAX_CONFLICTS]),
                reason="; ".join(filter(None, [_model_reason(suspect, p[row], dataset), equal])),
            )
        )
    return tuple(described)


def _model_reason(suspect: Suspect, p: np.ndarray, dataset: Dataset) -> str:
    """Return the probabilities of the labels on which data and model disagree, in words."""
    label_ids, suggested_ids = set(suspect.label_ids), set(suspect.suggested_ids)
    removed = [c for c in suspect.label_ids if c not in suggested_ids]
    added = [c for c in suspect.suggested_ids if c not in label_ids]
    shown = [f"{dataset.class_names[c]} {_decimals(p[c])}" for c in [*removed, *added]]
    if dataset.multi_label:
        present = [f"{text} (given)" for text in shown[: len(removed)]]
        shown = present + [f"{text} (not given)" for text in shown[len(removed) :]]
    hidden = len(shown) - _MAX_CHANGES
    more = f" and {hidden} more" if hidden > 0 else ""
    return f"out of fold, the model gives {', '.join(shown[:_MAX_CHANGES])}{more}"


def _decimals(p: float) -> str:
    """Return a probability with two decimals: .03, 1.00."""
    return f"{p:.2f}".removeprefix("0")


def _rounded(p: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in p)


def _names(labels: np.ndarray, dataset: Dataset) -> str:
    ids = np.flatnonzero(labels).tolist() if labels.ndim else [int(labels)]
    return ", ".join(dataset.class_names[c] for c in ids) or "no label"


# === Notes ===


def _notes(dataset: Dataset, rows: Rows, judged: np.ndarray, num_folds: int) -> list[str]:
    """Return sentences on rows and labels that were not judged."""
    notes = []
    for bad in dataset.bad_rows.values():
        notes.append(
            f"{count_of(bad.count, 'row')} that cannot be read "
            f"{'were' if bad.count > 1 else 'was'} left out, the first: {bad.examples[0]}"
        )
    if number := int(rows.is_empty.sum()):
        notes.append(f"{count_of(number, 'empty text')} not judged")
    task = dataset.task
    counts = task.indicators(rows.y).sum(axis=0)
    if len(rare := np.flatnonzero(~judged & (counts > 0))):
        names = format_list([dataset.class_names[c] for c in rare.tolist()])
        number = int(counts[rare].sum())
        notes.append(
            f"{count_of(number, 'label')} of classes with fewer than {num_folds} "
            f"different texts not judged ({names}); use fewer folds, or read these rows yourself"
        )
    return notes
