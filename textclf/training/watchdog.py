"""Watchdog: ends a process that waits too long for the other workers of its training.

TensorFlow waits for them in C++ without a limit. While it connects, it even holds the lock of the
Python interpreter, so that no signal handler and no thread of the process can run. The watchdog is
therefore a small process that the worker starts; this file is its program:

    python watchdog.py PID WORKER MINUTES ADDRESSES

It reads a line on standard input when the worker begins to wait (what it waits for) and an empty
line when it goes on, and it ends with the worker.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

_MESSAGE = (
    "Error: worker {worker} waited {minutes} minutes for {purpose}, and one of the others "
    "({addresses}) did not answer; look at its output, then start all workers again with "
    "--resume\n"
)


class Watchdog:
    """The watchdog of this process.

    Args:
        worker: number of this worker, for the message.
        addresses: of the other workers.
        minutes: time that it may wait.
    """

    def __init__(self, worker: int, addresses: list[str], *, minutes: float):
        # -I and -S: a start in some hundredths of a second, without packages.
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(worker)]
        self._process = subprocess.Popen(
            [*command, f"{minutes:g}", ", ".join(addresses)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the worker, which writes a checkpoint
        )

    @contextlib.contextmanager
    def waiting(self, purpose: str) -> Iterator[None]:
        """Limit the time of the block."""
        self._send(purpose)
        try:
            yield
        finally:
            self._send("")

    def close(self) -> None:
        """End the watchdog."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), f"{line}\n".encode())


def watch(pid: int, worker: str, minutes: str, addresses: str) -> None:
    """Read what a process waits for, and kill it with a message when that takes too long."""
    purpose, deadline, buffer = "", None, b""
    while True:
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        ready, _, _ = select.select([sys.stdin.fileno()], [], [], left)
        if not ready:
            message = _MESSAGE.format(
                worker=worker, minutes=minutes, purpose=purpose, addresses=addresses
            )
            sys.stderr.write(message)
            sys.stderr.flush()
            os.kill(pid, signal.SIGKILL)
            return
        if not (data := os.read(sys.stdin.fileno(), 4096)):  # the worker has ended
            return
        *lines, buffer = (buffer + data).split(b"\n")
        if lines:
            purpose = lines[-1].decode()
            deadline = time.monotonic() + 60 * float(minutes) if purpose else None


if __name__ == "__main__":
    watch(int(sys.argv[1]), *sys.argv[2:5])
