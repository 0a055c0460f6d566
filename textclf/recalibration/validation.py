"""Logits of the validation split of a trained folder, equal bit by bit to those of the training."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textclf.progress import OnProgress
from textclf.recalibration.plan import Plan

if TYPE_CHECKING:
    import numpy as np

    from textclf.classifier import Classifier
    from textclf.data import Dataset


class Validation(NamedTuple):
    """True classes and logits, float32 [n, C], of the validation split.

    Attributes:
        y_true: int64 [n], or bool [n, C] for multi-label.
        logits: of the classifier.
        parts: of the linear model and of the network of a mixture; empty without a mixture.
    """

    y_true: "np.ndarray"
    logits: "np.ndarray"
    parts: tuple["np.ndarray", ...] = ()


def validation_logits(plan: Plan, dataset: "Dataset", on_progress: OnProgress) -> Validation:
    """Return true classes and logits of the validation split.

    Texts are encoded and batched as in training, so that the logits are equal bit by bit.
    """
    from textclf import classifier, linear

    model = classifier.load(plan.folder)
    if model.linear is None:
        return Validation(*_network_logits(plan, model, dataset, on_progress))
    tokenizer = model.text_encoder.tokenizer
    y_true, linear_logits = linear.predict_split(model.linear, tokenizer, dataset, "validation")
    if plan.card.mixture is None:
        return Validation(y_true, linear_logits)
    _, network_logits = _network_logits(plan, model, dataset, on_progress)
    parts = linear_logits, network_logits
    return Validation(y_true, plan.card.mixture.mix(*parts), parts)


def _network_logits(
    plan: Plan, model: "Classifier", dataset: "Dataset", on_progress: OnProgress
) -> tuple["np.ndarray", "np.ndarray"]:
    """Return true classes and logits of the network."""
    from textclf import batches, training

    assert model.network is not None
    with tempfile.TemporaryDirectory(prefix="textclf-") as temporary:
        shards = batches.encode_split(
            dataset,
            "validation",
            model.text_encoder,
            Path(temporary),
            shuffle_buffer=plan.config.training.shuffle_buffer,
            on_progress=on_progress,
        )
        validator = training.Validator(model.network, plan.task, shards)
        return plan.task.true_classes(validator.targets), validator.logits()
