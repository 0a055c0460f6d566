"""Tables of thresholds: precision, recall and errors of a class at each, on validation."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from textclf.config import Overrides
from textclf.errors import ConfigError
from textclf.progress import OnProgress, no_progress
from textclf.recalibration.plan import Plan, check_class, no_thresholds, open_data, plan_to_read
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    import numpy as np

    from textclf.data import Dataset
    from textclf.evaluation import OperatingPoint

# Fixed steps, so that the tables of two models can be compared; finer at both ends, where the
# thresholds of rare classes and of very sure models are.
STEPS = (0.01, 0.02, *(round(0.05 * step, 2) for step in range(1, 20)), 0.98, 0.99)


class ThresholdTables(msgspec.Struct, frozen=True):
    """Result of `threshold_tables`.

    Attributes:
        num_examples: examples of validation.
        supports: class -> number of its examples.
        points: class -> its figures at `STEPS` and at the threshold in use, lowest threshold first.
    """

    num_examples: int
    supports: dict[str, int]
    points: "dict[str, list[OperatingPoint]]"


def check_tables(
    folder: str | os.PathLike, *, positive: str | None = None, overrides: Overrides = ()
) -> Plan:
    """Check the folder, the class and the data.

    Args:
        folder, positive, overrides: as for `threshold_tables`.

    Raises:
        TextclfError: as for `threshold_tables`.
    """
    plan = plan_to_read(folder, overrides=overrides)
    names = plan.card.class_names
    if len(names) != 2 and not plan.card.multi_label:
        raise ConfigError([no_thresholds(plan.folder, len(names))])
    if positive is not None or not plan.card.multi_label:
        check_class(positive, names)
    return plan


def threshold_tables(
    folder: str | os.PathLike,
    *,
    positive: str | None = None,
    overrides: Overrides = (),
    on_progress: OnProgress = no_progress,
) -> ThresholdTables:
    """Return the figures of each class at many thresholds, on validation. Nothing is changed.

        threshold_tables("runs/reviews", positive="spam").points["spam"][0].recall

    Args:
        folder: the trained folder.
        positive: the class; None for all labels of a model with several labels.
        overrides: settings of section `data`, such as {"data.source": "moved/reviews.csv"}.
        on_progress: called with a stage, the number done and their total (0: unknown).

    Raises:
        ConfigError: the class is missing or unknown, the model has one of more than two classes per
            text, or an override is invalid.
        ArtifactError: the folder is not a trained folder, or is damaged.
        DataError: the data are not those of the training.
    """
    plan = check_tables(folder, positive=positive, overrides=overrides)
    return tables_of(plan, open_data(plan, on_progress), positive, on_progress)


def tables_of(
    plan: Plan,
    dataset: "Dataset",
    positive: str | None = None,
    on_progress: OnProgress = no_progress,
) -> ThresholdTables:
    """Return the tables of a checked plan; see `threshold_tables`."""
    y_true, p = _validation_probabilities(plan, dataset, on_progress)
    return tables_at(STEPS, plan, y_true, p, positive)


def _validation_probabilities(
    plan: Plan,
    dataset: "Dataset",
    on_progress: OnProgress = no_progress,
) -> "tuple[np.ndarray, np.ndarray]":
    """Return true classes and probabilities, float32 [n, C], of the validation split.

    The true classes are int64 [n], or bool [n, C] for multi-label.
    """
    import_tensorflow()
    import numpy as np

    from textclf.recalibration.validation import validation_logits

    validation = validation_logits(plan, dataset, on_progress)
    p = np.asarray(plan.task.probabilities(validation.logits, plan.card.temperature))
    return validation.y_true, p


def tables_at(
    steps: Sequence[float],
    plan: Plan,
    y_true: "np.ndarray",
    p: "np.ndarray",
    positive: str | None = None,
) -> ThresholdTables:
    """Return the tables at `steps` and at the threshold in use.

    Args:
        steps: thresholds.
        plan: of `check_tables`.
        y_true, p: true classes and probabilities of validation.
        positive: see `threshold_tables`.
    """
    from textclf import evaluation

    card = plan.card
    is_positive = plan.task.indicators(y_true)
    thresholds_in_use = card.thresholds or (0.0,) * p.shape[1]
    points, supports = {}, {}
    for c, name in enumerate(card.class_names):
        if positive is not None and name != positive:
            continue
        in_use = thresholds_in_use[c] or None  # 0: the class of two without a threshold
        thresholds = sorted({*steps, *([] if in_use is None else [in_use])})
        points[name] = evaluation.operating_points(is_positive[:, c], p[:, c], thresholds, in_use)
        supports[name] = int(is_positive[:, c].sum())
    return ThresholdTables(len(p), supports, points)
