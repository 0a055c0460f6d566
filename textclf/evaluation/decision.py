"""The decision of a model, fitted to the logits of its validation split."""

import numpy as np

from textclf.evaluation.calibration import choose_abstention, fit_temperature
from textclf.evaluation.selection import choose_thresholds
from textclf.tasks import Decision, Task


def fit_decision(
    task: Task,
    y_true: np.ndarray,
    logits: np.ndarray,
    *,
    abstain_precision: float | None = None,
    abstain_coverage: float | None = None,
    maximize: str = "macro_f1",
) -> Decision:
    """Fit the temperature, then thresholds and abstention on calibrated probabilities.

    Args:
        task: of the model.
        y_true: int64 [n], or bool [n, C] for multi-label.
        logits: float32 [n, C].
        abstain_precision, abstain_coverage: at most one of them; see `choose_abstention`. The
            model never abstains if neither is given, or if no confidence reaches the precision.
        maximize: multi-label: metric of the thresholds, see `choose_thresholds`.
    """
    temperature = fit_temperature(task, y_true, logits)
    p = np.asarray(task.probabilities(logits, temperature))
    thresholds = fit_thresholds(task, y_true, p, maximize=maximize)
    abstention = None
    if abstain_precision is not None or abstain_coverage is not None:
        abstention = choose_abstention(
            task, y_true, p, precision=abstain_precision, coverage=abstain_coverage
        )
    return Decision(
        temperature=temperature,
        thresholds=thresholds,
        abstain_below=None if abstention is None else abstention.abstain_below,
    )


def fit_thresholds(
    task: Task, y_true: np.ndarray, p: np.ndarray, *, maximize: str = "macro_f1"
) -> tuple[float, ...] | None:
    """Return the thresholds of `choose_thresholds`, or None if the task has none.

    Args:
        task: of the model.
        y_true: the true classes of validation.
        p: float [n, C], calibrated.
        maximize: see `choose_thresholds`.
    """
    if not task.has_thresholds:
        return None
    chosen = choose_thresholds(y_true, p, maximize=maximize)
    # Written as float32 decimal text, a threshold would not be read back exactly.
    return tuple(float(threshold) for threshold in chosen)
