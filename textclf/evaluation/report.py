"""Result of an evaluation: `Report` and its parts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from textclf.errors import DataError, did_you_mean
from textclf.tasks import Task, task_of


def top_ks(num_classes: int) -> tuple[int, ...]:
    """Return the k of the top-k accuracies of a one-of task: at most half of the classes."""
    return tuple(k for k in (3, 5, 10) if 2 * k <= num_classes)


def metric_names(task: Task) -> tuple[str, ...]:
    """Return the names of all metrics of a trained model, in the order of `Report.metrics`.

    metric_names(task_of(multi_label=False, num_classes=2))
    """
    names = [task.headline, "macro_f1", "weighted_f1"]
    averages = ["macro", "weighted"]
    if task.is_multi_label:
        averages = ["micro", *averages]
    names += [f"{average}_{score}" for average in averages for score in ("precision", "recall")]
    names += ["subset_accuracy", "hamming_loss"] if task.is_multi_label else ["cohen_kappa", "mcc"]
    names += ["log_loss", "brier_loss"]
    if not task.is_multi_label:
        names += [f"top_{k}_accuracy" for k in top_ks(task.num_outputs)]
    names += ["roc_auc", "average_precision", "calibration_error", "uncalibrated_error"]
    return tuple(names)


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class, each in [0, 1].

    Attributes:
        support: number of examples that have the class.
        num_predicted: number of examples for which the class is predicted.
        threshold: lowest probability at which the class is predicted, for each label and for the
            positive class of two if the model has a threshold; otherwise None.
        precision_interval, recall_interval, f1_interval: (low, high) at the level
            `Report.confidence`; None if the score has no examples or the report no intervals.
        roc_auc, average_precision: of the class against the rest; None without both positive and
            negative examples, and in reports of older versions.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    num_predicted: int
    threshold: float | None = None
    precision_interval: tuple[float, float] | None = None
    recall_interval: tuple[float, float] | None = None
    f1_interval: tuple[float, float] | None = None
    roc_auc: float | None = None
    average_precision: float | None = None


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions with a confidence in (lower, upper]; the first bin includes 0.

    Attributes:
        mean_confidence, accuracy: means over the bin, None if it is empty. Multi-label: mean
            probability and share of positives of the (example, class) pairs.
    """

    lower: float
    upper: float
    count: int
    mean_confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class LengthBin:
    """Score of the examples with `min_tokens` to `max_tokens` tokens, both included.

    Attributes:
        min_tokens, max_tokens: lengths of the shortest and the longest text in the bin; None for
            truncated texts of unknown length.
        score: accuracy, or micro F1 for multi-label (see `Report.length_metric`).
    """

    min_tokens: int | None
    max_tokens: int | None
    num_examples: int
    score: float


@dataclass(frozen=True)
class CoveragePoint:
    """Accuracy of the examples that are answered if the least confident ones are not.

    Attributes:
        coverage: share of the examples that are answered.
        abstain_below: lowest confidence that is answered.
        accuracy: share of the answered examples whose most probable class is correct; None if no
            example is answered.
    """

    coverage: float
    abstain_below: float
    accuracy: float | None


@dataclass(frozen=True)
class Gain:
    """Estimate of what the network adds to the linear model.

    `estimate_gain` computes it on validation, `measure_gain` on another split.

    Attributes:
        metric: name of the metric.
        difference: metric of the mixture minus that of the linear model alone.
        low, high: ends of the interval.
        confidence: level of the interval.
        linear: metric of the linear model alone; None in the card.
    """

    metric: str
    difference: float
    low: float
    high: float
    confidence: float
    linear: float | None = None

    @property
    def verdict(self) -> str:
        """Verdict of the interval, in words."""
        if self.low > 0:
            return "a gain is shown"
        return "no gain shown" if self.high >= 0 else "a loss is shown"


@dataclass(frozen=True)
class Report:
    """All metrics of one evaluation; immutable, comparable with `==`, convertible to JSON.

    Attributes:
        metrics: name -> value, None if it is undefined (see `notes`).
        intervals: name -> (low, high) at level `confidence`: Wilson intervals for accuracies,
            bootstrap intervals with pseudo-counts for macro and micro F1. A score of too few
            examples has no interval (see `notes`).
        confusion_matrix: [true][predicted] counts; None for multi-label.
        calibration: bins of `calibration_error`.
        coverage: accuracy at several coverages, the highest coverage first.
        abstention: coverage and accuracy at the model's threshold; None if it never abstains.
        by_length: quantile bins of the number of tokens, shortest first; empty without lengths.
        truncated: score of the texts longer than the length limit; None if there is none.
        notes: sentences that qualify the metrics.
        truncated_by: score of the texts longer than each length limit, by its setting, such as
            `text.sequence_length`; only limits that cut a text.
        gain: what the network of a mixture adds to its linear model on these examples; None without
            a mixture, and with too few examples.
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
    coverage: tuple[CoveragePoint, ...]
    abstention: CoveragePoint | None
    by_length: tuple[LengthBin, ...]
    truncated: LengthBin | None
    notes: tuple[str, ...]
    truncated_by: dict[str, LengthBin] = field(default_factory=dict)
    gain: Gain | None = None

    @property
    def task(self) -> Task:
        """Task that was evaluated."""
        return task_of(multi_label=self.multi_label, num_classes=len(self.class_names))

    @property
    def length_metric(self) -> str:
        """Name of the metric in `by_length` and `truncated`."""
        return self.task.headline

    def get(self, name: str) -> float:
        """Return one metric by its name, as in `--require macro_f1=0.85`.

        Raises:
            DataError: the report has no such metric, or it is undefined for these examples.
        """
        if name not in self.metrics:
            raise DataError(
                f"no metric {name!r} in this report; choose from {', '.join(self.metrics)}"
                f"{did_you_mean(name, self.metrics)}"
            )
        value = self.metrics[name]
        if value is None:
            raise DataError(
                f"the metric {name!r} is undefined for these {self.num_examples:,} examples; "
                "it needs examples of more than one class; choose another metric"
            )
        return value

    def _repr_html_(self) -> str:
        """Return the report as HTML, which a notebook shows for the last value of a cell."""
        from textclf.display import to_html
        from textclf.evaluation.document import document

        return to_html(document(self, "Evaluation", max_matrix_classes=30))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dicts and lists of strings, finite numbers, booleans and None."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Report":
        """Build the report from the result of `to_dict`, also if it was written to JSON and read.

        Raises:
            DataError: an entry is missing, is unknown or has the wrong type.
        """
        expected = {field.name for field in fields(cls)}
        # An older report lacks the last two.
        missing, unknown = expected - {"truncated_by", "gain"} - set(values), set(values) - expected
        if wrong := missing | unknown:
            raise DataError(
                f"not an evaluation report: missing or unknown {', '.join(sorted(wrong))}; "
                "expected the result of `Report.to_dict` in this version of textclf"
            )
        try:
            matrix, truncated = values["confusion_matrix"], values["truncated"]
            abstention, gain = values["abstention"], values.get("gain")
            return cls(
                **{
                    **values,
                    "class_names": tuple(values["class_names"]),
                    "metrics": dict(values["metrics"]),
                    "intervals": {
                        name: (float(low), float(high))
                        for name, (low, high) in values["intervals"].items()
                    },
                    "classes": tuple(map(_class_scores, values["classes"])),
                    "confusion_matrix": None if matrix is None else tuple(map(tuple, matrix)),
                    "calibration": tuple(CalibrationBin(**row) for row in values["calibration"]),
                    "coverage": tuple(CoveragePoint(**row) for row in values["coverage"]),
                    "abstention": None if abstention is None else CoveragePoint(**abstention),
                    "by_length": tuple(LengthBin(**row) for row in values["by_length"]),
                    "truncated": None if truncated is None else LengthBin(**truncated),
                    "notes": tuple(values["notes"]),
                    "truncated_by": {
                        setting: LengthBin(**row)
                        for setting, row in values.get("truncated_by", {}).items()
                    },
                    "gain": None if gain is None else Gain(**gain),
                }
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"not an evaluation report: {error}; "
                "expected the result of `Report.to_dict` in this version of textclf"
            ) from error


def _class_scores(values: Mapping[str, Any]) -> ClassScores:
    """Build the scores of a class from their dict, with intervals as tuples."""
    intervals = {}
    for name in ("precision_interval", "recall_interval", "f1_interval"):
        if values.get(name) is not None:
            low, high = values[name]
            intervals[name] = (float(low), float(high))
    return ClassScores(**{**values, **intervals})


def _plain(value: Any) -> Any:
    """Convert tuples to lists, recursively, as JSON does."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
