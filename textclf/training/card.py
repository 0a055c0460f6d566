"""The card of a trained classifier, with its decision and its validation report."""

import datetime
import math
import platform
from collections.abc import Sequence

import keras
import msgspec
import numpy as np
import tensorflow as tf

import textclf
from textclf import artifact, batches, data, evaluation, linear, networks
from textclf.config import Config
from textclf.tasks import Decision, Task


def make_card(
    config: Config,
    *,
    dataset: data.Dataset,
    prepared: batches.Prepared,
    vocabulary_size: int,
    summary: artifact.TrainingSummary,
    y_true: np.ndarray,
    network_logits: np.ndarray | None,
    fitted: linear.Fitted | None,
    linear_decision: Decision | None,
) -> artifact.Card:
    """Fit mixture and decision to the validation logits and return the card.

    Args:
        config: as the user wrote it, paths not resolved.
        vocabulary_size: number of token ids.
        summary: result of the training.
        y_true: classes of the validation split.
        network_logits: float32 [n, C], of the best epoch; None without a network.
        fitted: the linear model; None without one.
        linear_decision: of the linear model alone.
    """
    task, mixture, gain, network_decision = dataset.task, None, None, None
    if fitted is None:
        assert network_logits is not None
        logits = network_logits
    elif network_logits is None:
        logits = fitted.validation_logits
    else:
        pair = fitted.validation_logits, network_logits
        mixture = evaluation.fit_mixture(task, y_true, *pair)
        logits = mixture.mix(*pair)
        confidence, seed = config.evaluation.confidence, config.evaluation.seed
        gain = evaluation.estimate_gain(task, y_true, *pair, confidence=confidence, seed=seed)
        network_decision = evaluation.fit_decision(task, y_true, network_logits)
    decision = evaluation.fit_decision(task, y_true, logits)
    return artifact.Card(
        class_names=dataset.class_names,
        multi_label=dataset.multi_label,
        config=config.to_dict(),
        **msgspec.structs.asdict(decision),
        data=_data_summary(dataset),
        text=_text_summary(vocabulary_size, prepared, has_network=network_logits is not None),
        training=summary,
        validation=validation_report(
            task, y_true, logits, decision, config=config, class_names=dataset.class_names
        ),
        versions=versions(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        linear=None
        if fitted is None
        else _linear_summary(fitted, None if mixture is None else linear_decision),
        mixture=mixture,
        gain=gain,
        network_decision=network_decision,
    )


def _linear_summary(fitted: linear.Fitted, decision: Decision | None) -> artifact.LinearSummary:
    selection = fitted.selection
    return artifact.LinearSummary(
        blocks=tuple((block.kind, block.shortest, block.longest) for block in fitted.model.blocks),
        num_buckets=fitted.model.num_buckets,
        num_features=selection.num_features,
        weighting=selection.weighting,
        strength=selection.strength,
        held_out=selection.held_out,
        num_texts_cut=selection.num_texts_cut,
        truncated_texts=selection.truncated_texts,
        cut_tokens=selection.cut_tokens,
        notes=selection.notes,
        decision=decision,
    )


def validation_report(
    task: Task,
    y_true: np.ndarray,
    logits: np.ndarray,
    decision: Decision,
    *,
    config: Config,
    class_names: Sequence[str],
) -> evaluation.Report:
    """Return the report of a decision on the validation split.

    Args:
        y_true: int64 [n], or bool [n, C] for multi-label.
        logits: float32 [n, C].
        config: its section `evaluation` is used.
    """
    thresholds = decision.thresholds
    return evaluation.evaluate(
        y_true,
        task.probabilities(logits, decision.temperature).numpy(),
        class_names=class_names,
        multi_label=task.is_multi_label,
        thresholds=None if thresholds is None else np.array(thresholds, np.float32),
        temperature=decision.temperature,
        abstain_below=decision.abstain_below,
        **config.evaluation.to_dict(),
    )


def num_weights(network: networks.Network) -> int:
    """Return the number of scalars in a network."""
    return sum(math.prod(variable.shape) for variable in network.parameters)


def versions() -> dict[str, str]:
    """Return the versions of the packages on which a training depends."""
    return {
        "textclf": textclf.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _data_summary(dataset: data.Dataset) -> artifact.DataSummary:
    return artifact.DataSummary(
        fingerprint=dataset.fingerprint,
        splits={
            name: artifact.SplitSize(
                num_examples=split.num_examples,
                class_counts=tuple(int(count) for count in split.class_counts),
            )
            for name, split in dataset.splits.items()
        },
        findings=dataset.findings.to_dict(),
    )


def _text_summary(
    vocabulary_size: int, prepared: batches.Prepared, *, has_network: bool
) -> artifact.TextSummary:
    train, validation = prepared.train.statistics, prepared.validation.statistics
    return artifact.TextSummary(
        vocabulary_size=vocabulary_size,
        pruned_tokens=prepared.num_pruned,
        unknown_fraction=validation.num_unknown / validation.num_kept
        if validation.num_kept
        else 0.0,
        train=artifact.TrainTokens(
            num_tokens=train.num_tokens,
            truncated_texts=tuple(train.truncated_texts.tolist()) if has_network else (),
            cut_tokens=tuple(train.cut_tokens.tolist()) if has_network else (),
        ),
    )
