"""Solvers of the linear model: scikit-learn on a matrix in memory, or in batches."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from textclf.linear.features import Counts, Features
from textclf.tasks import Task

# Logit of a class that all or none of the training texts have.
CONSTANT_LOGIT = 12.0
# Passes of coordinate descent. With many classes, the slow ones get fewer: on 190 classes, 15
# passes gave the log loss of 100 within .0001.
MANY_CLASSES = 32
_MAX_ITERATIONS = 100
_MAX_ITERATIONS_OF_MANY_CLASSES = 30
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
        self,
        classes: np.ndarray,
        weighting: str,
        strength: float,
        rows: np.ndarray | None = None,
        outputs: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit the training texts, or some rows of them.

        Args:
            classes: of all training texts, int64 [n], or bool [n, C] for multi-label.
            weighting: one of `linear.WEIGHTINGS`.
            strength: inverse strength of the L2 penalty.
            rows: int64 [m], the texts that are read; default: all.
            outputs: int64 [k], the classes that are fitted, of three and more; default: all. Their
                weights are those of a fit of all classes.
        """
        raise NotImplementedError

    def _problems(
        self, classes: np.ndarray, outputs: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
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
        if outputs is not None:
            assert not is_binary, "two classes are one problem"
            targets = targets[:, outputs]
            weights = None if weights is None else weights[:, outputs]
        return targets, weights

    def _assemble(self, coefficients: np.ndarray, bias: np.ndarray) -> tuple:
        """Return weights and bias of the classes from those of the problems."""
        if self.task.is_multi_label or self.task.num_outputs != 2:
            return coefficients, bias
        half, half_bias = coefficients / 2, bias / 2
        return np.concatenate([-half, half], axis=1), np.concatenate([-half_bias, half_bias])


class ExactSolver(Solver):
    """Coordinate descent (liblinear, Yu et al. 2011) on a matrix in memory."""

    def __init__(self, task: Task, matrix: Any, class_weights: Sequence[float] | None, seed: int):
        super().__init__(task, class_weights, seed)
        self.matrix = matrix

    def fit(
        self,
        classes: np.ndarray,
        weighting: str,
        strength: float,
        rows: np.ndarray | None = None,
        outputs: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        matrix = self.matrix if rows is None else self.matrix[rows]
        targets, sample_weights = self._problems(
            classes if rows is None else classes[rows], outputs
        )
        coefficients = np.zeros((matrix.shape[1], targets.shape[1]), np.float32)
        bias = np.zeros(targets.shape[1], np.float32)
        total = np.bincount(matrix.indices, minlength=matrix.shape[1])
        for c in range(targets.shape[1]):
            target = targets[:, c]
            if target.all() or not target.any():
                bias[c] = CONSTANT_LOGIT if target.all() else -CONSTANT_LOGIT
                continue
            scaled, ratios = matrix, None
            if weighting == "log_count_ratio":
                ratios = _log_count_ratios(matrix, target, total)
                scaled = _scaled(matrix, ratios)
            weight = None if sample_weights is None else sample_weights[:, c]
            fitted, bias[c] = self._fit_class(scaled, target, strength, weight)
            coefficients[:, c] = fitted if ratios is None else fitted * ratios
        return self._assemble(coefficients, bias)

    def _fit_class(
        self, matrix: Any, target: np.ndarray, strength: float, weight: np.ndarray | None
    ) -> tuple[np.ndarray, float]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        is_many = self.task.num_outputs > MANY_CLASSES
        model = LogisticRegression(
            C=strength, solver="liblinear", dual=True, tol=0.01, random_state=self.seed,
            max_iter=_MAX_ITERATIONS_OF_MANY_CLASSES if is_many else _MAX_ITERATIONS,
        )  # fmt: skip
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
        self,
        classes: np.ndarray,
        weighting: str,
        strength: float,
        rows: np.ndarray | None = None,
        outputs: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.linear_model import SGDClassifier

        rows = np.arange(len(classes)) if rows is None else rows
        targets, sample_weights = self._problems(classes, outputs)
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
                        scaled = _scaled(matrix, ratios[:, c])
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


def _log_count_ratios(matrix: Any, target: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the log-count ratio of each feature, float32 [F], with pseudo-counts of 1.

    Args:
        matrix: sparse [n, F].
        target: bool [n].
        total: int64 [F], number of texts that contain each feature.
    """
    positive = np.bincount(matrix[target].indices, minlength=len(total))
    return _ratios_of(positive, total)


def _scaled(matrix: Any, factors: np.ndarray) -> Any:
    """Return the matrix with each feature multiplied by a factor; the indices are shared."""
    import scipy.sparse

    data = matrix.data * factors[matrix.indices]
    return scipy.sparse.csr_matrix((data, matrix.indices, matrix.indptr), matrix.shape)


def _ratios_of(positive: np.ndarray, total: np.ndarray) -> np.ndarray:
    p, q = positive + 1, total - positive + 1
    return np.log((p / p.sum()) / (q / q.sum())).astype(np.float32)
