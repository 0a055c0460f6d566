"""What comes out of an evaluation: a `Report` and its parts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from textclf.errors import DataError, did_you_mean


@dataclass(frozen=True)
class ClassScores:
    """How one class fared; every score is in [0, 1].

    Attributes:
        support: examples that truly have the class.
        num_predicted: examples that were given the class.
        threshold: multi-label: the probability from which the class is predicted; else None.
        precision_interval, recall_interval, f1_interval: (low, high) at the level
            `Report.confidence`; None where the score has no examples or without intervals.
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
class CoveragePoint:
    """What is won by not answering the least confident examples.

    Attributes:
        coverage: share of the examples that are answered.
        abstain_below: the confidence from which on they are.
        accuracy: share of the answered ones whose most probable class is right; None for none.
    """

    coverage: float
    abstain_below: float
    accuracy: float | None


@dataclass(frozen=True)
class Report:
    """All figures of one evaluation; immutable, comparable with `==`, and JSON-able.

    Attributes:
        metrics: name -> value, None where it is undefined (see `notes`).
        intervals: name -> (low, high) at level `confidence`: Wilson's of accuracies, from a
            bootstrap with pseudo-counts of macro and micro F1; a score of too few examples has
            none (see `notes`).
        confusion_matrix: [true][predicted] counts; None for multi-label.
        calibration: the bins behind `calibration_error`.
        coverage: what would be won by not answering the least confident examples.
        abstention: the same at the model's own threshold, None if it always answers.
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
    coverage: tuple[CoveragePoint, ...]
    abstention: CoveragePoint | None
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
            raise DataError(
                f"no metric {name!r} in this report; there are {', '.join(self.metrics)}"
                f"{did_you_mean(name, self.metrics)}"
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
            abstention = values["abstention"]
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
                }
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"not an evaluation report: {error}; "
                "expected what `Report.to_dict` made in this version of textclf"
            ) from error


def _class_scores(values: Mapping[str, Any]) -> ClassScores:
    intervals = {}
    for name in ("precision_interval", "recall_interval", "f1_interval"):
        if values.get(name) is not None:
            low, high = values[name]
            intervals[name] = (float(low), float(high))
    return ClassScores(**{**values, **intervals})


def _plain(value: Any) -> Any:
    """Tuples become lists, all the way down, as JSON would make them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
