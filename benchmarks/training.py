"""Training time: textclf, a careful PyTorch loop, and the Keras tutorial's pipeline.

    python benchmarks/training.py [--data imdb sst2 trec] [--encoders lstm gru simple_rnn]
        [--rounds 3] [--batches N] [--json FILE]
    python benchmarks/training.py --profile [--data imdb]

Needs TEXTCLF_DATA and the extra `bench`. Each competitor is a separate process; they alternate in
each round, so that other load on the machine affects all of them. The ratios are medians over the
rounds.

- textclf: the training loop, without its linear model. The network is that of `NETWORK`.
- PyTorch: the same batches, dumped from the shards, in the same order, with the same pooling,
  dropout, clipping and Adam; denormal numbers are flushed to zero.
- Keras: `TextVectorization`, `Embedding(mask_zero=True)`, `Bidirectional` and `fit`, on batches of
  64 texts in random order, each padded to its longest text.

The time is that of the training steps of one epoch, or of its first N batches, after a first batch
that warms up; validation is not included.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

NETWORK = {
    "bidirectional": True,
    "units": 64,
    "embedding_dim": 100,
    "pooling": "max_mean",
    "embedding_dropout": 0.0,
    "token_dropout": 0.0,
    "output_dropout": 0.3,
    "linear": "none",
}
TRAINING = {"batch_size": 64, "learning_rate": 1e-3, "clip_norm": 1.0, "patience_epochs": 0}
CONFIGS = {"imdb": "imdb_reviews", "sst2": "sst2", "trec": "trec"}
COMPETITORS = ("textclf", "pytorch", "keras")
VOCABULARY = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--encoders", nargs="+", default=["lstm"])
    parser.add_argument("--competitors", nargs="+", choices=COMPETITORS, default=COMPETITORS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, help="first batches of the epoch; default: all")
    parser.add_argument("--profile", action="store_true", help="time of the parts of a step")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    parser.add_argument("--work", type=Path, help="folder that keeps the batches for later runs")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        competitor, encoder, folder, limit = arguments.worker
        worker = {"textclf": textclf, "pytorch": pytorch, "keras": keras_tutorial}[competitor]
        print(json.dumps(worker(encoder, Path(folder), int(limit))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        for name in arguments.data:
            folder = work / name
            if not (folder / "batches.npz").exists():
                dump(name, folder)
        if arguments.profile:
            for name in arguments.data:
                for encoder in arguments.encoders:
                    profile(encoder, work / name)
            return
        measurements = list(measure(arguments, work))
    if arguments.json:
        arguments.json.write_text(json.dumps(measurements, indent=1))
    print_table(measurements)


def measure(arguments: argparse.Namespace, work: Path) -> Iterator[dict[str, Any]]:
    """Yield the result of each process: seconds, texts and padded tokens."""
    for number in range(1, arguments.rounds + 1):
        for name in arguments.data:
            for encoder in arguments.encoders:
                # Another one begins in each round.
                order = [*arguments.competitors]
                order = order[number % len(order) :] + order[: number % len(order)]
                for competitor in order:
                    limit = str(arguments.batches or 0)
                    command = [sys.executable, __file__, "--worker", competitor, encoder]
                    done = subprocess.run(
                        [*command, str(work / name), limit],
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    if done.returncode:
                        sys.exit(done.stderr)
                    result = json.loads(done.stdout.splitlines()[-1])
                    result |= {"data": name, "encoder": encoder, "competitor": competitor}
                    result |= {"round": number}
                    print(
                        f"round {number}: {name} {encoder} {competitor} {result['seconds']:.1f} s",
                        file=sys.stderr,
                        flush=True,
                    )
                    yield result


def print_table(measurements: list[dict[str, Any]]) -> None:
    """Print medians and ratios to PyTorch as a Markdown table."""
    print("| data | encoder | competitor | seconds | ms per 1,000 padded tokens | to PyTorch |")
    print("|---|---|---|---:|---:|---:|")
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for result in measurements:
        group = groups.setdefault((result["data"], result["encoder"]), {})
        group.setdefault(result["competitor"], []).append(result)
    for (name, encoder), group in groups.items():
        for competitor, results in group.items():
            seconds = [result["seconds"] for result in results]
            rates = [1e6 * r["seconds"] / r["padded_tokens"] for r in results]
            ratio = ""
            if "pytorch" in group:
                pairs = zip(results, group["pytorch"], strict=True)
                ratios = [ours["seconds"] / theirs["seconds"] for ours, theirs in pairs]
                ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(
                f"| {name} | {encoder} | {competitor} | {statistics.median(seconds):.1f} | "
                f"{statistics.median(rates):.3f} | {ratio} |"
            )


# === The batches ===


def settings_of(name: str) -> Any:
    """Return the configuration of a data set with the network and training of the benchmark."""
    from textclf.config import Config

    path = Path(__file__).parents[1] / "configs" / f"{CONFIGS[name]}.yaml"
    changes: dict[str, Any] = {f"model.{key}": value for key, value in NETWORK.items()}
    changes |= {f"training.{key}": value for key, value in TRAINING.items()}
    changes |= {"text.max_tokens": VOCABULARY, "training.epochs": 1}
    return Config.load(path).replace(changes)


def dump(name: str, folder: Path) -> None:
    """Write the batches of the first epoch, and the texts of train, to a folder."""
    from textclf import batches, classifier, data, text
    from textclf.config import with_paths

    config = with_paths(settings_of(name))
    dataset = data.open_dataset(config.data)
    prepared = batches.prepare(
        dataset,
        folder=folder / "prepared",
        cache_dir=None,
        tokenizer=classifier.tokenizer_settings(config),
        encoder=classifier.encoder_settings(config),
        min_count=config.text.min_count,
        max_tokens=config.text.max_tokens,
        shuffle_buffer=config.training.shuffle_buffer,
    )
    arrays: dict[str, np.ndarray] = {}
    number = 0
    for number, batch in enumerate(
        batches.training_batches(
            prepared.train,
            **config.training.to_dict("batch_size", "length_buckets", "shuffle_buffer", "seed"),
            epoch=1,
        ),
        start=1,
    ):
        key = f"{number:06d}"
        arrays[f"{key}/token_ids"] = batch.features["token_ids"].numpy()
        arrays[f"{key}/lengths"] = batch.features["lengths"].numpy()
        arrays[f"{key}/labels"] = batch.targets.numpy().argmax(axis=1)
    tokens = len(text.read_vocabulary(prepared.vocabulary_path)) + text.NUM_RESERVED
    facts = {"name": name, "classes": len(dataset.class_names), "tokens": tokens}
    (folder / "facts.json").write_text(json.dumps(facts))
    with open(folder / "texts.jsonl", "w", encoding="utf-8") as file:
        for example in dataset.examples("train"):
            file.write(json.dumps([example.text, example.label_ids[0]]) + "\n")
    np.savez(folder / "batches.npz", **arrays)


def read_batches(folder: Path, limit: int) -> tuple[dict[str, Any], list[dict[str, np.ndarray]]]:
    """Return the facts of the data, and the batches: token_ids, lengths, labels."""
    batches: dict[str, dict[str, np.ndarray]] = {}
    with np.load(folder / "batches.npz") as arrays:
        for name in arrays:
            key, _, field = name.partition("/")
            if not limit or int(key) <= limit:
                batches.setdefault(key, {})[field] = arrays[name]
    return json.loads((folder / "facts.json").read_text()), list(batches.values())


def sizes(batches: list[dict[str, np.ndarray]]) -> dict[str, int]:
    return {
        "texts": sum(len(batch["lengths"]) for batch in batches),
        "padded_tokens": sum(batch["token_ids"].size for batch in batches),
    }


# === The competitors ===


def textclf(encoder: str, folder: Path, limit: int) -> dict[str, Any]:
    """Train the steps of one epoch with textclf's loop, which reads its shards."""
    from textclf.startup import import_tensorflow

    import_tensorflow()
    from textclf import training

    facts, batches = read_batches(folder, limit)
    config = settings_of(facts["name"]).replace(
        {"model.encoder": encoder, "training.cache_dir": str(folder / "cache")}
    )
    if limit:
        config = config.replace({"training.max_steps": limit})
    with tempfile.TemporaryDirectory() as temporary:
        started, last, losses = 0.0, 0.0, []
        for event in training.train_events(config, Path(temporary) / "run"):
            if isinstance(event, training.Step):
                last = time.perf_counter()
                started = started or last  # after the first step, which is traced
                losses.append(event.loss)
    assert len(losses) == len(batches)
    return {"seconds": last - started, "loss": float(np.mean(losses)), **sizes(batches[1:])}


def pytorch(encoder: str, folder: Path, limit: int) -> dict[str, Any]:
    """Train on the dumped batches with PyTorch."""
    import torch

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    torch.set_num_threads(os.cpu_count() or 1)
    facts, batches = read_batches(folder, limit)
    network = torch_network(encoder, facts)
    optimizer = torch.optim.Adam(network.parameters(), lr=TRAINING["learning_rate"], eps=1e-7)
    started, losses = 0.0, []
    for batch in batches:
        token_ids, lengths, labels = (
            torch.from_numpy(batch[name].astype(np.int64))
            for name in ("token_ids", "lengths", "labels")
        )
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(token_ids, lengths), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), TRAINING["clip_norm"])
        optimizer.step()
        losses.append(loss.item())
        last = time.perf_counter()
        started = started or last
    return {"seconds": last - started, "loss": float(np.mean(losses)), **sizes(batches[1:])}


def torch_network(encoder: str, facts: dict[str, Any]) -> Any:
    """Return the network of the benchmark in PyTorch; rows are padded on the right."""
    import torch

    recurrent = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "simple_rnn": torch.nn.RNN}[encoder]

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(facts["tokens"], NETWORK["embedding_dim"])
            torch.nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
            sizes = NETWORK["embedding_dim"], NETWORK["units"]
            self.forward_layer = recurrent(*sizes, batch_first=True)
            self.backward_layer = recurrent(*sizes, batch_first=True)
            self.dropout = torch.nn.Dropout(NETWORK["output_dropout"])
            self.dense = torch.nn.Linear(4 * NETWORK["units"], facts["classes"])

        def forward(self, token_ids: Any, lengths: Any) -> Any:
            steps = torch.arange(token_ids.shape[1])
            mirrored = lengths[:, None] - 1 - steps  # negative in the padding
            positions = torch.where(mirrored < 0, steps, mirrored)
            rows = torch.arange(len(lengths))[:, None]
            x = self.embedding(token_ids)
            forward, _ = self.forward_layer(x)
            backward, _ = self.backward_layer(x[rows, positions])
            outputs = torch.cat([forward, backward[rows, positions]], dim=-1)
            real = (steps < lengths[:, None])[:, :, None]
            largest = outputs.masked_fill(~real, -1e9).amax(dim=1)
            mean = (outputs * real).sum(dim=1) / lengths[:, None]
            return self.dense(self.dropout(torch.cat([largest, mean], dim=1)))

    return Network()


def keras_tutorial(encoder: str, folder: Path, limit: int) -> dict[str, Any]:
    """Train as the Keras tutorials do: `fit` on batches padded to their longest text."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    facts, batches = read_batches(folder, limit)
    rows = [json.loads(line) for line in (folder / "texts.jsonl").read_text().splitlines()]
    texts, labels = [row[0] for row in rows], [row[1] for row in rows]
    vectorization = keras.layers.TextVectorization(max_tokens=VOCABULARY)
    vectorization.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(1024))
    longest = max(batch["token_ids"].shape[1] for batch in batches)
    dataset = tf.data.Dataset.from_tensor_slices((texts, labels)).shuffle(len(texts), seed=0)
    dataset = dataset.batch(64).map(lambda text, label: (vectorization(text)[:, :longest], label))
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    layer = {
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
        "simple_rnn": keras.layers.SimpleRNN,
    }[encoder]
    model = keras.Sequential(
        [
            keras.layers.Embedding(VOCABULARY, NETWORK["embedding_dim"], mask_zero=True),
            keras.layers.Bidirectional(layer(NETWORK["units"])),
            keras.layers.Dropout(NETWORK["output_dropout"]),
            keras.layers.Dense(facts["classes"]),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(TRAINING["learning_rate"]), loss)
    times: list[float] = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: times.append(time.perf_counter())
    )
    history = model.fit(dataset.take(len(batches)), verbose=0, callbacks=[note])
    return {
        "seconds": times[-1] - times[0],
        "loss": history.history["loss"][0],
        **sizes(batches[1:]),
    }


# === Parts of a step ===


def profile(encoder: str, folder: Path, num_batches: int = 12, rounds: int = 3) -> None:
    """Print the time of the parts of a step, in milliseconds, and their share.

    Each part is a separate graph, run on every n-th batch; the rest of the whole step is what
    the parts do not explain.
    """
    from textclf.startup import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from textclf import batches as batches_module
    from textclf import networks, tasks
    from textclf.networks.encoder import reverse_within_lengths
    from textclf.training.optimization import Optimizer, TrainStep

    tf.config.experimental.enable_op_determinism()
    facts, all_batches = read_batches(folder, 0)
    chosen = all_batches[:: max(len(all_batches) // num_batches, 1)]
    config = settings_of(facts["name"]).replace({"model.encoder": encoder})
    network = networks.build(
        networks.Architecture.from_settings(config.model.to_dict()),
        vocabulary_size=facts["tokens"],
        num_classes=facts["classes"],
    )
    optimizer = Optimizer(network, config.training)
    task = tasks.OneOf(facts["classes"])
    step = TrainStep(
        network,
        optimizer,
        task,
        config.training,
        class_weights=[1.0] * facts["classes"],
        strategy=tf.distribute.get_strategy(),
    )
    tensors = [
        batches_module.Batch(
            {"token_ids": tf.constant(b["token_ids"]), "lengths": tf.constant(b["lengths"])},
            tf.one_hot(b["labels"], facts["classes"]),
            tf.ones(len(b["lengths"])),
            tf.range(len(b["lengths"])),
        )
        for b in chosen
    ]
    bidirectional = network.encoder.stack[0]
    layers = bidirectional.forward_layer, bidirectional.backward_layer
    embedding = network.encoder.embedding.embeddings

    def gradient_of(function: Any, x: Any, variables: Any = ()) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, [x, *variables], output_gradients=tf.ones_like(y))

    @tf.function(reduce_retracing=True, autograph=False)
    def layer(x: Any, lengths: Any) -> Any:
        return [
            gradient_of(
                lambda x, one=one: one(x, training=True),
                x,
                [v.value for v in one.trainable_variables],
            )
            for one in layers
        ]

    @tf.function(reduce_retracing=True, autograph=False)
    def layer_forward(x: Any, lengths: Any) -> Any:
        return [one(x, training=True) for one in layers]

    @tf.function(reduce_retracing=True, autograph=False)
    def reversal(x: Any, lengths: Any) -> Any:
        outputs = tf.concat([x, x], axis=-1)[:, :, : NETWORK["units"]]
        return [
            gradient_of(lambda value: reverse_within_lengths(value, lengths), value)
            for value in (x, outputs)
        ]

    @tf.function(reduce_retracing=True, autograph=False)
    def pooling(x: Any, lengths: Any) -> Any:
        outputs = tf.concat([x, x], axis=-1)[:, :, : 2 * NETWORK["units"]]
        return gradient_of(lambda value: network.head.pool(value, lengths), outputs)

    @tf.function(reduce_retracing=True, autograph=False)
    def lookup(x: Any, lengths: Any, token_ids: Any) -> Any:
        with tf.GradientTape() as tape:
            y = tf.gather(embedding.value, token_ids)
        return tf.convert_to_tensor(tape.gradient(y, embedding.value, output_gradients=x))

    gradients = [tf.fill(v.shape, 0.01) for v in network.trainable_variables]

    @tf.function(autograph=False)
    def norms_and_clip() -> Any:
        norms = tf.stack([tf.norm(gradient) for gradient in gradients])
        clipped, _ = tf.clip_by_global_norm(gradients, 1.0)
        return norms, [tf.where(tf.math.is_finite(norms[0]), g, 0.0) for g in clipped]

    @tf.function(autograph=False)
    def update() -> Any:
        optimizer.apply(gradients, is_frozen=False)

    def seconds(run: Any) -> float:
        for batch in tensors:
            run(batch)
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            for batch in tensors:
                run(batch)
            times.append(time.perf_counter() - started)
        return 1000 * statistics.median(times) / len(tensors)

    def vectors(batch: Any) -> Any:
        return tf.gather(embedding.value, batch.features["token_ids"])

    embedded = {id(batch): vectors(batch) for batch in tensors}
    parts = {
        "step": lambda b: step(b, step=0, is_frozen=False),
        "layer forward": lambda b: layer_forward(embedded[id(b)], b.features["lengths"]),
        "layer forward and backward": lambda b: layer(embedded[id(b)], b.features["lengths"]),
        "reversal": lambda b: reversal(embedded[id(b)], b.features["lengths"]),
        "pooling": lambda b: pooling(embedded[id(b)], b.features["lengths"]),
        "embedding": lambda b: lookup(
            embedded[id(b)], b.features["lengths"], b.features["token_ids"]
        ),
        "norms and clipping": lambda b: norms_and_clip(),
        "optimizer": lambda b: update(),
    }
    milliseconds = {name: seconds(run) for name, run in parts.items()}
    whole = milliseconds.pop("step")
    forward = milliseconds.pop("layer forward")
    rest = whole - sum(milliseconds.values())
    print(f"{facts['name']} {encoder}: a step takes {whole:.1f} ms")
    for name, value in {**milliseconds, "the rest": rest}.items():
        more = f" (forward {forward:.1f})" if name.startswith("layer") else ""
        print(f"  {name:28} {value:7.1f} ms {value / whole:6.1%}{more}")


if __name__ == "__main__":
    main()
