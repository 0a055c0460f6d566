"""Typed records of the JSON files in the folder of a benchmark, and arrays inside of them."""

import base64
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from textclf.study.runs import Kind
from textclf.tasks import Task, task_of


class PackedArray(msgspec.Struct, frozen=True):
    """An array as text: zlib-compressed bytes in base64."""

    dtype: str
    shape: tuple[int, ...]
    zlib_base64: str

    @classmethod
    def pack(cls, array: np.ndarray) -> "PackedArray":
        """Return the array as text."""
        content = base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()
        return cls(array.dtype.str, array.shape, content)

    def unpack(self) -> np.ndarray:
        """Return the array.

        Raises:
            ValueError: the content is damaged.
        """
        try:
            content = zlib.decompress(base64.b64decode(self.zlib_base64, validate=True))
            return np.frombuffer(content, self.dtype).reshape(self.shape)
        except (TypeError, ValueError, zlib.error) as error:
            raise ValueError(f"not an array: {error}") from error


def to_float16(
    task: Task, p: np.ndarray, thresholds: Sequence[float] | np.ndarray | None = None
) -> np.ndarray:
    """Round probabilities to half the size without changing a prediction.

    Args:
        task: of the model.
        p: float32 [n, C].
        thresholds: [C] for multi-label data.

    Returns:
        float16 [n, C].
    """
    selected = task.select(p, thresholds)
    rounded = p.astype(np.float16)
    if not task.has_thresholds:  # the prediction is the highest probability
        rows = np.flatnonzero(rounded.argmax(axis=1) != selected)
        # Where rounding made a tie, the next number above is at most 1: ties are below 1.
        rounded[rows, selected[rows]] = np.nextafter(rounded[rows].max(axis=1), np.float16(1))
        return rounded
    # A probability of 1 would change the log loss.
    rounded = np.minimum(rounded, np.nextafter(np.float16(1), np.float16(0)))
    is_changed = task.select(rounded, thresholds) != selected
    toward = np.where(selected, np.float16(1), np.float16(0))
    return np.where(is_changed, np.nextafter(rounded, toward), rounded)


class RunKey(msgspec.Struct, kw_only=True, frozen=True):
    """Identity of a run; `fingerprint` is that of `runs.Run`."""

    run: str
    dataset: str
    cell: str
    kind: Kind
    seed: int
    fingerprint: str = ""


class Machine(msgspec.Struct, frozen=True):
    """Computer that executed a run."""

    host: str
    cpus: int | None = None
    processor: str = ""


class RunRecord(RunKey, kw_only=True, frozen=True):
    """Identity of an executed run with its code, libraries, machine and time.

    Attributes:
        started: Unix time, seconds.
        ended: Unix time, seconds.
        code: SHA-256 of the modules of textclf.
        versions: version of Python and of each library, by name.
        machine: the computer.
    """

    started: float
    ended: float
    code: str
    versions: dict[str, str]
    machine: Machine


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """Data set of a run.

    Attributes:
        fingerprint: of texts, labels, order and splits.
        class_names: in the order of the probabilities.
        multi_label: True if a text may have several labels.
        splits: number of examples by split.
        leaked_test_rows: test texts that also occur in train.
    """

    fingerprint: str
    class_names: list[str]
    multi_label: bool
    splits: dict[str, int]
    leaked_test_rows: int

    @property
    def task(self) -> Task:
        """Task of the labels."""
        return task_of(multi_label=self.multi_label, num_classes=len(self.class_names))


class Cost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Cost of a training and of the answers of its export.

    Attributes:
        weights: number of weights; networks only.
        training_seconds: time of the training steps.
        tokens_per_second: of training; networks only.
        peak_memory_mb: largest resident memory of the process, MiB.
        size_mb: size of the export, MiB; networks only.
        latency_p50_ms: median time of one text.
        latency_p99_ms: 99th percentile of the time of one text.
        texts_per_second: in batches of up to 512 texts.
        shared_cores: True if another run used the cores of the machine at the same time.
        code: SHA-256 of the code that measured a cost again.
    """

    weights: int | float | None = None
    training_seconds: float
    tokens_per_second: float | None = None
    peak_memory_mb: float | None = None
    size_mb: float | None = None
    latency_p50_ms: float
    latency_p99_ms: float | None = None
    texts_per_second: float | None = None
    shared_cores: bool
    code: str | None = None


class Calibration(RunRecord, frozen=True, kw_only=True):
    """Steps that an architecture makes in the training time of the budget."""

    steps: int
    seconds: float


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of a classifier to the test texts, and their scores.

    Attributes:
        test: metrics on the test split by name.
        thresholds: of each class, for multi-label data.
        probabilities: float16 [n, C] of the test texts.
    """

    test: dict[str, Any]
    thresholds: list[float] | None
    probabilities: PackedArray


class Result(RunRecord, frozen=True, kw_only=True, omit_defaults=True):
    """Result of a finished run: everything that statistics and reports read.

    Attributes:
        test: metrics on the test split by name.
        test_reads: how often the run has read the test split.
        thresholds: of each class, for multi-label data.
        cost: of training and answers.
        data: the data set.
        probabilities: float16 [n, C] of the test texts.
        y_true: int16 [n] or uint8 [n, C] of the test texts.
        validation: metrics on the validation split; networks only, as all that follow.
        history: figures of each epoch.
        steps: number of training steps.
        best_epoch: the epoch whose weights were kept.
        ended_by: reason for the end of training.
        gradient_by_distance: see `measuring.gradient_by_distance`.
        vocabulary: SHA-256 of the vocabulary.
        num_tokens: int32 [n], length of each test text.
        calibration: the calibration that determined the steps.
        description: of a fitted baseline or linear model.
        network_alone: answers of the network of a mixture without the linear model; None without
            a mixture, and in results of older versions.
    """

    test: dict[str, Any]
    test_reads: int
    thresholds: list[float] | None
    cost: Cost
    data: Data
    probabilities: PackedArray
    y_true: PackedArray
    validation: dict[str, Any] | None = None
    history: list[dict[str, Any]] | None = None
    steps: int | None = None
    best_epoch: int | None = None
    ended_by: str | None = None
    gradient_by_distance: dict[str, float] | None = None
    vocabulary: str | None = None
    num_tokens: PackedArray | None = None
    calibration: Calibration | None = None
    description: str | None = None
    network_alone: Tested | None = None

    def of_network(self) -> "Result":
        """Return the result of the network of a mixture without the linear model."""
        if self.network_alone is None:
            return self
        return msgspec.structs.replace(
            self, **msgspec.structs.asdict(self.network_alone), network_alone=None
        )

    def validate(self) -> None:
        """Check what the types cannot express.

        Raises:
            ValueError: an array is damaged or the metrics are missing.
        """
        self.probabilities.unpack()
        self.of_network().probabilities.unpack()
        self.y_true.unpack()
        if not self.test:
            raise ValueError("no metrics")


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reason why a run has no result; the other fields identify the run."""

    reason: str
    run: str = ""
    dataset: str = ""
    cell: str = ""
    kind: str = ""
    seed: int = 0
    fingerprint: str = ""
    time: float = 0.0


class Identity(msgspec.Struct, frozen=True):
    """Content of benchmark.json: path of the grid file, and the fingerprint of each run."""

    grid: str
    runs: dict[str, str]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a claim file: the process that executes a run.

    Attributes:
        host: name of the machine.
        pid: process id.
        process_started: Unix time at which the process started; a reused process id differs in it.
        time: Unix time of the claim.
        token: random, so that no two claims are equal.
    """

    host: str
    pid: int
    process_started: float | None
    time: float = 0.0
    token: str = ""


# === Messages between the runner and a worker ===


class Job(RunKey, frozen=True, kw_only=True):
    """Work of a worker process.

    Attributes:
        job: the work: a run of that kind, or an estimate of its training time.
        config: complete configuration, as of `Config.to_dict`.
        fixed_paths: its absolute paths, as of `Config.fixed_paths`.
        folder: of the benchmark.
        shared_cores: True if another run uses the cores.
        minutes: time of a calibration.
        measured_kind: kind of the run that a measurement measures.
        measured_steps: training steps of that run.
        calibration: the calibration that determined the steps.
        linear_model: path of the fitted linear model; a mixture reads it, and the run that fits it
            writes it.
    """

    job: Kind | Literal["estimate"]
    config: dict[str, Any]
    fixed_paths: dict[str, str]
    folder: str
    shared_cores: bool = False
    minutes: float | None = None
    measured_kind: Kind | None = None
    measured_steps: int | None = None
    calibration: Calibration | None = None
    linear_model: str | None = None


class Measurement(RunRecord, frozen=True, kw_only=True):
    """Cost of a finished run, measured while no other run used the cores."""

    cost: Cost


class Estimate(msgspec.Struct, frozen=True):
    """Expected duration and memory of a training."""

    seconds: float
    peak_memory_mb: float


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="progress"):
    """Progress of a worker: `done` of `total` in a stage; a total of 0 is unknown."""

    stage: str
    done: int
    total: int


class Succeeded(msgspec.Struct, frozen=True, array_like=True, tag="succeeded"):
    """Last message of a worker that finished its job."""

    result: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """Last message of a worker that could not finish its job."""

    reason: str
