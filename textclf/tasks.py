"""Tasks: the one place that knows how one label and several labels differ.

A task turns targets and logits into losses, logits into probabilities, and probabilities into a
decision. `OneOf` has exactly one class for each text (softmax), `MultiLabel` any number of classes
(one sigmoid a class).

B texts, n examples, C classes. Neither NumPy nor TensorFlow is imported with this module;
TensorFlow is imported by the methods that work on tensors.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


# Metrics that the thresholds of several labels can maximize; the first is the default.
THRESHOLD_METRICS = ("macro_f1", "micro_f1")


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that turn logits into an answer; fitted on validation.

    Attributes:
        temperature: divisor of the logits: one number, or one a class (multi-label).
        thresholds: multi-label: the probability from which a class is selected, one a class; None
            for one-of.
        abstain_below: confidence below which the model abstains; None if it never does.
    """

    temperature: float | tuple[float, ...] = 1.0
    thresholds: tuple[float, ...] | None = None
    abstain_below: float | None = None


class Task(Protocol):
    """Targets, losses and decisions of one kind of classification.

    Attributes:
        num_outputs: number of logits of a text, C.
        is_multi_label: whether a text may have several classes, or none.
    """

    @property
    def num_outputs(self) -> int: ...

    @property
    def is_multi_label(self) -> bool: ...

    def losses(
        self,
        targets: "tf.Tensor",
        logits: "tf.Tensor",
        class_weights: "tf.Tensor",
        label_smoothing: float = 0.0,
    ) -> "tf.Tensor":
        """Return the negative log-likelihood of each example, float32 [B].

        Args:
            targets: float32 [B, C], 1 for each class of the example, else 0.
            logits: float32 [B, C].
            class_weights: float32 [C].
            label_smoothing: share of each target that is spread over all classes; one-of only.
        """

    def probabilities(
        self, logits: "tf.Tensor", temperature: float | Sequence[float] = 1.0
    ) -> "tf.Tensor":
        """Return the probabilities of logits, float32 [B, C]."""

    def decide(self, logits: "tf.Tensor", decision: Decision) -> dict[str, "tf.Tensor"]:
        """Return the answer to each text, in core TensorFlow operations.

        Args:
            logits: float32 [B, C].

        Returns:
            probabilities: float32 [B, C].
            selected: bool [B, C].
            label_id: int64 [B], the most probable class.
            confidence: float32 [B], its probability.
            abstain: bool [B].
        """

    def true_classes(self, targets: "np.ndarray") -> "np.ndarray":
        """Return what evaluation compares with: int64 [n] (one-of) or bool [n, C]."""

    def balanced_weights(self, num_examples: int, class_counts: "np.ndarray") -> list[float]:
        """Return class weights that give rare classes as much of the loss as frequent ones."""


class OneOf(msgspec.Struct, frozen=True):
    """Exactly one class for each text; the decision is the most probable class."""

    num_outputs: int
    is_multi_label: ClassVar[bool] = False

    def losses(
        self,
        targets: "tf.Tensor",
        logits: "tf.Tensor",
        class_weights: "tf.Tensor",
        label_smoothing: float = 0.0,
    ) -> "tf.Tensor":
        """Return the softmax cross-entropy, times the weight of the true class.

        Label smoothing s as in Szegedy et al. (2016): targets (1 - s) y + s / C.
        """
        import tensorflow as tf

        weights = tf.linalg.matvec(targets, class_weights)  # [B]
        if label_smoothing:
            num_classes = tf.cast(tf.shape(targets)[1], tf.float32)
            targets = (1 - label_smoothing) * targets + label_smoothing / num_classes
        return weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits)

    def probabilities(
        self, logits: "tf.Tensor", temperature: float | Sequence[float] = 1.0
    ) -> "tf.Tensor":
        import tensorflow as tf

        return tf.nn.softmax(logits / tf.constant(temperature, tf.float32))

    def decide(self, logits: "tf.Tensor", decision: Decision) -> dict[str, "tf.Tensor"]:
        import tensorflow as tf

        p = self.probabilities(logits, decision.temperature)
        selected = tf.one_hot(
            tf.argmax(p, axis=1), self.num_outputs, on_value=True, off_value=False
        )
        return {"probabilities": p, "selected": selected, **_most_probable(p, decision)}

    def true_classes(self, targets: "np.ndarray") -> "np.ndarray":
        return targets.argmax(axis=1)

    def balanced_weights(self, num_examples: int, class_counts: "np.ndarray") -> list[float]:
        return [float(num_examples / (self.num_outputs * max(n, 1))) for n in class_counts]


class MultiLabel(msgspec.Struct, frozen=True):
    """Any number of classes for each text; a class is selected from its threshold on."""

    num_outputs: int
    is_multi_label: ClassVar[bool] = True

    def losses(
        self,
        targets: "tf.Tensor",
        logits: "tf.Tensor",
        class_weights: "tf.Tensor",
        label_smoothing: float = 0.0,
    ) -> "tf.Tensor":
        """Return the sum over the classes of the sigmoid cross-entropy.

        The weight of a class multiplies its positive term.
        """
        import tensorflow as tf

        losses = tf.nn.weighted_cross_entropy_with_logits(targets, logits, class_weights)
        return tf.reduce_sum(losses, axis=1)

    def probabilities(
        self, logits: "tf.Tensor", temperature: float | Sequence[float] = 1.0
    ) -> "tf.Tensor":
        import tensorflow as tf

        return tf.sigmoid(logits / tf.constant(temperature, tf.float32))

    def decide(self, logits: "tf.Tensor", decision: Decision) -> dict[str, "tf.Tensor"]:
        import tensorflow as tf

        p = self.probabilities(logits, decision.temperature)
        thresholds = decision.thresholds or (0.5,) * self.num_outputs
        selected = p >= tf.constant(thresholds, tf.float32)
        return {"probabilities": p, "selected": selected, **_most_probable(p, decision)}

    def true_classes(self, targets: "np.ndarray") -> "np.ndarray":
        return targets > 0

    def balanced_weights(self, num_examples: int, class_counts: "np.ndarray") -> list[float]:
        """Return weights with which a positive example weighs as all negative ones of its class."""
        return [float(max(num_examples - n, 1) / max(n, 1)) for n in class_counts]


def _most_probable(p: "tf.Tensor", decision: Decision) -> dict[str, "tf.Tensor"]:
    import tensorflow as tf

    confidence = tf.reduce_max(p, axis=1)  # [B]
    below = decision.abstain_below
    abstain = tf.zeros_like(confidence, tf.bool) if below is None else confidence < below
    return {"label_id": tf.argmax(p, axis=1), "confidence": confidence, "abstain": abstain}


def task_of(*, multi_label: bool, num_classes: int) -> Task:
    """Return the task of a data set.

    task_of(multi_label=False, num_classes=2)
    """
    return MultiLabel(num_classes) if multi_label else OneOf(num_classes)
