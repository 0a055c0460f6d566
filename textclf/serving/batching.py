"""Joining concurrent requests into batches."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from textclf.serving.dialect import RequestError

# A signature: from inputs, string [n], to its outputs by name, each [n, ...].
Call = Callable[[Sequence[bytes]], dict[str, np.ndarray]]

# The inputs of a request, and the future of its outputs.
_Request = tuple[list[bytes], asyncio.Future]


class Batcher:
    """Queue of the requests for one signature, which are run in batches.

    A request runs at once if the signature is idle. Requests that arrive while it is busy form
    the next batch. So an idle server adds no delay, and a busy one fills its batches.

    All state is used by the event loop only, so there are no locks. The signature runs in the
    threads of the executor.

    Args:
        call: the signature.
        executor: runs the calls.
        max_batch_size: inputs in one call.
        max_waiting: requests in the queue.
        on_batch: receives the number of inputs of each call.
    """

    def __init__(
        self,
        call: Call,
        executor: ThreadPoolExecutor,
        *,
        max_batch_size: int,
        max_waiting: int,
        on_batch: Callable[[int], None],
    ):
        self._call = call
        self._executor = executor
        self._max_batch_size = max_batch_size
        self._max_waiting = max_waiting
        self._on_batch = on_batch
        self._queue: deque[_Request] = deque()
        self._worker: asyncio.Task | None = None

    @property
    def num_waiting(self) -> int:
        """Number of requests in the queue."""
        return len(self._queue)

    async def submit(self, inputs: list[bytes]) -> dict[str, np.ndarray]:
        """Return the outputs of a request, each [n, ...].

        Args:
            inputs: string [n].

        Raises:
            RequestError: 429, the queue is full; 400, the graph rejects the inputs.
        """
        if len(self._queue) >= self._max_waiting:
            raise RequestError(
                429,
                "The batch scheduling queue to which this task was submitted is full; try again "
                "later",
            )
        future = asyncio.get_running_loop().create_future()
        self._queue.append((inputs, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while self._queue:
                await self._run(self._next_batch())
        finally:
            self._worker = None

    def _next_batch(self) -> list[_Request]:
        """Remove the requests of the next batch from the queue, at least one if it has any.

        Cancelled requests are dropped.
        """
        batch: list[_Request] = []
        size = 0
        while self._queue:
            inputs, future = self._queue[0]
            if not future.done():
                if batch and size + len(inputs) > self._max_batch_size:
                    break
                batch.append((inputs, future))
                size += len(inputs)
            self._queue.popleft()
        return batch

    async def _run(self, batch: list[_Request]) -> None:
        if not batch:
            return
        joined = [value for inputs, _ in batch for value in inputs]
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(self._executor, self._call_in_parts, joined)
        except Exception as error:
            if len(batch) > 1:
                # Run the requests one by one, so that only the invalid one fails.
                for request in batch:
                    await self._run([request])
            elif not batch[0][1].done():
                batch[0][1].set_exception(_client_error(error))
            return
        start = 0
        for inputs, future in batch:
            rows = slice(start, start + len(inputs))
            start = rows.stop
            if not future.done():
                future.set_result({name: values[rows] for name, values in outputs.items()})

    def _call_in_parts(self, inputs: list[bytes]) -> dict[str, np.ndarray]:
        """Call the signature with at most `max_batch_size` inputs at a time.

        The inputs are sorted by length, which saves padding.
        """
        order = sorted(range(len(inputs)), key=lambda index: len(inputs[index]))
        parts = []
        for start in range(0, max(len(inputs), 1), self._max_batch_size):
            part = [inputs[index] for index in order[start : start + self._max_batch_size]]
            self._on_batch(len(part))
            parts.append(self._call(part))
        inverse = np.empty(len(inputs), np.int64)
        inverse[order] = np.arange(len(inputs))
        return {name: _joined([part[name] for part in parts])[inverse] for name in parts[0]}


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate outputs [n, ...], which are padded with zeros or b"" if their widths differ.

    The signature `explain` has outputs as wide as the longest text of a call.
    """
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    shape = np.max([part.shape[1:] for part in parts], axis=0)
    padding = b"" if parts[0].dtype == object else 0
    joined = np.full((sum(map(len, parts)), *shape), padding, parts[0].dtype)
    start = 0
    for part in parts:
        joined[(slice(start, start + len(part)), *map(slice, part.shape[1:]))] = part
        start += len(part)
    return joined


def _client_error(error: Exception) -> Exception:
    """Return a 400 for an error that the inputs caused; any other error as it is."""
    if isinstance(error, tf.errors.InvalidArgumentError):
        return RequestError(400, str(error.message)[:1024])
    if isinstance(error, UnicodeDecodeError):
        # TensorFlow quotes the rejected bytes in its message and fails to decode them.
        return RequestError(400, "The graph rejects the bytes of an input")
    return error
