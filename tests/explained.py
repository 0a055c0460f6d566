"""Small classifiers for the tests of explanations: random weights, or trained on planted words."""

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import small_networks
import tensorflow as tf

from textclf import artifact, classifier, linear, networks, text, training
from textclf.config import Config
from textclf.tasks import Mixture
from textclf.text.ngrams import CHARACTER_BLOCKS, WORD_BLOCKS

WORDS = ["the", "film", "was", "not", "good", "bad", "at", "all", "music", "一", "点", "也", "差"]
FILLERS = {
    "en": ["the", "film", "was", "long", "and", "had", "music", "with", "many", "scenes"],
    "zh": ["这", "家", "酒", "店", "的", "房", "间", "在", "三", "楼"],
}


def untrained(
    folder: Path,
    *,
    encoder: str = "gru",
    with_linear: bool = True,
    class_names: tuple[str, ...] = ("negative", "positive"),
    multi_label: bool = False,
    temperature: Any = 1.7,
    text_settings: dict[str, Any] | None = None,
    **model: Any,
) -> classifier.Classifier:
    """Return a classifier with random weights.

    Args:
        folder: receives the vocabulary.
        encoder: of the network; "none" for the linear model alone.
        model: settings of section `model`.
    """
    values = {
        "data": {"source": "demo"},
        "text": {"min_count": 1, **(text_settings or {})},
        "model": {"encoder": encoder, "linear": "mixture" if with_linear else "none"}
        | {"embedding_dim": 5, "units": 4, **model},
    }
    for name in {"none": ("linear", "embedding_dim", "units"), "bag": ("units",)}.get(encoder, ()):
        del values["model"][name]
    config = Config.from_dict(values)
    text.write_vocabulary(WORDS, folder / artifact.VOCABULARY)
    network = None
    if encoder != "none":
        network = networks.build(
            networks.Architecture.from_settings(config.model.to_dict()),
            num_classes=len(class_names),
            **classifier.token_arguments(config, WORDS),
        )
        small_networks.randomize(network)
        # Longer vectors, so that the network is not linear along the path. Larger recurrent weights
        # would make a SimpleRNN chaotic.
        embeddings = network.encoder.embedding.embeddings
        embeddings.assign(4 * embeddings)
    mixture = None
    if network is not None and with_linear:
        # A multi-label task has a temperature for each class.
        scale = tuple(np.linspace(0.8, 1.4, len(class_names))) if multi_label else 1.3
        mixture = Mixture(share=0.4, linear_temperature=scale, network_temperature=0.7)
    card = artifact.Card(
        class_names=class_names,
        multi_label=multi_label,
        config=config.to_dict(),
        temperature=temperature,
        mixture=mixture,
    )
    return classifier.Classifier(
        classifier.build_text_encoder(config, folder / artifact.VOCABULARY),
        network,
        card,
        random_linear(config, len(class_names)) if with_linear or encoder == "none" else None,
    )


def random_linear(config: Config, num_classes: int, num_buckets: int = 64) -> linear.LinearModel:
    """Return a linear model with a random weight for half of the buckets."""
    rng = np.random.default_rng(0)
    blocks = WORD_BLOCKS if config.text.unit == "word" else CHARACTER_BLOCKS
    arrays = {"bias": rng.normal(size=num_classes).astype(np.float32)}
    for i in range(len(blocks)):
        buckets = np.sort(rng.choice(num_buckets, num_buckets // 2, replace=False))
        arrays[f"buckets_{i}"] = buckets.astype(np.int32)
        arrays[f"idf_{i}"] = rng.uniform(1, 3, len(buckets)).astype(np.float32)
        arrays[f"weights_{i}"] = rng.normal(size=(len(buckets), num_classes)).astype(np.float32)
    return linear.LinearModel(
        blocks, arrays, num_buckets=num_buckets, max_tokens=config.text.linear_length
    )


def write_planted(path: Path, triggers: dict[str, list[str]], rows: int = 240) -> None:
    """Write texts of random words; one of the words of `triggers` decides the label."""
    rng = np.random.default_rng(0)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        pairs = [(label, word) for label, words in triggers.items() for word in words]
        for label, word in itertools.islice(itertools.cycle(pairs), rows):
            words = list(rng.choice(FILLERS["en" if word.isascii() else "zh"], 6))
            words.insert(int(rng.integers(7)), word)
            writer.writerow([" ".join(words), label])


def train_planted(folder: Path, triggers: dict[str, list[str]], **data: Any) -> Path:
    """Train a mixture on planted words and return its folder."""
    write_planted(folder / "rows.csv", triggers)
    values = {
        "data": {"source": str(folder / "rows.csv"), **data},
        "model": {"encoder": "lstm", "units": 6, "embedding_dim": 6, "output_dropout": 0.0},
        "training": {"epochs": 8, "batch_size": 16, "learning_rate": 0.03, "length_buckets": 2},
        "evaluation": {"bootstrap_samples": 100},
    }
    for _ in training.train_events(Config.from_dict(values), folder / "run"):
        pass
    return folder / "run"


def predicted(model: classifier.Classifier, texts: list[str]) -> np.ndarray:
    """Return the probabilities of texts, float32 [n, C].

    `predict_proba` traces a graph, which takes longer than these few texts without one.
    """
    return model.answer(tf.constant(texts, tf.string, shape=[len(texts)]))["probabilities"].numpy()


def score_of(probabilities: np.ndarray, class_id: int, *, multi_label: bool = False) -> float:
    """Return the score of a class from the probabilities of a text, float [C]."""
    p = probabilities.astype(np.float64)
    if multi_label:
        return float(np.log(p[class_id]) - np.log1p(-p[class_id]))
    return float(np.log(p[class_id]) - np.log(np.delete(p, class_id)).mean())
