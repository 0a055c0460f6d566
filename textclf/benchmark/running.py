"""The runs of a grid, each in a process of its own, and what is kept of them.

A benchmark's folder:

    benchmark.json         what each run is, so that another benchmark's folder is noticed
    results/RUN.json       a finished run: all that statistics and report need
    failures/RUN.json      a run that failed, and why
    claims/RUN.json        a run that somebody is making: host, process, and by its time of change
                           a heartbeat
    models/RUN/, logs/     trained folders, and what TensorFlow said
    data/, cache/          what the data of a data set are; its encoded texts
    test_reads.jsonl       a line for every time that a test split was read

Several processes, on one machine or on many that share the folder, can make one benchmark together:
a claim is a file that only one of them can create, and a result appears whole or not at all.
"""

import contextlib
import dataclasses
import json
import os
import platform
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from textclf.benchmark.grid import Grid, Run
from textclf.errors import ArtifactError, TrainingError

HEARTBEAT_SECONDS = 30.0
SILENT_SECONDS = 600.0  # a claim as old as that is nobody's any more
_IDENTITY = "benchmark.json"
_TICK_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Begun:
    """A run has begun; `taken_over` says from whom, if somebody had begun it before."""

    run: Run
    taken_over: str = ""


@dataclasses.dataclass(frozen=True)
class Advanced:
    """A run is so far; a `total` of 0 is not known."""

    run: Run
    stage: str
    done: int
    total: int


@dataclasses.dataclass(frozen=True)
class Ended:
    """A run is over: with its result, or with the reason why there is none."""

    run: Run
    result: dict[str, Any] | None
    reason: str
    seconds: float


Event = Begun | Advanced | Ended


def check(grid: Grid, folder: Path) -> None:
    """Looks whether `folder` can hold this benchmark.

    Raises:
        ArtifactError: it holds something else, or runs that this grid describes otherwise.
    """
    identity = folder / _IDENTITY
    if not identity.exists():
        if folder.is_dir() and not any(folder.iterdir()) or not folder.exists():
            return
        raise ArtifactError(
            f"{folder}: exists and holds no benchmark; name another folder, or a new one"
        )
    try:
        before = json.loads(identity.read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ArtifactError(
            f"{identity}: cannot be read; name another folder, or bring the file back"
        ) from None
    mine = {run.name: run.fingerprint for run in grid.runs}
    changed = [name for name, known in before.items() if mine.get(name, known) != known]
    if changed:
        raise ArtifactError(
            f"{folder}: holds runs that {grid.place} describes otherwise now ({_some(changed)}); "
            "name another folder, or undo the change of the configurations"
        )
    if before and not set(before) & set(mine):
        raise ArtifactError(
            f"{folder}: holds another benchmark ({_some(list(before))}); name another folder"
        )


def finished(grid: Grid, folder: Path) -> dict[str, dict[str, Any]]:
    """The results that are there, by the name of their run, in the order of the grid.

    Raises:
        ArtifactError: one cannot be read.
    """
    found = {}
    for run in grid.runs:
        path = folder / "results" / f"{run.name}.json"
        try:
            found[run.name] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            raise ArtifactError(
                f"{path}: cannot be read; remove it, and the run is made again"
            ) from None
    return found


def failures(grid: Grid, folder: Path) -> dict[str, str]:
    """Why runs failed, by name."""
    found = {}
    for run in grid.runs:
        with contextlib.suppress(OSError, ValueError, KeyError):
            path = folder / "failures" / f"{run.name}.json"
            found[run.name] = json.loads(path.read_text(encoding="utf-8"))["reason"]
    return found


def make(
    grid: Grid,
    folder: Path,
    *,
    jobs: int = 1,
    retry_failed: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Makes the runs that are missing.

    Args:
        grid: what to make.
        folder: the benchmark's, made if it is not there.
        jobs: processes at a time. With more than one, times and latencies are marked as measured
            on shared cores.
        retry_failed: make failed runs again.
        should_stop: asked every second; when true, what is running is given up.

    Yields:
        What happens. Runs that others are making are waited for, and taken over if they fall
        silent.

    Raises:
        ArtifactError: the folder holds something else.
    """
    check(grid, folder)
    for name in ("results", "failures", "claims", "models", "logs", "data", "cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _remember(grid, folder)
    if retry_failed:
        for name in failures(grid, folder):
            (folder / "failures" / f"{name}.json").unlink(missing_ok=True)
    pending = list(grid.runs)
    active: list[_Process] = []
    messages: queue.Queue[tuple[_Process, Any]] = queue.Queue()
    try:
        while pending or active:
            for run in list(pending) if len(active) < jobs else []:
                if is_over(run, folder):
                    pending.remove(run)
                elif len(active) < jobs and (claim := _Claim.take(run, folder)) is not None:
                    pending.remove(run)
                    if is_over(run, folder):  # ended between the look and the claim
                        claim.release()
                        continue
                    active.append(_Process(run, folder, claim, jobs > 1, messages))
                    yield Begun(run, claim.taken_over)
            try:
                process, message = messages.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                pass
            else:
                if isinstance(message, list):
                    yield Advanced(process.run, *message)
                else:
                    active.remove(process)
                    yield process.end(message)
            for process in active:
                process.watch(grid)
            if should_stop():
                return
    finally:
        for process in active:
            process.give_up()


def is_over(run: Run, folder: Path) -> bool:
    """Whether a run has a result, or failed."""
    return any((folder / kind / f"{run.name}.json").exists() for kind in ("results", "failures"))


def _remember(grid: Grid, folder: Path) -> None:
    """Adds the grid's runs to those that the folder is known to hold."""
    known: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        known = json.loads((folder / _IDENTITY).read_text(encoding="utf-8"))["runs"]
    known |= {run.name: run.fingerprint for run in grid.runs}
    publish(folder / _IDENTITY, _json({"grid": grid.place, "runs": known}), replace=True)


def publish(path: Path, content: str, *, replace: bool = False) -> bool:
    """Writes a file at once and whole; False if one is there already that may not be replaced."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        if replace:
            os.replace(name, path)
            return True
        os.link(name, path)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    return True


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def estimate(run: Run) -> dict[str, float]:
    """What a training will take, from its first steps, in a process of its own.

    Returns:
        `seconds` up to the end of the training, if no early stopping ends it sooner, and
        `peak_memory_mb`.

    Raises:
        TrainingError: it cannot be told.
    """
    job = {"kind": "estimate", "config": run.config.to_dict(), "folder": "", "name": run.name}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as log,
        _start(job, log) as child,
    ):
        assert child.stdout is not None
        lines = child.stdout.read().splitlines()
        log.seek(0)
        said = (log.read().strip().splitlines() or ["it said nothing"])[-1]
    last = json.loads(lines[-1]) if lines else {}
    if isinstance(last, list) or "result" not in last:
        reason = said if isinstance(last, list) else last.get("failed", said)
        raise TrainingError(f"{run.name}: cannot be tried ({reason})")
    return last["result"]


# === Claims ===


class _Claim:
    """The right to make a run, while its file is touched."""

    def __init__(self, path: Path, content: str, taken_over: str):
        self.taken_over = taken_over
        self._path = path
        self._content = content  # no other claim has the same
        self._touched = time.monotonic()

    @classmethod
    def take(cls, run: Run, folder: Path) -> "_Claim | None":
        """The claim, or None if somebody else holds it."""
        path = folder / "claims" / f"{run.name}.json"
        before = _expire(path)
        if before is None:
            return None
        values = {
            "host": platform.node(),
            "pid": os.getpid(),
            "process_started": _started(os.getpid()),
            "time": time.time(),
            "token": secrets.token_hex(8),
        }
        content = json.dumps(values)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return None
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        return cls(path, content, before)

    def beat(self) -> None:
        """Shows that the run is being made."""
        if time.monotonic() - self._touched >= HEARTBEAT_SECONDS:
            self._touched = time.monotonic()
            with contextlib.suppress(FileNotFoundError):
                if self._is_mine():
                    os.utime(self._path)

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._is_mine():
                self._path.unlink()

    def _is_mine(self) -> bool:
        return self._path.read_text(encoding="utf-8") == self._content


def _expire(path: Path) -> str | None:
    """Removes a claim whose holder is gone.

    Returns:
        "" if there was none, a word on the holder if it was removed, None if it holds.
    """
    try:
        touched = os.stat(path).st_mtime
        content = path.read_text(encoding="utf-8")
        holder = json.loads(content)
    except FileNotFoundError:
        return ""
    except ValueError:  # being written, or its writer was killed
        holder = {}
    who = f"process {holder.get('pid')} on {holder.get('host')}"
    # By the clock of the file system that touched it, which is one for all machines.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".now-") as now:
        silent = os.stat(now.name).st_mtime - touched
    is_here = holder.get("host") == platform.node()
    is_dead = is_here and _started(holder["pid"]) != holder["process_started"]
    if not is_dead and silent < SILENT_SECONDS:
        return None
    aside = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return None
    if aside.read_text(encoding="utf-8") != content:  # somebody was faster, and has claimed it anew
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
        aside.unlink()
        return None
    aside.unlink()
    return f"{who}, which has ended" if is_dead else f"{who}, silent for {silent / 60:.0f} minutes"


def _started(pid: int) -> str | None:
    """When a process of this machine began, in its kernel's ticks; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return None


# === Processes ===


def _start(job: dict[str, Any], log: IO[str]) -> subprocess.Popen:
    """A worker that has its job."""
    child = subprocess.Popen(
        [sys.executable, "-m", "textclf.benchmark.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
        start_new_session=True,  # Ctrl-C is for the parent, which ends its children
    )
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        # It stays open, so that the child ends when this process does.
        child.stdin.write(json.dumps(job) + "\n")
        child.stdin.flush()
    return child


class _Process:
    """A run that is being made."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        claim: _Claim,
        is_shared: bool,
        messages: "queue.Queue[tuple[_Process, Any]]",
    ):
        self.run = run
        self._folder = folder
        self._claim = claim
        self._is_shared = is_shared
        self._started = time.monotonic()
        self._reason = ""  # why it was stopped
        self._log = folder / "logs" / f"{run.name}.txt"
        job = {
            "name": run.name,
            "kind": run.kind,
            "cell": run.cell,
            "dataset": run.dataset,
            "config": run.config.to_dict(),
            "folder": str(folder),
        }
        with open(self._log, "w", encoding="utf-8") as log:
            self._child = _start(job, log)
        self._listener = threading.Thread(target=self._listen, args=(messages,), daemon=True)
        self._listener.start()

    def _listen(self, messages: "queue.Queue[tuple[_Process, Any]]") -> None:
        assert self._child.stdout is not None
        last: dict[str, Any] = {}
        for line in self._child.stdout:
            message = json.loads(line)
            if isinstance(message, list):
                messages.put((self, message))
            else:
                last = message
        messages.put((self, last))

    def watch(self, grid: Grid) -> None:
        """Keeps the claim, and ends a run that takes too much."""
        self._claim.beat()
        minutes = (time.monotonic() - self._started) / 60
        memory = _resident_mb(self._child.pid)
        if minutes > grid.minutes_per_run:
            self._reason = (
                f"stopped after {minutes:.3g} minutes; the grid allows minutes_per_run: "
                f"{grid.minutes_per_run:g}"
            )
        elif memory > grid.memory_mb_per_run:
            self._reason = (
                f"stopped at {memory:.0f} MiB of memory; the grid allows memory_mb_per_run: "
                f"{grid.memory_mb_per_run:g}"
            )
        if self._reason:
            self._child.kill()

    def end(self, last: dict[str, Any]) -> Ended:
        """Publishes what came of it."""
        code = self._wait()
        seconds = time.monotonic() - self._started
        described = {
            "run": self.run.name,
            "dataset": self.run.dataset,
            "cell": self.run.cell,
            "kind": self.run.kind,
            "seed": self.run.seed,
            "fingerprint": self.run.fingerprint,
        }
        result = last.get("result")
        if result is not None and not self._reason:
            result = {**described, **result}
            result["cost"]["shared_cores"] = self._is_shared
            path = self._folder / "results" / f"{self.run.name}.json"
            publish(path, _json(result))  # not if another process has made it meanwhile
            reason = ""
        else:
            result = None
            reason = self._reason or last.get("failed") or self._crash(code)
            path = self._folder / "failures" / f"{self.run.name}.json"
            publish(path, _json({**described, "reason": reason, "time": time.time()}))
        self._claim.release()
        return Ended(self.run, result, reason, seconds)

    def give_up(self) -> None:
        self._child.kill()
        self._wait()
        self._claim.release()

    def _wait(self) -> int:
        assert self._child.stdin is not None and self._child.stdout is not None
        code = self._child.wait()
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        self._listener.join()
        self._child.stdout.close()
        return code

    def _crash(self, code: int) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        said = f" ({lines[-1]})" if lines else ""
        return f"its process {how}{said}; {self._log} has all that it said"


def _resident_mb(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError, IndexError):
        return 0.0
