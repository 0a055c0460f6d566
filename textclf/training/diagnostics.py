"""Notices about the data of a training, gradient norms, and losses that are not finite."""

from collections.abc import Iterator, Sequence

import numpy as np

from textclf import batches, data, linear, networks
from textclf.config import Config


def norms_by_layer(network: networks.Network, norms: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the mean gradient norm of each layer over the steps of an epoch.

    Args:
        norms: of each step, float32 [trained variables].
    """
    by_variable = np.array(norms)  # [steps, variables]
    squares: dict[str, np.ndarray] = {}
    for index, variable in enumerate(network.trainable_variables):
        layer = variable.path.rsplit("/", 1)[0]
        squares[layer] = squares.get(layer, 0) + by_variable[:, index].astype(np.float64) ** 2
    return {layer: float(np.sqrt(square).mean()) for layer, square in squares.items()}


def describe_batch(dataset: data.Dataset, batch: batches.Batch) -> str:
    """Return the number of texts of a training batch, and place and text of the first three."""
    rows = sorted(int(row) for row in batch.rows.numpy())
    shown: list[str] = []
    for example in dataset.examples("train"):
        if example.row in rows[:3]:
            text = example.text if len(example.text) <= 80 else example.text[:77] + "..."
            shown.append(f"{dataset.place('train', example.row)} {text!r}")
            if len(shown) == len(rows[:3]):
                break
    return f"the batch of {len(rows)} texts holds {'; '.join(shown)}"


def data_notices(
    config: Config, dataset: data.Dataset, prepared: batches.Prepared, total_steps: int
) -> Iterator[str]:
    """Yield what a user should know about data and length limit before the training."""
    yield from dataset.findings.sentences(num_places=1)
    if prepared.num_pruned:
        yield (
            f"{prepared.num_pruned} rare tokens were dropped while counting, so counts near "
            "text.min_count are approximate"
        )
    warmup_steps = config.training.warmup_steps
    if 0 < total_steps <= warmup_steps:
        yield (
            f"training.warmup_steps {warmup_steps} covers all {total_steps} steps, so the peak "
            "learning rate is never reached"
        )
    if config.model.encoder != "none":
        statistics = prepared.train.statistics
        yield from _cut_notices(
            f"text.sequence_length {config.text.sequence_length} cuts training texts",
            dataset,
            statistics,
            truncated_texts=statistics.truncated_texts,
            cut_tokens=statistics.cut_tokens,
        )


def linear_notices(
    config: Config, dataset: data.Dataset, prepared: batches.Prepared, selection: linear.Selection
) -> Iterator[str]:
    """Yield what a user should know about the length limit of the linear model."""
    model = "" if config.model.encoder == "none" else " for the linear model"
    yield from _cut_notices(
        f"text.linear_length {config.text.linear_length} cuts training texts{model}",
        dataset,
        prepared.train.statistics,
        truncated_texts=np.array(selection.truncated_texts),
        cut_tokens=np.array(selection.cut_tokens),
    )


def _cut_notices(
    subject: str,
    dataset: data.Dataset,
    statistics: batches.TextStatistics,
    *,
    truncated_texts: np.ndarray,
    cut_tokens: np.ndarray,
) -> Iterator[str]:
    """Yield a sentence with the shares that a limit cuts in each class, if it cuts a text.

    Args:
        subject: the limit, as the beginning of the sentence.
        statistics: of the training split.
        truncated_texts, cut_tokens: int64 [C].
    """
    by_class = zip(
        dataset.class_names,
        truncated_texts / np.maximum(statistics.texts, 1),
        cut_tokens / np.maximum(statistics.tokens, 1),
        strict=True,
    )
    shares = ", ".join(
        f"{name} {texts:.1%} of texts and {tokens:.1%} of tokens"
        for name, texts, tokens in by_class
        if texts
    )
    if shares:
        yield f"{subject}: {shares}"
