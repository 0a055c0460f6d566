"""Folds of the train split: equal texts together, classes in equal shares."""

import itertools
import warnings
from typing import NamedTuple

import numpy as np

from textclf.data import Dataset, normalise
from textclf.data.splits import set_aside, text_hash
from textclf.errors import DataError, format_list
from textclf.progress import OnProgress
from textclf.tasks import Task

# Share of the rows that are not held out; temperature and C, or the best epoch, are chosen on it.
VALIDATION_SHARE = 0.1
TRAIN, VALIDATION, HELD_OUT = range(3)
# With more rows, the choice of folds depends on a hash of the text alone, see `set_aside`.
_IN_MEMORY_ROWS = 1_000_000
# scikit-learn's folds take about .2 ms per text; they are used up to this number of texts.
_MAX_TEXTS_OF_SKLEARN = 300_000


class Rows(NamedTuple):
    """Labels of the rows of train, and which texts are equal.

    Attributes:
        y: int64 [n], or bool [n, C] with several labels per text.
        hashes: uint64 [n], of the normalised texts.
        text_ids: int64 [n], the same number for equal texts.
        is_empty: bool [n], texts of white space only.
    """

    y: np.ndarray
    hashes: np.ndarray
    text_ids: np.ndarray
    is_empty: np.ndarray


def read_rows(dataset: Dataset, on_progress: OnProgress) -> Rows:
    """Read train once and keep 25 bytes per row, or 17 + C with several labels."""
    num_rows = dataset.splits["train"].num_examples
    hashes, is_empty = bytearray(), np.zeros(num_rows, bool)
    y = [dataset.task.classes_of([])]
    examples = dataset.examples("train")
    while chunk := list(itertools.islice(examples, 1024)):
        on_progress("reading train", chunk[0].row, num_rows)
        for example in chunk:
            normalised = normalise(example.text)
            hashes += text_hash(normalised)
            is_empty[example.row] = not normalised
        y.append(dataset.task.classes_of([example.label_ids for example in chunk]))
    values = np.frombuffer(hashes, "<u8").astype(np.uint64)
    text_ids = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return Rows(np.concatenate(y), values, text_ids, is_empty)


def judged_classes(task: Task, rows: Rows, num_folds: int) -> np.ndarray:
    """Return whether each class has at least one text per fold, bool [C].

    The labels of other classes are not judged, because a model trained on few or no texts of a
    class cannot judge its rows.
    """
    used = np.flatnonzero(~rows.is_empty)
    if task.is_multi_label:
        row, class_id = np.nonzero(rows.y[used])
    else:
        row, class_id = np.arange(len(used)), rows.y[used]
    pairs = np.unique(rows.text_ids[used[row]] * task.num_outputs + class_id)
    return np.bincount(pairs % task.num_outputs, minlength=task.num_outputs) >= num_folds


def check_rows(dataset: Dataset, rows: Rows, num_folds: int) -> np.ndarray:
    """Return `judged_classes`, after checking that labels can be compared.

    Raises:
        DataError: all rows have the same labels, or there are too few texts for the folds.
    """
    judged = judged_classes(dataset.task, rows, num_folds)
    names = [dataset.class_names[c] for c in np.flatnonzero(judged).tolist()]
    location = ", ".join(dataset.sources[:1])
    if np.all(rows.y == rows.y[0]):
        label_ids = np.flatnonzero(rows.y[0]) if dataset.multi_label else rows.y[:1]
        label = format_list([dataset.class_names[c] for c in label_ids.tolist()]) or "no label"
        raise DataError(
            f"{location}: all rows of train have the same label ({label}); label errors are found "
            "by comparison with other classes, so check data.label_column"
        )
    needed = 1 if dataset.multi_label else 2
    if len(names) < needed:
        only = f"only {names[0]} has" if names else "no class has"
        raise DataError(
            f"{location}: {only} {num_folds} different texts in train, one for each fold; add "
            "rows, or use fewer folds (--folds 2 is the smallest number)"
        )
    return judged


def make_folds(task: Task, rows: Rows, num_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each row, int64 [n].

    Equal texts are in one fold. With one label per text, scikit-learn's StratifiedGroupKFold gives
    each fold the same share of each class. With several labels or very many texts, each fold has
    the same share of each set of labels; rare sets are combined.
    """
    num_texts = int(rows.text_ids.max()) + 1
    if task.is_multi_label or num_texts > _MAX_TEXTS_OF_SKLEARN:
        fractions = [1 / num_folds] * (num_folds - 1)
        return _set_aside(rows.hashes, _strata(rows.y), [], fractions, seed).astype(np.int64)
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    folds = np.zeros(len(rows.y), np.int64)
    with warnings.catch_warnings():
        # Classes with fewer rows than folds, which are not judged.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, held_out) in enumerate(splitter.split(rows.y, rows.y, rows.text_ids)):
            folds[held_out] = fold
    return folds


def split_fold(
    task: Task, rows: Rows, judged: np.ndarray, folds: np.ndarray, fold: int, seed: int
) -> np.ndarray:
    """Return `TRAIN`, `VALIDATION` or `HELD_OUT` for each row, uint8 [n], equal for equal texts.

    Rows of classes that are not judged are never validation, so that they remain for training.
    """
    part = np.full(len(folds), HELD_OUT, np.uint8)
    others = np.flatnonzero(folds != fold)
    y = rows.y[others]
    is_rare = y[:, ~judged].any(axis=1) if task.is_multi_label else ~judged[y]
    pinned = np.flatnonzero(is_rare)
    part[others] = _set_aside(
        rows.hashes[others], _strata(y), pinned, [VALIDATION_SHARE], seed + fold
    )
    return part


def _set_aside(
    hashes: np.ndarray, strata: np.ndarray, pinned: object, fractions: list[float], seed: int
) -> np.ndarray:
    chosen, _ = set_aside(
        hashes,
        strata,
        np.asarray(pinned, np.int64),
        fractions=fractions,
        seed=seed,
        pool_rare=True,
        in_memory_rows=_IN_MEMORY_ROWS,
    )
    return chosen


def _strata(y: np.ndarray) -> np.ndarray:
    """Return the class, or a number for each set of labels, int32 [n]."""
    if y.ndim == 1:
        return y.astype(np.int32)
    packed = np.ascontiguousarray(np.packbits(y, axis=1))
    whole = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    return np.unique(whole, return_inverse=True)[1].astype(np.int32)
