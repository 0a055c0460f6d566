"""Time of the prediction of many texts: textclf, the same network in plain batches, and PyTorch.

    python benchmarks/prediction.py [--texts 20000] [--rounds 3] [--json FILE]
    python benchmarks/prediction.py --number 1000000 [--json FILE]

Needs TEXTCLF_DATA and the extra `bench`. Half of the texts are film reviews (IMDB), half are news
(AG News), in random order. The network is a bidirectional LSTM of 64 units with random weights, an
embedding of 100 dimensions and the 20,000 most frequent words; texts are cut at 400 tokens. Each
competitor is a separate process; they alternate in each round, so that other load on the machine
affects all of them. The ratios are medians over the rounds. The time is that of all texts, after
some texts that warm up.

- textclf: `predict_file` from a file of texts to a file of answers.
- textclf network: the batches of `answers`, without reading, tokens and writing.
- plain batches: the same graph, called on batches of 64 texts in the order of the file.
- PyTorch: the same rules of words in Python, batches of 128 texts sorted by length, all cores,
  denormal numbers flushed to zero; from strings to probabilities.
- PyTorch network: its batches alone.

`--number N` measures textclf alone on N texts of 20 words: seconds, peak memory, and the order.
"""

import argparse
import csv
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

COMPETITORS = ("textclf", "textclf network", "plain batches", "PyTorch", "PyTorch network")
# Competitor -> the one whose time is divided by.
REFERENCES = {
    "textclf": "PyTorch",
    "textclf network": "PyTorch network",
    "plain batches": "textclf",
}
VOCABULARY, SEQUENCE_LENGTH, EMBEDDING_DIM, UNITS, NUM_CLASSES = 20_000, 400, 100, 64, 2
WARM_UP = 1024
# The rules of words of textclf that matter for English; its graph has more of them.
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[!?]")
LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--competitors", nargs="+", choices=COMPETITORS, default=COMPETITORS)
    parser.add_argument("--number", type=int, help="measure textclf alone on this number of texts")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        competitor, folder = arguments.worker
        print(json.dumps(WORKERS[competitor](Path(folder))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.number:
            write_many(folder, arguments.number)
            measurements = [run("many", folder)]
            print(json.dumps(measurements[0]))
        else:
            write_texts(folder, arguments.texts)
            measurements = list(measure(arguments, folder))
            print_table(measurements)
    if arguments.json:
        arguments.json.write_text(json.dumps(measurements, indent=1))


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the result of each process: seconds and number of texts."""
    for number in range(1, arguments.rounds + 1):
        # Another one begins in each round.
        order = [*arguments.competitors]
        order = order[number % len(order) :] + order[: number % len(order)]
        for competitor in order:
            result = {**run(competitor, folder), "round": number}
            print(
                f"round {number}: {competitor} {result['seconds']:.1f} s",
                file=sys.stderr,
                flush=True,
            )
            yield result


def run(competitor: str, folder: Path) -> dict[str, Any]:
    """Return the result of a competitor in its own process."""
    command = [sys.executable, __file__, "--worker", competitor, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return {"competitor": competitor, **json.loads(done.stdout.splitlines()[-1])}


def print_table(measurements: list[dict[str, Any]]) -> None:
    """Print medians and ratios as a Markdown table."""
    print("| competitor | seconds | texts/s | ratio of times |")
    print("|---|---:|---:|---|")
    seconds: dict[str, dict[int, float]] = {}
    for result in measurements:
        seconds.setdefault(result["competitor"], {})[result["round"]] = result["seconds"]
    for competitor, times in seconds.items():
        ratio = ""
        if (reference := REFERENCES.get(competitor)) in seconds:
            ratios = [times[number] / seconds[reference][number] for number in times]
            low, high = min(ratios), max(ratios)
            ratio = f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}) of {reference}"
        median = statistics.median(times.values())
        rate = measurements[0]["texts"] / median
        print(f"| {competitor} | {median:.1f} | {rate:,.0f} | {ratio} |")


# === The texts ===


def write_texts(folder: Path, number: int) -> None:
    """Write texts.jsonl, half reviews and half news, and vocabulary.txt to a folder."""
    import tensorflow_datasets as tfds

    data = Path(os.environ["TEXTCLF_DATA"])
    half = number // 2
    reviews = tfds.load(
        "imdb_reviews", data_dir=data / "tfds", download=False, split=f"train[:{half}]"
    )
    texts = [example["text"].decode() for example in tfds.as_numpy(reviews)]
    with open(data / "data" / "ag_news" / "train.csv", encoding="utf-8", newline="") as file:
        news = [" ".join(row[1:]) for row in csv.reader(file)]
    texts += news[: number - half]
    random.Random(0).shuffle(texts)
    write_source(folder, texts, Counter(word for text in texts for word in words_of(text)))


def write_many(folder: Path, number: int) -> None:
    """Write `number` texts of 20 words; the first word is the number of the text."""
    words = [f"word{index}" for index in range(VOCABULARY)]
    chosen = np.random.default_rng(0).integers(0, VOCABULARY, (number, 19)).tolist()
    texts = (" ".join([str(i), *(words[w] for w in row)]) for i, row in enumerate(chosen))
    write_source(folder, texts, Counter(words))


def write_source(folder: Path, texts: Any, counts: Counter) -> None:
    with open(folder / "texts.jsonl", "w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}) + "\n")
    vocabulary = [word for word, _ in counts.most_common(VOCABULARY)]
    (folder / "vocabulary.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")


def read_texts(folder: Path) -> list[str]:
    with open(folder / "texts.jsonl", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def words_of(text: str) -> list[str]:
    """Return the words of an English text, lower case, by the rules of textclf."""
    return WORD.findall(LINE_BREAK.sub(" ", text).lower())


# === The competitors ===


def untrained(folder: Path) -> Any:
    """Return a classifier of textclf with random weights."""
    from textclf.startup import import_tensorflow

    import_tensorflow()
    from textclf import artifact, classifier, networks
    from textclf.config import Config

    config = Config.from_dict(
        {
            "data": {"source": "demo"},
            "text": {"sequence_length": SEQUENCE_LENGTH},
            "model": {
                "encoder": "lstm",
                "bidirectional": True,
                "units": UNITS,
                "pooling": "max_mean",
                "embedding_dim": EMBEDDING_DIM,
                "linear": "none",
            },
        }
    )
    card = artifact.Card(("no", "yes"), multi_label=False, config=config.to_dict())
    encoder = classifier.build_text_encoder(config, folder / "vocabulary.txt")
    network = networks.build(
        networks.Architecture.from_settings(config.model.to_dict()),
        vocabulary_size=encoder.vocabulary_size,
        num_classes=NUM_CLASSES,
    )
    return classifier.Classifier(encoder, network, card)


def result_of(started: float, num_texts: int) -> dict[str, Any]:
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "texts": num_texts, "peak_megabytes": round(peak)}


def textclf(folder: Path) -> dict[str, Any]:
    """Predict the file of texts with `predict_file`."""
    from textclf.prediction import predict_file

    model = untrained(folder)
    model.answers(read_texts(folder)[:WARM_UP], batch_size=None)
    started = time.perf_counter()
    counts = predict_file(model, folder / "texts.jsonl", folder / "answers.jsonl", overwrite=True)
    return result_of(started, counts.num_texts)


def textclf_network(folder: Path) -> dict[str, Any]:
    """Run the network alone on the encoded batches of `answers`."""
    import tensorflow as tf

    from textclf.prediction import WINDOW_ROWS

    model = untrained(folder)
    encoded = []

    def collect(texts: Any) -> dict[str, Any]:
        batch = model.text_encoder(texts)
        encoded.append({"token_ids": batch.token_ids, "lengths": batch.lengths})
        return {"rows": tf.range(tf.size(texts))}

    texts = read_texts(folder)
    batches_of = _batches_of()
    for start in range(0, len(texts), WINDOW_ROWS):
        batches_of(collect, texts[start : start + WINDOW_ROWS], None)
    signature = [
        {
            "token_ids": tf.TensorSpec([None, None], tf.int32),
            "lengths": tf.TensorSpec([None], tf.int32),
        }
    ]
    network = tf.function(model.network, input_signature=signature, autograph=False)
    return timed(lambda batch: network(batch).numpy(), encoded, len(texts))


def _batches_of() -> Callable[..., Any]:
    from textclf import classifier

    return classifier._in_batches


def timed(call: Callable[[Any], Any], batches: Sequence[Any], num_texts: int) -> dict[str, Any]:
    """Return the time of calls on batches, after calls on some of them."""
    for batch in batches[:: max(len(batches) // 8, 1)]:
        call(batch)
    started = time.perf_counter()
    for batch in batches:
        call(batch)
    return result_of(started, num_texts)


def plain_batches(folder: Path) -> dict[str, Any]:
    """Call the graph on batches of 64 texts in the order of the file."""
    import tensorflow as tf

    model = untrained(folder)
    texts = read_texts(folder)
    batches = [texts[start : start + 64] for start in range(0, len(texts), 64)]
    graph = tf.function(
        model.answer, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    return timed(
        lambda batch: graph(tf.constant(batch))["probabilities"].numpy(), batches, len(texts)
    )


def pytorch(folder: Path) -> dict[str, Any]:
    """Return probabilities of the texts with PyTorch, tokens included."""
    network = torch_network()
    texts = read_texts(folder)
    vocabulary = read_vocabulary(folder)

    def predict(texts: list[str]) -> np.ndarray:
        results = np.empty((len(texts), NUM_CLASSES), np.float32)
        for rows, token_ids, lengths in torch_batches(texts, vocabulary):
            results[rows] = network(token_ids, lengths)
        return results

    predict(texts[:WARM_UP])
    started = time.perf_counter()
    predict(texts)
    return result_of(started, len(texts))


def pytorch_network(folder: Path) -> dict[str, Any]:
    """Run the network of PyTorch on its batches alone."""
    network = torch_network()
    texts = read_texts(folder)
    batches = list(torch_batches(texts, read_vocabulary(folder)))
    return timed(lambda batch: network(*batch[1:]), batches, len(texts))


def read_vocabulary(folder: Path) -> dict[str, int]:
    words = (folder / "vocabulary.txt").read_text(encoding="utf-8").split()
    return {word: index for index, word in enumerate(words, start=2)}


def torch_batches(
    texts: list[str], vocabulary: dict[str, int], batch_size: int = 128
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the positions, token ids and lengths of texts, sorted by length."""
    ids = [
        [vocabulary.get(word, 1) for word in words_of(text)[:SEQUENCE_LENGTH]] or [1]
        for text in texts
    ]
    lengths = np.array([len(row) for row in ids])
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        token_ids = np.zeros((len(rows), lengths[rows].max()), np.int64)
        for number, row in enumerate(rows):
            token_ids[number, : lengths[row]] = ids[row]
        yield rows, token_ids, lengths[rows]


def torch_network() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the same network with random weights; rows are padded on the right."""
    import torch

    torch.set_flush_denormal(True)
    torch.set_num_threads(os.cpu_count() or 1)
    embedding = torch.nn.Embedding(VOCABULARY + 2, EMBEDDING_DIM)
    forward_layer, backward_layer = (
        torch.nn.LSTM(EMBEDDING_DIM, UNITS, batch_first=True) for _ in range(2)
    )
    dense = torch.nn.Linear(4 * UNITS, NUM_CLASSES)

    def predict(token_ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            ids, counts = torch.from_numpy(token_ids), torch.from_numpy(lengths)
            steps = torch.arange(ids.shape[1])
            mirrored = counts[:, None] - 1 - steps  # negative in the padding
            positions = torch.where(mirrored < 0, steps, mirrored)
            rows = torch.arange(len(counts))[:, None]
            x = embedding(ids)
            forward, _ = forward_layer(x)
            backward, _ = backward_layer(x[rows, positions])
            outputs = torch.cat([forward, backward[rows, positions]], dim=-1)
            is_real = (steps < counts[:, None])[:, :, None]
            largest = outputs.masked_fill(~is_real, -1e9).amax(dim=1)
            mean = (outputs * is_real).sum(dim=1) / counts[:, None]
            return torch.softmax(dense(torch.cat([largest, mean], dim=1)), dim=1).numpy()

    return predict


def many(folder: Path) -> dict[str, Any]:
    """Predict many short texts with textclf, and check the order of the answers."""
    result = textclf(folder)
    with open(folder / "answers.jsonl", encoding="utf-8") as file:
        for number, line in enumerate(file):
            assert json.loads(line)["text"].startswith(f"{number} "), f"row {number + 1}"
    assert number + 1 == result["texts"]
    return {**result, "is_ordered": True}


WORKERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "textclf": textclf,
    "textclf network": textclf_network,
    "plain batches": plain_batches,
    "PyTorch": pytorch,
    "PyTorch network": pytorch_network,
    "many": many,
}


if __name__ == "__main__":
    main()
