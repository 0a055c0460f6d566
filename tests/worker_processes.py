"""Processes that train together, as they would on several machines.

    with started(lambda index: ["-m", "textclf", "train", config, output], folder) as workers:
        workers[1].process.terminate()
        results = ended(workers)

Each worker has a separate current folder and temporary folder, so that a test sees what it leaves
there.
"""

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

TIME_LIMIT = 240  # seconds for all workers together, on a machine that does other work too
_TESTS = Path(__file__).parent


class Worker(NamedTuple):
    """A running worker.

    Attributes:
        folder: holds its current folder, its temporary folder, and its outputs.
        address: host and port on which it listens to the others.
    """

    process: subprocess.Popen
    folder: Path
    address: str

    @property
    def stderr(self) -> str:
        """Text that the worker has written to stderr until now."""
        return (self.folder / "stderr").read_text(encoding="utf-8")

    def is_listening(self) -> bool:
        """Return whether the worker accepts connections; AssertionError if it has ended."""
        assert self.process.poll() is None, self.stderr
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            return False
        return True


class Result(NamedTuple):
    """Result of a worker that has ended.

    Attributes:
        files: names of the files in its current folder and its temporary folder.
    """

    exit_code: int
    stdout: str
    stderr: str
    files: list[str]


def task(addresses: Sequence[str], index: int) -> str:
    """Return the value of TF_CONFIG for a worker."""
    content = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}
    return json.dumps(content)


def free_addresses(number: int) -> list[str]:
    """Return addresses of this machine with ports that are free."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


@contextlib.contextmanager
def started(
    arguments: Callable[[int], Sequence[str | Path]],
    folder: Path,
    *,
    num_workers: int = 2,
    missing: Sequence[int] = (),
) -> Iterator[list[Worker]]:
    """Start Python processes as workers; at the end, kill those that still run.

    Args:
        arguments: of Python, by the number of the worker.
        folder: new; holds the folders of the workers.
        missing: workers that are not started.
    """
    addresses = free_addresses(num_workers)
    with contextlib.ExitStack() as stack:
        workers = []
        for index in set(range(num_workers)).difference(missing):
            worker_folder = folder / f"worker{index}"
            for name in ("current", "temporary"):
                (worker_folder / name).mkdir(parents=True)
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(_TESTS.parent), str(_TESTS)]),
                "TF_CONFIG": task(addresses, index),
                "TMPDIR": str(worker_folder / "temporary"),
            }
            process = subprocess.Popen(
                [sys.executable, *arguments(index)],
                cwd=worker_folder / "current",
                env=environment,
                stdout=stack.enter_context((worker_folder / "stdout").open("w")),
                stderr=stack.enter_context((worker_folder / "stderr").open("w")),
                # Background jobs of a shell ignore SIGINT, and children inherit this.
                preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            workers.append(Worker(process, worker_folder, addresses[index]))
        yield workers


def ended(workers: Sequence[Worker]) -> list[Result]:
    """Wait until all workers have ended, and return their results."""
    limit = time.monotonic() + TIME_LIMIT
    results = []
    for worker in workers:
        try:
            worker.process.wait(max(limit - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            outputs = "\n".join(f"{one.folder.name}:\n{one.stderr}" for one in workers)
            raise AssertionError(f"{worker.folder.name} still runs\n{outputs}") from None
        files = [
            path for name in ("current", "temporary") for path in worker.folder.glob(f"{name}/*")
        ]
        results.append(
            Result(
                worker.process.returncode,
                (worker.folder / "stdout").read_text(encoding="utf-8"),
                worker.stderr,
                sorted(path.name for path in files),
            )
        )
    return results


def run(
    arguments: Callable[[int], Sequence[str | Path]],
    folder: Path,
    *,
    num_workers: int = 2,
    missing: Sequence[int] = (),
) -> list[Result]:
    """Start workers, wait until all have ended, and return their results."""
    with started(arguments, folder, num_workers=num_workers, missing=missing) as workers:
        return ended(workers)
