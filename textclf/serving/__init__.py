"""An HTTP server for exported versions, which speaks TF Serving's REST dialect.

    dialect     JSON to texts and answers to JSON, as TF Serving reads and writes them
    versions    loading, joining requests to batches, replacing a version under load
    app         the web application, its limits and its metrics
    page.html   the page for people

`serve` runs until SIGTERM or Ctrl-C, and answers what it has accepted.
"""

import asyncio
import contextlib
import ctypes
import logging
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from textclf.serving.app import Limits, Service

# Between the signal and the end of listening: balancers and clients learn that it stops.
_GRACE_SECONDS = 0.5
_HANDSHAKE_SECONDS = 0.05  # for the connections that are being made when no more are taken in
_READ_SECONDS = 0.5  # for the first bytes of a connection that came last
_SO_ATTACH_FILTER = 26  # of Linux; Python does not name it

__all__ = ["Limits", "Service", "serve"]


def serve(
    place: Path,
    name: str,
    bound: socket.socket,
    *,
    labels: Mapping[str, int],
    limits: Limits,
    log: Callable[[str], None],
    on_ready: Callable[[], None],
) -> None:
    """Serves until SIGTERM or Ctrl-C, then answers what was accepted.

    Args:
        place: a folder of versions, of which the newest is served, or one version.
        name: of the model, in the paths.
        bound: a socket that is bound to where to listen.
        labels: names of versions.
        log: is told what a person should know.
        on_ready: is called when requests are answered.

    Raises:
        ArtifactError: `place` holds no version that can be loaded.
    """
    service = Service(place, name, labels=labels, limits=limits, log=log)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # strangers' broken requests
    config = uvicorn.Config(
        service.app,
        http=_protocol(limits),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=limits.max_connections,
        timeout_graceful_shutdown=int(limits.read_seconds + limits.answer_seconds) + 1,
    )
    with _uvicorns_signals_end_here():
        _Server(config, service, on_ready).run(sockets=[bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None]):
        super().__init__(config)
        self._service = service
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, but what the kernel has taken in for us is answered too."""
        await asyncio.sleep(_GRACE_SECONDS)
        for bound in sockets or []:
            _ignore_new(bound)
        await asyncio.sleep(_HANDSHAKE_SECONDS)
        loop = asyncio.get_running_loop()
        waiting = []
        for bound in sockets or []:
            # Closing a listener resets the connections that nobody has accepted yet.
            with contextlib.suppress(BlockingIOError):
                while True:
                    waiting.append(bound.accept()[0])
        for server in self.servers:
            server.close()
        for connection in waiting:
            connection.setblocking(False)
            try:
                await loop.connect_accepted_socket(self._connection, connection)
            except OSError:  # gone meanwhile
                connection.close()
        await asyncio.sleep(_READ_SECONDS)
        await super().shutdown(sockets)

    def _connection(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg,return-value]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._service.stop()
        super().handle_exit(sig, frame)


def _ignore_new(bound: socket.socket) -> None:
    """Lets a listening socket ignore who asks for a connection from now on.

    Linux resets what has been connected and not yet accepted when the listener closes, so between
    the last `accept` and the end somebody could always be lost. A filter drops the packets that
    ask (SYN without ACK); those who sent one ask again in a second, and are refused then.
    """
    instructions = (
        (0x30, 0, 0, 13),  # load the flags, byte 13 of the TCP header
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone?
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # pass
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in instructions))
    program = struct.pack("HP", len(instructions), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # no Linux, or not allowed: as good as it goes
        bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


@contextlib.contextmanager
def _uvicorns_signals_end_here() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more; being stopped is no failure."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's HTTP with a time limit for the head of a request, which it has not itself."""

    class Protocol(H11Protocol):
        _head_timer: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_timer()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch_head()

        def _is_idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _watch_head(self) -> None:
            if not self._is_idle() or self.transport.is_closing():
                self._stop_timer()
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(limits.read_seconds, self._too_slow)

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _too_slow(self) -> None:
            self._head_timer = None
            if self.transport.is_closing() or not self._is_idle():
                return
            if self.conn.trailing_data[0]:
                body = b'{"error":"The head of the request did not arrive in time"}'
                self.transport.write(
                    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
                )
            self.transport.close()

    return Protocol
