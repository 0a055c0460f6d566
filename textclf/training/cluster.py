"""Devices and processes that share a training.

- `one_device`: this process and its first device.
- `mirrored`: this process and all its GPUs (`tf.distribute.MirroredStrategy`).
- `multi_worker`: several processes with the same command, found through the environment variable
  `TF_CONFIG` (`tf.distribute.MultiWorkerMirroredStrategy`). Worker 0, or the task `chief`, is the
  chief: it alone writes. Every worker reads the same batches and computes its share of each.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from textclf.config import Config
from textclf.errors import TrainingError
from textclf.training.watchdog import Watchdog

if TYPE_CHECKING:
    import tensorflow as tf

_VARIABLE = "TF_CONFIG"
_EXAMPLE = json.dumps(
    {
        "cluster": {"worker": ["host1:12345", "host2:12345"]},
        "task": {"type": "worker", "index": 0},
    }
)


def check_workers(config: Config) -> None:
    """Check the description of the workers; it needs no TensorFlow.

    Raises:
        TrainingError: `TF_CONFIG` is missing or invalid, and `training.strategy` needs it.
    """
    if config.training.strategy == "multi_worker":
        _read_task()


class _Task:
    """The place of this process among the workers.

    Attributes:
        index: 0 for the chief.
        addresses: `host:port` of all workers, the chief first.
    """

    def __init__(self, index: int, addresses: list[str]):
        self.index = index
        self.addresses = addresses


def is_chief(config: Config) -> bool:
    """Return whether this process writes the files of the training."""
    return config.training.strategy != "multi_worker" or _read_task().index == 0


def _read_task() -> _Task:
    """Return the place of this process; TrainingError if `TF_CONFIG` does not have it."""

    def fail(problem: str) -> NoReturn:
        raise TrainingError(
            f"training.strategy multi_worker: the environment variable {_VARIABLE} {problem}; set "
            f"it in every worker, for instance to {_EXAMPLE}"
        )

    value = os.environ.get(_VARIABLE)
    if not value:
        fail("is not set")
    try:
        content = json.loads(value)
        groups, kind, index = content["cluster"], content["task"]["type"], content["task"]["index"]
        addresses = {name: groups.get(name, []) for name in ("chief", "worker")}
    except (ValueError, KeyError, TypeError, AttributeError):
        fail("is not a JSON object with `cluster` and `task`")
    if kind not in ("chief", "worker"):
        fail(f"has the task type {kind!r}; expected chief or worker")
    for name, values in addresses.items():
        if not isinstance(values, list) or not all(map(_is_address, values)):
            fail(f"has {values!r} as addresses of type {name}; expected a list of host:port")
    if not isinstance(index, int) or not 0 <= index < len(addresses[kind]):
        fail(f"has the task index {index!r}, but {len(addresses[kind])} addresses of type {kind}")
    number = index if kind == "chief" else len(addresses["chief"]) + index
    together = addresses["chief"] + addresses["worker"]
    if len(set(together)) < len(together):
        fail(f"has the same address twice: {', '.join(together)}")
    return _Task(number, together)


def _is_address(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r".+:\d+", value) is not None


class Cluster:
    """The devices and processes of a training.

        with open_cluster(config) as cluster:
            with cluster.strategy.scope():
                ...
            total = cluster.sum(values, "the other workers to count")

    Attributes:
        strategy: TensorFlow's strategy; networks and optimizers are made within its scope.
        index: of this worker, 0 for the chief or without several workers.
        num_workers: number of processes.
    """

    def __init__(
        self,
        strategy: "tf.distribute.Strategy",
        *,
        index: int = 0,
        num_workers: int = 1,
        watchdog: Watchdog | None = None,
    ):
        self.strategy = strategy
        self.index = index
        self.num_workers = num_workers
        self._watchdog = watchdog
        self._all_reduce: Any = None

    @property
    def is_chief(self) -> bool:
        """True for the worker that writes the files."""
        return self.index == 0

    @contextlib.contextmanager
    def waiting(self, purpose: str) -> Iterator[None]:
        """Limit how long this process waits for the others within the block.

        Raises:
            TrainingError: another worker ended. If nothing happens for the limit, the process ends
                with a message, because TensorFlow cannot be interrupted.
        """
        if self._watchdog is None:
            yield
            return
        with self._connection_errors(purpose), self._watchdog.waiting(purpose):
            yield

    def wait_for_chief(self) -> None:
        """Wait without a limit until the chief calls `release_workers`.

        Otherwise TensorFlow would tell the chief that this worker has crashed.

        Raises:
            TrainingError: the chief ended before.
        """
        with self._connection_errors("the chief to write the folder"), _default_signals():
            self._all_reduced(np.zeros(1, np.float32))

    def release_workers(self) -> None:
        """End the waiting of the other workers; it does not matter if one of them has ended."""
        if self.num_workers > 1:
            with contextlib.suppress(TrainingError):
                self.sum(np.zeros(1, np.float32), "the other workers to end")

    def sum(self, values: np.ndarray, purpose: str) -> np.ndarray:
        """Return the sum of an array over the workers, the same in each."""
        if self.num_workers == 1:
            return values
        with self.waiting(purpose):
            return self._all_reduced(values)

    def _all_reduced(self, values: np.ndarray) -> np.ndarray:
        if self._all_reduce is None:  # traced once for each shape
            self._all_reduce = self._make_all_reduce()
        result = self._all_reduce(values)
        return self.strategy.experimental_local_results(result)[0].numpy()

    @contextlib.contextmanager
    def _connection_errors(self, purpose: str) -> Iterator[None]:
        """Turn errors of TensorFlow's connections into ours."""
        import tensorflow as tf

        try:
            yield
        except (
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
            tf.errors.InternalError,
            tf.errors.UnavailableError,
            tf.errors.UnknownError,
        ) as error:
            raise TrainingError(
                f"worker {self.index} lost the connection to another worker while it waited for "
                f"{purpose}; look at the output of the others, then start all workers again with "
                "--resume"
            ) from error

    def _make_all_reduce(self) -> Any:
        import tensorflow as tf

        replicas_per_worker = self.strategy.num_replicas_in_sync // self.num_workers

        def replica_sum(values: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            is_first = tf.equal(context.replica_id_in_sync_group % replicas_per_worker, 0)
            part = tf.where(is_first, values, tf.zeros_like(values))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, part)

        graph = tf.function(
            lambda values: self.strategy.run(replica_sum, args=(values,)), autograph=False
        )
        return lambda values: graph(tf.constant(values))

    def is_true_anywhere(self, value: bool, purpose: str) -> bool:
        """Return whether a value is true in one of the workers, the same in each."""
        if self.num_workers == 1:
            return value
        return bool(self.sum(np.array([value], np.float32), purpose)[0])

    def check_equal(self, values: Mapping[str, str]) -> None:
        """Check that values are the same in all workers.

        Args:
            values: text by its name in the message, such as "the data"; the names and their order
                are the same in all workers.

        Raises:
            TrainingError: some differ; the message names them.
        """
        if self.num_workers == 1:
            return
        # float32 adds whole numbers up to 2**24 exactly.
        rows = [list(hashlib.sha256(value.encode()).digest()) for value in values.values()]
        table = np.zeros((self.num_workers, *np.shape(rows)), np.float32)
        table[self.index] = rows
        table = self.sum(table, "the other workers to read the data")
        is_different = (table != table[0]).any(axis=2)  # [workers, values]
        problems = [
            f"worker {worker} differs from worker 0 in "
            + _listing([name for name, differs in zip(values, row, strict=True) if differs])
            for worker, row in enumerate(is_different)
            if row.any()
        ]
        if problems:
            raise TrainingError(
                f"{'; '.join(problems)}; start every worker with the same configuration, files "
                "and versions"
            )


def _listing(names: list[str]) -> str:
    """Return names as in a sentence: "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


@contextlib.contextmanager
def open_cluster(config: Config) -> Iterator[Cluster]:
    """Connect the devices and processes of a training, for the block.

    With several workers, it must be called before TensorFlow computes anything, and it returns
    when all of them have called it.

    Raises:
        TrainingError: `TF_CONFIG` is invalid, a worker is lost, or TensorFlow is in use already.
    """
    import tensorflow as tf

    settings = config.training
    if settings.strategy == "one_device":
        yield Cluster(tf.distribute.get_strategy())
        return
    if settings.strategy == "mirrored":
        gpus = tf.config.list_logical_devices("GPU")
        devices = gpus or tf.config.list_logical_devices("CPU")
        yield Cluster(tf.distribute.MirroredStrategy([device.name for device in devices]))
        return
    task = _read_task()
    others = [address for i, address in enumerate(task.addresses) if i != task.index]
    watchdog = Watchdog(task.index, others, minutes=settings.worker_timeout_minutes)
    with contextlib.closing(watchdog):
        try:
            with watchdog.waiting("the other workers to start"), _default_signals():
                strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except RuntimeError as error:
            raise TrainingError(
                "training.strategy multi_worker: TensorFlow was used in this process before "
                f"({str(error).splitlines()[0]}); start the training in a new process"
            ) from error
        except tf.errors.OpError as error:
            raise TrainingError(
                f"worker {task.index} cannot connect to the others ({str(error.message)[:200]}); "
                f"check the addresses {', '.join(task.addresses)} and that their ports are free"
            ) from error
        yield Cluster(
            strategy, index=task.index, num_workers=len(task.addresses), watchdog=watchdog
        )


@contextlib.contextmanager
def _default_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process at once in a block that waits in TensorFlow.

    Python would not handle them before the end of the block. While TensorFlow connects, it takes
    SIGTERM for itself, and its handler stays: that of the caller is set again at the end.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if (handler := signal.getsignal(number)) is not None:
                previous[number] = handler
            if callable(handler):  # not if the signal is ignored
                signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
