"""Metrics of the server, for Prometheus."""

import time
from collections.abc import Callable

import prometheus_client
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters, histograms and gauges in a separate registry."""

    def __init__(self) -> None:
        self.registry = registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "textclf_requests", "Requests by endpoint.", ["method", "code"], registry=registry
        )
        self.seconds = prometheus_client.Histogram(
            "textclf_request_seconds",
            "Time from the head of a request to its answer.",
            ["method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.texts = prometheus_client.Counter(
            "textclf_texts", "Texts classified.", registry=registry
        )
        self.batch_size = prometheus_client.Histogram(
            "textclf_batch_size", "Texts in a batch.", buckets=_TEXTS, registry=registry
        )
        self.waiting = prometheus_client.Gauge(
            "textclf_waiting_requests", "Requests in the queues.", registry=registry
        )
        self.version = prometheus_client.Gauge(
            "textclf_version", "Version that is served.", registry=registry
        )
        self.loaded = prometheus_client.Gauge(
            "textclf_loaded_versions", "Versions in memory.", registry=registry
        )
        self.failed_loads = prometheus_client.Gauge(
            "textclf_failed_loads", "Versions that failed to load.", registry=registry
        )


class RequestMiddleware:
    """ASGI middleware that counts and times requests and closes connections at shutdown.

    Args:
        app: the application.
        metrics: the metrics to update.
        is_stopping: returns True after the shutdown was announced; responses then have the
            header "Connection: close".
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, is_stopping: Callable[[], bool]):
        self._app = app
        self._metrics = metrics
        self._is_stopping = is_stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = scope["path"]
        if not path.startswith("/") and "://" in path:
            # The absolute form of a request target, http://host/path (RFC 9112, section 3.2.2).
            scope["path"] = "/" + path.partition("://")[2].partition("/")[2]
        status = 500  # an exception that reaches this middleware is answered outside of it
        started = time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._is_stopping():
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            # The router stores the function of the matching route.
            method = getattr(scope.get("endpoint"), "__name__", "other")
            self._metrics.requests.labels(method, str(status)).inc()
            self._metrics.seconds.labels(method).observe(time.perf_counter() - started)
