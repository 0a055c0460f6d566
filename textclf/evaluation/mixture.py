"""Mixture of the linear model and a network, and the estimate of what the network adds."""

from collections.abc import Sequence

import numpy as np

from textclf.evaluation.by_task import scoring_of
from textclf.evaluation.calibration import fit_temperature
from textclf.evaluation.decision import fit_thresholds
from textclf.evaluation.report import Gain
from textclf.evaluation.scores import contributions
from textclf.tasks import Mixture, Task

# Weight of the penalty that draws the share towards 1/2, in rows.
PRIOR_ROWS = 50
NUM_FOLDS = 5
# With fewer rows, there is no interval of the gain.
MIN_GAIN_ROWS = 20
# Shares that are tried; the loss is smooth and flat near its minimum.
_SHARES = np.arange(101) / 100
_SMALLEST_P = 1e-7


def fit_mixture(task: Task, y_true: np.ndarray, linear: np.ndarray, network: np.ndarray) -> Mixture:
    """Fit the share of the linear model, on validation.

    Both models get their best temperature. The share minimizes the log loss, with a penalty that
    weighs as much as `PRIOR_ROWS` rows: the penalty of a share a is the divergence of (a, 1 - a)
    from (1/2, 1/2), so that a few rows do not set the share of a model to 0.

    Args:
        task: of the models.
        y_true: int64 [n], or bool [n, C] for multi-label.
        linear, network: float [n, C], the logits of both.
    """
    scales = {
        "linear_temperature": fit_temperature(task, y_true, linear),
        "network_temperature": fit_temperature(task, y_true, network),
    }
    losses = [
        _log_losses(task, y_true, Mixture(share=share, **scales).mix(linear, network)).sum()
        for share in _SHARES
    ]
    with np.errstate(divide="ignore"):
        penalty = -0.5 * (np.log(2 * _SHARES) + np.log(2 * (1 - _SHARES)))
    share = float(_SHARES[np.argmin(np.array(losses) + PRIOR_ROWS * penalty)])
    return Mixture(share=share, **scales)


def estimate_gain(
    task: Task,
    y_true: np.ndarray,
    linear: np.ndarray,
    network: np.ndarray,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Gain | None:
    """Estimate what the network adds to the linear model, by cross-fitting.

    Mixture, temperatures and thresholds are fitted to four fifths of the rows and applied to the
    other fifth. None with fewer than `MIN_GAIN_ROWS` rows.

    Args:
        task, y_true, linear, network: see `fit_mixture`.
        seed: seed of the folds.
    """
    n = len(y_true)
    if n < MIN_GAIN_ROWS:
        return None
    metric = task.headline
    fold = np.random.default_rng(seed).permutation(n) % NUM_FOLDS
    differences = np.empty(n)
    for k in range(NUM_FOLDS):
        fit, held = fold != k, fold == k
        mixture = fit_mixture(task, y_true[fit], linear[fit], network[fit])
        values = []
        for logits in (mixture.mix(linear, network), linear):
            temperature = fit_temperature(task, y_true[fit], logits[fit])
            p = _probabilities(task, logits, temperature)
            thresholds = fit_thresholds(task, y_true[fit], p[fit])
            values.append(contributions(task, metric, y_true[held], p[held], thresholds))
        differences[held] = values[0] - values[1]
    return Gain(metric, *_paired_interval(differences, confidence), confidence)


def measure_gain(
    task: Task,
    y_true: np.ndarray,
    mixture: np.ndarray,
    linear: np.ndarray,
    *,
    mixture_thresholds: Sequence[float] | np.ndarray | None = None,
    linear_thresholds: Sequence[float] | np.ndarray | None = None,
    confidence: float = 0.95,
) -> Gain | None:
    """Measure what the network adds to the linear model, on rows to which neither was fitted.

    None with fewer than `MIN_GAIN_ROWS` rows.

        measure_gain(task, y_true, p, linear_p).difference

    Args:
        task, y_true: see `fit_mixture`.
        mixture, linear: float [n, C], probabilities of the mixture and of the linear model alone.
        mixture_thresholds, linear_thresholds: [C] for multi-label, each fitted on validation.
    """
    if len(y_true) < MIN_GAIN_ROWS:
        return None
    metric = task.headline
    linear_values = contributions(task, metric, y_true, linear, linear_thresholds)
    mixture_values = contributions(task, metric, y_true, mixture, mixture_thresholds)
    ends = _paired_interval(mixture_values - linear_values, confidence)
    return Gain(metric, *ends, confidence, float(linear_values.mean()))


def _paired_interval(differences: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Return the mean of the differences of n texts and the ends of its t-interval."""
    from scipy.stats import t

    n = len(differences)
    width = t.ppf(0.5 + confidence / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    mean = float(differences.mean())
    return mean, float(mean - width), float(mean + width)


def _probabilities(
    task: Task, logits: np.ndarray, temperature: float | tuple[float, ...] = 1.0
) -> np.ndarray:
    p = np.asarray(task.probabilities(logits.astype(np.float32), temperature), np.float64)
    return np.clip(p, _SMALLEST_P, 1 - _SMALLEST_P)


def _log_losses(task: Task, y_true: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the log loss of each row."""
    return scoring_of(task).log_losses(y_true, _probabilities(task, logits))
