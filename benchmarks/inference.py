"""Inference time from strings to probabilities: textclf's export, Keras and PyTorch.

    python benchmarks/inference.py [--rounds 5] [--json]

Measures a bidirectional LSTM, GRU and SimpleRNN of 64 units and an LSTM of 128 units, with random
weights and 20,000 words: as exported by textclf, the same network exported by `model.export()`, its
`model.predict`, and in PyTorch in inference mode with a tokenizer (if torch is installed). All are
measured in turn within each round, so that other load on the machine affects all of them. The
ratios are medians over the rounds. Batches have texts of mixed lengths.
"""

import argparse
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from textclf import artifact, classifier, networks, saved_model
from textclf.config import Config

WORDS = [f"word{index}" for index in range(20_000)]
NETWORKS = {
    "BiLSTM 64": ("lstm", True, 64),
    "LSTM 128": ("lstm", False, 128),
    "BiGRU 64": ("gru", True, 64),
    "BiSimpleRNN 64": ("simple_rnn", True, 64),
}
EMBEDDING_DIM, SEQUENCE_LENGTH, NUM_CLASSES = 100, 400, 2

# From texts to probabilities, float32 [n, num_classes].
Predict = Callable[[Sequence[str]], np.ndarray]


def untrained(encoder: str, bidirectional: bool, units: int, folder: Path) -> classifier.Classifier:
    """Return a classifier with random weights; its vocabulary is written to `folder`."""
    config = Config.from_dict(
        {
            "data": {"source": "demo"},
            "model": {
                "encoder": encoder,
                "bidirectional": bidirectional,
                "units": units,
                "pooling": "max_mean",
                "embedding_dim": EMBEDDING_DIM,
            },
        }
    )
    vocabulary = folder / "vocabulary.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    card = artifact.Card(("no", "yes"), multi_label=False, config=config.to_dict())
    text_encoder = classifier.build_text_encoder(config, vocabulary)
    network = networks.build(
        networks.Architecture.from_settings(config.model.to_dict()),
        vocabulary_size=text_encoder.vocabulary_size,
        num_classes=NUM_CLASSES,
    )
    return classifier.Classifier(text_encoder, network, card)


def textclf_export(encoder: str, bidirectional: bool, units: int, folder: Path) -> Predict:
    """Return the signature of a SavedModel by `textclf export`."""
    model = untrained(encoder, bidirectional, units, folder)
    return _load_signature(saved_model.export(model, folder / "textclf"), "text", "probabilities")


def keras_export(
    encoder: str, bidirectional: bool, units: int, folder: Path
) -> tuple[Predict, Predict]:
    """Return the signature of `model.export()` and `model.predict`, as in Keras' guides."""
    layer_class = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}.get(
        encoder, keras.layers.SimpleRNN
    )
    layer: Any = layer_class(units, return_sequences=True)
    text = keras.Input([], dtype="string", name="text")
    vectorize = keras.layers.TextVectorization(
        vocabulary=WORDS, output_sequence_length=None, name="vectorize"
    )
    x = vectorize(text)[:, :SEQUENCE_LENGTH]
    x = keras.layers.Embedding(len(WORDS) + 2, EMBEDDING_DIM, mask_zero=True)(x)
    x = (keras.layers.Bidirectional(layer) if bidirectional else layer)(x)
    pooled = keras.layers.Concatenate()(
        [keras.layers.GlobalMaxPooling1D()(x), keras.layers.GlobalAveragePooling1D()(x)]
    )
    model = keras.Model(text, keras.layers.Dense(NUM_CLASSES, activation="softmax")(pooled))
    model.export(str(folder / "keras"), verbose=False)
    return (
        _load_signature(folder / "keras", "text", "output_0"),
        lambda texts: model.predict(tf.constant(texts), verbose=0),
    )


def _load_signature(folder: Path, input_name: str, output_name: str) -> Predict:
    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures["serving_default"]

    def predict(texts: Sequence[str]) -> np.ndarray:
        assert loaded is not None  # the signature alone does not keep its variables alive
        return serve(**{input_name: tf.constant(texts)})[output_name].numpy()

    return predict


def pytorch(encoder: str, bidirectional: bool, units: int) -> Predict | None:
    """Return the same network in PyTorch, with padded batches; None if torch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_flush_denormal(True)
    torch.set_num_threads(os.cpu_count() or 1)
    ids = {word: index for index, word in enumerate(WORDS, start=2)}
    layer_class = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(encoder, torch.nn.RNN)
    embedding = torch.nn.Embedding(len(WORDS) + 2, EMBEDDING_DIM)
    layer = layer_class(EMBEDDING_DIM, units, batch_first=True, bidirectional=bidirectional)
    dense = torch.nn.Linear(2 * units * (1 + bidirectional), NUM_CLASSES)

    def predict(texts: Sequence[str]) -> np.ndarray:
        rows = [
            torch.tensor([ids.get(w, 1) for w in re.findall(r"\w+|[^\w\s]", text.lower())][:400])
            for text in texts
        ]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        with torch.inference_mode():
            outputs, _ = layer(embedding(padded))
            pooled = torch.cat([outputs.amax(1), outputs.mean(1)], dim=1)
            return torch.softmax(dense(pooled), dim=1).numpy()

    return predict


def time_calls(predict: Predict, texts: Sequence[str], calls: int) -> list[float]:
    """Return the seconds of each call."""
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        predict(texts)
        seconds.append(time.perf_counter() - started)
    return seconds


def compare(
    competitors: dict[str, Predict], texts: Sequence[str], rounds: int, calls: int
) -> dict[str, dict[str, float]]:
    """Return milliseconds, and the ratio to textclf's median, by competitor."""
    for predict in competitors.values():
        time_calls(predict, texts, 3)  # the first calls trace graphs and fill caches
    seconds: dict[str, list[list[float]]] = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, predict in competitors.items():
            seconds[name].append(time_calls(predict, texts, calls))
    medians = {name: [statistics.median(r) for r in rounds_] for name, rounds_ in seconds.items()}
    results = {}
    for name, by_round in seconds.items():
        p50, p99 = np.percentile(np.concatenate(by_round), [50, 99])
        ratios = [a / b for a, b in zip(medians[name], medians["textclf"], strict=True)]
        results[name] = {
            "p50_ms": round(1e3 * float(p50), 2),
            "p99_ms": round(1e3 * float(p99), 2),
            "times_textclf": round(statistics.median(ratios), 2),
        }
    return results


def measure(rounds: int) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Return the times by network, number of texts and competitor."""
    rng = np.random.default_rng(0)

    def text(length: int) -> str:
        return " ".join(rng.choice(WORDS, length))

    lengths = np.clip(rng.lognormal(4, 0.8, 512), 1, 400).astype(int)
    mixed = [text(length) for length in lengths]
    results = {}
    for name, (encoder, bidirectional, units) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            exported, predict = keras_export(encoder, bidirectional, units, Path(folder))
            competitors = {
                "textclf": textclf_export(encoder, bidirectional, units, Path(folder)),
                "model.export": exported,
                "model.predict": predict,
            }
            torch_predict = pytorch(encoder, bidirectional, units)
            if torch_predict is not None:
                competitors["PyTorch"] = torch_predict
            results[name] = {
                "1 text of 200 tokens": compare(competitors, [text(200)], rounds, 40),
                "64 mixed texts": compare(competitors, mixed[:64], rounds, 8),
                "512 mixed texts": compare(competitors, mixed, rounds, 3),
            }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    arguments = parser.parse_args()
    results = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(results))
        return
    columns = ("network", "texts", "competitor", "p50 ms", "p99 ms", "times textclf")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for network, by_size in results.items():
        for size, by_competitor in by_size.items():
            for name, row in by_competitor.items():
                cells = (network, size, name, *(str(value) for value in row.values()))
                print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
