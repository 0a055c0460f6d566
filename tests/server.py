"""`textclf serve` in a separate process, for the tests of the server."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx


class Server:
    """Running server on a free port.

    Attributes:
        process: its process.
        root: http://ADDRESS:PORT.
        model: the URL of the model.
        port: the port.
    """

    def __init__(self, folder: Path, *options: str):
        program = [sys.executable, "-W", "error::ResourceWarning", "-m", "textclf", "serve"]
        self.process = subprocess.Popen(
            [*program, str(folder), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.model = self.process.stdout.readline().strip()
        assert self.model, self.process.communicate()[1]
        self.root = self.model.partition("/v1/")[0]
        self.port = int(self.root.rpartition(":")[2])

    def post(
        self, body: Any, verb: str = "predict", version: str = "", **options: Any
    ) -> httpx.Response:
        """Return the response to a JSON value or to bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{self.model}{version}:{verb}"
        return httpx.post(url, content=content, timeout=60, **options)

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        text = httpx.get(f"{self.root}/metrics").text
        return sum(float(m[1]) for m in re.finditer(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))

    def send_bytes(self, data: bytes) -> bytes:
        """Send bytes over a new connection; return what arrives until the server closes it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    received += part
            return received

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM; return the exit code and stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, stderr = self.process.communicate(timeout=60)
        return self.process.returncode, stderr


@contextlib.contextmanager
def running_server(folder: Path, *options: str) -> Iterator[Server]:
    """Yield a server, and kill it after the block."""
    server = Server(folder, *options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition is true.

    Raises:
        AssertionError: it stays false for so long.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition stays false"
        time.sleep(0.05)
