"""The versions of a model: loading, joining requests to batches, and replacing one under load.

All state is touched by the event loop alone, so nothing is locked; TensorFlow runs in threads.
"""

import asyncio
import contextlib
import gc
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from textclf import artifact
from textclf.errors import ArtifactError
from textclf.serving.dialect import DEFAULT_SIGNATURE, RequestError, Target

# From texts, string [n], to the outputs by name, each [n, ...].
Call = Callable[[Sequence[bytes]], dict[str, np.ndarray]]


class Signature(NamedTuple):
    """A signature with its one input, string [batch]."""

    input_name: str
    outputs: frozenset[str]
    call: Call


class Batcher:
    """Joins the requests that wait for one signature while TensorFlow is busy with others.

    Nothing waits for company: a request that finds the signature idle goes at once, and those
    that come meanwhile go together. So an idle server adds no delay, and a busy one fills batches.

    Args:
        call: the signature.
        max_batch_size: texts that go through the network at a time.
        max_waiting: requests that may wait.
        on_batch: is told the number of texts of each batch.
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
        self._waiting: deque[tuple[list[bytes], asyncio.Future]] = deque()
        self._worker: asyncio.Task | None = None

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    async def ask(self, texts: list[bytes]) -> dict[str, np.ndarray]:
        """The outputs for some texts, each [n, ...].

        Raises:
            RequestError: 429, too many requests wait; 400, the graph refuses the texts.
        """
        if len(self._waiting) >= self._max_waiting:
            raise RequestError(
                429,
                "The batch scheduling queue to which this task was submitted is full; try again "
                "later",
            )
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((texts, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._run(self._take())
        finally:
            self._worker = None

    def _take(self) -> list[tuple[list[bytes], asyncio.Future]]:
        """The requests of the next batch, at least one; those nobody waits for are dropped."""
        batch: list[tuple[list[bytes], asyncio.Future]] = []
        size = 0
        while self._waiting:
            texts, future = self._waiting[0]
            if not future.done():
                if batch and size + len(texts) > self._max_batch_size:
                    break
                batch.append((texts, future))
                size += len(texts)
            self._waiting.popleft()
        return batch

    async def _run(self, batch: list[tuple[list[bytes], asyncio.Future]]) -> None:
        if not batch:
            return
        joined = [text for texts, _ in batch for text in texts]
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._executor, self._in_parts, joined)
        except Exception as error:
            if len(batch) > 1:
                # One request must not fail its neighbours: each is asked by itself.
                for request in batch:
                    await self._run([request])
            elif not batch[0][1].done():
                if isinstance(error, tf.errors.InvalidArgumentError):
                    error = RequestError(400, str(error.message)[:1024])
                elif isinstance(error, UnicodeDecodeError):
                    # TensorFlow quotes the refused bytes, and fails to make its error of them.
                    error = RequestError(400, "The graph refuses the bytes of an input")
                batch[0][1].set_exception(error)
            return
        start = 0
        for texts, future in batch:
            rows = slice(start, start + len(texts))
            start = rows.stop
            if not future.done():
                future.set_result({name: values[rows] for name, values in answers.items()})

    def _in_parts(self, texts: list[bytes]) -> dict[str, np.ndarray]:
        # Texts of similar length share a part, so that little padding is computed.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        parts = []
        for start in range(0, max(len(texts), 1), self._max_batch_size):
            part = [texts[index] for index in order[start : start + self._max_batch_size]]
            self._on_batch(len(part))
            parts.append(self._call(part))
        back = np.empty(len(texts), np.int64)
        back[order] = np.arange(len(texts))
        return {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}


class Version:
    """A loaded version.

    Attributes:
        number: the name of its folder.
        card: what the model is.
        signatures: by name.
        metadata: its signatures in TF Serving's form, ready for JSON.
        leases: requests that are being answered by it.
    """

    def __init__(self, number: int, folder: Path, make_batcher: Callable[[Call], Batcher]):
        self.number = number
        self.card = artifact.read_card(folder / "assets.extra")
        self.leases = 0
        self._loaded = loaded = tf.saved_model.load(str(folder))
        self.metadata = _metadata(folder)
        self.signatures: dict[str, Signature] = {}
        for name, function in loaded.signatures.items():
            inputs = function.structured_input_signature[1]
            if len(inputs) == 1:
                [(key, spec)] = inputs.items()
                if spec.dtype == tf.string:
                    outputs = frozenset(function.structured_outputs)
                    self.signatures[name] = Signature(key, outputs, _caller(function, key))
        if DEFAULT_SIGNATURE not in self.signatures:
            raise ArtifactError(f"{folder}: has no signature {DEFAULT_SIGNATURE} of texts")
        self.batchers = {n: make_batcher(s.call) for n, s in self.signatures.items()}
        for signature in self.signatures.values():
            # The first call of a graph takes a hundred times as long as the others.
            signature.call([b""])
            signature.call([b"", b""])

    def signature(self, name: str) -> Signature:
        """
        Raises:
            RequestError: 400, there is none of this name.
        """
        try:
            return self.signatures[name]
        except KeyError:
            shown = name[:256].encode("utf-8", "replace").decode()
            raise RequestError(
                400, f'Serving signature name: "{shown}" not found in signature def'
            ) from None


def _caller(function: Any, key: str) -> Call:
    def call(texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        answers = function(**{key: tf.constant(list(texts), tf.string, shape=[len(texts)])})
        return {name: answers[name].numpy() for name in sorted(answers)}

    return call


def _metadata(folder: Path) -> dict[str, Any]:
    stored = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = stored.meta_graphs[0].signature_def
    return {
        name: json_format.MessageToDict(
            signature, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, signature in sorted(signatures.items())
    }


class Versions:
    """The newest version of a model, kept newest while the server runs.

    Args:
        place: a folder of versions, or one version.
        name: of the model.
        labels: names of versions, for /labels/L.
        make_batcher: around a signature.
        log: is told what a person should know.
    """

    def __init__(
        self,
        place: Path,
        name: str,
        labels: Mapping[str, int],
        make_batcher: Callable[[Call], Batcher],
        log: Callable[[str], None],
    ):
        self.name = name
        self.states: dict[int, tuple[str, str]] = {}
        self.num_failures = 0
        self._place = place
        self._labels = labels
        self._make_batcher = make_batcher
        self._log = log
        self._retired: list[Version] = []
        self._failed: tuple[int, Any] | None = None
        self.current = self._load(artifact.find_export(place))
        _settle()
        self.states[self.current.number] = ("AVAILABLE", "")

    @property
    def loaded(self) -> list[Version]:
        """The newest, and those that answer their last requests."""
        return [self.current, *self._retired]

    def find(self, asked: Target) -> Version:
        """The version that a request means.

        Raises:
            RequestError: 404, it is not served; 400, no such label.
        """
        number = asked.version
        if asked.name == self.name and asked.label is not None:
            if asked.label not in self._labels:
                raise RequestError(400, f"Unrecognized servable version label: {asked.label}")
            number = self._labels[asked.label]
            asked = asked._replace(version=number)
        if asked.name != self.name or number not in (None, self.current.number):
            raise RequestError(404, f"Servable not found for request: {asked.spec()}")
        return self.current

    @contextlib.asynccontextmanager
    async def lease(self, asked: Target) -> AsyncIterator[Version]:
        """The version, which stays loaded for as long as the block lasts."""
        version = self.find(asked)
        version.leases += 1
        try:
            yield version
        finally:
            version.leases -= 1

    async def watch(self, seconds: float = 1.0) -> None:
        """Looks for a newer version, for ever: loads it, then lets the old one go."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except Exception as error:  # whatever a folder holds, the loaded version answers
                self._log(f"looking for versions failed: {error}")

    async def refresh(self) -> None:
        """Loads the newest version if it is not the one that is served."""
        self._release()
        # What is no longer numbered as before is gone; with nothing left, the loaded one stays.
        folder = await asyncio.to_thread(artifact.exported_version, self._place)
        if folder is None or number_of(folder) == self.current.number:
            return
        number = number_of(folder)
        stamp = await asyncio.to_thread(_stamp, folder)
        if self._failed == (number, stamp):
            return
        self.states[number] = ("LOADING", "")
        try:
            version = await asyncio.to_thread(self._load, folder)
        except Exception as error:
            # Perhaps it is still being copied: it is tried again once its files have changed.
            self._failed = (number, stamp)
            self.num_failures += 1
            self.states[number] = ("END", str(error)[:1024])
            self._log(f"version {number} cannot be loaded and is left out: {error}")
            return
        old, self.current, self._failed = self.current, version, None
        _settle()
        self.states[number] = ("AVAILABLE", "")
        self.states[old.number] = ("UNLOADING", "")
        self._retired.append(old)
        self._log(f"version {number} is served instead of {old.number}")
        while len(self.states) > 16:
            del self.states[next(iter(self.states))]

    def _load(self, folder: Path) -> Version:
        return Version(number_of(folder), folder, self._make_batcher)

    def _release(self) -> None:
        drained = [version for version in self._retired if not version.leases]
        for version in drained:
            self._retired.remove(version)
            if version.number != self.current.number:
                self.states[version.number] = ("END", "")
            self._log(f"version {version.number} is released")
        if drained:
            del drained, version
            _settle()


def _settle() -> None:
    """Frees graphs that are no longer used, and keeps the collector off those that are.

    A loaded graph is a cycle and may hold gigabytes; and going through all of TensorFlow's
    objects takes a fifth of a second, in which nobody is answered.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def number_of(folder: Path) -> int:
    """The number of a version; 1 for a folder that is not numbered."""
    name = Path(os.path.abspath(folder)).name
    return int(name) if name.isascii() and name.isdecimal() else 1


def _stamp(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = [(str(path), path.stat()) for path in files]
    return json.dumps([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats])
