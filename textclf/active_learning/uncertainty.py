"""Uncertainty of predictions: margin and entropy of probabilities.

Shapes: n texts, C classes.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from textclf.tasks import Decision, Task

# The first is the default; docs/active_learning.md has the measurements.
MEASURES = ("margin", "entropy")


def score(task: "Task", p: "np.ndarray", decision: "Decision", by: str) -> "np.ndarray":
    """Return the margin or the entropy of each text, float64 [n].

        score(OneOf(2), np.array([[0.5, 0.5], [0.9, 0.1]]), Decision(), "margin")    # [0.0, 0.8]

    - `margin`, 0 to 1: a small margin is uncertain. One-of: the difference of the two
      highest probabilities (Scheffer et al. 2001, "Active hidden Markov models for information
      extraction"; for two classes the order is that of Lewis & Gale 1994, "A sequential algorithm
      for training text classifiers"). Multi-label: the smallest margin of a label to its threshold
      (Brinker 2006, "On active learning in multi-label classification").
    - `entropy`, in nats: a large entropy is uncertain (Settles 2009, "Active learning
      literature survey", section 3.1). Multi-label: the sum over the labels, which is the entropy
      of the set of labels if they are independent.

    With a threshold t, the margin of a probability p is |p - t| / (p + t - 2 p t): the margin of p
    and 1 - p after a shift of the log-odds by those of t. At t = 0.5 it is |2 p - 1|.

    Args:
        task: of the model.
        p: float [n, C], probabilities.
        decision: its thresholds count for the margin. Abstention does not: the texts from which a
            model abstains are among the most uncertain.
        by: one of `MEASURES`.
    """
    import numpy as np
    import scipy.special

    p = np.asarray(p, np.float64)
    if by == "entropy":
        entropy = scipy.special.entr(p).sum(axis=1)
        return entropy + scipy.special.entr(1 - p).sum(axis=1) if task.is_multi_label else entropy
    limits = task.check_thresholds(decision.thresholds)
    if task.is_multi_label:
        return _margin(p, np.asarray(limits)).min(axis=1)
    if limits is not None:
        positive = int(limits.argmax())
        return _margin(p[:, positive], limits[positive])
    highest = np.partition(p, -2, axis=1)[:, -2:]
    return highest[:, 1] - highest[:, 0]


def uncertainty(scores: "np.ndarray", by: str) -> "np.ndarray":
    """Convert scores to numbers of at least 0 that grow with the uncertainty."""
    return scores if by == "entropy" else 1 - scores


def _margin(p: "np.ndarray", threshold: "np.ndarray") -> "np.ndarray":
    import numpy as np

    scale = p + threshold - 2 * p * threshold
    # 0 where p and the threshold are both 0 or both 1.
    return np.divide(np.abs(p - threshold), scale, out=np.zeros_like(p), where=scale > 0)
