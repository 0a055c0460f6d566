"""One run in a process of its own: train or fit, test once, measure, write one file.

    python -m textclf.study.worker

The job is a line of JSON on stdin, which stays open: when it ends, whoever wanted the run is gone,
and so is the process. Progress goes to stdout, a JSON list [stage, done, total] a line; the last
line is {"result": ...} or {"failed": ...}. What TensorFlow has to say goes to stderr.
"""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

import textclf
from textclf import artifact, baselines, data, evaluation
from textclf.config import Config, from_dict, with_paths
from textclf.errors import DataError, TextclfError, TrainingError
from textclf.startup import import_tensorflow
from textclf.study.budget import without_end

LATENCY_TEXTS = 100  # answered one at a time, after as many to warm up
THROUGHPUT_SECONDS = 1.0
ESTIMATE_STEPS = 30

Tell = Callable[[str, int, int], None]


def main() -> None:
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Nothing else may stand between the lines, whether Python prints it or a library in C.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)

    def write(value: Any) -> None:
        out.write(json.dumps(value) + "\n")
        out.flush()

    said = 0.0

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > 0.2 or done == total:
            said = time.monotonic()
            write([stage, done, total])

    try:
        write({"result": run(job, tell)})
    except TextclfError as error:
        write({"failed": str(error)})
    except MemoryError:
        write({"failed": "there is not enough memory"})


def _end_with_parent() -> None:
    # Not sys.stdin, whose lock would be held when this process ends by itself.
    while os.read(0, 1024):
        pass
    os._exit(1)


def run(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Makes one run.

    Args:
        job: `name`, `kind`, `cell`, `config` (as `Config.to_dict` gives it), `folder` (of the
            benchmark), and what the kind needs besides.
        tell: told how far it is.

    Returns:
        What the result file holds, besides what the run is.

    Raises:
        TextclfError: it cannot be made.
    """
    folder = Path(job["folder"])
    config, _ = from_dict(job["config"])
    if "baseline" not in (job["kind"], job.get("measured")):
        import_tensorflow()
    if job["kind"] == "estimate":
        return _estimate(config, tell)
    started, code = time.time(), code_fingerprint()
    found = _KINDS[job["kind"]](job, config, folder, tell)
    return {
        **found,
        "started": started,
        "ended": time.time(),
        "code": code,
        "versions": _versions(),
        "machine": {
            "host": platform.node(),
            "cpus": os.cpu_count(),
            "processor": platform.machine(),
        },
    }


def code_fingerprint() -> str:
    """SHA-256 of textclf's own modules, in hexadecimal digits."""
    digest = hashlib.sha256()
    package = Path(textclf.__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


# === The kinds ===


class _Data:
    """The data of a run, which are the same for all runs of a data set."""

    def __init__(self, job: dict[str, Any], config: Config, folder: Path, tell: Tell):
        self.job, self.folder, self.tell = job, folder, tell
        settings = with_paths(config)
        self.dataset = data.open_dataset(on_progress=tell, **settings.data.to_dict())
        self.described = _check_dataset(job, self.dataset, folder)
        # The encoded texts are the same for all runs with the same text settings.
        training = replace(config.training, cache_dir=str(folder / "cache" / job["dataset"]))
        self.config = replace(config, training=training)

    @functools.cached_property
    def texts(self) -> list[str]:
        """Texts to measure with: validation's, so that the test split is read once."""
        split = "validation" if "validation" in self.dataset.splits else "train"
        examples = itertools.islice(self.dataset.examples(split), 512)
        return [example.text for example in examples]


@dataclasses.dataclass
class _Trained:
    """How a training went."""

    output: Path
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    steps: int = 0
    epochs: float = 0.0  # the last one may have ended before its end
    epoch_seconds: list[float] = dataclasses.field(default_factory=list)
    peak_memory_mb: float = 0.0


def _train(found: _Data, config: Config, output: Path) -> _Trained:
    from textclf import training

    shutil.rmtree(output, ignore_errors=True)  # left by a run that was killed before its end
    trained = _Trained(output)
    total = steps_per_epoch = 0
    for event in training.train(config, output, overwrite=False, on_progress=found.tell):
        if isinstance(event, training.Started):
            total = event.total_steps
        elif isinstance(event, training.Step):
            trained.steps += 1
            steps_per_epoch = event.steps_per_epoch
            found.tell("training", trained.steps, total)
        elif isinstance(event, training.Epoch):
            trained.history.append(event.figures)
            trained.epoch_seconds.append(event.seconds)
            trained.epochs = trained.steps / steps_per_epoch
    trained.peak_memory_mb = _peak_memory_mb()
    return trained


def _network(job: dict[str, Any], config: Config, folder: Path, tell: Tell) -> dict[str, Any]:
    from textclf import classifier

    found = _Data(job, config, folder, tell)
    trained = _train(found, found.config, folder / "models" / job["name"])
    model = classifier.load(trained.output)
    num_reads = _log_test_read(job, folder)
    scores = model.score(found.dataset, "test", tell)
    tell("measuring gradients", 0, 0)
    gradients = gradient_by_distance(model, found.texts)
    report = model.report(scores, **config.evaluation.to_dict())
    return {
        "validation": model.card.validation["metrics"],
        "test": report.to_dict()["metrics"],
        "test_reads": num_reads,
        "history": trained.history,
        "steps": trained.steps,
        "best_epoch": model.card.training["best_epoch"],
        "ended_by": model.card.training["ended_by"],
        "thresholds": None if model.card.thresholds is None else list(model.card.thresholds),
        "gradient_by_distance": gradients,
        "cost": _cost(found, trained, model),
        "data": found.described,
        "vocabulary": artifact.sha256(trained.output / artifact.VOCABULARY),
        "probabilities": pack(to_float16(scores.p, model.card.thresholds)),
        "num_tokens": pack(scores.num_tokens.astype(np.int32)),
        "y_true": pack(scores.y_true.astype(np.uint8 if scores.y_true.ndim == 2 else np.int16)),
    }


def _baseline(job: dict[str, Any], config: Config, folder: Path, tell: Tell) -> dict[str, Any]:
    found = _Data(job, config, folder, tell)
    dataset = found.dataset
    model, cost = _fitted(found, config)
    thresholds = None
    if dataset.multi_label:
        validation_texts, y_validation = baselines.texts_and_classes(dataset, "validation", tell)
        thresholds = evaluation.choose_thresholds(
            y_validation, model.predict_proba(validation_texts)
        )
    num_reads = _log_test_read(job, folder)
    test_texts, y_true = baselines.texts_and_classes(dataset, "test", tell)
    p = model.predict_proba(test_texts)
    report = evaluation.evaluate(
        y_true,
        p,
        class_names=dataset.class_names,
        multi_label=dataset.multi_label,
        thresholds=thresholds,
        **config.evaluation.to_dict(),
    )
    return {
        "validation": None,
        "test": report.to_dict()["metrics"],
        "test_reads": num_reads,
        "description": model.describe(),
        "thresholds": None if thresholds is None else [float(t) for t in thresholds],
        "cost": cost,
        "data": found.described,
        "probabilities": pack(to_float16(p, thresholds)),
        "y_true": pack(y_true.astype(np.uint8 if y_true.ndim == 2 else np.int16)),
    }


def _fitted(found: _Data, config: Config) -> tuple[baselines.Baseline, dict[str, Any]]:
    """A baseline and its cost."""
    texts, y = baselines.texts_and_classes(found.dataset, "train", found.tell)
    found.tell("fitting", 0, 0)
    fit = functools.partial(
        baselines.fit,
        found.job["cell"],
        class_names=found.dataset.class_names,
        multi_label=found.dataset.multi_label,
        unit="character" if config.text.unit == "character" else "auto",
        seed=config.training.seed,
    )
    with contextlib.suppress(DataError):  # imports what it needs, which is no part of the fit
        fit(texts[:100], y[:100])
    started = time.monotonic()
    model = fit(texts, y)
    return model, {
        "training_seconds": round(time.monotonic() - started, 2),
        "peak_memory_mb": round(_peak_memory_mb(), 1),
        **_speed(model.predict_proba, found.texts),
    }


def _calibration(job: dict[str, Any], config: Config, folder: Path, tell: Tell) -> dict[str, Any]:
    """How many steps a cell makes in the time that it is allowed."""
    found = _Data(job, config, folder, tell)
    seconds, steps = _steps_within(found.config, 60 * job["minutes"], tell)
    return {"steps": steps, "seconds": round(seconds, 2)}


def _measurement(job: dict[str, Any], config: Config, folder: Path, tell: Tell) -> dict[str, Any]:
    """The cost of a run that was made while others were, measured alone.

    Two epochs are trained. The first one also traces; the training is taken to have gone on as the
    second did.
    """
    found = _Data(job, config, folder, tell)
    if job["measured"] == "baseline":
        return {"cost": _fitted(found, config)[1]}
    from textclf import classifier

    with tempfile.TemporaryDirectory() as temporary:
        twice = from_dict(
            found.config.to_dict(),
            ["training.epochs=2", "training.max_steps=", "training.patience_epochs=0"],
        )[0]
        trained = _train(found, twice, Path(temporary) / "run")
        if len(trained.epoch_seconds) < 2:
            raise TrainingError("its loss or a gradient was not finite when it was measured")
        first, second = trained.epoch_seconds
        epochs = job["steps"] / (trained.steps / 2)
        trained.epoch_seconds = [first, second * (epochs - 1)]
        trained.epochs = epochs
        return {"cost": _cost(found, trained, classifier.load(trained.output))}


def _estimate(config: Config, tell: Tell) -> dict[str, float]:
    """Seconds and memory of a training, from its first steps."""
    from textclf import training

    began = time.monotonic()
    times: list[float] = []
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        events = training.train(
            config,
            Path(folder) / "run",
            should_stop=lambda: len(times) > ESTIMATE_STEPS,
            on_progress=tell,
        )
        try:
            for event in events:
                if isinstance(event, training.Started):
                    total = event.total_steps
                elif isinstance(event, training.Step):
                    times.append(time.monotonic())
        except TrainingError:  # stopped, it has no epoch to keep
            if len(times) <= ESTIMATE_STEPS:
                raise
    # The first steps trace.
    known = times[min(2, len(times) - 1) :]
    a_step = (known[-1] - known[0]) / max(len(known) - 1, 1)
    return {
        "seconds": (times[0] - began) + a_step * total,
        "peak_memory_mb": _peak_memory_mb(),
    }


def _steps_within(config: Config, allowed: float, tell: Tell) -> tuple[float, int]:
    """Seconds of training, without validation, and the steps that were made in them."""
    from textclf import training

    spent, steps, before = 0.0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        events = training.train(
            without_end(config),
            Path(folder) / "run",
            should_stop=lambda: spent >= allowed,
            on_progress=tell,
        )
        try:
            for event in events:
                now = time.monotonic()
                if isinstance(event, training.Step):
                    spent, steps = spent + now - before, steps + 1
                    tell("calibrating", int(min(spent, allowed)), math.ceil(allowed))
                before = now
        except TrainingError:  # stopped, it may have no epoch to keep
            if spent < allowed:
                raise
    if spent < allowed:
        raise TrainingError(
            f"the training ended by itself after {steps:,} steps, so no time could be settled; "
            "look at the loss of this cell with `textclf train`"
        )
    return spent, steps


def _peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


_KINDS = {
    "network": _network,
    "baseline": _baseline,
    "calibration": _calibration,
    "measurement": _measurement,
}


# === The data ===


def _check_dataset(job: dict[str, Any], dataset: data.Dataset, folder: Path) -> dict[str, Any]:
    """What the data are; the same for all runs of a data set, and its first run says what.

    Raises:
        DataError: there is no test split, or the data are others than those of an earlier run.
    """
    if "test" not in dataset.splits:
        raise DataError("the data have no test split, on which cells are compared; set data.test")
    described = {
        "fingerprint": dataset.fingerprint,
        "class_names": list(dataset.class_names),
        "multi_label": dataset.multi_label,
        "splits": {name: split.num_examples for name, split in dataset.splits.items()},
        "leaked_test_rows": int(dataset.leaked("test").sum()),
    }
    known = folder / "data" / f"{job['dataset']}.json"
    known.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(described, ensure_ascii=False, indent=2) + "\n"
    if not artifact.write_file(known, content, replace=False):
        before = json.loads(known.read_text(encoding="utf-8"))
        if before["fingerprint"] != described["fingerprint"]:
            raise DataError(
                f"the data of {job['dataset']} have changed since the first run of this "
                "benchmark (texts, labels, order or splits); bring the old files back, or name "
                "another output folder"
            )
    return described


def _log_test_read(job: dict[str, Any], folder: Path) -> int:
    """Writes a line for every time that a test split is read; returns how many this run has."""
    line = {"run": job["name"], "time": time.time(), "host": platform.node()}
    with open(folder / "test_reads.jsonl", "a+", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.seek(0)
        # Not read as JSON: where machines share a folder, lines may run into each other.
        return file.read().count(json.dumps(job["name"]))


# === How far back a network looks ===

DISTANCES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)


def gradient_by_distance(model: Any, texts: Sequence[str]) -> dict[str, float] | None:
    """How much the forward state after the last token owes to the token so many steps before.

    For each of `DISTANCES` k, the mean over the texts with more than k tokens of

        |d(r . h[n - 1]) / d x[n - 1 - k]|

    with x the embeddings, h the states of the last forward layer, n the length and r a fixed
    vector of random signs. Where a cell forgets, it falls towards zero (Bengio et al. 1994,
    "Learning long-term dependencies with gradient descent is difficult").

    Args:
        model: a `classifier.Classifier`.
        texts: what to measure with.

    Returns:
        By distance; None for a network that is not recurrent.
    """
    import tensorflow as tf

    network = model.network
    if not network.recurrent_layers:
        return None
    units = network.recurrent_layers[-1].units
    signs = np.random.default_rng(0).choice([-1.0, 1.0], units).astype(np.float32)

    @tf.function(reduce_retracing=True, autograph=False)
    def norms(x: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            states = network.encode_vectors(x, lengths)[:, :, :units]  # [B, T, units], forward
            last = tf.gather(states, lengths - 1, axis=1, batch_dims=1)  # [B, units]
            total = tf.reduce_sum(last * signs)
        return tf.norm(tape.gradient(total, x), axis=2)  # [B, T]

    found: dict[int, list[float]] = {distance: [] for distance in DISTANCES}
    # By length, so that a batch holds little padding.
    ordered = sorted(texts[:256], key=len)
    for start in range(0, len(ordered), 32):
        encoded = model.text_encoder(tf.constant(ordered[start : start + 32]))
        each = norms(network.embedding(encoded.token_ids), encoded.lengths).numpy()
        for row, length in zip(each, encoded.lengths.numpy(), strict=True):
            for distance in DISTANCES:
                if distance < length:
                    found[distance].append(float(row[length - 1 - distance]))
    return {str(k): float(np.mean(values)) for k, values in found.items() if values}


# === Cost ===


def _cost(found: _Data, trained: _Trained, model: Any) -> dict[str, Any]:
    """What a training cost, and what the export of its `classifier.Classifier` does."""
    from textclf import classifier, export

    found.tell("exporting", 0, 0)
    read = model.card.text["train"]
    tokens = read["num_tokens"] - sum(read["cut_tokens"])  # of an epoch
    seconds = sum(trained.epoch_seconds)
    with tempfile.TemporaryDirectory() as exports:
        version = export.export(model, exports, is_verified=False)
        served = classifier.load_predictor(version)
        found.tell("measuring one answer", 0, 0)
        return {
            "weights": model.card.training["num_weights"],
            "training_seconds": round(seconds, 2),
            "tokens_per_second": round(tokens * trained.epochs / seconds, 1),
            "peak_memory_mb": round(trained.peak_memory_mb, 1),
            "size_mb": round(_size(version) / 2**20, 3),
            **_speed(served.predict_proba, found.texts),
        }


def _speed(answer: Callable[[Sequence[str]], np.ndarray], texts: list[str]) -> dict[str, float]:
    """Milliseconds of one text at a time, and texts a second in batches of 64."""
    one_by_one = [texts[index % len(texts)] for index in range(2 * LATENCY_TEXTS)]
    taken = []
    for text in one_by_one:
        started = time.perf_counter()
        answer([text])
        taken.append(time.perf_counter() - started)
    taken = taken[LATENCY_TEXTS:]
    answer(texts)
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < THROUGHPUT_SECONDS:
        answer(texts)
        done += len(texts)
    return {
        "latency_p50_ms": round(1e3 * statistics.median(taken), 3),
        "latency_p99_ms": round(1e3 * float(np.quantile(taken, 0.99)), 3),
        "texts_per_second": round(done / (time.perf_counter() - started), 1),
    }


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _versions() -> dict[str, str]:
    found = {"textclf": textclf.__version__, "python": platform.python_version()}
    for name in ("tensorflow", "keras", "numpy", "sklearn"):
        if name in sys.modules:
            found[name] = sys.modules[name].__version__
    return found


# === Arrays in JSON ===


def to_float16(p: np.ndarray, thresholds: Sequence[float] | np.ndarray | None) -> np.ndarray:
    """Probabilities [n, C] in half the space, rounded so that no prediction becomes another."""
    limits = None if thresholds is None else np.asarray(thresholds, np.float32)
    selected = evaluation.select(p, limits)
    small = p.astype(np.float16)
    if limits is None:
        rows = np.flatnonzero(small.argmax(axis=1) != selected)
        # No probability is 1 where another class has as much.
        small[rows, selected[rows]] = np.nextafter(small[rows].max(axis=1), np.float16(1))
        return small
    # Never certain: a loss would be that of a certainty.
    small = np.minimum(small, np.nextafter(np.float16(1), np.float16(0)))
    wrong = evaluation.select(small, limits) != selected
    toward = np.where(selected, np.float16(1), np.float16(0))
    return np.where(wrong, np.nextafter(small, toward), small)


def pack(array: np.ndarray) -> dict[str, Any]:
    return {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "zlib_base64": base64.b64encode(zlib.compress(array.tobytes(), 9)).decode(),
    }


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The array that `pack` was given.

    Raises:
        ValueError: it is damaged.
    """
    try:
        content = zlib.decompress(base64.b64decode(packed["zlib_base64"], validate=True))
        return np.frombuffer(content, packed["dtype"]).reshape(packed["shape"])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"not an array: {error}") from error


if __name__ == "__main__":
    main()
