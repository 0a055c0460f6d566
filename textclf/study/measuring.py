"""Measurements of a run: cost, gradients by distance, memory."""

import itertools
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from textclf.progress import OnProgress
from textclf.study.records import Cost

LATENCY_TEXTS = 100  # answered one at a time, after as many to warm up
THROUGHPUT_SECONDS = 1.0
DISTANCES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
_GRADIENT_TEXTS = 256


class Speed(msgspec.Struct, frozen=True):
    """Latency of one text and throughput in batches."""

    latency_p50_ms: float
    latency_p99_ms: float
    texts_per_second: float


def measure_speed(answer: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str]) -> Speed:
    """Measure `LATENCY_TEXTS` single texts, then batches of all texts for a second.

    Args:
        answer: returns the probabilities of texts.
        texts: at least one.
    """
    seconds = []
    for text in itertools.islice(itertools.cycle(texts), 2 * LATENCY_TEXTS):
        started = time.perf_counter()
        answer([text])
        seconds.append(time.perf_counter() - started)
    seconds = seconds[LATENCY_TEXTS:]
    answer(texts)
    started, answered = time.perf_counter(), 0
    while time.perf_counter() - started < THROUGHPUT_SECONDS:
        answer(texts)
        answered += len(texts)
    return Speed(
        latency_p50_ms=round(1e3 * statistics.median(seconds), 3),
        latency_p99_ms=round(1e3 * float(np.quantile(seconds, 0.99)), 3),
        texts_per_second=round(answered / (time.perf_counter() - started), 1),
    )


def baseline_cost(
    answer: Callable[[Sequence[str]], np.ndarray],
    texts: Sequence[str],
    *,
    training_seconds: float,
    shared_cores: bool,
) -> Cost:
    """Return the cost of a fitted baseline."""
    peak_memory = peak_memory_mb()
    speed = measure_speed(answer, texts)
    return Cost(
        training_seconds=round(training_seconds, 2),
        peak_memory_mb=round(peak_memory, 1),
        shared_cores=shared_cores,
        **msgspec.structs.asdict(speed),
    )


def network_cost(
    model: Any,
    texts: Sequence[str],
    *,
    training_seconds: float,
    epochs: float,
    peak_memory: float,
    shared_cores: bool,
    on_progress: OnProgress,
) -> Cost:
    """Return the cost of a trained `classifier.Classifier` and of its export.

    Args:
        model: the classifier.
        texts: to measure answers with.
        training_seconds: of all epochs, or of the fit of a linear model.
        epochs: number of epochs; a fraction if the last one ended early; 0 without a network.
        peak_memory: of training, MiB.
        shared_cores: True if another run used the cores.
        on_progress: called with each stage.
    """
    from textclf import classifier, saved_model

    on_progress("exporting", 0, 0)
    train = model.card.text.train
    tokens_per_epoch = train.num_tokens - sum(train.cut_tokens)
    with tempfile.TemporaryDirectory() as exports:
        version = saved_model.export(model, exports, is_verified=False)
        served = classifier.load_predictor(version)
        on_progress("measuring one answer", 0, 0)
        speed = measure_speed(served.predict_proba, texts)
        size = sum(path.stat().st_size for path in Path(version).rglob("*") if path.is_file())
    return Cost(
        weights=model.card.training.num_weights or None,
        training_seconds=round(training_seconds, 2),
        tokens_per_second=round(tokens_per_epoch * epochs / training_seconds, 1)
        if epochs
        else None,
        peak_memory_mb=round(peak_memory, 1),
        size_mb=round(size / 2**20, 3),
        shared_cores=shared_cores,
        **msgspec.structs.asdict(speed),
    )


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MiB.

    psutil reads the current memory only, so this is `getrusage`: KiB on Linux, bytes on macOS.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def library_versions() -> dict[str, str]:
    """Return the versions of Python, textclf and the imported libraries."""
    import textclf

    versions = {"textclf": textclf.__version__, "python": platform.python_version()}
    for name in ("tensorflow", "keras", "numpy", "sklearn"):
        if name in sys.modules:
            versions[name] = sys.modules[name].__version__
    return versions


def gradient_by_distance(model: Any, texts: Sequence[str]) -> dict[str, float] | None:
    """Return the gradient norm of the last forward state by distance of the input.

    The norm is that with respect to the input k tokens earlier. For each k of `DISTANCES`, it is
    the mean over the texts with more than k tokens of

        |d(r . h[n - 1]) / d x[n - 1 - k]|

    with x the embeddings, h the states of the last forward layer, n the length and r a fixed
    vector of random signs. It falls towards zero where the network forgets (Bengio et al. 1994,
    "Learning long-term dependencies with gradient descent is difficult").

    Args:
        model: a `classifier.Classifier`.
        texts: the first 256 are used.

    Returns:
        The mean norm by distance; None for a network without recurrent layers.
    """
    import tensorflow as tf

    if model.network is None or not model.network.encoder.recurrent_layers:
        return None
    encoder = model.network.encoder
    units = encoder.recurrent_layers[-1].units
    signs = np.random.default_rng(0).choice([-1.0, 1.0], units).astype(np.float32)

    @tf.function(reduce_retracing=True, autograph=False)
    def norms(x: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            states = encoder.encode_vectors(x, lengths)[:, :, :units]  # [B, T, units], forward
            last = tf.gather(states, lengths - 1, axis=1, batch_dims=1)  # [B, units]
            total = tf.reduce_sum(last * signs)
        return tf.norm(tape.gradient(total, x), axis=2)  # [B, T]

    norms_by_distance: dict[int, list[float]] = {distance: [] for distance in DISTANCES}
    # Sorted by length, so that batches contain little padding.
    ordered = sorted(texts[:_GRADIENT_TEXTS], key=len)
    for start in range(0, len(ordered), 32):
        encoded = model.text_encoder(tf.constant(ordered[start : start + 32]))
        vectors = encoder.embed(encoded.token_ids, unknown_subwords=encoded.unknown_subwords)
        batch_norms = norms(vectors, encoded.lengths).numpy()
        for row, length in zip(batch_norms, encoded.lengths.numpy(), strict=True):
            for distance in DISTANCES:
                if distance < length:
                    norms_by_distance[distance].append(float(row[length - 1 - distance]))
    return {str(k): float(np.mean(values)) for k, values in norms_by_distance.items() if values}
