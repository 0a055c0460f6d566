"""Versions of a model: loading, and replacing one while requests arrive.

All state is used by the event loop only, so there are no locks. Versions are loaded in threads.
"""

import asyncio
import contextlib
import gc
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from textclf import artifact
from textclf.errors import ArtifactError
from textclf.serving.batching import Batcher, Call
from textclf.serving.dialect import DEFAULT_SIGNATURE, ModelSpec, RequestError

_MAX_STATES = 16  # versions in a status response


class Signature(NamedTuple):
    """Signature with one input, string [batch]."""

    input_name: str
    outputs: frozenset[str]
    call: Call


class Version:
    """Loaded version of a model.

    Args:
        number: the number of the version.
        folder: its SavedModel.
        make_batcher: returns a batcher for a signature.

    Attributes:
        card: the description of the model.
        signatures: the signatures that take texts, by name.
        batchers: a batcher for each of them, by name.
        signature_definitions: all signatures in TF Serving's form, ready for JSON.
        num_leases: requests in progress.

    Raises:
        ArtifactError: the SavedModel has no default signature of texts.
    """

    def __init__(self, number: int, folder: Path, make_batcher: Callable[[Call], Batcher]):
        self.number = number
        self.card = artifact.read_card(folder / "assets.extra")
        self.num_leases = 0
        self._loaded = loaded = tf.saved_model.load(str(folder))
        self.signature_definitions = _read_signature_definitions(folder)
        self.signatures: dict[str, Signature] = {}
        for name, function in loaded.signatures.items():
            inputs = function.structured_input_signature[1]
            if len(inputs) == 1:
                [(key, spec)] = inputs.items()
                if spec.dtype == tf.string:
                    outputs = frozenset(function.structured_outputs)
                    self.signatures[name] = Signature(key, outputs, _make_call(function, key))
        if DEFAULT_SIGNATURE not in self.signatures:
            raise ArtifactError(
                f"{folder}: no signature {DEFAULT_SIGNATURE} with one input of texts; serve an "
                "export of textclf"
            )
        self.batchers = {
            name: make_batcher(signature.call) for name, signature in self.signatures.items()
        }
        for signature in self.signatures.values():
            # The first call of a graph takes about a hundred times as long as the next ones.
            signature.call([b""])
            signature.call([b"", b""])

    def signature(self, name: str) -> Signature:
        """Return the signature with a name.

        Raises:
            RequestError: 400, there is no such signature.
        """
        try:
            return self.signatures[name]
        except KeyError:
            printable = name[:256].encode("utf-8", "replace").decode()
            raise RequestError(
                400, f'Serving signature name: "{printable}" not found in signature def'
            ) from None


def _make_call(function: Any, input_name: str) -> Call:
    def call(inputs: Sequence[bytes]) -> dict[str, np.ndarray]:
        outputs = function(
            **{input_name: tf.constant(list(inputs), tf.string, shape=[len(inputs)])}
        )
        return {name: outputs[name].numpy() for name in sorted(outputs)}

    return call


def _read_signature_definitions(folder: Path) -> dict[str, Any]:
    stored = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = stored.meta_graphs[0].signature_def
    return {
        name: json_format.MessageToDict(
            signature, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, signature in sorted(signatures.items())
    }


class Versions:
    """Newest version of a model, which is replaced when a newer one appears.

    Args:
        folder: a folder of versions, or one version.
        name: the name of the model.
        labels: version numbers by label.
        make_batcher: returns a batcher for a signature.
        log: receives messages about loaded, failed and released versions.

    Attributes:
        current: the version that is served.
        states: (state, error message) by version number, as in a status response.
        num_failed_loads: versions that failed to load.

    Raises:
        ArtifactError: `folder` has no version that can be loaded.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        labels: Mapping[str, int],
        make_batcher: Callable[[Call], Batcher],
        log: Callable[[str], None],
    ):
        self.name = name
        self.states: dict[int, tuple[str, str]] = {}
        self.num_failed_loads = 0
        self._folder = folder
        self._labels = labels
        self._make_batcher = make_batcher
        self._log = log
        self._retired: list[Version] = []
        self._failed: tuple[int, str] | None = None  # number and file stamp
        self.current = self._load(artifact.find_export(folder))
        _collect_garbage()
        self.states[self.current.number] = ("AVAILABLE", "")

    @property
    def loaded(self) -> list[Version]:
        """The current version, and replaced versions with requests in progress."""
        return [self.current, *self._retired]

    def find(self, spec: ModelSpec) -> Version:
        """Return the version that a request names.

        Raises:
            RequestError: 404, the version is not served; 400, there is no such label.
        """
        if spec.name == self.name and spec.label is not None:
            if spec.label not in self._labels:
                raise RequestError(400, f"Unrecognized servable version label: {spec.label}")
            spec = spec._replace(version=self._labels[spec.label])
        if spec.name != self.name or spec.version not in (None, self.current.number):
            raise RequestError(404, f"Servable not found for request: {spec}")
        return self.current

    @contextlib.asynccontextmanager
    async def lease(self, spec: ModelSpec) -> AsyncIterator[Version]:
        """Yield the version that a request names, and keep it loaded within the block.

        Raises:
            RequestError: as `find` does.
        """
        version = self.find(spec)
        version.num_leases += 1
        try:
            yield version
        finally:
            version.num_leases -= 1

    async def watch(self, interval_seconds: float = 1.0) -> None:
        """Look for a newer version forever."""
        while True:
            await asyncio.sleep(interval_seconds)
            try:
                await self.refresh()
            except Exception as error:  # the loaded version stays in service
                self._log(f"looking for new versions failed: {error}")

    async def refresh(self) -> None:
        """Release replaced versions that are no longer used, and load the newest version."""
        self._release()
        folder = await asyncio.to_thread(artifact.exported_version, self._folder)
        if folder is None or version_number(folder) == self.current.number:
            return
        number = version_number(folder)
        stamp = await asyncio.to_thread(_file_stamp, folder)
        if self._failed == (number, stamp):
            return
        self.states[number] = ("LOADING", "")
        try:
            version = await asyncio.to_thread(self._load, folder)
        except Exception as error:
            # It may still be being copied: it is loaded again when its files change.
            self._failed = (number, stamp)
            self.num_failed_loads += 1
            self.states[number] = ("END", str(error)[:1024])
            self._log(
                f"version {number} cannot be loaded ({error}); version {self.current.number} "
                "stays in service until its files change"
            )
            return
        replaced, self.current, self._failed = self.current, version, None
        _collect_garbage()
        self.states[number] = ("AVAILABLE", "")
        self.states[replaced.number] = ("UNLOADING", "")
        self._retired.append(replaced)
        self._log(f"version {number} replaces version {replaced.number}")
        while len(self.states) > _MAX_STATES:
            del self.states[next(iter(self.states))]

    def _load(self, folder: Path) -> Version:
        return Version(version_number(folder), folder, self._make_batcher)

    def _release(self) -> None:
        unused = [version for version in self._retired if not version.num_leases]
        for version in unused:
            self._retired.remove(version)
            if version.number != self.current.number:
                self.states[version.number] = ("END", "")
            self._log(f"version {version.number} is released")
        if unused:
            del unused, version
            _collect_garbage()


def _collect_garbage() -> None:
    """Free unused graphs, and exempt all other objects from later collections.

    A loaded graph is a reference cycle and may hold gigabytes. A collection that visits all
    objects of TensorFlow takes 0.2 s, during which no request is answered.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def version_number(folder: Path) -> int:
    """Return the number of a version, which is the name of its folder; 1 for another name."""
    name = Path(os.path.abspath(folder)).name
    return int(name) if name.isascii() and name.isdecimal() else 1


def _file_stamp(folder: Path) -> str:
    """Return a value that changes when a file in a folder changes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = [(str(path), path.stat()) for path in files]
    return json.dumps([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats])
