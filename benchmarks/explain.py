"""Time of explanations of a text of 200 tokens.

    python benchmarks/explain.py

Each network of `benchmarks/inference.py`, beside a linear model, both with random weights, is
measured in a new process: the first explanation after loading, later ones (median of five), and the
first prediction, for comparison. Then the signature `explain` of an export (median of five). Wall
time and CPU time are in seconds; CPU time does not depend on other work on the machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from textclf.startup import import_tensorflow

import_tensorflow()

import msgspec  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from inference import NETWORKS, NUM_CLASSES, WORDS, untrained  # noqa: E402

from textclf import classifier, linear, saved_model  # noqa: E402
from textclf.tasks import Mixture  # noqa: E402
from textclf.text.ngrams import WORD_BLOCKS  # noqa: E402

NUM_TOKENS, NUM_BUCKETS, NUM_LATER = 200, 2**18, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", choices=list(NETWORKS), help="measure it in this process")
    network = parser.parse_args().network
    if network is not None:
        print(json.dumps(measure(network)))
        return
    for name in NETWORKS:
        done = subprocess.run(
            [sys.executable, __file__, "--network", name], capture_output=True, check=True
        )
        for what, (wall, cpu) in json.loads(done.stdout.splitlines()[-1]).items():
            print(f"{name:16}{what:26}{wall:7.2f} s wall{cpu:7.2f} s CPU", flush=True)


def measure(name: str) -> dict[str, tuple[float, float]]:
    """Return wall and CPU seconds of each kind of call."""
    text = " ".join(np.random.default_rng(0).choice(WORDS, NUM_TOKENS))
    with tempfile.TemporaryDirectory() as folder:
        model = mixture(untrained(*NETWORKS[name], Path(folder)))
        seconds = {"first explanation": timed(lambda: model.explain([text]))}
        seconds["later explanations"] = median(lambda: model.explain([text]))
        seconds["first prediction"] = timed(lambda: model.predict([text]))
        version = saved_model.export(model, Path(folder) / "export", is_verified=False)
        loaded = tf.saved_model.load(str(version))
        explain = loaded.signatures["explain"]
        explain(text=tf.constant([text]))
        seconds["export, without each token"] = median(lambda: explain(text=tf.constant([text])))
    return seconds


def mixture(model: classifier.Classifier) -> classifier.Classifier:
    """Return the classifier with a linear model of random weights."""
    rng = np.random.default_rng(0)
    arrays = {"bias": np.zeros(NUM_CLASSES, np.float32)}
    for i in range(len(WORD_BLOCKS)):
        arrays[f"buckets_{i}"] = np.arange(0, NUM_BUCKETS, 2, dtype=np.int32)
        arrays[f"idf_{i}"] = np.ones(NUM_BUCKETS // 2, np.float32)
        weights = rng.normal(size=(NUM_BUCKETS // 2, NUM_CLASSES))
        arrays[f"weights_{i}"] = weights.astype(np.float32)
    linear_model = linear.LinearModel(WORD_BLOCKS, arrays, num_buckets=NUM_BUCKETS, max_tokens=5000)
    shares = Mixture(share=0.5, linear_temperature=1.0, network_temperature=1.0)
    card = msgspec.structs.replace(model.card, mixture=shares)
    return classifier.Classifier(model.text_encoder, model.network, card, linear_model)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def median(call: Callable[[], object]) -> tuple[float, float]:
    pairs = [timed(call) for _ in range(NUM_LATER)]
    walls, cpus = zip(*pairs, strict=True)
    return statistics.median(walls), statistics.median(cpus)


if __name__ == "__main__":
    main()
