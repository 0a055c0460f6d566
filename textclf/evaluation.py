"""From true classes and probabilities to a `Report` of how good the predictions are.

Two tasks share everything here: *one-of* (each example has exactly one class; the prediction is
the arg max) and *multi-label* (any number of classes; a class is predicted where its probability
reaches its threshold). The definitions are scikit-learn's wherever it has one:

- Precision, recall and F1 whose denominator is zero are 0 (`zero_division=0`).
- Macro averages run over **all** of `class_names`, also over a class without a single example
  here, which then counts as 0; weighted averages weigh each class by its support. `Report.notes`
  names such classes, because they pull the macro averages down.
- ROC-AUC: the mean of one class against the rest over the classes that some examples have and
  some lack, undefined (None) if there is none; of two classes both areas are the same.
- Log loss is the mean negative natural logarithm of the true class's probability (multi-label:
  the mean binary cross-entropy over examples and classes). Probabilities are clipped to
  [2**-23, 1 - 2**-23], float32's epsilon, whatever their dtype: so a float32 network and a
  float64 baseline that are both wrong with certainty pay the same.

Only numpy is imported with this module; scipy waits until it is needed.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from textclf.errors import DataError

LOG_LOSS_CLIP = 2.0**-23
MAX_BOOTSTRAP_CELLS = 1_000_000  # numbers drawn at once while resampling: 8 MB, in a few copies


# === What comes out ===


@dataclass(frozen=True)
class ClassScores:
    """How one class fared; every score is in [0, 1].

    Attributes:
        support: examples that truly have the class.
        num_predicted: examples that were given the class.
        threshold: multi-label: the probability from which the class is predicted; else None.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    num_predicted: int
    threshold: float | None = None


@dataclass(frozen=True)
class CalibrationBin:
    """The predictions whose confidence lies in (lower, upper]; the first bin includes 0.

    Attributes:
        mean_confidence, accuracy: means over the bin, None where it is empty. Multi-label: mean
            probability and share of true ones over the (example, class) pairs.
    """

    lower: float
    upper: float
    count: int
    mean_confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class LengthBin:
    """The examples with `min_tokens` to `max_tokens` tokens, both included, and their score.

    Attributes:
        min_tokens, max_tokens: the shortest and the longest text that is really in it; None for
            the truncated texts when no lengths were given.
        score: accuracy, or micro F1 for multi-label (`Report.length_metric` says which).
    """

    min_tokens: int | None
    max_tokens: int | None
    num_examples: int
    score: float


@dataclass(frozen=True)
class Report:
    """All figures of one evaluation; immutable, comparable with `==`, and JSON-able.

    Attributes:
        metrics: name -> value, None where it is undefined (see `notes`).
        intervals: name -> (low, high), the percentile bootstrap interval at level `confidence`.
        confusion_matrix: [true][predicted] counts; None for multi-label.
        calibration: the bins behind `calibration_error`.
        by_length: quantile bins of the number of tokens, shortest first; empty if not asked for.
        truncated: the texts that were longer than the length limit, None if there is none.
        notes: sentences a reader of the figures should know.
    """

    multi_label: bool
    num_examples: int
    class_names: tuple[str, ...]
    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]
    confidence: float
    bootstrap_samples: int
    classes: tuple[ClassScores, ...]
    confusion_matrix: tuple[tuple[int, ...], ...] | None
    calibration: tuple[CalibrationBin, ...]
    by_length: tuple[LengthBin, ...]
    truncated: LengthBin | None
    notes: tuple[str, ...]

    @property
    def length_metric(self) -> str:
        """The name of the metric that `by_length` and `truncated` hold."""
        return "micro_f1" if self.multi_label else "accuracy"

    def get(self, name: str) -> float:
        """Returns one metric by its name, as in `--require macro_f1=0.85`.

        Raises:
            DataError: there is no such metric, or it is undefined for these examples.
        """
        if name not in self.metrics:
            close = difflib.get_close_matches(name, self.metrics, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise DataError(
                f"no metric {name!r} in this report; there are {', '.join(self.metrics)}.{hint}"
            )
        value = self.metrics[name]
        if value is None:
            raise DataError(
                f"the metric {name!r} is undefined for these {self.num_examples:,} examples; "
                "it needs some that have a class and some that lack it: ask for another metric"
            )
        return value

    def to_dict(self) -> dict[str, Any]:
        """Returns dicts, lists, strings, finite numbers, booleans and None: ready for JSON."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Report":
        """Rebuilds what `to_dict` made, also after a journey through JSON.

        Raises:
            DataError: an entry is missing, unknown or of the wrong kind.
        """
        expected = {field.name for field in fields(cls)}
        if wrong := expected.symmetric_difference(values):
            raise DataError(
                f"not an evaluation report: missing or unknown {', '.join(sorted(wrong))}; "
                "expected what `Report.to_dict` made in this version of textclf"
            )
        try:
            matrix, truncated = values["confusion_matrix"], values["truncated"]
            return cls(
                **{
                    **values,
                    "class_names": tuple(values["class_names"]),
                    "metrics": dict(values["metrics"]),
                    "intervals": {
                        name: (float(low), float(high))
                        for name, (low, high) in values["intervals"].items()
                    },
                    "classes": tuple(ClassScores(**row) for row in values["classes"]),
                    "confusion_matrix": None if matrix is None else tuple(map(tuple, matrix)),
                    "calibration": tuple(CalibrationBin(**row) for row in values["calibration"]),
                    "by_length": tuple(LengthBin(**row) for row in values["by_length"]),
                    "truncated": None if truncated is None else LengthBin(**truncated),
                    "notes": tuple(values["notes"]),
                }
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"not an evaluation report: {error}; "
                "expected what `Report.to_dict` made in this version of textclf"
            ) from error


def _plain(value: Any) -> Any:
    """Tuples become lists, all the way down, as JSON would make them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


# === From probabilities to predictions ===


def select(p: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
    """Turns probabilities into predictions; the one place where that is decided.

    Args:
        p: float [n, C].
        thresholds: float [C] for multi-label; None for one-of.

    Returns:
        One-of: int64 [n], the most probable class, the first one of equals. Multi-label:
        bool [n, C], p >= threshold compared in float32, as the exported graph compares.
    """
    p = np.asarray(p)
    if thresholds is None:
        return p.argmax(axis=1).astype(np.int64)
    return p.astype(np.float32) >= np.asarray(thresholds, dtype=np.float32)


def choose_thresholds(y_true: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Chooses each class's threshold by its best F1, on validation probabilities.

    Every cut between two neighbouring probabilities is tried and the threshold put midway
    between them (the lowest cut: midway to 0). Among cuts of equal F1 the one nearest to 0.5
    is taken, the higher one of two equally near. A class without positives, or of which no cut
    finds a positive, keeps 0.5.

    Args:
        y_true: bool [n, C].
        p: float [n, C], taken as float32, which is what is served.

    Returns:
        float32 [C], each in (0, 1).

    Raises:
        DataError: there is no example, or a probability is not a number in [0, 1].
    """
    y_true = np.asarray(y_true, dtype=bool)
    p = np.asarray(p)
    if p.ndim != 2 or y_true.shape != p.shape:
        raise ValueError(f"y_true {y_true.shape} and p {p.shape} must both be [n, C]")
    _check_probabilities(p)
    p32 = p.astype(np.float32)
    return np.array(
        [_best_threshold(y_true[:, c], p32[:, c]) for c in range(p32.shape[1])], dtype=np.float32
    )


def _best_threshold(y_true: np.ndarray, p: np.ndarray) -> np.float32:
    half = np.float32(0.5)
    num_positives = int(y_true.sum())
    values, where = np.unique(p, return_inverse=True)
    values, where = values[::-1], len(values) - 1 - where  # falling; cut k selects p >= values[k]
    num_selected = np.bincount(where, minlength=len(values)).cumsum()
    num_right = np.bincount(where[y_true], minlength=len(values)).cumsum()
    f1 = 2 * num_right / (num_selected + num_positives)

    below = np.append(values[1:], np.float32(0))
    middle = ((values.astype(np.float64) + below) / 2).astype(np.float32)
    # Between float32 neighbours the middle rounds onto one of them: onto the lower one would
    # select it too.
    middle = np.where(middle > below, middle, values)
    allowed = (middle > 0) & (middle < 1) & (f1 > 0)
    if not allowed.any():
        return half
    f1 = np.where(allowed, f1, -1.0)
    # Counts are whole numbers, so equal fractions may still differ in the last bit.
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    # `values` fall, so among equally near ones the first is the highest.
    return middle[best[np.abs(middle[best] - half).argmin()]]


# === Evaluation ===


def evaluate(
    y_true: np.ndarray,
    p: np.ndarray,
    *,
    class_names: Sequence[str],
    multi_label: bool,
    thresholds: np.ndarray | None = None,
    num_tokens: np.ndarray | None = None,
    truncated: np.ndarray | None = None,
    bootstrap_samples: int = 1000,
    confidence: float = 0.95,
    calibration_bins: int = 15,
    length_bins: int = 4,
    seed: int = 0,
) -> Report:
    """Compares predictions with the truth.

    Args:
        y_true: int64 [n], ids into `class_names` (one-of), or bool [n, C] (multi-label).
        p: float [n, C], probabilities; one-of: rows that sum to 1.
        thresholds: float [C], multi-label only; 0.5 for each class if not given.
        num_tokens: int [n], asks for the scores by text length.
        truncated: bool [n], texts of which the model saw only a part.
        bootstrap_samples: resamplings of the examples behind each interval; 0 for no intervals.
        confidence: level of the intervals, in (0, 1).
        calibration_bins: equal-width bins of the calibration error (Guo et al. 2017, "On
            Calibration of Modern Neural Networks"): the mean over predictions of
            |accuracy - mean confidence| of their bin. Multi-label pools all (example, class)
            pairs and compares the probability with the share of true ones.
        length_bins: quantile bins of `num_tokens`; fewer come out where lengths repeat.
        seed: of the resampling. The order of the examples does not matter to any figure, the
            order of the classes to none but the intervals (by the noise of resampling).

    Raises:
        DataError: there is no example, or a probability is not a number in [0, 1].
        ValueError: the shapes do not fit together, or an argument is out of range.
    """
    names = tuple(class_names)
    p = np.asarray(p)
    y_true = _check_arguments(y_true, p, names, multi_label)
    n, num_classes = p.shape
    if thresholds is not None and not multi_label:
        raise ValueError("thresholds belong to multi-label classification only")
    if multi_label:
        thresholds = np.full(num_classes, 0.5) if thresholds is None else np.asarray(thresholds)
        if thresholds.shape != (num_classes,):
            raise ValueError(f"thresholds {thresholds.shape} must be [{num_classes}]")
    for name, values in (("num_tokens", num_tokens), ("truncated", truncated)):
        if values is not None and np.shape(values) != (n,):
            raise ValueError(f"{name} {np.shape(values)} must be [{n}]")
    if bootstrap_samples < 0 or calibration_bins < 1 or length_bins < 1 or not 0 < confidence < 1:
        raise ValueError(
            "expected bootstrap_samples >= 0, calibration_bins >= 1, length_bins >= 1 and "
            f"0 < confidence < 1, got {bootstrap_samples}, {calibration_bins}, {length_bins} "
            f"and {confidence}"
        )

    y_pred = select(p, thresholds)
    p64 = p.astype(np.float64)
    counts = _class_counts(y_true, y_pred, num_classes)
    notes = _notes_on_classes(y_true, y_pred, counts, names, multi_label)

    metrics: dict[str, float | None] = dict(_averages(counts, n, multi_label))
    if multi_label:
        metrics["subset_accuracy"] = float((y_true == y_pred).all(axis=1).mean())
        metrics["hamming_loss"] = float((y_true != y_pred).mean())
    metrics["log_loss"] = _log_loss(y_true, p64, multi_label)
    metrics["roc_auc"], more_notes = _roc_auc(y_true, p64, names, multi_label)
    notes += more_notes
    bins = _calibration_bins(y_true, y_pred, p64, calibration_bins, multi_label)
    metrics["calibration_error"] = _calibration_error(bins)

    intervals: dict[str, tuple[float, float]] = {}
    if bootstrap_samples:
        intervals = _bootstrap(
            y_true, y_pred, num_classes, multi_label, bootstrap_samples, confidence, seed
        )
        notes += _notes_on_intervals(y_true, y_pred, confidence, multi_label)

    lengths = None if num_tokens is None else np.asarray(num_tokens)
    cut = None
    if truncated is not None and np.any(truncated):
        cut = _length_bin(np.asarray(truncated, dtype=bool), lengths, y_true, y_pred)
    return Report(
        multi_label=multi_label,
        num_examples=n,
        class_names=names,
        metrics=metrics,
        intervals=intervals,
        confidence=float(confidence),
        bootstrap_samples=int(bootstrap_samples),
        classes=_class_scores(counts, names, thresholds),
        confusion_matrix=None if multi_label else _confusion_matrix(y_true, y_pred, num_classes),
        calibration=bins,
        by_length=() if lengths is None else _by_length(lengths, y_true, y_pred, length_bins),
        truncated=cut,
        notes=tuple(notes),
    )


def _check_probabilities(p: np.ndarray) -> None:
    if len(p) == 0:
        raise DataError(
            "there is no example to evaluate; expected at least one: check that the split is not "
            "empty"
        )
    # Written so that NaN, which compares as false, is caught too.
    wrong = np.flatnonzero(~((p >= 0) & (p <= 1)).all(axis=1))
    if len(wrong):
        raise DataError(
            f"{len(wrong):,} of {len(p):,} examples (the first is row {wrong[0]}) have a "
            "probability that is not a number from 0 to 1; the model's weights may not be finite: "
            "train it again with a lower learning rate"
        )


def _check_arguments(
    y_true: np.ndarray, p: np.ndarray, names: tuple[str, ...], multi_label: bool
) -> np.ndarray:
    """Returns y_true as int64 [n] or bool [n, C]."""
    y_true = np.asarray(y_true)
    if p.ndim != 2 or p.shape[1] != len(names):
        raise ValueError(f"p {p.shape} must be [n, {len(names)}], a column for each class name")
    _check_probabilities(p)
    if multi_label:
        if y_true.shape != p.shape:
            raise ValueError(f"y_true {y_true.shape} must be bool {p.shape}")
        return y_true.astype(bool)
    if y_true.shape != p.shape[:1] or not np.issubdtype(y_true.dtype, np.integer):
        raise ValueError(f"y_true {y_true.dtype} {y_true.shape} must be whole numbers [{len(p)}]")
    if y_true.min() < 0 or y_true.max() >= len(names):
        raise ValueError(f"y_true must be from 0 to {len(names) - 1}, one of the classes")
    if np.abs(p.sum(axis=1, dtype=np.float64) - 1).max() > 1e-3:
        raise ValueError("the rows of p must sum to 1: are these logits or sigmoids?")
    return y_true.astype(np.int64)


# === Counts and scores ===


@dataclass(frozen=True)
class _Counts:
    """What precision, recall and F1 are made of; each [..., C], resamplings in front."""

    right: np.ndarray  # examples that have the class and were given it
    true: np.ndarray  # examples that have it: the support
    predicted: np.ndarray  # examples that were given it

    @property
    def precision(self) -> np.ndarray:
        return _ratio(self.right, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        return _ratio(self.right, self.true)

    @property
    def f1(self) -> np.ndarray:
        return _ratio(2 * self.right, self.true + self.predicted)

    def summed(self) -> "_Counts":
        """All classes as one, [..., 1]: precision, recall and F1 of this are the micro ones."""
        return _Counts(
            self.right.sum(-1, keepdims=True),
            self.true.sum(-1, keepdims=True),
            self.predicted.sum(-1, keepdims=True),
        )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, and 0 where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _class_counts(y_true: np.ndarray, y_pred: np.ndarray, num_classes: int) -> _Counts:
    if y_true.ndim == 2:
        return _Counts((y_true & y_pred).sum(0), y_true.sum(0), y_pred.sum(0))
    right = y_true[y_true == y_pred]
    return _Counts(*(np.bincount(ids, minlength=num_classes) for ids in (right, y_true, y_pred)))


def _averages(counts: _Counts, n: int, multi_label: bool) -> dict[str, float]:
    """The metrics that follow from the counts alone, the most wanted first."""
    scores = {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}
    micro = counts.summed()
    metrics: dict[str, float] = {}
    if multi_label:
        metrics["micro_f1"] = float(micro.f1[0])
    else:
        metrics["accuracy"] = float(counts.right.sum() / n)
    metrics["macro_f1"] = float(counts.f1.mean())
    metrics["weighted_f1"] = float(_ratio((counts.f1 * counts.true).sum(), counts.true.sum()))
    if multi_label:
        metrics["micro_precision"] = float(micro.precision[0])
        metrics["micro_recall"] = float(micro.recall[0])
    for name in ("precision", "recall"):
        metrics[f"macro_{name}"] = float(scores[name].mean())
    for name in ("precision", "recall"):
        weighted = _ratio((scores[name] * counts.true).sum(), counts.true.sum())
        metrics[f"weighted_{name}"] = float(weighted)
    return metrics


def _class_scores(
    counts: _Counts, names: tuple[str, ...], thresholds: np.ndarray | None
) -> tuple[ClassScores, ...]:
    precision, recall, f1 = counts.precision, counts.recall, counts.f1
    return tuple(
        ClassScores(
            name=name,
            precision=float(precision[c]),
            recall=float(recall[c]),
            f1=float(f1[c]),
            support=int(counts.true[c]),
            num_predicted=int(counts.predicted[c]),
            threshold=None if thresholds is None else float(thresholds[c]),
        )
        for c, name in enumerate(names)
    )


def _confusion_matrix(
    y_true: np.ndarray, y_pred: np.ndarray, num_classes: int
) -> tuple[tuple[int, ...], ...]:
    cells = np.bincount(y_true * num_classes + y_pred, minlength=num_classes**2)
    return tuple(tuple(row) for row in cells.reshape(num_classes, num_classes).tolist())


def _log_loss(y_true: np.ndarray, p: np.ndarray, multi_label: bool) -> float:
    p = np.clip(p, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    if multi_label:
        return float(-np.log(np.where(y_true, p, 1 - p)).mean())
    return float(-np.log(p[np.arange(len(p)), y_true]).mean())


def _roc_auc(
    y_true: np.ndarray, p: np.ndarray, names: tuple[str, ...], multi_label: bool
) -> tuple[float | None, list[str]]:
    from scipy.stats import rankdata

    has = y_true if multi_label else np.equal.outer(y_true, np.arange(len(names)))  # bool [n, C]
    num_having = has.sum(axis=0)
    defined = (num_having > 0) & (num_having < len(has))
    if not defined.any():
        return None, ["ROC-AUC is undefined: each class is had by every example or by none"]
    # The area is the share of (having, lacking) pairs in the right order, ties counting half:
    # the statistic of Mann and Whitney, which ranks give without looking at pairs.
    areas = []
    for c in np.flatnonzero(defined):
        num_lower = num_having[c] * (num_having[c] + 1) / 2
        wins = rankdata(p[:, c])[has[:, c]].sum() - num_lower
        areas.append(wins / (num_having[c] * (len(has) - num_having[c])))
    notes = []
    if not defined.all():
        left_out = _listed([name for name, ok in zip(names, defined, strict=True) if not ok])
        notes.append(f"ROC-AUC leaves out what every or no example has: {left_out}")
    return float(np.mean(areas)), notes


# === Calibration ===


def _calibration_bins(
    y_true: np.ndarray, y_pred: np.ndarray, p: np.ndarray, num_bins: int, multi_label: bool
) -> tuple[CalibrationBin, ...]:
    if multi_label:
        confidence, right = p.ravel(), y_true.ravel()
    else:
        confidence, right = p.max(axis=1), y_true == y_pred
    edges = np.linspace(0, 1, num_bins + 1)
    # Bin b holds edges[b] < confidence <= edges[b + 1], as in the paper, and bin 0 also 0 itself.
    where = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(where, minlength=num_bins)
    mean_confidence = _ratio(np.bincount(where, confidence, num_bins), counts)
    accuracy = _ratio(np.bincount(where, right, num_bins), counts)
    return tuple(
        CalibrationBin(
            lower=float(edges[b]),
            upper=float(edges[b + 1]),
            count=int(counts[b]),
            mean_confidence=float(mean_confidence[b]) if counts[b] else None,
            accuracy=float(accuracy[b]) if counts[b] else None,
        )
        for b in range(num_bins)
    )


def _calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    gaps = [
        b.count * abs(b.accuracy - b.mean_confidence)
        for b in bins
        if b.accuracy is not None and b.mean_confidence is not None
    ]
    return sum(gaps) / sum(b.count for b in bins)


# === Intervals ===


def _bootstrap(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    num_classes: int,
    multi_label: bool,
    num_samples: int,
    confidence: float,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals from resampling the examples with replacement (Efron 1979).

    Examples with the same truth and the same prediction are interchangeable, so a resampling of
    n examples is one multinomial draw of how many fall into each distinct *cell* (truth,
    prediction). A confusion matrix of two classes has four cells, however large n is.
    """
    from scipy.sparse import csr_array

    if multi_label:
        packed = np.packbits(np.concatenate([y_true, y_pred], axis=1), axis=1)
        _, first, cell_counts = np.unique(packed, axis=0, return_index=True, return_counts=True)
        true, predicted = y_true[first], y_pred[first]  # bool [cells, C]
        right = true & predicted
        indicators = [csr_array(cells.astype(np.float64)) for cells in (right, true, predicted)]
    else:
        cells, cell_counts = np.unique(y_true * num_classes + y_pred, return_counts=True)
        true, predicted = np.divmod(cells, num_classes)  # int64 [cells]
        rows = np.arange(len(cells))
        shape = (len(cells), num_classes)
        same = true == predicted
        indicators = [
            csr_array((np.ones(len(ids)), (at, ids)), shape=shape)
            for at, ids in ((rows[same], true[same]), (rows, true), (rows, predicted))
        ]

    n = len(y_true)
    rng = np.random.default_rng(seed)
    first_name = "micro_f1" if multi_label else "accuracy"
    samples: dict[str, list[np.ndarray]] = {first_name: [], "macro_f1": []}
    chunk = max(1, MAX_BOOTSTRAP_CELLS // max(len(cell_counts), num_classes))
    for start in range(0, num_samples, chunk):
        size = min(chunk, num_samples - start)
        draws = rng.multinomial(n, cell_counts / n, size=size).astype(np.float64)  # [size, cells]
        counts = _Counts(*((indicator.T @ draws.T).T for indicator in indicators))  # [size, C]
        samples["macro_f1"].append(counts.f1.mean(axis=-1))
        overall = counts.summed().f1[:, 0] if multi_label else counts.right.sum(axis=-1) / n
        samples[first_name].append(overall)
    tail = (1 - confidence) / 2
    intervals = {}
    for name, values in samples.items():
        low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
        intervals[name] = (float(low), float(high))
    return intervals


# === By length ===


def _by_length(
    num_tokens: np.ndarray, y_true: np.ndarray, y_pred: np.ndarray, num_bins: int
) -> tuple[LengthBin, ...]:
    # Upper bounds that are real lengths, so that equal lengths never stand in two bins.
    levels = np.linspace(0, 1, num_bins + 1)[1:]
    upper = np.unique(np.quantile(num_tokens, levels, method="inverted_cdf"))
    where = np.searchsorted(upper, num_tokens, side="left")
    return tuple(_length_bin(where == b, num_tokens, y_true, y_pred) for b in range(len(upper)))


def _length_bin(
    chosen: np.ndarray, num_tokens: np.ndarray | None, y_true: np.ndarray, y_pred: np.ndarray
) -> LengthBin:
    true, predicted = y_true[chosen], y_pred[chosen]
    if y_true.ndim == 2:
        score = _class_counts(true, predicted, y_true.shape[1]).summed().f1[0]
    else:
        score = (true == predicted).mean()
    return LengthBin(
        min_tokens=None if num_tokens is None else int(num_tokens[chosen].min()),
        max_tokens=None if num_tokens is None else int(num_tokens[chosen].max()),
        num_examples=int(chosen.sum()),
        score=float(score),
    )


# === Notes ===


def _notes_on_classes(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    counts: _Counts,
    names: tuple[str, ...],
    multi_label: bool,
) -> list[str]:
    notes = []
    n = len(y_true)
    if missing := [names[c] for c in np.flatnonzero(counts.true == 0)]:
        notes.append(
            f"no example has {_listed(missing)}: precision, recall and F1 of 0 "
            "enter the macro averages"
        )
    used = np.flatnonzero(counts.predicted)
    if not multi_label and len(used) == 1 and len(names) > 1:
        notes.append(f"every example was given {names[used[0]]!r}")
    elif ignored := [names[c] for c in np.flatnonzero((counts.predicted == 0) & (counts.true > 0))]:
        notes.append(f"never predicted, though examples have it: {_listed(ignored)}")
    if multi_label:
        for values, verb in ((y_true, "have"), (y_pred, "were given")):
            if without := int((~values.any(axis=1)).sum()):
                notes.append(f"{without:,} of {n:,} examples {verb} no class at all")
    return notes


def _notes_on_intervals(
    y_true: np.ndarray, y_pred: np.ndarray, confidence: float, multi_label: bool
) -> list[str]:
    """Where all predictions are right (or all wrong), resampling shows no spread at all.

    The way out is the exact one-sided binomial bound, the accuracy q with q**n = 1 - confidence.
    """
    n = len(y_true)
    right = y_true == y_pred
    if multi_label:
        right = right.all(axis=1)
    bound = (1 - confidence) ** (1 / n)
    if right.all():
        what, share = "right", f"above {bound:.4f}"
    elif not right.any() and not multi_label:
        what, share = "wrong", f"below {1 - bound:.4f}"
    else:
        return []
    return [
        f"all {n:,} predictions are {what}, so resampling shows no spread; the exact "
        f"{100 * confidence:.4g} % bound for {'subset ' if multi_label else ''}accuracy is {share}"
    ]


def _listed(names: Sequence[str], limit: int = 10) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    more = len(names) - limit
    return f"{shown} and {more:,} more" if more > 0 else shown
