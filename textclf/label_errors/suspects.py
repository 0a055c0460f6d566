"""Rows whose labels are probably wrong, by out-of-fold probabilities: confident learning.

    for suspect in find_suspects(probabilities, y_true, multi_label=False):
        print(suspect.index, suspect.label_ids, suspect.suggested_ids, suspect.quality)

Northcutt, Jiang & Chuang 2021, "Confident learning: estimating uncertainty in dataset labels",
JAIR 70, computed by cleanlab. The joint distribution of given and true labels is estimated from the
probabilities. For each pair of classes, the estimate gives the number of suspects, and the rows
with the largest margin are chosen (prune by noise rate). They are ranked by the normalised margin

    quality = (p(given label) - max p(other label) + 1) / 2

which is low if the model is certain of another class. The alternatives rank texts that fit no class
well above wrong labels. With several labels per text, each label is judged separately.
"""

import importlib.util
import warnings
from collections.abc import Sequence

import msgspec
import numpy as np

from textclf.errors import ConfigError, install_command

FILTER = "prune_by_noise_rate"
SCORE = "normalized_margin"


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A row whose labels are probably wrong.

    Attributes:
        index: position in the arrays.
        label_ids: class ids of the data, ascending.
        suggested_ids: class ids that the model suggests, ascending.
        quality: label quality of cleanlab, 0 (certainly wrong) to 1.
    """

    index: int
    label_ids: tuple[int, ...]
    suggested_ids: tuple[int, ...]
    quality: float


def check_installed() -> None:
    """Check that cleanlab is installed.

    Raises:
        ConfigError: it is not; says how to install it.
    """
    if importlib.util.find_spec("cleanlab") is None:
        raise ConfigError(
            [
                "cleanlab, which finds suspected label errors, is not installed; install it with "
                f"{install_command('labels')}"
            ]
        )


def find_suspects(
    probabilities: np.ndarray, y_true: np.ndarray, *, multi_label: bool
) -> tuple[Suspect, ...]:
    """Return the rows whose labels are probably wrong, most likely wrong first.

        suspects = find_suspects(scores.p, scores.y_true, multi_label=False)

    The probabilities have to come from a model that was not trained on the rows. Rows of equal
    quality are in the order of the arrays.

    Args:
        probabilities: float [n, C]; with one class a text, each row sums to 1.
        y_true: labels of the data, int64 [n], or bool [n, C] with several labels.
        multi_label: whether a text may have several labels, or none.

    Raises:
        ConfigError: cleanlab is not installed.
        ValueError: the shapes do not match.
    """
    check_installed()
    p = np.asarray(probabilities, np.float64)
    y = np.asarray(y_true)
    expected = p.shape if multi_label else p.shape[:1]
    if p.ndim != 2 or y.shape != expected:
        raise ValueError(f"probabilities {p.shape} and y_true {y.shape} do not match")
    if not len(p) or (p.shape[1] < 2 and not multi_label):
        return ()
    suggested = _suggest_labels(p, y) if multi_label else _suggest_class(p, y)
    rows = np.flatnonzero((suggested != y).any(axis=1) if multi_label else suggested != y)
    if not len(rows):
        return ()
    return _ranked(rows, y, suggested, label_quality(p, y, multi_label=multi_label))


def add_conflicts(
    suspects: Sequence[Suspect],
    probabilities: np.ndarray,
    y_true: np.ndarray,
    text_ids: np.ndarray,
    *,
    multi_label: bool,
) -> tuple[Suspect, ...]:
    """Add the rows whose text has another label elsewhere, if the model predicts another label.

    At least one of these labels is wrong, even if the model is not certain.

    Args:
        suspects: result of `find_suspects` on the same arrays.
        probabilities, y_true, multi_label: see `find_suspects`.
        text_ids: int64 [n], equal for rows of equal texts.
    """
    p = np.asarray(probabilities, np.float64)
    y = np.asarray(y_true)
    known = {suspect.index for suspect in suspects}
    suggested = y.copy()
    for rows in conflicts(y, text_ids):
        if multi_label:
            # Only the labels on which the rows differ are evidence of an error.
            differs = (y[rows] != y[rows[0]]).any(axis=0)
            suggested[np.ix_(rows, differs)] = p[np.ix_(rows, differs)] >= 0.5
        else:
            suggested[rows] = p[rows].argmax(axis=1)
    is_other = (suggested != y).any(axis=1) if multi_label else suggested != y
    is_other[list(known)] = False
    rows = np.flatnonzero(is_other)
    if not len(rows):
        return tuple(suspects)
    others = _ranked(rows, y, suggested, label_quality(p, y, multi_label=multi_label))
    return tuple(sorted([*suspects, *others], key=lambda suspect: (suspect.quality, suspect.index)))


def conflicts(y_true: np.ndarray, text_ids: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each text that has different labels in different rows, int64 [R] each."""
    is_repeated = np.bincount(text_ids)[text_ids] > 1
    repeated = np.flatnonzero(is_repeated)
    order = repeated[np.argsort(text_ids[repeated], kind="stable")]
    ends = np.flatnonzero(np.diff(text_ids[order])) + 1
    groups = (rows for rows in np.split(order, ends) if len(rows) > 1)
    return [rows for rows in groups if (y_true[rows] != y_true[rows[0]]).any()]


def label_quality(
    probabilities: np.ndarray, y_true: np.ndarray, *, multi_label: bool
) -> np.ndarray:
    """Return the quality of the labels of each row, float64 [n]; see `Suspect`.

    Args:
        probabilities, y_true, multi_label: see `find_suspects`.
    """
    if multi_label and probabilities.shape[1] == 1:  # cleanlab needs two labels
        y_true, multi_label = y_true[:, 0].astype(np.int64), False
        probabilities = np.concatenate([1 - probabilities, probabilities], axis=1)
    if multi_label:
        from cleanlab.multilabel_classification import rank as label_rank

        return label_rank.get_label_quality_scores(
            [np.flatnonzero(row).tolist() for row in y_true], probabilities, method=SCORE
        )
    from cleanlab import rank

    return rank.get_label_quality_scores(y_true, probabilities, method=SCORE)


def _suggest_class(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the most probable class of suspects and the given class of other rows, int64 [n]."""
    return np.where(_filter(y, p), p.argmax(axis=1), y)


def _suggest_labels(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the labels with the probably wrong ones inverted, bool [n, C]."""
    suggested = y.copy()
    for c in range(p.shape[1]):
        binary = np.stack([1 - p[:, c], p[:, c]], axis=1)
        suggested[:, c] ^= _filter(y[:, c].astype(np.int64), binary)
    return suggested


def _filter(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return whether each row is a suspect of confident learning, bool [n]."""
    from cleanlab.filter import find_label_issues

    if (y == y[0]).all():  # nothing to compare with
        return np.zeros(len(y), bool)
    with warnings.catch_warnings():
        # A class of one row or none, whose rows are never suspects.
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)
        # One process: the work is short, and others would each need the memory of the parent.
        return find_label_issues(y, p, filter_by=FILTER, n_jobs=1)


def _ranked(
    rows: np.ndarray, y: np.ndarray, suggested: np.ndarray, quality: np.ndarray
) -> tuple[Suspect, ...]:
    """Return suspects of rows, by ascending quality."""

    def ids(labels: np.ndarray) -> tuple[int, ...]:
        return tuple(np.flatnonzero(labels).tolist()) if labels.ndim else (int(labels),)

    order = rows[np.argsort(quality[rows], kind="stable")]
    return tuple(
        Suspect(
            index=row,
            label_ids=ids(y[row]),
            suggested_ids=ids(suggested[row]),
            quality=float(quality[row]),
        )
        for row in order.tolist()
    )
