"""Counts of examples behind precision, recall and F1."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counts:
    """Counts behind precision, recall and F1; each [..., C], with resamples in the first axis."""

    right: np.ndarray  # examples that have the class and for which it is predicted
    true: np.ndarray  # examples that have the class: the support
    predicted: np.ndarray  # examples for which the class is predicted

    @property
    def precision(self) -> np.ndarray:
        return ratio(self.right, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        return ratio(self.right, self.true)

    @property
    def f1(self) -> np.ndarray:
        return ratio(2 * self.right, self.true + self.predicted)

    def summed(self) -> "Counts":
        """Return the sums over all classes, [..., 1], from which micro averages are computed."""
        return Counts(
            self.right.sum(-1, keepdims=True),
            self.true.sum(-1, keepdims=True),
            self.predicted.sum(-1, keepdims=True),
        )


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return numerator / denominator, and 0 where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
