"""Notices on data and layers, gradient norms, update ratios, and losses that are not finite."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from textclf import batches, data, linear, networks
from textclf.config import Config

# Limits of the notes on an epoch. The trainings of benchmarks/runs and of configs/ that reach usual
# scores stay away from them: docs/gradients.md has their figures.
_VANISHED = 1e-6  # gradient norm of a layer, relative to that of the dense layer
_FORGOTTEN = 1e-6  # gradient at a distance, relative to that at distance 0
_SATURATED = 0.9  # share of the gate values of a layer
_DEAD = 0.5  # share of the units of a layer
_LARGE_UPDATE = 0.1  # update ratio per step


def norms_by_layer(network: networks.Network, norms: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the mean gradient norm of each layer over the steps of an epoch.

    Args:
        norms: of each step, float32 [trained variables].
    """
    return {layer: float(x.mean()) for layer, x in _join(network, np.array(norms)).items()}


def ratios_by_layer(network: networks.Network, updates: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the mean update ratio of each layer: norm of an update by norm of the weights.

    Args:
        updates: norms of updates and weights at some steps, float32 [2, trained variables]; steps
            at which all weights of a layer are 0 do not count for it.
    """
    ratios = {}
    by_step = np.reshape(updates, [-1, 2, len(network.trainable_variables)])
    for layer, norms in _join(network, by_step).items():
        change, weights = norms[weights_are_set := norms[:, 1] > 0].T
        ratios[layer] = float((change / weights).mean()) if weights_are_set.any() else 0.0
    return ratios


def _join(network: networks.Network, norms: np.ndarray) -> dict[str, np.ndarray]:
    """Return the norms of layers, float64 [...], from those of trained variables [..., variables].

    The name of a layer is the path of its variables without their names.
    """
    squares: dict[str, np.ndarray] = {}
    for index, variable in enumerate(network.trainable_variables):
        layer = variable.path.rsplit("/", 1)[0]
        squares[layer] = squares.get(layer, 0) + norms[..., index].astype(np.float64) ** 2
    return {layer: np.sqrt(square) for layer, square in squares.items()}


# === Notes on an epoch ===


def epoch_notes(figures: Mapping[str, Any], *, is_frozen: bool, reads_last: bool) -> Iterator[str]:
    """Yield what a user should know about layers that do not learn well.

    Args:
        figures: of the epoch, as in the history.
        is_frozen: whether some layers were not trained; only the head is judged then.
        reads_last: whether the head reads the final states only. Otherwise each position has a
            direct gradient, and it does not matter how far one reaches back.
    """
    if not is_frozen:
        yield from _vanishing_notes(figures["gradient_norms"])
        if reads_last:
            yield from _forgetting_notes(figures.get("gradient_by_distance", {}))
        yield from _gate_notes(figures.get("saturated_gates", {}))
        for layer, share in figures.get("dead_units", {}).items():
            if share >= _DEAD:
                yield (
                    f"{share:.0%} of the units of {_name(layer)} are dead: they have the same "
                    "output for every token; lower training.learning_rate or model.units"
                )
    for layer, ratio in figures.get("update_ratios", {}).items():
        # New token vectors are near 0: a healthy step may change them by a third.
        if ratio >= _LARGE_UPDATE and not layer.endswith("/embedding"):
            yield (
                f"a step changes {_name(layer)} by {ratio:.2g} of its weights; lower "
                "training.learning_rate"
            )


def _vanishing_notes(norms: Mapping[str, float]) -> Iterator[str]:
    """Yield a note for each layer whose gradient is nothing beside that of the dense layer."""
    top = next(norm for layer, norm in norms.items() if layer.endswith("/dense"))
    for layer, norm in norms.items():
        # A pooling that chooses between positions has no gradient where the texts have one token.
        if norm < _VANISHED * top and not layer.endswith("/pooling"):
            yield (
                f"gradients of {_name(layer)} are {norm / top:.0e} of those of the dense layer: "
                "they vanish; try another model.encoder, a smaller model.num_layers, or a lower "
                "training.learning_rate"
            )


def _forgetting_notes(by_distance: Mapping[str, float]) -> Iterator[str]:
    """Yield a note if the last state does not depend on tokens far from the end of a text."""
    last = by_distance.get("0", 0.0)
    for distance, norm in by_distance.items():
        if norm < _FORGOTTEN * last:
            yield (
                f"{distance} tokens before the end of a text, the gradient is "
                f"{norm / last:.0e} of that at its end: it vanishes in time; try "
                "model.pooling max_mean, another model.encoder, or a shorter text.sequence_length"
            )
            return


def _gate_notes(saturated: Mapping[str, float]) -> Iterator[str]:
    """Yield a note for each layer whose gates are nearly all saturated."""
    by_layer: dict[str, dict[str, float]] = {}
    for path, share in saturated.items():
        layer, _, gate = path.rpartition("/")
        by_layer.setdefault(layer, {})[gate] = share
    for layer, shares in by_layer.items():
        if np.mean(list(shares.values())) >= _SATURATED:
            by_gate = ", ".join(f"{gate} {share:.0%}" for gate, share in shares.items())
            what = "states" if "state" in shares else "gates"
            yield (
                f"the {what} of {_name(layer)} are saturated ({by_gate}), so they hardly learn; "
                "lower training.learning_rate, or add model.l2"
            )


def _name(path: str) -> str:
    """Return the name of a layer in a message: forward_0 for network/forward_0/lstm_cell."""
    *_, name = [part for part in path.split("/") if not part.endswith("_cell")]
    return name


# === Notices before the training ===


def describe_batch(dataset: data.Dataset, batch_rows: np.ndarray) -> str:
    """Return the number of texts of a training batch, and location and text of the first three."""
    rows = sorted(int(row) for row in batch_rows)
    shown: list[str] = []
    for example in dataset.examples("train"):
        if example.row in rows[:3]:
            text = example.text if len(example.text) <= 80 else example.text[:77] + "..."
            shown.append(f"{dataset.location('train', example.row)} {text!r}")
            if len(shown) == len(rows[:3]):
                break
    return f"the batch of {len(rows)} texts holds {'; '.join(shown)}"


def data_notices(
    config: Config, dataset: data.Dataset, prepared: batches.Prepared, total_steps: int
) -> Iterator[str]:
    """Yield what a user should know about data and length limit before the training."""
    yield from dataset.findings.sentences(num_locations=1)
    imbalance = dataset.findings.imbalance
    if imbalance is not None and config.training.class_weights == "none":
        yield imbalance.ADVICE
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
