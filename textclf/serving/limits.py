"""Limits on a request, and the functions that apply them."""

import asyncio
import dataclasses
from collections.abc import Sequence

from starlette.requests import Request

from textclf.serving.dialect import EXPLAIN_SIGNATURE, RequestError

# A client that is cut off while it sends may never read the response, so the rest of a body
# that is too large is read and discarded, up to this size.
_MAX_DISCARDED_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on requests and connections, and the HTTP codes beyond them.

    Attributes:
        max_body_bytes: size of a request body; 413.
        max_texts: texts in a request; 400.
        max_explained_texts: texts in a request for the signature `explain`, which takes some
            hundred times as long as a prediction; 400.
        max_text_bytes: size of a text in UTF-8; 400.
        max_batch_size: texts in one call of the network; larger requests are split.
        max_queue: requests that wait for one signature; 429.
        max_connections: open connections; 503.
        read_seconds: from the head of a request to the end of its body; 408. Rounded up to
            seconds, also the time after which an idle connection is closed.
        answer_seconds: from the end of the body to the answer; 504.
    """

    max_body_bytes: int = 4 << 20
    max_texts: int = 1024
    max_explained_texts: int = 8
    max_text_bytes: int = 100_000
    max_batch_size: int = 64
    max_queue: int = 128
    max_connections: int = 512
    read_seconds: float = 10.0
    answer_seconds: float = 30.0


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request.

    Raises:
        RequestError: 400, the body is compressed; 408, it did not arrive in time; 413, it is
            too large.
        ClientDisconnect: the client closed the connection.
    """
    too_large = RequestError(
        413, f"The request is larger than {limits.max_body_bytes} bytes", closes_connection=True
    )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(400, "Content-Encoding is not supported", closes_connection=True)
    declared = request.headers.get("content-length", "")
    is_too_large = declared.isdecimal() and int(declared) > limits.max_body_bytes
    if is_too_large and "expect" in request.headers:
        raise too_large  # the client waits for an interim response before it sends the body
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.read_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limits.max_body_bytes:
                    chunks.append(chunk)
                    continue
                chunks.clear()
                if size > limits.max_body_bytes + _MAX_DISCARDED_BYTES:
                    break
    except TimeoutError:
        if size <= limits.max_body_bytes:
            raise RequestError(
                408,
                f"The request did not arrive within {limits.read_seconds:g} seconds",
                closes_connection=True,
            ) from None
    if size > limits.max_body_bytes:
        raise too_large
    return b"".join(chunks)


def check_texts(texts: Sequence[bytes], limits: Limits, signature_name: str) -> None:
    """Check the number and the sizes of the texts of a request.

    Raises:
        RequestError: 400, there are too many texts, or one is too long.
    """
    max_texts = limits.max_texts
    if signature_name == EXPLAIN_SIGNATURE:
        max_texts = min(max_texts, limits.max_explained_texts)
    if len(texts) > max_texts:
        raise RequestError(400, f"{len(texts)} texts in a request; expected at most {max_texts}")
    for index, text in enumerate(texts):
        if len(text) > limits.max_text_bytes:
            raise RequestError(
                400,
                f"Text {index} has {len(text)} bytes; expected at most {limits.max_text_bytes}",
            )
