"""Tasks: the differences between one label and several labels for each text.

A task turns label ids into arrays of classes, targets and logits into losses, logits into
probabilities, and probabilities into predictions and their names. `OneOf` has exactly one class for
each text (softmax), `MultiLabel` any number of classes (one sigmoid per class). The metrics of each
task are in `evaluation/by_task.py`.

Shapes: B texts of a batch, n examples, C classes. An array of *classes*, true or predicted, is
int64 [n], ids of the classes (one-of), or bool [n, C] (multi-label).

This module imports neither NumPy nor TensorFlow: the methods that need them import them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    Thresholds = Sequence[float] | np.ndarray | None


# Metrics that the thresholds of several labels can maximize; the first is the default.
THRESHOLD_METRICS = ("macro_f1", "micro_f1")


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that turn logits into an answer; fitted on validation.

    Attributes:
        temperature: divisor of the logits: one number, or one per class (multi-label).
        thresholds: multi-label: smallest probability with which a class is selected, one per
            class. Two classes: the threshold of the positive class and 0 for the other, which is
            selected otherwise. None for one-of without a threshold: the most probable class.
        abstain_below: confidence below which the model abstains; None if it never does.
    """

    temperature: float | tuple[float, ...] = 1.0
    thresholds: tuple[float, ...] | None = None
    abstain_below: float | None = None


class Mixture(msgspec.Struct, frozen=True, kw_only=True):
    """Weighted mean of the logits of the linear model and of the network; fitted on validation.

    Attributes:
        share: of the linear model, 0 to 1.
        linear_temperature, network_temperature: divisors of the two models' logits before the mean:
            one number, or one a class (multi-label).
    """

    share: float
    linear_temperature: float | tuple[float, ...]
    network_temperature: float | tuple[float, ...]

    def mix(self, linear: Any, network: Any) -> Any:
        """Return the logits of the mixture, float [B, C], from arrays or tensors of both models."""
        linear_scale, network_scale = self.scales()
        return linear * linear_scale + network * network_scale

    def scales(self) -> "tuple[np.ndarray, np.ndarray]":
        """Return the factors of the logits of both models, float32 [] or [C] each."""
        import numpy as np

        linear_scale = self.share / np.asarray(self.linear_temperature, np.float32)
        network_scale = (1 - self.share) / np.asarray(self.network_temperature, np.float32)
        return linear_scale, network_scale


class Task(Protocol):
    """Classes, losses and decisions of one kind of classification.

        task = task_of(multi_label=True, num_classes=3)
        task.classes_of([(0, 2), ()])    # [[True, False, True], [False, False, False]]

    Attributes:
        num_outputs: number of logits of a text, C.
        is_multi_label: whether a text may have several classes, or none.
        phrase: the number of classes of a text, in words.
        min_classes: smallest number of classes of a data set.
        headline: name of the most important metric.
        comparison_metrics: names of the metrics that models are compared by, the default first.
        has_thresholds: whether every decision has thresholds; training chooses them on validation.
        score_name: the score of a class that an explanation attributes to words, in words; see
            `score_weights`.
    """

    @property
    def num_outputs(self) -> int: ...

    @property
    def is_multi_label(self) -> bool: ...

    @property
    def phrase(self) -> str: ...

    @property
    def min_classes(self) -> int: ...

    @property
    def headline(self) -> str: ...

    @property
    def comparison_metrics(self) -> tuple[str, ...]: ...

    @property
    def has_thresholds(self) -> bool: ...

    @property
    def score_name(self) -> str: ...

    # === Classes ===

    def classes_of(self, label_ids: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return the classes of n examples, from the ids of the labels of each example."""

    def check_classes(self, classes: Any, n: int, name: str = "y_true") -> "np.ndarray":
        """Return classes as int64 [n] or bool [n, C].

        Args:
            name: name of the argument in messages.

        Raises:
            ValueError: the shape or the type is wrong, or an id is out of range.
        """

    def true_classes(self, targets: "np.ndarray") -> "np.ndarray":
        """Return the classes of training targets, bool or float32 [n, C]."""

    def indicators(self, classes: "np.ndarray") -> "np.ndarray":
        """Return bool [n, C], True for each class of each example."""

    def contain(self, classes: "np.ndarray", label_ids: "np.ndarray") -> "np.ndarray":
        """Return bool [n]: whether example i has the class `label_ids[i]`, from int64 [n]."""

    def reorder(self, classes: "np.ndarray", order: Sequence[int]) -> "np.ndarray":
        """Return the classes for probabilities whose columns were reordered as `p[:, order]`."""

    def balanced_weights(self, num_examples: int, class_counts: "np.ndarray") -> list[float]:
        """Return class weights that give rare classes as much of the loss as frequent ones."""

    # === Predictions from probabilities ===

    def check_thresholds(self, thresholds: "Thresholds") -> "np.ndarray | None":
        """Return thresholds as float [C]; by default 0.5, or None if the task needs none.

        Raises:
            ValueError: the shape is wrong, or they are no thresholds of `Decision`.
        """

    def select(self, p: "np.ndarray", thresholds: "Thresholds" = None) -> "np.ndarray":
        """Return the predicted classes of probabilities, float [n, C].

        One-of: the most probable class, the first one if there are several. With thresholds: p >=
        threshold, compared in float32 like the exported graph.

        Args:
            thresholds: [C], see `Decision`; 0.5 by default for multi-label.
        """

    def label_names(
        self, answers: "Mapping[str, np.ndarray]", class_names: Sequence[str]
    ) -> list[str] | list[tuple[str, ...]]:
        """Return the label of each text (one-of), or the names of its selected classes.

        Args:
            answers: `label_id`, int64 [n], and `selected`, bool [n, C], as from `decide`.
        """

    # === Tensors ===

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
            label_id: int64 [B], the most probable class; two classes with a threshold: the selected
                one.
            confidence: float32 [B], its probability.
            abstain: bool [B].
        """

    def score_weights(
        self, temperature: float | Sequence[float] = 1.0, scale: "float | np.ndarray" = 1.0
    ) -> "np.ndarray":
        """Return the weights of the logits in the score of each class, float32 [C, C].

        The score of a class is a weighted sum of the logits, so it is the sum of what each model of
        a mixture adds to it. `logits @ task.score_weights(temperature).T` are the scores.

        - One-of: log p of the class minus the mean of log p of the other classes. For two classes
          these are the log-odds.
        - Multi-label: the log-odds, log p - log(1 - p).

        Args:
            temperature: of the decision, see `Decision`.
            scale: factor of the logits, float [] or [C], see `Mixture.scales`.
        """


class OneOf(msgspec.Struct, frozen=True):
    """Exactly one class for each text: the most probable one, or of two classes by a threshold."""

    num_outputs: int
    is_multi_label: ClassVar[bool] = False
    phrase: ClassVar[str] = "one class per text"
    min_classes: ClassVar[int] = 2
    headline: ClassVar[str] = "accuracy"
    comparison_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "log_loss")
    has_thresholds: ClassVar[bool] = False

    def classes_of(self, label_ids: Sequence[Sequence[int]]) -> "np.ndarray":
        import numpy as np

        return np.array([ids[0] for ids in label_ids], np.int64)

    def check_classes(self, classes: Any, n: int, name: str = "y_true") -> "np.ndarray":
        import numpy as np

        ids = np.asarray(classes)
        if ids.shape != (n,) or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"{name} {ids.dtype} {ids.shape} must be whole numbers [{n}]")
        if n and (ids.min() < 0 or ids.max() >= self.num_outputs):
            raise ValueError(f"{name} must be from 0 to {self.num_outputs - 1}, one of the classes")
        return ids.astype(np.int64)

    def true_classes(self, targets: "np.ndarray") -> "np.ndarray":
        return targets.argmax(axis=1)

    def indicators(self, classes: "np.ndarray") -> "np.ndarray":
        import numpy as np

        return np.equal.outer(classes, np.arange(self.num_outputs))

    def contain(self, classes: "np.ndarray", label_ids: "np.ndarray") -> "np.ndarray":
        return classes == label_ids

    def reorder(self, classes: "np.ndarray", order: Sequence[int]) -> "np.ndarray":
        import numpy as np

        return np.argsort(order)[classes]

    def balanced_weights(self, num_examples: int, class_counts: "np.ndarray") -> list[float]:
        return [float(num_examples / (self.num_outputs * max(n, 1))) for n in class_counts]

    def check_thresholds(self, thresholds: "Thresholds") -> "np.ndarray | None":
        import numpy as np

        if thresholds is None:
            return None
        values = np.asarray(thresholds, np.float64)
        if self.num_outputs != 2 or values.shape != (2,) or (values > 0).sum() != 1:
            raise ValueError(
                "thresholds of one class per text are for two classes: that of the positive class, "
                "above 0, and 0 for the other"
            )
        return values

    def select(self, p: "np.ndarray", thresholds: "Thresholds" = None) -> "np.ndarray":
        import numpy as np

        limits = self.check_thresholds(thresholds)
        if limits is None:
            return np.asarray(p).argmax(axis=1).astype(np.int64)
        positive = int(limits.argmax())
        is_positive = np.asarray(p)[:, positive].astype(np.float32) >= np.float32(limits[positive])
        return np.where(is_positive, positive, 1 - positive).astype(np.int64)

    def label_names(
        self, answers: "Mapping[str, np.ndarray]", class_names: Sequence[str]
    ) -> list[str]:
        return [class_names[index] for index in answers["label_id"]]

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
        label = _most_probable(p, decision)
        limits = self.check_thresholds(decision.thresholds)
        if limits is not None:
            positive = int(limits.argmax())
            is_positive = p[:, positive] >= tf.constant(limits[positive], tf.float32)
            ids = tf.constant([1 - positive, positive], tf.int64)
            label_id = tf.gather(ids, tf.cast(is_positive, tf.int32))
            confidence = tf.where(is_positive, p[:, positive], p[:, 1 - positive])
            label = _labelled(label_id, confidence, decision)
        selected = tf.one_hot(label["label_id"], self.num_outputs, on_value=True, off_value=False)
        return {"probabilities": p, "selected": selected, **label}

    @property
    def score_name(self) -> str:
        """The name of the score."""
        return "log-odds" if self.num_outputs == 2 else "log p minus mean log p of other classes"

    def score_weights(
        self, temperature: float | Sequence[float] = 1.0, scale: "float | np.ndarray" = 1.0
    ) -> "np.ndarray":
        import numpy as np

        others = max(self.num_outputs - 1, 1)
        own = np.eye(self.num_outputs)
        return ((own - (1 - own) / others) * scale / temperature).astype(np.float32)


class MultiLabel(msgspec.Struct, frozen=True):
    """Any number of classes for each text: all with a probability of at least their threshold."""

    num_outputs: int
    is_multi_label: ClassVar[bool] = True
    phrase: ClassVar[str] = "any number of classes per text"
    min_classes: ClassVar[int] = 1
    headline: ClassVar[str] = "micro_f1"
    comparison_metrics: ClassVar[tuple[str, ...]] = ("macro_f1", "micro_f1", "log_loss")
    has_thresholds: ClassVar[bool] = True
    score_name: ClassVar[str] = "log-odds"

    def classes_of(self, label_ids: Sequence[Sequence[int]]) -> "np.ndarray":
        import numpy as np

        classes = np.zeros((len(label_ids), self.num_outputs), bool)
        for row, ids in enumerate(label_ids):
            classes[row, list(ids)] = True
        return classes

    def check_classes(self, classes: Any, n: int, name: str = "y_true") -> "np.ndarray":
        import numpy as np

        indicators = np.asarray(classes)
        if indicators.shape != (n, self.num_outputs):
            raise ValueError(f"{name} {indicators.shape} must be bool {(n, self.num_outputs)}")
        return indicators.astype(bool)

    def true_classes(self, targets: "np.ndarray") -> "np.ndarray":
        return targets > 0

    def indicators(self, classes: "np.ndarray") -> "np.ndarray":
        return classes

    def contain(self, classes: "np.ndarray", label_ids: "np.ndarray") -> "np.ndarray":
        import numpy as np

        return classes[np.arange(len(classes)), label_ids]

    def reorder(self, classes: "np.ndarray", order: Sequence[int]) -> "np.ndarray":
        return classes[:, order]

    def balanced_weights(self, num_examples: int, class_counts: "np.ndarray") -> list[float]:
        """Return negatives / positives of each class: both then have the same total weight."""
        return [float(max(num_examples - n, 1) / max(n, 1)) for n in class_counts]

    def check_thresholds(self, thresholds: "Thresholds") -> "np.ndarray":
        import numpy as np

        if thresholds is None:
            return np.full(self.num_outputs, 0.5)
        values = np.asarray(thresholds)
        if values.shape != (self.num_outputs,):
            raise ValueError(f"thresholds {values.shape} must be [{self.num_outputs}]")
        return values

    def select(self, p: "np.ndarray", thresholds: "Thresholds" = None) -> "np.ndarray":
        import numpy as np

        limits = self.check_thresholds(thresholds)
        return np.asarray(p).astype(np.float32) >= limits.astype(np.float32)

    def label_names(
        self, answers: "Mapping[str, np.ndarray]", class_names: Sequence[str]
    ) -> list[tuple[str, ...]]:
        return [
            tuple(name for name, chosen in zip(class_names, row, strict=True) if chosen)
            for row in answers["selected"]
        ]

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

    def score_weights(
        self, temperature: float | Sequence[float] = 1.0, scale: "float | np.ndarray" = 1.0
    ) -> "np.ndarray":
        import numpy as np

        return (np.eye(self.num_outputs) * scale / np.asarray(temperature)).astype(np.float32)


def _most_probable(p: "tf.Tensor", decision: Decision) -> dict[str, "tf.Tensor"]:
    import tensorflow as tf

    return _labelled(tf.argmax(p, axis=1), tf.reduce_max(p, axis=1), decision)


def _labelled(
    label_id: "tf.Tensor", confidence: "tf.Tensor", decision: Decision
) -> dict[str, "tf.Tensor"]:
    """Return the answer with a label of each text, int64 [B], and its probability, float32 [B]."""
    import tensorflow as tf

    below = decision.abstain_below
    abstain = tf.zeros_like(confidence, tf.bool) if below is None else confidence < below
    return {"label_id": label_id, "confidence": confidence, "abstain": abstain}


def task_of(*, multi_label: bool, num_classes: int) -> Task:
    """Return the task of a data set.

    task_of(multi_label=False, num_classes=2)
    """
    return MultiLabel(num_classes) if multi_label else OneOf(num_classes)
