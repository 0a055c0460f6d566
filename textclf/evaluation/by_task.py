"""Metrics of each task: the differences between the tasks in the evaluation.

Arrays of classes are int64 [n] (one-of) or bool [n, C] (multi-label), see `textclf.tasks`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from textclf.errors import format_list
from textclf.evaluation.counts import Counts
from textclf.evaluation.report import top_ks
from textclf.tasks import MultiLabel, OneOf, Task

if TYPE_CHECKING:
    from scipy.sparse import csr_array

AnyTask = TypeVar("AnyTask", bound=Task)
_SMALLEST = float(np.finfo(np.float32).tiny)


class Scoring(ABC, Generic[AnyTask]):
    """Metrics of one task.

        scoring_of(task).counts(y_true, y_pred).f1    # float64 [C]

    Attributes:
        task: the task.
        exact_metric: name of the share of examples with a completely correct prediction.
        has_micro_average: whether the micro averages differ from the accuracy.
        correctness_name: name of the mean of `correctness`.
    """

    exact_metric: str
    correctness_name: str
    has_micro_average: bool

    def __init__(self, task: AnyTask):
        self.task = task

    @abstractmethod
    def check_probabilities(self, p: np.ndarray) -> None:
        """Raise ValueError if p, float [n, C], cannot contain probabilities of the task."""

    @abstractmethod
    def counts(self, y_true: np.ndarray, y_pred: np.ndarray) -> Counts:
        """Return the counts of the examples of each class, int64 [C]."""

    @abstractmethod
    def headline(self, counts: Counts, n: int) -> float:
        """Return the metric `Task.headline` of n examples."""

    @abstractmethod
    def is_exact(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """Return bool [n]: whether the prediction of each example is completely correct."""

    @abstractmethod
    def correctness(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """Return the share of correct decisions in each example, float64 [n]."""

    @abstractmethod
    def extra_metrics(self, y_true: np.ndarray, y_pred: np.ndarray) -> dict[str, float | None]:
        """Return the metrics that only this task has, by name; None if one is undefined."""

    @abstractmethod
    def probability_metrics(self, y_true: np.ndarray, p: np.ndarray) -> dict[str, float]:
        """Return the Brier score and the top-k accuracies of float64 p, by name."""

    @abstractmethod
    def confusion_matrix(
        self, y_true: np.ndarray, y_pred: np.ndarray
    ) -> tuple[tuple[int, ...], ...] | None:
        """Return the counts [true][predicted]; None if a text can have several classes."""

    @abstractmethod
    def log_losses(self, y_true: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Return the log loss of each decision from float64 p: [n], or [n, C] for multi-label."""

    @abstractmethod
    def confidences(
        self, y_true: np.ndarray, y_pred: np.ndarray, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the k predictions for the calibration error: one per text, or one per label.

        Returns:
            float [k], the probability of each prediction, and bool [k], whether it is correct.
        """

    @abstractmethod
    def class_notes(
        self, y_true: np.ndarray, y_pred: np.ndarray, counts: Counts, names: tuple[str, ...]
    ) -> list[str]:
        """Return sentences on classes without predictions and examples without classes."""

    # === Temperature ===

    @abstractmethod
    def fit_temperature(
        self, y_true: np.ndarray, z: np.ndarray, fit: Callable[[np.ndarray], float]
    ) -> float | tuple[float, ...]:
        """Return the temperature of logits z, float64 [n, C], or one for each class.

        Args:
            fit: function from logits minus the logit of the true class, float64 [n, k], to the
                temperature.
        """

    @abstractmethod
    def without_temperature(
        self, p: np.ndarray, temperature: float | Sequence[float]
    ) -> np.ndarray:
        """Return the probabilities of the same logits at temperature 1, float64 [n, C]."""

    # === Bootstrap ===

    @abstractmethod
    def distinct_pairs(
        self, y_true: np.ndarray, y_pred: np.ndarray
    ) -> tuple[tuple["csr_array", ...], np.ndarray]:
        """Return the distinct pairs (truth, prediction) and the number of examples of each.

        Returns:
            Three sparse float64 [pairs, C], with 1 for each class that is correct, for each that is
            true and for each that is predicted; and the numbers of examples, int64 [pairs].
        """

    @abstractmethod
    def extra_pseudo_counts(
        self, random: np.random.Generator, missed: np.ndarray, shape_parameter: float
    ) -> np.ndarray:
        """Return pseudo-counts of wrong predictions of each class, float64 [size, C].

        Args:
            missed: float64 [size, C], pseudo-counts of examples for which the class was missed.
            shape_parameter: of the gamma distribution of independent pseudo-counts.
        """

    @abstractmethod
    def tail(self, tail: float, n: int) -> float:
        """Return the share of resamplings outside the interval on each side, for n examples."""


class OneOfScoring(Scoring[OneOf]):
    """Metrics of `OneOf`."""

    exact_metric = "accuracy"
    correctness_name = "accuracy"
    has_micro_average = False

    def check_probabilities(self, p: np.ndarray) -> None:
        if np.abs(p.sum(axis=1, dtype=np.float64) - 1).max() > 1e-3:
            raise ValueError("the rows of p must sum to 1; pass softmax probabilities, not logits")

    def counts(self, y_true: np.ndarray, y_pred: np.ndarray) -> Counts:
        right = y_true[y_true == y_pred]
        num_classes = self.task.num_outputs
        return Counts(*(np.bincount(ids, minlength=num_classes) for ids in (right, y_true, y_pred)))

    def headline(self, counts: Counts, n: int) -> float:
        return float(counts.right.sum() / n)

    def is_exact(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        return y_true == y_pred

    def correctness(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        return (y_true == y_pred).astype(float)

    def extra_metrics(self, y_true: np.ndarray, y_pred: np.ndarray) -> dict[str, float | None]:
        from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

        # With one class in truth and predictions, the expected agreement is 1, so kappa is 0 / 0.
        if len(np.unique(np.append(y_true, y_pred))) == 1:
            return {"cohen_kappa": None, "mcc": 0.0}
        return {
            "cohen_kappa": float(cohen_kappa_score(y_true, y_pred)),
            "mcc": float(matthews_corrcoef(y_true, y_pred)),
        }

    def probability_metrics(self, y_true: np.ndarray, p: np.ndarray) -> dict[str, float]:
        from sklearn.metrics import top_k_accuracy_score

        num_classes = self.task.num_outputs
        errors = p - self.task.indicators(y_true)
        metrics = {"brier_loss": float((errors**2).sum(axis=1).mean() / 2)}
        for k in top_ks(num_classes):
            metrics[f"top_{k}_accuracy"] = float(
                top_k_accuracy_score(y_true, p, k=k, labels=np.arange(num_classes))
            )
        return metrics

    def confusion_matrix(
        self, y_true: np.ndarray, y_pred: np.ndarray
    ) -> tuple[tuple[int, ...], ...]:
        num_classes = self.task.num_outputs
        cells = np.bincount(y_true * num_classes + y_pred, minlength=num_classes**2)
        return tuple(tuple(row) for row in cells.reshape(num_classes, num_classes).tolist())

    def log_losses(self, y_true: np.ndarray, p: np.ndarray) -> np.ndarray:
        return -np.log(p[np.arange(len(p)), y_true])

    def confidences(
        self, y_true: np.ndarray, y_pred: np.ndarray, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return p[np.arange(len(p)), y_pred], y_true == y_pred

    def class_notes(
        self, y_true: np.ndarray, y_pred: np.ndarray, counts: Counts, names: tuple[str, ...]
    ) -> list[str]:
        predicted = np.flatnonzero(counts.predicted)
        if len(predicted) == 1 and len(names) > 1:
            return [f"every prediction is {names[predicted[0]]!r}"]
        return _never_predicted(counts, names)

    def fit_temperature(
        self, y_true: np.ndarray, z: np.ndarray, fit: Callable[[np.ndarray], float]
    ) -> float:
        return fit(z - z[np.arange(len(z)), y_true][:, np.newaxis])

    def without_temperature(
        self, p: np.ndarray, temperature: float | Sequence[float]
    ) -> np.ndarray:
        scaled = np.asarray(temperature) * np.log(np.maximum(p, _SMALLEST))
        scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return scaled / scaled.sum(axis=1, keepdims=True)

    def distinct_pairs(
        self, y_true: np.ndarray, y_pred: np.ndarray
    ) -> tuple[tuple["csr_array", ...], np.ndarray]:
        from scipy.sparse import csr_array

        num_classes = self.task.num_outputs
        pairs, pair_counts = np.unique(y_true * num_classes + y_pred, return_counts=True)
        true, predicted = np.divmod(pairs, num_classes)  # int64 [pairs]
        rows = np.arange(len(pairs))
        shape = (len(pairs), num_classes)
        same = true == predicted
        indicators = tuple(
            csr_array((np.ones(len(ids)), (at, ids)), shape=shape)
            for at, ids in ((rows[same], true[same]), (rows, true), (rows, predicted))
        )
        return indicators, pair_counts

    def extra_pseudo_counts(
        self, random: np.random.Generator, missed: np.ndarray, shape_parameter: float
    ) -> np.ndarray:
        # A missed example of a class is a wrong prediction of a different class, drawn at random.
        size, num_classes = missed.shape
        offsets = random.integers(1, max(num_classes, 2), (size, 1))
        return np.take_along_axis(missed, (np.arange(num_classes) + offsets) % num_classes, 1)

    def tail(self, tail: float, n: int) -> float:
        return tail


class MultiLabelScoring(Scoring[MultiLabel]):
    """Metrics of `MultiLabel`."""

    exact_metric = "subset_accuracy"
    correctness_name = "share of correct labels"
    has_micro_average = True

    def check_probabilities(self, p: np.ndarray) -> None:
        pass  # sigmoids are independent, so every row is possible

    def counts(self, y_true: np.ndarray, y_pred: np.ndarray) -> Counts:
        return Counts((y_true & y_pred).sum(0), y_true.sum(0), y_pred.sum(0))

    def headline(self, counts: Counts, n: int) -> float:
        return float(counts.summed().f1[0])

    def is_exact(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        return (y_true == y_pred).all(axis=1)

    def correctness(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        return (y_true == y_pred).mean(axis=1)

    def extra_metrics(self, y_true: np.ndarray, y_pred: np.ndarray) -> dict[str, float | None]:
        return {
            "subset_accuracy": float(self.is_exact(y_true, y_pred).mean()),
            "hamming_loss": float((y_true != y_pred).mean()),
        }

    def probability_metrics(self, y_true: np.ndarray, p: np.ndarray) -> dict[str, float]:
        return {"brier_loss": float(((p - y_true) ** 2).mean())}

    def confusion_matrix(self, y_true: np.ndarray, y_pred: np.ndarray) -> None:
        return None

    def log_losses(self, y_true: np.ndarray, p: np.ndarray) -> np.ndarray:
        return -np.log(np.where(y_true, p, 1 - p))

    def confidences(
        self, y_true: np.ndarray, y_pred: np.ndarray, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return p.ravel(), y_true.ravel()

    def class_notes(
        self, y_true: np.ndarray, y_pred: np.ndarray, counts: Counts, names: tuple[str, ...]
    ) -> list[str]:
        notes = _never_predicted(counts, names)
        for values, verb in ((y_true, "have"), (y_pred, "are predicted to have")):
            if without := int((~values.any(axis=1)).sum()):
                notes.append(f"{without:,} of {len(values):,} examples {verb} no class")
        return notes

    def fit_temperature(
        self, y_true: np.ndarray, z: np.ndarray, fit: Callable[[np.ndarray], float]
    ) -> tuple[float, ...]:
        return tuple(
            fit(_label_differences(y_true[:, c], z[:, c]))
            if 0 < y_true[:, c].sum() < len(z)
            else 1.0
            for c in range(z.shape[1])
        )

    def without_temperature(
        self, p: np.ndarray, temperature: float | Sequence[float]
    ) -> np.ndarray:
        p = np.clip(p, _SMALLEST, 1 - 2.0**-24)
        return 1 / (1 + np.exp(-np.asarray(temperature) * (np.log(p) - np.log1p(-p))))

    def distinct_pairs(
        self, y_true: np.ndarray, y_pred: np.ndarray
    ) -> tuple[tuple["csr_array", ...], np.ndarray]:
        from scipy.sparse import csr_array

        packed = np.packbits(np.concatenate([y_true, y_pred], axis=1), axis=1)
        _, first, pair_counts = np.unique(packed, axis=0, return_index=True, return_counts=True)
        true, predicted = y_true[first], y_pred[first]  # bool [pairs, C]
        indicators = (true & predicted, true, predicted)
        return tuple(csr_array(pairs.astype(np.float64)) for pairs in indicators), pair_counts

    def extra_pseudo_counts(
        self, random: np.random.Generator, missed: np.ndarray, shape_parameter: float
    ) -> np.ndarray:
        return random.standard_gamma(shape_parameter, missed.shape)

    def tail(self, tail: float, n: int) -> float:
        """Return a wider tail for few examples.

        The classes of one example are often correct or wrong together, so resampling of few
        examples understates the variance. The tails are therefore those of Student's t (the
        expanded percentile interval of Hesterberg 2015, "What Teachers Should Know About the
        Bootstrap", section 5.3).
        """
        from scipy.special import ndtr, stdtrit

        if n < 2:
            return tail
        return float(ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, tail)))


def format_classes(names: Sequence[str]) -> str:
    """Return the first 10 names, quoted and not shortened, and the number of further names."""
    return format_list([repr(name) for name in names], 10, width=None)


def _never_predicted(counts: Counts, names: tuple[str, ...]) -> list[str]:
    never = [names[c] for c in np.flatnonzero((counts.predicted == 0) & (counts.true > 0))]
    return [f"never predicted, although examples have it: {format_classes(never)}"] if never else []


def _label_differences(y_true: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the two-class form of one label: a logit of 0 for "no" and z for "yes"."""
    difference = np.where(y_true, -z, z)
    return np.stack([np.zeros_like(difference), difference], axis=1)


_SCORINGS: dict[type, type[Scoring]] = {OneOf: OneOfScoring, MultiLabel: MultiLabelScoring}


def scoring_of(task: Task) -> Scoring:
    """Return the metrics of a task."""
    return _SCORINGS[type(task)](task)
