"""Solvers of the linear model: scikit-learn on a matrix in memory, or in batches."""

import copy
import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from textclf.linear.features import Counts, Features
from textclf.tasks import Task, task_of

# Logit of a class that all or none of the training texts have.
CONSTANT_LOGIT = 12.0
_SGD_EPOCHS = 5
_SGD_ROWS = 1024


class Solver:
    """Fits of all classes, each against the rest; two classes are fitted as one.

    Weights are float32 [F, C] and the bias float32 [C].
    """

    def __init__(self, task: Task, class_weights: Sequence[float] | None, seed: int):
        self.task = task
        self.seed = seed
        self.num_unconverged = 0  # classes, over all fits
        self.class_weights = (
            None if class_weights is None or len(set(class_weights)) == 1 else class_weights
        )

    def fit(
        self, classes: np.ndarray, weighting: str, strength: float, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit the training texts, or some rows of them."""
        raise NotImplementedError

    def of_labels(self, labels: np.ndarray) -> Self:
        """Return a solver for some labels of a multi-label task, int64 [k]."""
        solver = copy.copy(self)
        solver.task = task_of(multi_label=True, num_classes=len(labels))
        if self.class_weights is not None:
            solver.class_weights = [self.class_weights[label] for label in labels]
        return solver

    def _problems(self, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the targets, bool [n, problems], and the weights of examples, [n, problems]."""
        targets = self.task.indicators(classes)
        is_binary = not self.task.is_multi_label and self.task.num_outputs == 2
        weights = None
        if self.class_weights is not None:
            by_class = np.array(self.class_weights, np.float64)
            if self.task.is_multi_label:
                weights = np.where(targets, by_class, 1.0)
            else:
                weights = np.tile(by_class[classes][:, np.newaxis], targets.shape[1])
        if is_binary:
            targets = targets[:, 1:]
            weights = None if weights is None else weights[:, 1:]
        return targets, weights

    def _assemble(self, coefficients: np.ndarray, bias: np.ndarray) -> tuple:
        """Return weights and bias of all classes from those of the problems."""
        if coefficients.shape[1] == self.task.num_outputs:
            return coefficients, bias
        half, half_bias = coefficients / 2, bias / 2
        return np.concatenate([-half, half], axis=1), np.concatenate([-half_bias, half_bias])


class ExactSolver(Solver):
    """Coordinate descent (liblinear, Yu et al. 2011) on a matrix in memory."""

    def __init__(self, task: Task, matrix: Any, class_weights: Sequence[float] | None, seed: int):
        super().__init__(task, class_weights, seed)
        self.matrix = matrix

    def fit(
        self, classes: np.ndarray, weighting: str, strength: float, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        matrix = self.matrix if rows is None else self.matrix[rows]
        targets, sample_weights = self._problems(classes if rows is None else classes[rows])
        coefficients = np.zeros((matrix.shape[1], targets.shape[1]), np.float32)
        bias = np.zeros(targets.shape[1], np.float32)
        for c in range(targets.shape[1]):
            target = targets[:, c]
            if target.all() or not target.any():
                bias[c] = CONSTANT_LOGIT if target.all() else -CONSTANT_LOGIT
                continue
            scaled, ratios = matrix, None
            if weighting == "log_count_ratio":
                ratios = _log_count_ratios(matrix, target)
                scaled = matrix.copy()
                scaled.data *= ratios[scaled.indices]
            weight = None if sample_weights is None else sample_weights[:, c]
            fitted, bias[c] = self._fit_class(scaled, target, strength, weight)
            coefficients[:, c] = fitted if ratios is None else fitted * ratios
        return self._assemble(coefficients, bias)

    def _fit_class(
        self, matrix: Any, target: np.ndarray, strength: float, weight: np.ndarray | None
    ) -> tuple[np.ndarray, float]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=strength, solver="liblinear", dual=True, tol=0.01, random_state=self.seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(matrix, target, sample_weight=weight)
        self.num_unconverged += int(model.n_iter_.max() >= model.max_iter)
        return model.coef_[0].astype(np.float32), float(model.intercept_[0])


class StreamingSolver(Solver):
    """Averaged stochastic gradient descent on features that are computed again in each epoch."""

    def __init__(
        self,
        task: Task,
        features: Features,
        counts: Counts,
        class_weights: Sequence[float] | None,
        seed: int,
    ):
        super().__init__(task, class_weights, seed)
        self._features, self._counts = features, counts

    def fit(
        self, classes: np.ndarray, weighting: str, strength: float, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.linear_model import SGDClassifier

        rows = np.arange(len(classes)) if rows is None else rows
        targets, sample_weights = self._problems(classes)
        num_features, num_problems = len(self._features.columns), targets.shape[1]
        ratios = self._ratios(targets, rows) if weighting == "log_count_ratio" else None
        models = [
            SGDClassifier(
                loss="log_loss", alpha=1 / (strength * len(rows)), average=True,
                random_state=self.seed,
            )
            for _ in range(num_problems)
        ]  # fmt: skip
        draw = np.random.default_rng(self.seed)
        for _ in range(_SGD_EPOCHS):
            order = draw.permutation(rows)
            for start in range(0, len(order), _SGD_ROWS):
                batch = order[start : start + _SGD_ROWS]
                matrix = self._features.matrix(self._counts, batch)
                for c, model in enumerate(models):
                    scaled = matrix
                    if ratios is not None:
                        scaled = matrix.copy()
                        scaled.data *= ratios[scaled.indices, c]
                    weight = None if sample_weights is None else sample_weights[batch, c]
                    model.partial_fit(
                        scaled, targets[batch, c], classes=[False, True], sample_weight=weight
                    )
        coefficients = np.stack([model.coef_[0] for model in models], axis=1).astype(np.float32)
        assert coefficients.shape == (num_features, num_problems)
        bias = np.array([model.intercept_[0] for model in models], np.float32)
        return self._assemble(coefficients if ratios is None else coefficients * ratios, bias)

    def _ratios(self, targets: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the log-count ratios of all problems, float32 [F, problems]."""
        num_features, num_problems = len(self._features.columns), targets.shape[1]
        positive = np.zeros((num_features, num_problems))
        total = np.zeros(num_features)
        for start in range(0, len(rows), _SGD_ROWS):
            batch = rows[start : start + _SGD_ROWS]
            matrix = self._features.matrix(self._counts, batch)
            total += np.bincount(matrix.indices, minlength=num_features)
            matrix.data[:] = 1
            positive += matrix.T @ targets[batch].astype(np.float32)
        return np.stack([_ratios_of(positive[:, c], total) for c in range(num_problems)], axis=1)


def _log_count_ratios(matrix: Any, target: np.ndarray) -> np.ndarray:
    """Return the log-count ratio of each feature, float32 [F], with pseudo-counts of 1."""
    num_features = matrix.shape[1]
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    total = np.bincount(matrix.indices, minlength=num_features)
    positive = np.bincount(matrix.indices, target[row], num_features)
    return _ratios_of(positive, total)


def _ratios_of(positive: np.ndarray, total: np.ndarray) -> np.ndarray:
    p, q = positive + 1, total - positive + 1
    return np.log((p / p.sum()) / (q / q.sum())).astype(np.float32)
