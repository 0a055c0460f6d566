"""Claims: files that give one process the right to execute a run.

Only one process can create a claim file. Its modification time is a heartbeat. A claim is abandoned
if its process has ended (same machine) or has been silent for ten minutes (another machine).
"""

import contextlib
import os
import platform
import secrets
import tempfile
import time
from pathlib import Path

import msgspec
import psutil

from textclf.study.records import Holder
from textclf.study.runs import Run

HEARTBEAT_SECONDS = 30.0
ABANDONED_SECONDS = 600.0  # a claim without a heartbeat for this long is abandoned
# Start times come from the clock, which may be adjusted between two readings.
_START_TOLERANCE_SECONDS = 2.0


class Claim:
    """Right to execute a run, kept by touching its file."""

    def __init__(self, path: Path, content: bytes, taken_over: str):
        self.taken_over = taken_over  # description of the former holder, if there was one
        self._path = path
        self._content = content  # unique, because of the token
        self._touched = time.monotonic()

    @classmethod
    def take(cls, run: Run, folder: Path) -> "Claim | None":
        """Return the claim of a run, or None if another process holds it."""
        # Runs that need all cores are executed one at a time on all machines.
        name = "cores" if run.kind in ("calibration", "measurement") else run.name
        path = folder / "claims" / f"{name}.json"
        former_holder = _remove_abandoned(path)
        if former_holder is None:
            return None
        holder = Holder(
            host=platform.node(),
            pid=os.getpid(),
            process_started=process_start(os.getpid()),
            time=time.time(),
            token=secrets.token_hex(8),
        )
        content = msgspec.json.encode(holder)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return None
        with open(descriptor, "wb") as file:
            file.write(content)
        return cls(path, content, former_holder)

    def beat(self) -> None:
        """Update the heartbeat if it is due."""
        if time.monotonic() - self._touched >= HEARTBEAT_SECONDS:
            self._touched = time.monotonic()
            with contextlib.suppress(FileNotFoundError):
                if self._is_held():
                    os.utime(self._path)

    def release(self) -> None:
        """Remove the file, unless another process has taken the claim over."""
        with contextlib.suppress(FileNotFoundError):
            if self._is_held():
                self._path.unlink()

    def _is_held(self) -> bool:
        return self._path.read_bytes() == self._content


def _remove_abandoned(path: Path) -> str | None:
    """Remove a claim file whose holder has ended or is silent.

    Returns:
        "" if there was no file, a description of the holder if the file was removed, None if the
        claim is valid.
    """
    try:
        touched = os.stat(path).st_mtime
        content = path.read_bytes()
    except FileNotFoundError:
        return ""
    holder = _decode(content)  # None: being written, or its writer was killed
    # The file system's clock made both times; it is the same for all machines.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".now-") as now:
        silent = os.stat(now.name).st_mtime - touched
    has_ended = holder is not None and holder.host == platform.node() and not is_alive(holder)
    if not has_ended and silent < ABANDONED_SECONDS:
        return None
    aside = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return None
    if aside.read_bytes() != content:  # another process has removed it and taken the claim
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
        aside.unlink()
        return None
    aside.unlink()
    name = "an unknown process" if holder is None else f"process {holder.pid} on {holder.host}"
    state = "which has ended" if has_ended else f"silent for {silent / 60:.0f} minutes"
    return f"{name}, {state}"


def _decode(content: bytes) -> Holder | None:
    try:
        return msgspec.json.decode(content, type=Holder)
    except msgspec.DecodeError:
        return None


def is_alive(holder: Holder) -> bool:
    """Decide whether the process of this machine that made a claim still runs."""
    started = process_start(holder.pid)
    if started is None or holder.process_started is None:
        return False
    return abs(started - holder.process_started) < _START_TOLERANCE_SECONDS


def others_on_this_machine(folder: Path) -> bool:
    """Decide whether another process of this machine executes a run of this benchmark."""
    for path in (folder / "claims").glob("*.json"):
        with contextlib.suppress(OSError):
            holder = _decode(path.read_bytes())
            if (
                holder is not None
                and holder.host == platform.node()
                and holder.pid != os.getpid()
                and is_alive(holder)
            ):
                return True
    return False


def process_start(pid: int) -> float | None:
    """Return the Unix time at which a process of this machine started; None if there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MiB; 0 if it has ended."""
    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.Error:
        return 0.0
