"""The web application around the versions of one model, and its limits."""

import asyncio
import contextlib
import dataclasses
import html
import importlib.resources
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import prometheus_client
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from textclf.serving import dialect
from textclf.serving.dialect import RequestError
from textclf.serving.versions import Batcher, Call, Versions

logger = logging.getLogger(__name__)
_DRAINED_BYTES = 64 << 20
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Attributes:
        max_body_bytes: of a request; more is answered with 413.
        max_texts: of a request; more are answered with 400.
        max_text_bytes: of a text in UTF-8; more are answered with 400.
        max_batch_size: texts that go through the network at a time.
        max_queue: requests that wait for one signature; more are answered with 429.
        max_connections: open at once; more are answered with 503.
        read_seconds: until a request has to have arrived, else it is answered with 408.
        answer_seconds: until a request that has arrived is answered, else with 504.
    """

    max_body_bytes: int = 4 << 20
    max_texts: int = 1024
    max_text_bytes: int = 100_000
    max_batch_size: int = 64
    max_queue: int = 128
    max_connections: int = 512
    read_seconds: float = 10.0
    answer_seconds: float = 30.0


class Metrics:
    """What /metrics tells, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "textclf_requests", "Requests answered.", ["method", "code"], registry=registry
        )
        self.seconds = prometheus_client.Histogram(
            "textclf_request_seconds",
            "From a request's head to its answer.",
            ["method"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.texts = prometheus_client.Counter(
            "textclf_texts", "Texts answered.", registry=registry
        )
        self.batch_size = prometheus_client.Histogram(
            "textclf_batch_size",
            "Texts that went through the network together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.waiting = prometheus_client.Gauge(
            "textclf_waiting_requests", "Requests in the queues.", registry=registry
        )
        self.version = prometheus_client.Gauge(
            "textclf_version", "The version that answers by default.", registry=registry
        )
        self.loaded = prometheus_client.Gauge(
            "textclf_loaded_versions", "Versions in memory.", registry=registry
        )
        self.failures = prometheus_client.Gauge(
            "textclf_failed_loads", "Versions that could not be loaded.", registry=registry
        )


class Service:
    """Answers HTTP for one model.

    Attributes:
        app: the ASGI application.
        versions: what is served.

    Raises:
        ArtifactError: `place` holds no version that can be loaded.
    """

    def __init__(
        self,
        place: Path,
        name: str,
        *,
        labels: Mapping[str, int],
        limits: Limits,
        log: Callable[[str], None],
    ):
        self._limits = limits
        self._metrics = Metrics()
        # Two calls at once, so that a long batch of one signature does not stop the others;
        # TensorFlow itself spreads each over the cores.
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="textclf-batch")
        self._stopping = False
        self.versions = Versions(place, name, labels, self._batcher, log)
        self._page = (
            importlib.resources.files("textclf.serving").joinpath("page.html").read_text("utf-8")
        )
        # No routes: theirs know neither every method nor every path, and answer in plain text.
        self.app = Router(default=self._respond, lifespan=self._lifespan, redirect_slashes=False)

    def stop(self) -> None:
        """From now on /healthz and every answer say that no more requests should be sent."""
        self._stopping = True

    def _batcher(self, call: Call) -> Batcher:
        return Batcher(
            call,
            self._executor,
            max_batch_size=self._limits.max_batch_size,
            max_waiting=self._limits.max_queue,
            on_batch=self._metrics.batch_size.observe,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Router) -> AsyncIterator[None]:
        watching = asyncio.create_task(self.versions.watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            self._executor.shutdown()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        """Any request: measured, and with every error in TF Serving's form."""
        began, verb, closes = time.perf_counter(), "other", False
        try:
            path = request.scope["path"]
            if not path.startswith("/") and "://" in path:  # the absolute form, http://host/path
                path = "/" + path.partition("://")[2].partition("/")[2]
            if path.lower().startswith("/v1/"):
                asked = dialect.target(request.method, path)
                verb = asked.verb
                response = await self._api(request, asked)
            else:
                verb, response = self._own(request.method, path)
        except RequestError as error:
            closes = error.closes
            response = _json({"error": str(error)}, error.code)
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody reads it; the metrics count it
        except Exception:
            logger.exception("a request failed")
            response = _json({"error": "Internal error"}, 500)
        if closes or self._stopping:
            response.headers["Connection"] = "close"
        self._metrics.requests.labels(verb, str(response.status_code)).inc()
        self._metrics.seconds.labels(verb).observe(time.perf_counter() - began)
        return response

    def _own(self, method: str, path: str) -> tuple[str, Response]:
        """What TF Serving does not have: the page, the health and the metrics."""
        pages: dict[str, tuple[str, Callable[[], Response]]] = {
            "/": ("page", self._front_page),
            "/healthz": ("healthz", self._health),
            "/metrics": ("metrics", self._measured),
        }
        if path not in pages:
            raise RequestError(404, f"Not Found: {path[:256]}")
        if method not in ("GET", "HEAD"):
            raise RequestError(400, f"Malformed request: {method} {path}")
        verb, make = pages[path]
        return verb, make()

    def _front_page(self) -> Response:
        version = self.versions.current
        values = {
            "name": self.versions.name,
            "version": version.number,
            "multi_label": version.card.multi_label,
        }
        # "<" written so cannot end the script element, whatever a name holds.
        written = json.dumps(values).replace("<", "\\u003c")
        title = html.escape(self.versions.name)
        page = self._page.replace("{{title}}", title).replace("{{values}}", written)
        return Response(page, media_type="text/html", headers=_PAGE_HEADERS)

    def _health(self) -> Response:
        if self._stopping:
            return _json({"status": "stopping"}, 503)
        return _json({"status": "ok", "version": str(self.versions.current.number)})

    def _measured(self) -> Response:
        metrics, loaded = self._metrics, self.versions.loaded
        batchers = [batcher for version in loaded for batcher in version.batchers.values()]
        metrics.waiting.set(sum(batcher.num_waiting for batcher in batchers))
        metrics.version.set(self.versions.current.number)
        metrics.loaded.set(len(loaded))
        metrics.failures.set(self.versions.num_failures)
        return Response(
            prometheus_client.generate_latest(metrics.registry),
            headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST},
        )

    # === TF Serving's API ===

    async def _api(self, request: Request, asked: dialect.Target) -> Response:
        if asked.verb == "status":
            return _json(self._status(asked))
        if asked.verb == "metadata":
            version = self.versions.find(asked)
            spec = {
                "name": self.versions.name, "signature_name": "", "version": str(version.number),
            }  # fmt: skip
            signatures = {"signature_def": version.metadata}
            return _json({"model_spec": spec, "metadata": {"signature_def": signatures}})
        body = await self._body(request)
        async with self.versions.lease(asked) as version:
            try:
                async with asyncio.timeout(self._limits.answer_seconds):
                    answer = await self._predict(version, asked.verb, dialect.parse(body))
            except TimeoutError:
                raise RequestError(504, "Timed out waiting for the answer") from None
        return Response(dialect.to_json(answer), media_type="application/json")

    async def _predict(self, version: Any, verb: str, values: dict[str, Any]) -> dict[str, Any]:
        name = dialect.signature_name(values)
        signature = version.signature(name)
        if verb == "regress":
            raise RequestError(400, "Expected regression signature; a classifier has none")
        if verb == "classify":
            if (signature.input_name, signature.outputs) != ("inputs", {"classes", "scores"}):
                raise RequestError(
                    400,
                    f'Expected classification signature, but "{name}" has not the input inputs '
                    'and the outputs classes and scores; set "signature_name": "classify"',
                )
            texts, form = dialect.examples_of(values), ""
        else:
            texts, form = dialect.texts_of(values, signature.input_name)
        self._check(texts)
        answers = await version.batchers[name].ask(texts)
        self._metrics.texts.inc(len(texts))
        if verb == "classify":
            return dialect.classifications(answers)
        return dialect.predictions(answers, form)

    def _check(self, texts: list[bytes]) -> None:
        limits = self._limits
        if len(texts) > limits.max_texts:
            raise RequestError(
                400, f"{len(texts)} texts in a request; expected at most {limits.max_texts}"
            )
        for index, text in enumerate(texts):
            if len(text) > limits.max_text_bytes:
                raise RequestError(
                    400,
                    f"Text {index} has {len(text)} bytes; expected at most {limits.max_text_bytes}",
                )

    def _status(self, asked: dialect.Target) -> dict[str, Any]:
        versions = self.versions
        number = versions.find(asked).number if asked.label is not None else asked.version
        states = {n: s for n, s in versions.states.items() if number in (None, n)}
        if asked.name != versions.name or not states:
            shown = asked.name + ("" if number is None else f" version {number}")
            raise RequestError(404, f"Could not find any versions of model {shown}")
        return {
            "model_version_status": [
                {
                    "version": str(number),
                    "state": state,
                    "status": {
                        "error_code": "UNKNOWN" if message else "OK",
                        "error_message": message,
                    },
                }
                for number, (state, message) in sorted(states.items(), reverse=True)
            ]
        }

    async def _body(self, request: Request) -> bytes:
        limit = self._limits.max_body_bytes
        refusal = RequestError(413, f"The request is larger than {limit} bytes", closes=True)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise RequestError(400, "Content-Encoding is not supported", closes=True)
        declared = request.headers.get("content-length", "")
        if "expect" in request.headers and declared.isdecimal() and int(declared) > limit:
            raise refusal  # the sender asks first, and has sent nothing yet
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size <= limit:
                        chunks.append(chunk)
                        continue
                    # Read on and keep nothing: who is cut off while sending reads no answer.
                    chunks.clear()
                    if size > limit + _DRAINED_BYTES:
                        break
        except TimeoutError:
            if size <= limit:
                raise RequestError(
                    408,
                    f"The request did not arrive within {self._limits.read_seconds:g} seconds",
                    closes=True,
                ) from None
        if size > limit:
            raise refusal
        return b"".join(chunks)


def _json(value: Any, code: int = 200) -> Response:
    return Response(dialect.to_json(value), code, media_type="application/json")
