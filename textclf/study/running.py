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

Where the budget is a time, results/ also holds how many steps each cell made in that time when it
was tried alone; the first such file is what all its runs go by.

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
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from textclf import artifact
from textclf.config import Config
from textclf.errors import ArtifactError, TrainingError
from textclf.study import worker
from textclf.study.budget import with_steps
from textclf.study.grid import Grid, Run

HEARTBEAT_SECONDS = 30.0
SILENT_SECONDS = 600.0  # a claim as old as that is nobody's any more
_IDENTITY = artifact.BENCHMARK
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
        ArtifactError: it cannot be written, holds something else or runs that this grid
            describes otherwise, or is inside a trained folder or an export.
    """
    # os.path rather than Path: without permission to look, Path.exists raises.
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ArtifactError(f"{folder}: is a file; name a folder for the benchmark")
    artifact.check_nesting(folder)
    artifact.check_writable(folder, within=folder)
    identity = folder / _IDENTITY
    if not identity.exists():
        # Names with a dot are another process's, which is trying whether it can write.
        if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise ArtifactError(
                f"{folder}: exists and holds no benchmark; name another folder, or a new one"
            )
        return
    try:
        before = dict(json.loads(identity.read_text(encoding="utf-8"))["runs"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ArtifactError(
            f"{identity}: cannot be read; name another folder, or bring the file back"
        ) from None
    mine = {run.name: run.fingerprint for run in grid.runs}
    changed = [
        run.name
        for run in grid.runs
        if before.get(run.name, run.fingerprint) != run.fingerprint and _is_begun(run, folder)
    ]
    if changed:
        raise ArtifactError(
            f"{folder}: holds runs that {grid.place} describes otherwise now ({_some(changed)}); "
            "name another folder, or undo the change of the configurations"
        )
    if before and not set(before) & set(mine):
        raise ArtifactError(
            f"{folder}: holds another benchmark ({_some(list(before))}); name another folder"
        )


def _is_begun(run: Run, folder: Path) -> bool:
    """Whether something is there, or on its way, that other settings would make otherwise."""
    return any(
        (folder / part / f"{one.name}.json").exists()
        for one in filter(None, (run, run.calibration))
        for part in ("results", "claims")
    )


def finished(grid: Grid, folder: Path) -> dict[str, dict[str, Any]]:
    """The results that are there, by the name of their run, in the order of the grid.

    Raises:
        ArtifactError: one cannot be read.
    """
    found = {}
    for run in grid.runs:
        with contextlib.suppress(FileNotFoundError):
            found[run.name] = _checked(_result(run.name, folder), run, folder)
    return found


# What every result holds, and every cost.
_NEEDED = {
    "run", "dataset", "cell", "kind", "seed", "thresholds", "test_reads", "data", "code",
    "versions", "machine",
}  # fmt: skip
_COSTS = {"training_seconds", "latency_p50_ms", "shared_cores"}


def _checked(result: Any, run: Run, folder: Path) -> dict[str, Any]:
    """A result that holds what statistics and report read.

    Raises:
        ArtifactError: something is missing or damaged.
    """
    try:
        for name in ("probabilities", "y_true"):
            worker.unpack(result[name])
        is_whole = result.keys() >= _NEEDED and result["cost"].keys() >= _COSTS
        if not is_whole or not result["test"]:
            raise KeyError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _unreadable(folder / "results" / f"{run.name}.json") from None
    return result


def _unreadable(path: Path) -> ArtifactError:
    return ArtifactError(f"{path}: cannot be read; remove it, and the run is made again")


def failures(grid: Grid, folder: Path) -> dict[str, str]:
    """Why runs have no result, by name: they failed themselves, or their calibration did.

    Of runs with a result, why they could not be measured again.
    """
    found = {}
    for run in grid.runs:
        is_made = (folder / "results" / f"{run.name}.json").exists()
        for one in [run.measurement] if is_made else filter(None, (run.calibration, run)):
            with contextlib.suppress(OSError, ValueError, KeyError):
                reason = json.loads(_failure(one, folder).read_text(encoding="utf-8"))["reason"]
                found[one.name if is_made else run.name] = reason
    return found


def _failure(run: Run, folder: Path) -> Path:
    return folder / "failures" / f"{run.name}.json"


def make(
    grid: Grid,
    folder: Path,
    *,
    jobs: int = 1,
    retry_failed: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Event, None, None]:
    """Makes the runs that are missing.

    Args:
        grid: what to make.
        folder: the benchmark's, made if it is not there.
        jobs: processes at a time. With more than one, times and latencies count as measured on
            shared cores.
        retry_failed: make failed runs again.
        should_stop: asked every second; when true, what is running is given up.

    Yields:
        What happens. Runs that others are making are waited for, and taken over if they fall
        silent. In the end the cost of each cell without a run that had the cores to itself is
        measured anew, one at a time.

    Raises:
        ArtifactError: the folder holds something else.
    """
    check(grid, folder)
    folder.mkdir(parents=True, exist_ok=True)
    _remember(grid, folder)  # first: by it, other processes know the folder
    for name in ("results", "failures", "claims", "models", "logs", "data", "cache"):
        (folder / name).mkdir(exist_ok=True)
    if retry_failed:
        for run in grid.runs:
            for one in filter(None, (run, run.calibration, run.measurement)):
                _failure(one, folder).unlink(missing_ok=True)
    yield from _make(grid.calibrations, grid, folder, 1, should_stop)
    yield from _make(grid.runs, grid, folder, jobs, should_stop)
    if not should_stop():
        yield from _make(unmeasured(grid, folder), grid, folder, 1, should_stop)


def _make(
    runs: Sequence[Run], grid: Grid, folder: Path, jobs: int, should_stop: Callable[[], bool]
) -> Iterator[Event]:
    pending = [run for run in runs if run.can_be_made]
    active: list[_Process] = []
    messages: queue.Queue[tuple[_Process, Any]] = queue.Queue()
    try:
        while pending or active:
            if should_stop():
                return
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
    finally:
        for process in active:
            process.give_up()


def is_over(run: Run, folder: Path) -> bool:
    """Whether a run has a result, or failed."""
    if any(_failure(one, folder).exists() for one in filter(None, (run, run.calibration))):
        return True
    if run.kind == "measurement":
        return not _result(run.measured, folder)["cost"]["shared_cores"]
    return (folder / "results" / f"{run.name}.json").exists()


def unmeasured(grid: Grid, folder: Path) -> list[Run]:
    """A measurement for the first run of every cell of which none had the cores to itself.

    Raises:
        ArtifactError: a result cannot be read.
    """
    found: dict[tuple[str, str], Run] = {}
    results = finished(grid, folder)
    for run in grid.runs:
        if run.name in results:
            found.setdefault((run.dataset, run.cell), run)
    alone = {
        (result["dataset"], result["cell"])
        for result in results.values()
        if not result["cost"]["shared_cores"]
    }
    return [
        run.measurement
        for cell, run in found.items()
        if cell not in alone and run.can_be_made and not _failure(run.measurement, folder).exists()
    ]


def _result(name: str, folder: Path) -> dict[str, Any]:
    """
    Raises:
        FileNotFoundError: there is none.
        ArtifactError: it cannot be read.
    """
    path = folder / "results" / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError):
        raise _unreadable(path) from None


def _remember(grid: Grid, folder: Path) -> None:
    """Adds the grid's runs to those that the folder is known to hold."""
    known: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        known = json.loads((folder / _IDENTITY).read_text(encoding="utf-8"))["runs"]
    known |= {run.name: run.fingerprint for run in grid.runs}
    artifact.write_file(folder / _IDENTITY, _json({"grid": grid.place, "runs": known}))


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
        # What needs the cores for itself, on whatever machine, is one at a time.
        name = "cores" if run.kind in ("calibration", "measurement") else run.name
        path = folder / "claims" / f"{name}.json"
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


def _others(folder: Path) -> bool:
    """Whether another process of this machine is making a run of this benchmark."""
    for path in (folder / "claims").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            holder = json.loads(path.read_text(encoding="utf-8"))
            is_other = holder["host"] == platform.node() and holder["pid"] != os.getpid()
            if is_other and _started(holder["pid"]) == holder["process_started"]:
                return True
    return False


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
        [sys.executable, "-m", "textclf.study.worker"],
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
        self._is_shared = is_shared or _others(folder)
        self._started = time.monotonic()
        self._reason = ""  # why it was stopped
        self._log = folder / "logs" / f"{run.name}.txt"
        job = {
            "name": run.name,
            "kind": run.kind,
            "cell": run.cell,
            "dataset": run.dataset,
            "config": self._config().to_dict(),
            "folder": str(folder),
            "minutes": run.minutes,
        }
        if run.kind == "measurement":
            made = _result(run.measured, folder)
            job |= {"measured": made["kind"], "steps": made.get("steps")}
        with open(self._log, "w", encoding="utf-8") as log:
            self._child = _start(job, log)
        self._listener = threading.Thread(target=self._listen, args=(messages,), daemon=True)
        self._listener.start()

    def _config(self) -> Config:
        """The run's configuration, with the steps that its calibration settled."""
        calibration = self.run.calibration
        if calibration is None:
            return self.run.config
        return with_steps(self.run.config, _result(calibration.name, self._folder)["steps"])

    def _listen(self, messages: "queue.Queue[tuple[_Process, Any]]") -> None:
        assert self._child.stdout is not None
        last: dict[str, Any] = {}
        for line in self._child.stdout:
            with contextlib.suppress(ValueError):  # a line that was cut when the process was killed
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
        results, reason = self._folder / "results", ""
        if result is not None and not self._reason and self.run.kind == "measurement":
            measured = _result(self.run.measured, self._folder)
            measured["cost"] = {**result["cost"], "shared_cores": self._is_shared}
            measured["cost"]["code"] = result["code"]
            measured["machine"] = result["machine"]  # whose times they are
            artifact.write_file(results / f"{self.run.measured}.json", _json(measured))
        elif result is not None and not self._reason:
            result = {**described, **result}
            if "cost" in result:
                result["cost"]["shared_cores"] = self._is_shared or _others(self._folder)
            if self.run.calibration is not None:
                result["calibration"] = _result(self.run.calibration.name, self._folder)
            # Not if another process has made it meanwhile.
            artifact.write_file(results / f"{self.run.name}.json", _json(result), replace=False)
        else:
            result = None
            reason = self._reason or last.get("failed") or self._crash(code)
            path = _failure(self.run, self._folder)
            values = {**described, "reason": reason, "time": time.time()}
            artifact.write_file(path, _json(values), replace=False)
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
