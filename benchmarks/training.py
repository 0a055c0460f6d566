"""Training time: textclf, a careful PyTorch loop, and the Keras tutorial's pipeline.

    python benchmarks/training.py [--data imdb sst2 trec] [--encoders lstm gru simple_rnn]
        [--rounds 3] [--batches N] [--epochs N] [--target SCORE] [--json FILE]
    python benchmarks/training.py --profile [--data imdb]

Needs TEXTCLF_DATA and the extra `bench`. Each competitor is a separate process; they alternate in
each round, so that other load on the machine affects all of them. The ratios are medians over the
rounds.

- textclf: the training loop, without its linear model. The network is that of `NETWORK`.
- PyTorch: the same batches, dumped from the shards, in the same order, with the same pooling,
  dropout, clipping and Adam; denormal numbers are flushed to zero.
- Keras: `TextVectorization`, `Embedding(mask_zero=True)`, `Bidirectional` and `fit`, on batches of
  64 texts in random order, each padded to its longest text.
- layer-textclf, layer-pytorch: the recurrent layers alone, forward and backward, on vectors of the
  widths of the same batches.

The time is that of the training steps, or of the first N of each epoch, after the first steps that
warm up; validation is not included. `--target` adds the training time until the first epoch whose
validation accuracy reaches it. `--network default` takes the network of `textclf init` instead.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Settings of section `model`; the second ones are those that `textclf init` writes.
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
DEFAULT_NETWORK = {"token_dropout": 0.1, "embedding_dropout": 0.4, "output_dropout": 0.5}
TRAINING = {"batch_size": 64, "learning_rate": 1e-3, "clip_norm": 1.0, "patience_epochs": 0}
CONFIGS = {"imdb": "imdb_reviews", "sst2": "sst2", "trec": "trec"}
COMPETITORS = ("textclf", "pytorch", "keras")
LAYERS = ("layer-textclf", "layer-pytorch")
_WARM_UP = 2  # steps: the first one is traced, and textclf makes single calls for both
VOCABULARY = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--encoders", nargs="+", default=["lstm"])
    parser.add_argument(
        "--competitors",
        nargs="+",
        choices=[*COMPETITORS, *LAYERS],
        default=[*COMPETITORS, *LAYERS],
    )
    parser.add_argument("--network", choices=("benchmark", "default"), default="benchmark")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, help="first batches of the epoch; default: all")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of each training")
    parser.add_argument("--target", type=float, help="validation accuracy, such as 0.87")
    parser.add_argument("--profile", action="store_true", help="time of the parts of a step")
    parser.add_argument(
        "--nondeterministic", action="store_true", help="profile without op determinism"
    )
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    parser.add_argument("--work", type=Path, help="folder that keeps the batches for later runs")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.batches and arguments.epochs > 1:
        parser.error("--batches applies to one epoch; omit --epochs")
    if arguments.network == "default":
        NETWORK.update(DEFAULT_NETWORK)
    if arguments.worker:
        competitor, encoder, folder = arguments.worker
        if competitor == "dump":
            dump(encoder, Path(folder))
            return
        run = Run(encoder, Path(folder), arguments.batches or 0, arguments.epochs)
        print(json.dumps(WORKERS[competitor](run)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        for name in arguments.data:
            folder = work / name
            if not (folder / "facts.json").exists():
                # In a separate process: a child inherits its parent's peak of memory.
                command = [sys.executable, __file__, "--worker", "dump", name, str(folder)]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        if arguments.profile:
            for name, encoder in itertools.product(arguments.data, arguments.encoders):
                profile(Run(encoder, work / name, 0, 1), not arguments.nondeterministic)
            return
        measurements = list(measure(arguments, work))
    if arguments.json:
        arguments.json.write_text(json.dumps(measurements, indent=1))
    print_table(measurements, arguments.target)


def measure(arguments: argparse.Namespace, work: Path) -> Iterator[dict[str, Any]]:
    """Yield the result of each process: seconds, texts, padded tokens, accuracies by epoch."""
    options = ["--epochs", str(arguments.epochs), "--network", arguments.network]
    if arguments.batches:
        options += ["--batches", str(arguments.batches)]
    cases = itertools.product(range(1, arguments.rounds + 1), arguments.data, arguments.encoders)
    for number, name, encoder in cases:
        # Another one begins in each round.
        order = [*arguments.competitors]
        order = order[number % len(order) :] + order[: number % len(order)]
        for competitor in order:
            command = [sys.executable, __file__, "--worker", competitor, encoder]
            done = subprocess.run(
                [*command, str(work / name), *options], capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(done.stderr)
            result = json.loads(done.stdout.splitlines()[-1])
            result |= {"data": name, "encoder": encoder, "competitor": competitor}
            result |= {"round": number}
            print(
                f"round {number}: {name} {encoder} {competitor} {sum(result['seconds']):.1f} s, "
                f"accuracy {result.get('accuracies')}",
                file=sys.stderr,
                flush=True,
            )
            yield result


def print_table(measurements: list[dict[str, Any]], target: float | None) -> None:
    """Print medians and ratios to PyTorch as a Markdown table."""
    print(
        "| data | encoder | competitor | ms a step | ms per 1,000 padded tokens | to PyTorch | "
        "validation accuracy | peak MB |"
    )
    print("|---|---|---|---:|---:|---:|---|---:|")
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for result in measurements:
        group = groups.setdefault((result["data"], result["encoder"]), {})
        group.setdefault(result["competitor"], []).append(result)
    for (name, encoder), group in groups.items():
        for competitor, results in group.items():
            step = statistics.median(1e3 * sum(r["seconds"]) / r["steps"] for r in results)
            rate = statistics.median(1e6 * sum(r["seconds"]) / r["padded_tokens"] for r in results)
            peer = "layer-pytorch" if competitor in LAYERS else "pytorch"
            accuracies = [r["accuracies"][-1] for r in results if r.get("accuracies")]
            print(
                f"| {name} | {encoder} | {competitor} | {step:.1f} | {rate:.3f} | "
                f"{_ratio(results, group.get(peer, []))} | {_range(accuracies, '.3f')} | "
                f"{max(r['peak_mb'] for r in results):,.0f} |"
            )
        if {"textclf", "pytorch", *LAYERS} <= set(group):
            layers = _ratios(group["layer-textclf"], group["layer-pytorch"])
            epochs = _ratios(group["textclf"], group["pytorch"])
            relative = [epoch / layer for epoch, layer in zip(epochs, layers, strict=True)]
            print(
                f"\n{name} {encoder}: epoch to (PyTorch's epoch x ratio of the layers): "
                f"{_range(relative)}\n"
            )
        if {"textclf", "keras"} <= set(group):
            print(
                f"{name} {encoder}: epoch to that of the Keras tutorial, a step each: "
                f"{_ratio(group['textclf'], group['keras'])}\n"
            )
        if target is not None:
            for competitor in COMPETITORS:
                times = [_time_to(result, target) for result in group.get(competitor, [])]
                shown = ", ".join("not reached" if t is None else f"{t:.0f} s" for t in times)
                print(f"{name} {encoder} {competitor}: to accuracy {target}: {shown}")


def _time_to(result: dict[str, Any], target: float) -> float | None:
    """Return the training seconds until an epoch whose accuracy reaches the target."""
    for number, accuracy in enumerate(result["accuracies"], start=1):
        if accuracy >= target:
            return sum(result["seconds"][:number])
    return None


def _ratios(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[float]:
    """Return the ratios of the times of a step, by round."""
    return [
        sum(a["seconds"]) / a["steps"] / (sum(b["seconds"]) / b["steps"])
        for a, b in zip(ours, theirs, strict=True)
    ]


def _ratio(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    return _range(_ratios(ours, theirs)) if theirs else ""


def _range(values: list[float], form: str = ".2f") -> str:
    """Return the median with the smallest and the largest value; empty without values."""
    if not values:
        return ""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


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
    order = config.training.to_dict("batch_size", "length_buckets", "shuffle_buffer", "seed")
    for file, source in (
        ("batches.npz", batches.training_batches(prepared.train, **order, epoch=1)),
        ("validation.npz", batches.ordered_batches(prepared.validation, batch_size=256)),
    ):
        arrays: dict[str, np.ndarray] = {}
        for number, batch in enumerate(source, start=1):
            key = f"{number:06d}"
            arrays[f"{key}/token_ids"] = batch.features["token_ids"].numpy()
            arrays[f"{key}/lengths"] = batch.features["lengths"].numpy()
            arrays[f"{key}/labels"] = batch.targets.numpy().argmax(axis=1)
        np.savez(folder / file, **arrays)
    tokens = len(text.read_vocabulary(prepared.vocabulary_path)) + text.NUM_RESERVED
    facts = {"name": name, "classes": len(dataset.class_names), "tokens": tokens}
    (folder / "facts.json").write_text(json.dumps(facts))
    for split in ("train", "validation"):
        with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as lines:
            for example in dataset.examples(split):
                lines.write(json.dumps([example.text, example.label_ids[0]]) + "\n")


class Run(NamedTuple):
    """A training to measure.

    Attributes:
        encoder: a key of `networks.ENCODERS`.
        folder: of the data, see `dump`.
        limit: first batches of an epoch to train on; 0 for all.
        epochs: number of epochs.
    """

    encoder: str
    folder: Path
    limit: int
    epochs: int

    def facts(self) -> dict[str, Any]:
        """Return name, number of classes and number of tokens of the data."""
        return json.loads((self.folder / "facts.json").read_text())

    def batches(self, file: str = "batches.npz") -> list[dict[str, np.ndarray]]:
        """Return the batches of a file: token_ids, lengths, labels."""
        found: dict[str, dict[str, np.ndarray]] = {}
        limit = self.limit if file == "batches.npz" else 0
        with np.load(self.folder / file) as arrays:
            for name in arrays:
                key, _, field = name.partition("/")
                if not limit or int(key) <= limit:
                    found.setdefault(key, {})[field] = arrays[name]
        return list(found.values())

    def texts(self, split: str) -> tuple[list[str], list[int]]:
        """Return texts and labels of a split."""
        lines = (self.folder / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        return [row[0] for row in rows], [row[1] for row in rows]

    def result(self, seconds: list[float], accuracies: Sequence[float] = ()) -> dict[str, Any]:
        """Return the result of a worker.

        Args:
            seconds: of the steps of each epoch, without the first steps of the training.
            accuracies: on validation after each epoch.
        """
        batches = self.batches()
        counted = batches[_WARM_UP:] + batches * (self.epochs - 1)
        return {
            "seconds": seconds,
            "steps": len(counted),
            "padded_tokens": sum(batch["token_ids"].size for batch in counted),
            "accuracies": list(accuracies),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


# === The competitors ===


def textclf(run: Run) -> dict[str, Any]:
    """Train with textclf's loop, which reads its shards."""
    from textclf.startup import import_tensorflow

    import_tensorflow()
    from textclf import training

    changes: dict[str, Any] = {"model.encoder": run.encoder, "training.epochs": run.epochs}
    changes |= {"training.cache_dir": str(run.folder / "cache")}
    if run.limit:
        changes |= {"training.max_steps": run.limit}
    config = settings_of(run.facts()["name"]).replace(changes)
    seconds, accuracies = [], []
    with tempfile.TemporaryDirectory() as temporary:
        before, is_first = 0.0, True
        for event in training.train_events(config, Path(temporary) / "run"):
            now = time.perf_counter()
            if isinstance(event, training.Step):
                if is_first and event.step <= _WARM_UP:
                    before, seconds = now, [0.0]
                    continue
                if event.step == 1:
                    seconds.append(0.0)
                is_first = False
                seconds[-1] += now - before
            elif isinstance(event, training.Epoch):
                accuracies.append(event.figures["val_accuracy"])
            before = now
    return run.result(seconds, accuracies)


def pytorch(run: Run) -> dict[str, Any]:
    """Train on the dumped batches with PyTorch."""
    import torch

    _prepare_torch()
    network = torch_network(run.encoder, run.facts())
    optimizer = torch.optim.Adam(network.parameters(), lr=TRAINING["learning_rate"], eps=1e-7)
    random = np.random.default_rng(0)
    batches = run.batches()
    seconds, accuracies = [], []
    for epoch in range(run.epochs):
        network.train()
        started = time.perf_counter()
        for number, batch in enumerate(batches):
            if epoch == 0 and number == _WARM_UP:
                started = time.perf_counter()
            token_ids, lengths, labels = _torch_batch(batch)
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(token_ids, lengths), labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), TRAINING["clip_norm"])
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - started)
        network.eval()
        right, total = 0, 0
        with torch.no_grad():
            for batch in run.batches("validation.npz"):
                token_ids, lengths, labels = _torch_batch(batch)
                right += int((network(token_ids, lengths).argmax(dim=1) == labels).sum())
                total += len(labels)
        accuracies.append(right / total)
        random.shuffle(batches)
    return run.result(seconds, accuracies)


def _prepare_torch() -> None:
    import torch

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    torch.set_num_threads(os.cpu_count() or 1)


def _torch_batch(batch: dict[str, np.ndarray]) -> list[Any]:
    import torch

    names = ("token_ids", "lengths", "labels")
    return [torch.from_numpy(batch[name].astype(np.int64)) for name in names]


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


def keras_tutorial(run: Run) -> dict[str, Any]:
    """Train as the Keras tutorials do: `fit` on batches padded to their longest text."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    facts, batches = run.facts(), run.batches()
    texts, labels = run.texts("train")
    vectorization = keras.layers.TextVectorization(max_tokens=VOCABULARY)
    vectorization.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(1024))
    longest = max(batch["token_ids"].shape[1] for batch in batches)

    def encoded(data: Any) -> Any:
        data = data.batch(64).map(lambda text, label: (vectorization(text)[:, :longest], label))
        return data.prefetch(tf.data.AUTOTUNE)

    train = tf.data.Dataset.from_tensor_slices((texts, labels)).shuffle(len(texts), seed=0)
    validation = tf.data.Dataset.from_tensor_slices(run.texts("validation"))
    layer = {
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
        "simple_rnn": keras.layers.SimpleRNN,
    }[run.encoder]
    model = keras.Sequential(
        [
            keras.layers.Embedding(VOCABULARY, NETWORK["embedding_dim"], mask_zero=True),
            keras.layers.Bidirectional(layer(NETWORK["units"])),
            keras.layers.Dropout(NETWORK["output_dropout"]),
            keras.layers.Dense(facts["classes"]),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(TRAINING["learning_rate"]), loss, metrics=["accuracy"])
    seconds, accuracies = [], []
    for epoch in range(run.epochs):
        times: list[float] = []
        note = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, times=times: times.append(time.perf_counter())
        )
        started = time.perf_counter()
        model.fit(encoded(train).take(len(batches)), verbose=0, callbacks=[note])
        seconds.append(times[-1] - (started if epoch else times[_WARM_UP - 1]))
        accuracies.append(model.evaluate(encoded(validation), verbose=0)[1])
    return run.result(seconds, accuracies)


def layer_textclf(run: Run) -> dict[str, Any]:
    """Run the recurrent layers of textclf forward and backward."""
    from textclf.startup import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    both = layers_graph(build_network(run).encoder.stack[0])
    random = np.random.default_rng(0)
    shapes = [batch["token_ids"].shape for batch in run.batches()]
    vectors = tf.constant(random.normal(size=(64, max(t for _, t in shapes), 100)), tf.float32)

    def step(rows: int, width: int) -> None:
        both(vectors[:rows, :width], vectors[:rows, :width])

    return run.result([_seconds_of(step, shapes)])


def layer_pytorch(run: Run) -> dict[str, Any]:
    """Run the recurrent layers of PyTorch forward and backward."""
    import torch

    _prepare_torch()
    network = torch_network(run.encoder, run.facts())
    shapes = [batch["token_ids"].shape for batch in run.batches()]
    vectors = torch.randn(64, max(t for _, t in shapes), 100)

    def step(rows: int, width: int) -> None:
        x = vectors[:rows, :width].clone().requires_grad_()
        forward, _ = network.forward_layer(x)
        backward, _ = network.backward_layer(x)
        torch.autograd.backward([forward, backward], [torch.ones_like(forward)] * 2)

    return run.result([_seconds_of(step, shapes)])


def _seconds_of(step: Callable[[int, int], None], shapes: list[tuple[int, int]]) -> float:
    """Return the seconds of a function on shapes of batches, without the first ones."""
    for shape in shapes[:_WARM_UP]:
        step(*shape)
    started = time.perf_counter()
    for shape in shapes[_WARM_UP:]:
        step(*shape)
    return time.perf_counter() - started


def build_network(run: Run) -> Any:
    """Return the network of a run with random weights."""
    from textclf import networks

    facts = run.facts()
    config = settings_of(facts["name"]).replace({"model.encoder": run.encoder})
    return networks.build(
        networks.Architecture.from_settings(config.model.to_dict()),
        vocabulary_size=facts["tokens"],
        num_classes=facts["classes"],
    )


def layers_graph(bidirectional: Any) -> Any:
    """Return a graph of both recurrent layers, forward and backward, as a function of inputs."""
    import tensorflow as tf

    layers = bidirectional.forward_layer, bidirectional.backward_layer
    variables = [v.value for layer in layers for v in layer.trainable_variables]
    # As in the training step: one graph for all shapes, so that no round measures a tracing.
    signature = tf.TensorSpec([None, None, NETWORK["embedding_dim"]], tf.float32)

    @tf.function(input_signature=[signature, signature], autograph=False)
    def both(x: Any, reversed_x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, reversed_x])
            outputs = [
                layer(inputs, training=True)
                for layer, inputs in zip(layers, (x, reversed_x), strict=True)
            ]
        ones = [tf.ones_like(output) for output in outputs]
        return tape.gradient(outputs, [x, reversed_x, *variables], output_gradients=ones)

    return both


WORKERS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "textclf": textclf,
    "pytorch": pytorch,
    "keras": keras_tutorial,
    "layer-textclf": layer_textclf,
    "layer-pytorch": layer_pytorch,
}


# === Parts of a step ===


def profile(run: Run, is_deterministic: bool, num_batches: int = 12, rounds: int = 5) -> None:
    """Print the time of the parts of a step, in milliseconds, and their share.

    Each part is a separate graph, run on every n-th batch; what the parts do not explain is the
    rest. "Synchronisation" is what a call of the graph for each step adds to one call for all.
    """
    from textclf.startup import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from textclf import batches as batches_module
    from textclf import tasks
    from textclf.networks.encoder import reverse_within_lengths
    from textclf.training.optimization import Optimizer, TrainStep

    if is_deterministic:
        tf.config.experimental.enable_op_determinism()
    facts, all_batches = run.facts(), run.batches()
    chosen = all_batches[:: max(len(all_batches) // num_batches, 1)]
    config = settings_of(facts["name"])
    network = build_network(run)
    optimizer = Optimizer(network, config.training)
    train_step = TrainStep(
        network,
        optimizer,
        tasks.OneOf(facts["classes"]),
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
    specification = tf.nest.map_structure(
        lambda x: tf.TensorSpec([None] * x.shape.rank, x.dtype), tensors[0]
    )
    specification.features["token_ids"] = tf.TensorSpec([None, None], tf.int32)
    source = tf.data.Dataset.from_generator(
        lambda: itertools.cycle(tensors), output_signature=specification
    ).prefetch(2)
    table = network.encoder.embedding.embeddings
    width = NETWORK["units"]
    both = layers_graph(network.encoder.stack[0])
    others = [v for v in network.trainable_variables if v is not table]
    other_gradients = [tf.fill(v.shape, 0.01) for v in others]

    def graph(function: Any) -> Any:
        return tf.function(function, reduce_retracing=True, autograph=False)

    def gradient_of(function: Any, x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x, output_gradients=tf.ones_like(y))

    @graph
    def reversal(x: Any, lengths: Any) -> Any:
        return [
            gradient_of(lambda value: reverse_within_lengths(value, lengths), value)
            for value in (x, x[:, :, :width])
        ]

    @graph
    def pooling(x: Any, lengths: Any) -> Any:
        outputs = tf.concat([x, x], axis=-1)[:, :, : 2 * width]
        return gradient_of(lambda value: network.head.pool(value, lengths), outputs)

    @graph
    def lookup(token_ids: Any, x: Any) -> Any:
        rows = optimizer.gather(token_ids, lowest=0)
        vectors = tf.gather(table.value, token_ids)
        flat = tf.reshape(x, [-1, x.shape[-1]])
        return vectors, rows.sum_gradient(tf.IndexedSlices(flat, tf.reshape(token_ids, [-1])))

    @graph
    def clip(gradients: Any) -> Any:
        norms = tf.stack([tf.norm(gradient) for gradient in gradients])
        return tf.clip_by_global_norm(gradients, 1.0, tf.norm(norms))

    @graph
    def update(token_ids: Any, gradient: Any) -> None:
        rows = optimizer.gather(token_ids, lowest=0)
        optimizer.apply([gradient, *other_gradients], lowest=0, rows=rows)

    @graph
    def gather_only(token_ids: Any) -> Any:
        return optimizer.gather(token_ids, lowest=0)

    vectors = [tf.gather(table.value, b.features["token_ids"]) for b in tensors]
    lengths = [b.features["lengths"] for b in tensors]
    ids = [b.features["token_ids"] for b in tensors]
    sums = [lookup(i, x)[1] for i, x in zip(ids, vectors, strict=True)]
    number = len(tensors)
    iterator = iter(source)
    rates = [TRAINING["learning_rate"]]

    def each(function: Any, *arguments: Any) -> Callable[[], None]:
        def call() -> None:
            for values in zip(*arguments, strict=True):
                function(*values)

        return call

    def single_steps() -> None:
        for _ in range(number):
            train_step(iterator, rates, step=0, lowest=0)

    runs: dict[str, Callable[[], Any]] = {
        "steps in one call": lambda: train_step(iterator, rates * number, step=0, lowest=0),
        "steps in one call each": single_steps,
        "recurrent layers": each(both, vectors, vectors),
        "reversal": each(reversal, vectors, lengths),
        "pooling": each(pooling, vectors, lengths),
        "embedding": each(lookup, ids, vectors),
        "norms and clipping": each(lambda g: clip([g, *other_gradients]), sums),
        "embedding rows": each(gather_only, ids),
        "optimizer": each(update, ids, sums),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for call in runs.values():
        call()
    for _ in range(rounds):  # in turn, because the machine's speed changes
        for name, call in runs.items():
            started = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - started) / number)
    milliseconds = {name: statistics.median(values) for name, values in times.items()}
    whole = milliseconds.pop("steps in one call")
    milliseconds["optimizer"] -= milliseconds.pop("embedding rows")
    single = milliseconds.pop("steps in one call each")
    around = whole - milliseconds["recurrent layers"]
    milliseconds["the rest, and waiting for data"] = whole - sum(milliseconds.values())
    print(
        f"{facts['name']} {run.encoder}: a step takes {whole:.1f} ms; around the layers "
        f"{around / whole:.0%}; synchronisation after each step {single - whole:+.1f} ms"
    )
    for name, value in milliseconds.items():
        print(f"  {name:32} {value:7.1f} ms {value / whole:6.1%}")


if __name__ == "__main__":
    main()
