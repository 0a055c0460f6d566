"""How long one answer takes, string in and probabilities out, beside what else one could serve.

    python benchmarks/serving.py [--rounds 5] [--json]

For a bidirectional LSTM of 64 units, an LSTM of 128, a GRU and a SimpleRNN of 64 each way, all with
random weights and 20,000 words: textclf's export, the same network out of `model.export()`, its
`model.predict`, and PyTorch in inference mode with a tokeniser of its own (if torch is installed).
The competitors take turns within each round, so that what else the machine does hits all alike; the
ratios are medians over the rounds. Throughput is measured with batches of mixed lengths.
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

from textclf import artifact, classifier, export
from textclf.config import from_dict

WORDS = [f"word{index}" for index in range(20_000)]
NETWORKS = {
    "BiLSTM 64": ("lstm", True, 64),
    "LSTM 128": ("lstm", False, 128),
    "BiGRU 64": ("gru", True, 64),
    "BiSimpleRNN 64": ("simple_rnn", True, 64),
}
EMBEDDING_DIM, SEQUENCE_LENGTH, NUM_CLASSES = 100, 400, 2

Answer = Callable[[Sequence[str]], np.ndarray]


def untrained(encoder: str, bidirectional: bool, units: int, folder: Path) -> classifier.Classifier:
    """A classifier with random weights, whose vocabulary stands in `folder`."""
    config, _ = from_dict(
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
    network = classifier.build_network(
        config, vocabulary_size=text_encoder.vocabulary_size, num_classes=NUM_CLASSES
    )
    return classifier.Classifier(text_encoder, network, card)


def ours(encoder: str, bidirectional: bool, units: int, folder: Path) -> Answer:
    """The SavedModel that `textclf export` writes."""
    model = untrained(encoder, bidirectional, units, folder)
    return _signature(export.export(model, folder / "ours"), "text", "probabilities")


def plain(encoder: str, bidirectional: bool, units: int, folder: Path) -> tuple[Answer, Answer]:
    """Keras as its guides do it: `model.export()`, and `model.predict`."""
    cell = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}.get(encoder, keras.layers.SimpleRNN)
    layer: Any = cell(units, return_sequences=True)
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
    model.export(str(folder / "plain"), verbose=False)
    return (
        _signature(folder / "plain", "text", "output_0"),
        lambda texts: model.predict(tf.constant(texts), verbose=0),
    )


def _signature(folder: Path, key: str, output: str) -> Answer:
    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures["serving_default"]

    def answer(texts: Sequence[str]) -> np.ndarray:
        assert loaded is not None  # the signature alone does not keep its variables alive
        return serve(**{key: tf.constant(texts)})[output].numpy()

    return answer


def pytorch(encoder: str, bidirectional: bool, units: int) -> Answer | None:
    """The same network in PyTorch, padded; None where torch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_flush_denormal(True)
    torch.set_num_threads(os.cpu_count() or 1)
    ids = {word: index for index, word in enumerate(WORDS, start=2)}
    cell = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(encoder, torch.nn.RNN)
    embedding = torch.nn.Embedding(len(WORDS) + 2, EMBEDDING_DIM)
    layer = cell(EMBEDDING_DIM, units, batch_first=True, bidirectional=bidirectional)
    dense = torch.nn.Linear(2 * units * (1 + bidirectional), NUM_CLASSES)

    def answer(texts: Sequence[str]) -> np.ndarray:
        rows = [
            torch.tensor([ids.get(w, 1) for w in re.findall(r"\w+|[^\w\s]", text.lower())][:400])
            for text in texts
        ]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        with torch.inference_mode():
            outputs, _ = layer(embedding(padded))
            pooled = torch.cat([outputs.amax(1), outputs.mean(1)], dim=1)
            return torch.softmax(dense(pooled), dim=1).numpy()

    return answer


def seconds(answer: Answer, texts: Sequence[str], calls: int) -> list[float]:
    taken = []
    for _ in range(calls):
        started = time.perf_counter()
        answer(texts)
        taken.append(time.perf_counter() - started)
    return taken


def compare(answers: dict[str, Answer], texts: Sequence[str], rounds: int, calls: int) -> dict:
    """Milliseconds and how many times as long as ours, by competitor."""
    for answer in answers.values():
        seconds(answer, texts, 3)  # the first calls trace, plan and fill caches
    taken: dict[str, list[list[float]]] = {name: [] for name in answers}
    for _ in range(rounds):
        for name, answer in answers.items():
            taken[name].append(seconds(answer, texts, calls))
    medians = {name: [statistics.median(once) for once in each] for name, each in taken.items()}
    return {
        name: {
            "p50_ms": round(1e3 * float(np.percentile(np.concatenate(each), 50)), 2),
            "p99_ms": round(1e3 * float(np.percentile(np.concatenate(each), 99)), 2),
            "times_ours": round(
                statistics.median(
                    other / own for other, own in zip(medians[name], medians["ours"], strict=True)
                ),
                2,
            ),
        }
        for name, each in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)

    def text(length: int) -> str:
        return " ".join(rng.choice(WORDS, length))

    lengths = np.clip(rng.lognormal(4, 0.8, 512), 1, 400).astype(int)
    mixed = [text(length) for length in lengths]
    results = {}
    for name, (encoder, bidirectional, units) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            exported, predict = plain(encoder, bidirectional, units, Path(folder))
            answers = {
                "ours": ours(encoder, bidirectional, units, Path(folder)),
                "model.export": exported,
                "model.predict": predict,
            }
            torch_answer = pytorch(encoder, bidirectional, units)
            if torch_answer is not None:
                answers["PyTorch"] = torch_answer
            results[name] = {
                "1 text of 200 tokens": compare(answers, [text(200)], chosen.rounds, 40),
                "64 mixed texts": compare(answers, mixed[:64], chosen.rounds, 8),
                "512 mixed texts": compare(answers, mixed, chosen.rounds, 3),
            }
    if chosen.json:
        print(json.dumps(results))
        return
    print("| network | texts | what | p50 ms | p99 ms | times ours |\n|---|---|---|---|---|---|")
    for network, by_size in results.items():
        for size, by_name in by_size.items():
            for name, row in by_name.items():
                print(
                    f"| {network} | {size} | {name} | {row['p50_ms']} | {row['p99_ms']} "
                    f"| {row['times_ours']} |"
                )


if __name__ == "__main__":
    main()
