"""Web application that serves the versions of one model: routes, endpoints and error responses."""

import asyncio
import contextlib
import importlib.resources
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import prometheus_client
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from textclf.serving import dialect
from textclf.serving.batching import Batcher, Call
from textclf.serving.dialect import ModelSpec, RequestError
from textclf.serving.limits import Limits, check_texts, read_body
from textclf.serving.metrics import Metrics, RequestMiddleware
from textclf.serving.versions import Version, Versions

logger = logging.getLogger(__name__)
_MAX_PAGE_CLASSES = 50
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Service:
    """Web application for one model, with its versions, limits and metrics.

    The metrics label a request with the name of its endpoint, which is the name of a method here.

    Args:
        folder: a folder of versions, whose newest one is served, or one version.
        name: the model's name in the paths.
        labels: version numbers by label.
        limits: limits on requests.
        log: receives messages about loaded, failed and released versions.

    Attributes:
        app: the ASGI application.

    Raises:
        ArtifactError: `folder` has no version that can be loaded.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        labels: Mapping[str, int],
        limits: Limits,
        log: Callable[[str], None],
    ):
        self._limits = limits
        self._metrics = Metrics()
        # Two calls at once, so that a long batch of one signature does not stop the others.
        # TensorFlow itself spreads each call over the cores.
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="textclf-batch")
        self._is_stopping = False
        self._versions = Versions(folder, name, labels, self._make_batcher, log)
        page = importlib.resources.files("textclf.serving").joinpath("page.html").read_text("utf-8")
        self._page = jinja2.Environment(autoescape=True).from_string(page)
        self.app = Starlette(
            routes=self._routes(),
            middleware=[Middleware(RequestMiddleware, self._metrics, lambda: self._is_stopping)],
            exception_handlers={
                RequestError: _request_error,
                HTTPException: _routing_error,
                ClientDisconnect: _disconnected,
                Exception: _unexpected_error,
            },
            lifespan=self._lifespan,
        )
        self.app.router.redirect_slashes = False  # TF Serving answers such paths with 400

    def announce_shutdown(self) -> None:
        """Make /healthz fail and every response close its connection from now on."""
        self._is_stopping = True

    def _routes(self) -> list[BaseRoute]:
        routes: list[BaseRoute] = [
            _Route("/", self.page),
            _Route("/healthz", self.healthz),
            _Route("/metrics", self.metrics),
        ]
        for version in ("", "/versions/{version:model_version}", "/labels/{label:model_name}"):
            model = "/v1/models/{name:model_name}" + version
            routes += [
                _Route(model + ":predict", self.predict, methods=["POST"]),
                _Route(model + ":classify", self.classify, methods=["POST"]),
                _Route(model + ":regress", self.regress, methods=["POST"]),
                _Route(model + "/metadata", self.metadata),
                _Route(model, self.status),
            ]
        return routes

    def _make_batcher(self, call: Call) -> Batcher:
        return Batcher(
            call,
            self._executor,
            max_batch_size=self._limits.max_batch_size,
            max_waiting=self._limits.max_queue,
            on_batch=self._metrics.batch_size.observe,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(self._versions.watch())
        try:
            yield
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            self._executor.shutdown()

    # === TF Serving's endpoints ===

    async def predict(self, request: Request) -> Response:
        """Answer POST MODEL:predict."""
        async with self._inference(request) as (version, body):
            name = dialect.signature_name(body)
            texts, form = dialect.read_texts(body, version.signature(name).input_name)
            outputs = await self._run(version, name, texts)
        return _json(dialect.format_predictions(outputs, form))

    async def classify(self, request: Request) -> Response:
        """Answer POST MODEL:classify."""
        async with self._inference(request) as (version, body):
            name = dialect.signature_name(body)
            signature = version.signature(name)
            if (signature.input_name, signature.outputs) != ("inputs", {"classes", "scores"}):
                raise RequestError(
                    400,
                    f'Expected classification signature, but "{name}" does not have the input '
                    'inputs and the outputs classes and scores; set "signature_name": "classify"',
                )
            outputs = await self._run(version, name, dialect.read_examples(body))
        return _json(dialect.format_classifications(outputs))

    async def regress(self, request: Request) -> Response:
        """Answer POST MODEL:regress, always with an error."""
        async with self._inference(request) as (version, body):
            version.signature(dialect.signature_name(body))
            raise RequestError(400, "Expected regression signature; a classifier has none")

    async def status(self, request: Request) -> Response:
        """Answer GET MODEL: the states of its versions."""
        spec = _model_spec(request)
        number = spec.version if spec.label is None else self._versions.find(spec).number
        states = {n: state for n, state in self._versions.states.items() if number in (None, n)}
        if spec.name != self._versions.name or not states:
            model = spec.name + ("" if number is None else f" version {number}")
            raise RequestError(404, f"Could not find any versions of model {model}")
        return _json(dialect.format_status(states))

    async def metadata(self, request: Request) -> Response:
        """Answer GET MODEL/metadata: the signatures of a version."""
        version = self._versions.find(_model_spec(request))
        spec = {
            "name": self._versions.name,
            "signature_name": "",
            "version": str(version.number),
        }
        signatures = {"signature_def": version.signature_definitions}
        return _json({"model_spec": spec, "metadata": {"signature_def": signatures}})

    @contextlib.asynccontextmanager
    async def _inference(self, request: Request) -> AsyncIterator[tuple[Version, dict[str, Any]]]:
        """Yield the requested version and the JSON object of the body, within the time limits."""
        data = await read_body(request, self._limits)
        async with self._versions.lease(_model_spec(request)) as version:
            try:
                async with asyncio.timeout(self._limits.answer_seconds):
                    yield version, dialect.parse_body(data)
            except TimeoutError:
                raise RequestError(504, "Timed out waiting for the answer") from None

    async def _run(
        self, version: Version, signature_name: str, inputs: list[bytes]
    ) -> dict[str, np.ndarray]:
        check_texts(inputs, self._limits, signature_name)
        outputs = await version.batchers[signature_name].submit(inputs)
        self._metrics.texts.inc(len(inputs))
        return outputs

    # === Other endpoints ===

    async def page(self, request: Request) -> Response:
        """Answer GET /: the page for trying the model."""
        version = self._versions.current
        model = {
            "name": self._versions.name,
            "version": version.number,
            "multi_label": version.card.multi_label,
            # Exports of older versions of textclf do not have it.
            "explains": dialect.EXPLAIN_SIGNATURE in version.signatures,
        }
        html = self._page.render(
            model=model, class_names=version.card.class_names, max_classes=_MAX_PAGE_CLASSES
        )
        return Response(html, media_type="text/html", headers=_PAGE_HEADERS)

    async def healthz(self, request: Request) -> Response:
        """Answer GET /healthz."""
        if self._is_stopping:
            return _json({"status": "stopping"}, 503)
        return _json({"status": "ok", "version": str(self._versions.current.number)})

    async def metrics(self, request: Request) -> Response:
        """Answer GET /metrics."""
        metrics, loaded = self._metrics, self._versions.loaded
        batchers = [batcher for version in loaded for batcher in version.batchers.values()]
        metrics.waiting.set(sum(batcher.num_waiting for batcher in batchers))
        metrics.version.set(self._versions.current.number)
        metrics.loaded.set(len(loaded))
        metrics.failed_loads.set(self._versions.num_failed_loads)
        return Response(
            prometheus_client.generate_latest(metrics.registry),
            headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST},
        )


# === Paths ===


class _ModelName(Convertor[str]):
    """Name of a model or a label in a path."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _ModelVersion(Convertor[int]):
    """Number of a version in a path, within int64."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("model_name", _ModelName())
register_url_convertor("model_version", _ModelVersion())


class _Route(Route):
    """Route that matches whole paths, and ignores case below /v1/ as TF Serving does.

    The pattern of Starlette ends with "$", which also matches before a final newline.
    """

    def __init__(self, path: str, *args: Any, **options: Any):
        super().__init__(path, *args, **options)
        pattern = self.path_regex.pattern.removesuffix("$") + r"\Z"
        self.path_regex = re.compile(pattern, re.IGNORECASE if path.startswith("/v1/") else 0)


def _model_spec(request: Request) -> ModelSpec:
    path = request.path_params
    return ModelSpec(path["name"], path.get("version"), path.get("label"))


# === Error responses ===


def _json(value: Any, code: int = 200) -> Response:
    return Response(dialect.to_json(value), code, media_type="application/json")


async def _request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    response = _json({"error": str(error)}, error.code)
    if error.closes_connection:
        response.headers["Connection"] = "close"
    return response


async def _routing_error(request: Request, error: Exception) -> Response:
    """Answer what no route matches.

    Starlette's 404 and 405 are plain text. TF Serving answers an unknown path or method of its
    API with 400 and JSON.
    """
    path = request.scope["path"][:256]
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and not path.lower().startswith("/v1/"):
        return _json({"error": f"Not Found: {path}"}, 404)
    return _json({"error": f"Malformed request: {request.method} {path}"}, 400)


async def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # for the metrics; the client has disconnected


async def _unexpected_error(request: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return _json({"error": "Internal error"}, 500)
