"""Start, signals and shutdown of the server."""

import asyncio
import logging
import math
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import uvicorn

from textclf.serving.app import Service
from textclf.serving.limits import Limits

# From the signal to the end of listening: load balancers see /healthz fail, clients see
# "Connection: close".
_GRACE_SECONDS = 0.5
# From the end of listening to uvicorn's shutdown, which closes connections without a request.
_LAST_REQUEST_SECONDS = 0.5


def serve(
    folder: Path,
    name: str,
    listener: socket.socket,
    *,
    labels: Mapping[str, int],
    limits: Limits,
    log: Callable[[str], None],
    on_ready: Callable[[], None],
) -> None:
    """Serve a model until SIGTERM or Ctrl-C, then answer the accepted requests and return.

    A second Ctrl-C returns without waiting for answers.

    Args:
        folder: a folder of versions, whose newest one is served, or one version.
        name: the model's name in the paths.
        listener: a bound TCP socket; `serve` closes it.
        labels: version numbers by label, for paths with /labels/LABEL.
        limits: limits on requests and connections.
        log: receives messages about loaded, failed and released versions.
        on_ready: called once, when requests are accepted.

    Raises:
        ArtifactError: `folder` has no version that can be loaded.
    """
    service = Service(folder, name, labels=labels, limits=limits, log=log)
    # uvicorn logs malformed requests of clients; they are no fault of the server. Exceptions in
    # endpoints are logged by the application.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        service.app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=limits.max_connections,
        timeout_keep_alive=math.ceil(limits.read_seconds),
        timeout_graceful_shutdown=math.ceil(limits.read_seconds + limits.answer_seconds),
    )
    asyncio.run(_run(uvicorn.Server(config), service, listener, on_ready))


async def _run(
    server: uvicorn.Server,
    service: Service,
    listener: socket.socket,
    on_ready: Callable[[], None],
) -> None:
    stop = asyncio.Event()

    def handle_signal(number: int) -> None:
        server.force_exit = stop.is_set() and number == signal.SIGINT
        stop.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        # These replace uvicorn's handlers, which close the listener at once and raise the signal
        # again after the shutdown: a requested stop must end with exit code 0.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, handle_signal, number)
        on_ready()
        await stop.wait()
        service.announce_shutdown()
        await asyncio.sleep(_GRACE_SECONDS)
        for listening in server.servers:
            listening.close()
        await asyncio.sleep(_LAST_REQUEST_SECONDS)
        server.should_exit = True
