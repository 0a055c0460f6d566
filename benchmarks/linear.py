"""The linear model: agreement with scikit-learn, and its cost on large data.

    python benchmarks/linear.py parity [--only trec]
    python benchmarks/linear.py scale --only classes200 [--rows 10000] [--max-features 1000000]

`parity` compares accuracy on validation: the linear model of textclf with TF-IDF, scikit-learn's
TfidfVectorizer with LogisticRegression, and the latter on textclf's tokens, which shows what the
tokens change. `scale` measures seconds, peak memory, the size of the export and the validation
score, each data set in its own process. TEXTCLF_DATA is the folder of the published data.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PARITY = ("sst2", "trec", "chnsenticorp")
# Of published data: the name of its configuration. Of generated data: rows and classes.
SCALE: dict[str, str | tuple[int, int]] = {
    "imdb_reviews": "imdb_reviews",
    "goemotions": "goemotions",
    "classes200": (40_000, 200),
    "rows1m": (1_000_000, 2),
}
NUM_TOKENS, NUM_WORDS, NUM_TOPIC_WORDS, TOPIC_SHARE = 20, 20_000, 50, 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    parity_parser = commands.add_parser("parity")
    parity_parser.add_argument("--only", choices=PARITY)
    scale_parser = commands.add_parser("scale")
    scale_parser.add_argument("--only", choices=SCALE)
    scale_parser.add_argument("--rows", type=int, help="number of rows of generated data")
    scale_parser.add_argument(
        "--max-features", type=int, help="features held in memory; with more, the fit is streamed"
    )
    scale_parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.command == "parity":
        for name in [chosen.only] if chosen.only else PARITY:
            compare(name)
    elif chosen.in_process:
        print(json.dumps(measure(chosen.only, chosen.rows, chosen.max_features)))
    else:
        for name in [chosen.only] if chosen.only else SCALE:
            run(name, chosen.rows, chosen.max_features)


# === Agreement with scikit-learn ===


def compare(name: str) -> None:
    """Print the validation accuracy of both models."""
    from textclf import classifier, data, linear, text
    from textclf.config import Config, with_paths

    config = with_paths(Config.load(ROOT / "configs" / f"{name}.yaml"))
    dataset = data.open_dataset(config.data)
    tokenizer = text.Tokenizer(**classifier.tokenizer_settings(config))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fitted = linear.fit(
            dataset, tokenizer=tokenizer, folder=Path(folder), weightings=("tfidf",)
        )
    seconds = time.monotonic() - started
    accuracy = (fitted.validation_logits.argmax(axis=1) == fitted.validation_classes).mean()
    _print_row(name, "textclf, TF-IDF", accuracy, fitted.selection.strength, seconds)
    splits = [list(dataset.examples(split)) for split in ("train", "validation")]
    y_train, y = (np.array([example.label_ids[0] for example in split]) for split in splits)
    texts = [[example.text for example in split] for split in splits]
    has_words = len(fitted.model.blocks) == 2
    for title, has_our_tokens in (("scikit-learn", False), ("scikit-learn, our tokens", True)):
        if has_our_tokens:
            texts = [tokenize(tokenizer, split) for split in texts]
        started = time.monotonic()
        accuracy, strength = fit_scikit_learn(*texts, y_train, y, has_words, has_our_tokens)
        _print_row(name, title, accuracy, strength, time.monotonic() - started)


def tokenize(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """Return texts whose tokens are separated by spaces."""
    import tensorflow as tf

    tokens, positions = tokenizer.split_tokens(tf.constant([t.encode() for t in texts]))
    by_text: list[list[str]] = [[] for _ in texts]
    for token, row in zip(tokens.numpy(), positions.numpy()[:, 0], strict=True):
        by_text[row].append(token.decode())
    return [" ".join(words) for words in by_text]


def fit_scikit_learn(
    train: Sequence[str],
    validation: Sequence[str],
    y_train: np.ndarray,
    y: np.ndarray,
    has_words: bool,
    has_our_tokens: bool,
) -> tuple[float, float]:
    """Return the validation accuracy and C of the fit with the lowest log loss on validation."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_union

    from textclf.linear.fitting import STRENGTHS

    words = {"lowercase": False, "token_pattern": r"\S+"} if has_our_tokens else {}
    shared = {"sublinear_tf": True, "min_df": 2}
    if has_words:
        vectorizer = make_union(
            TfidfVectorizer(ngram_range=(1, 3), **shared, **words),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **shared),
        )
    elif has_our_tokens:
        vectorizer = TfidfVectorizer(ngram_range=(1, 4), **shared, **words)
    else:
        vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), **shared)
    matrix, heldout = vectorizer.fit_transform(train), vectorizer.transform(validation)
    best = (float("inf"), 0.0, 0.0)
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000).fit(matrix, y_train)
        p = model.predict_proba(heldout)
        loss = log_loss(y, p, labels=model.classes_)
        accuracy = (model.classes_[p.argmax(axis=1)] == y).mean()
        best = min(best, (loss, float(accuracy), strength))
    return best[1:]


def _print_row(name: str, title: str, accuracy: float, strength: float, seconds: float) -> None:
    print(
        f"{name:<13} {title:<25} accuracy {accuracy:.4f}  C {strength:<4g} {seconds:6.1f} s",
        flush=True,
    )


# === Cost on large data ===


def run(name: str, num_rows: int | None, max_features: int | None) -> None:
    """Measure a data set in a process and print the result with the peak memory."""
    command = [sys.executable, __file__, "scale", "--in-process", "--only", name]
    for option, value in (("--rows", num_rows), ("--max-features", max_features)):
        command += [] if value is None else [option, str(value)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{name}: the measurement failed")
        output.seek(0)
        result = json.loads(output.read().splitlines()[-1])
    print(json.dumps({"name": name, "peak_mb": round(usage.ru_maxrss / 1024), **result}))


def measure(name: str, num_rows: int | None, max_features: int | None) -> dict[str, Any]:
    """Train and export the linear model alone; return its cost and its validation score."""
    from textclf import classifier, saved_model, training
    from textclf.config import Config, with_paths
    from textclf.linear import fitting

    if max_features is not None:
        fitting.MAX_FEATURES_IN_MEMORY = max_features
    with tempfile.TemporaryDirectory() as work:
        source = SCALE[name]
        if isinstance(source, str):
            settings = with_paths(Config.load(ROOT / "configs" / f"{source}.yaml")).data.to_dict()
        else:
            path = Path(work, "rows.csv")
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["text", "label"])
                writer.writerows(generate_rows(num_rows or source[0], source[1]))
            settings = {"source": str(path)}
        config = Config.from_dict({"data": settings, "model": {"encoder": "none"}})
        for event in training.train_events(config, Path(work, "run")):
            if isinstance(event, training.LinearFitted):
                selection, report = event.selection, event.validation
        version = saved_model.export(
            classifier.load(Path(work, "run")), Path(work, "exports"), is_verified=False
        )
        size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
    metrics = ("accuracy", "micro_f1", "macro_f1")
    return {
        "seconds": selection.seconds,
        "cpu_seconds": round(time.process_time(), 1),
        "export_mb": round(size / 2**20, 1),
        "num_features": selection.num_features,
        "weighting": selection.weighting,
        "strength": selection.strength,
        "num_unconverged": selection.num_unconverged,
        **{name: round(report.get(name), 4) for name in metrics if name in report.metrics},
    }


def generate_rows(num_rows: int, num_classes: int) -> Iterator[tuple[str, str]]:
    """Yield texts and classes: words by Zipf's law, some of them from 50 topic words of the class.

    The words consist of syllables, so they share character n-grams.
    """
    draw = np.random.default_rng(0)
    syllables = [first + second for first in "bcdfghjklmnprstvwz" for second in "aeiou"]
    words = np.array(
        ["".join(draw.choice(syllables, draw.integers(2, 5))) for _ in range(NUM_WORDS)]
    )
    frequencies = 1 / np.arange(1, NUM_WORDS + 1)
    frequencies /= frequencies.sum()
    topics = draw.integers(100, NUM_WORDS, (num_classes, NUM_TOPIC_WORDS))
    chunk = 1000
    for start in range(0, num_rows, chunk):
        classes = draw.integers(num_classes, size=chunk)
        ids = draw.choice(NUM_WORDS, (chunk, NUM_TOKENS), p=frequencies)
        topic_ids = topics[classes[:, np.newaxis], draw.integers(NUM_TOPIC_WORDS, size=ids.shape)]
        ids = np.where(draw.random(ids.shape) < TOPIC_SHARE, topic_ids, ids)
        for row in range(min(chunk, num_rows - start)):
            yield " ".join(words[ids[row]]), f"class {classes[row]}"


if __name__ == "__main__":
    main()
