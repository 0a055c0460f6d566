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
from textclf import artifact, batches, data, evaluation, networks
from textclf.config import Config
from textclf.tasks import Decision, Task
from textclf.training.state import State
from textclf.training.validation import Validator


def make_card(
    config: Config,
    *,
    dataset: data.Dataset,
    prepared: batches.Prepared,
    network: networks.Network,
    task: Task,
    validator: Validator,
    state: State,
    why: str,
) -> artifact.Card:
    """Fit the decision to the validation logits of the best epoch and return the card.

    Args:
        config: as the user wrote it, paths not resolved.
        state: with a best epoch.
        why: how the training ended, see `Finished`.
    """
    assert state.best is not None
    y_true = task.true_classes(validator.targets)
    decision = evaluation.fit_decision(task, y_true, state.best.logits)
    report = validation_report(
        task, y_true, state.best.logits, decision, config=config, class_names=dataset.class_names
    )
    return artifact.Card(
        class_names=dataset.class_names,
        multi_label=dataset.multi_label,
        config=config.to_dict(),
        **msgspec.structs.asdict(decision),
        data=_data_summary(dataset),
        text=_text_summary(network, prepared),
        training=artifact.TrainingSummary(
            best_epoch=state.best.epoch,
            epochs=state.epoch,
            ended_by=why,
            num_weights=num_weights(network),
        ),
        validation=report,
        versions=_versions(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
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


def _versions() -> dict[str, str]:
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


def _text_summary(network: networks.Network, prepared: batches.Prepared) -> artifact.TextSummary:
    train, validation = prepared.train.statistics, prepared.validation.statistics
    return artifact.TextSummary(
        vocabulary_size=network.encoder.embedding.input_dim,
        pruned_tokens=prepared.num_pruned,
        unknown_fraction=validation.num_unknown / validation.num_kept
        if validation.num_kept
        else 0.0,
        train=artifact.TrainTokens(
            num_tokens=train.num_tokens,
            truncated_texts=tuple(train.truncated_texts.tolist()),
            cut_tokens=tuple(train.cut_tokens.tolist()),
        ),
    )
