"""Runner: executes the missing runs of a benchmark, each in a separate process.

Several processes, on one machine or on several that share the folder, can execute one benchmark
together: only one process can hold the claim of a run (`claims`), and a result file appears
complete or not at all (`folder`).
"""

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec
from msgspec.structs import replace

from textclf.errors import TrainingError, check_all
from textclf.progress import OnProgress, no_progress
from textclf.study import folder as folders
from textclf.study.budget import with_steps
from textclf.study.claims import Claim, others_on_this_machine, resident_mb
from textclf.study.records import (
    Calibration,
    Estimate,
    Failed,
    Failure,
    Job,
    Measurement,
    Progress,
    Result,
    RunRecord,
    Succeeded,
)
from textclf.study.runs import Grid, Run

_POLL_SECONDS = 1.0


class Started(msgspec.Struct, frozen=True):
    """Start of a run; `taken_over` describes the process that held its claim before, if any."""

    run: Run
    taken_over: str = ""


class Advanced(msgspec.Struct, frozen=True):
    """Progress of a run: `done` of `total` in a stage; a total of 0 is unknown."""

    run: Run
    stage: str
    done: int
    total: int


class Ended(msgspec.Struct, frozen=True):
    """End of a run, with its record or the reason of its failure.

    Attributes:
        run: the run.
        record: `Result` of a network or baseline, `Calibration` or `Measurement`; None on failure.
        reason: of the failure, or "".
        seconds: duration.
    """

    run: Run
    record: RunRecord | None
    reason: str
    seconds: float


Event = Started | Advanced | Ended


def check_data(grid: Grid) -> None:
    """Check the data sources and the environment of each run before the first one starts.

    Raises:
        TextclfError: with all errors that can be seen without reading the data.
    """
    from textclf import data
    from textclf.config import check_environment, with_paths
    from textclf.training import check_store

    sources, environments = {}, {}
    for run in grid.runs:
        settings = with_paths(run.config)
        sources[repr(settings.data)] = settings.data
        packages = settings.training.tensorboard, settings.training.mlflow
        environments[repr(settings.model) + repr(packages)] = settings
    check_all(
        *(lambda section=s: data.check_sources(section) for s in sources.values()),
        *(lambda settings=s: check_environment(settings) for s in environments.values()),
        lambda: check_store() if any(s.training.mlflow for s in environments.values()) else None,
    )


def execute(
    grid: Grid,
    folder: Path,
    *,
    jobs: int = 1,
    retry_failed: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Event, None, None]:
    """Execute the runs that have no result.

    Runs that other processes execute are waited for, and taken over if their claim is abandoned.
    Linear models are fitted before the trainings that share them. At the end the cost of each cell
    is measured again, one cell at a time, unless one of its runs had the cores to itself.

    Args:
        grid: the runs.
        folder: of the benchmark; created if it does not exist.
        jobs: number of processes. With more than one, times count as measured on shared cores.
        retry_failed: execute failed runs again.
        should_stop: called every second; when it returns True, the active runs are killed.

    Yields:
        Events. Closing the generator kills the active runs and releases their claims.

    Raises:
        ArtifactError: the folder contains something else.
    """
    folders.check(grid, folder)
    folders.create(grid, folder)
    if retry_failed:
        folders.forget_failures(grid, folder)
    yield from _execute(grid.linear_models, grid, folder, jobs, should_stop)
    yield from _execute(grid.calibrations, grid, folder, 1, should_stop)
    yield from _execute(grid.runs, grid, folder, jobs, should_stop)
    if not should_stop():
        yield from _execute(folders.unmeasured(grid, folder), grid, folder, 1, should_stop)


def _execute(
    runs: Sequence[Run], grid: Grid, folder: Path, jobs: int, should_stop: Callable[[], bool]
) -> Iterator[Event]:
    pending = [run for run in runs if run.is_available]
    active: list[_Process] = []
    messages: _Messages = queue.Queue()
    try:
        while pending or active:
            if should_stop():
                return
            for run in list(pending) if len(active) < jobs else []:
                if folders.is_over(run, folder):
                    pending.remove(run)
                elif len(active) < jobs and (claim := Claim.take(run, folder)) is not None:
                    pending.remove(run)
                    if folders.is_over(run, folder):  # ended between the check and the claim
                        claim.release()
                        continue
                    active.append(_Process(run, folder, claim, jobs > 1, messages))
                    yield Started(run, claim.taken_over)
            try:
                process, message = messages.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                pass
            else:
                if isinstance(message, Progress):
                    yield Advanced(process.run, message.stage, message.done, message.total)
                else:
                    active.remove(process)
                    yield process.end(message)
            for process in active:
                process.enforce_limits(grid)
    finally:
        for process in active:
            process.abort()


# === Processes ===

_Message = Progress | Succeeded | Failed
_Messages = queue.Queue["tuple[_Process, _Message | None]"]


def _decode_message(line: str) -> _Message | None:
    """Return a message of a worker; None for a line that was cut when the process was killed."""
    try:
        return msgspec.json.decode(line, type=_Message)
    except msgspec.DecodeError:
        return None


def _start_worker(job: Job, log: IO[str]) -> subprocess.Popen:
    """Return a worker process that has received its job."""
    child = subprocess.Popen(
        [sys.executable, "-m", "textclf.study.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
        start_new_session=True,  # Ctrl-C goes to this process, which stops its workers
    )
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        # stdin stays open: the worker exits when this process ends.
        child.stdin.write(msgspec.json.encode(job).decode() + "\n")
        child.stdin.flush()
    return child


def _job(run: Run, folder: Path, is_shared: bool) -> Job:
    """Return the job of a run, with the steps that its calibration determined."""
    calibration = folders.read_calibration(run, folder)
    config = run.config
    linear_model = folders.linear_model_path(run, folder)
    if calibration is not None:
        config = with_steps(config, calibration.steps)
    job = Job(
        run=run.name,
        dataset=run.dataset,
        cell=run.cell,
        kind=run.kind,
        seed=run.seed,
        fingerprint=run.fingerprint,
        job=run.kind,
        config=config.to_dict(),
        fixed_paths=dict(config.fixed_paths),
        folder=str(folder),
        shared_cores=is_shared,
        minutes=run.minutes,
        calibration=calibration,
        linear_model=None if linear_model is None else str(linear_model),
    )
    if run.kind != "measurement":
        return job
    measured = folders.read_result(run.measured, folder)
    return replace(job, measured_kind=measured.kind, measured_steps=measured.steps)


class _Process:
    """Worker process of a run, its claim and its output."""

    def __init__(self, run: Run, folder: Path, claim: Claim, is_shared: bool, messages: _Messages):
        self.run = run
        self._folder = folder
        self._claim = claim
        self._is_shared = is_shared or others_on_this_machine(folder)
        self._started = time.monotonic()
        self._stop_reason = ""  # set when a limit of the grid is exceeded
        self._log = folder / "logs" / f"{run.name}.txt"
        with open(self._log, "w", encoding="utf-8") as log:
            self._child = _start_worker(_job(run, folder, self._is_shared), log)
        self._listener = threading.Thread(target=self._listen, args=(messages,), daemon=True)
        self._listener.start()

    def _listen(self, messages: _Messages) -> None:
        assert self._child.stdout is not None
        last: _Message | None = None
        for line in self._child.stdout:
            message = _decode_message(line)
            if isinstance(message, Progress):
                messages.put((self, message))
            elif message is not None:
                last = message
        messages.put((self, last))

    def enforce_limits(self, grid: Grid) -> None:
        """Update the heartbeat, and kill the process if it exceeds a limit of the grid."""
        self._claim.beat()
        minutes = (time.monotonic() - self._started) / 60
        memory = resident_mb(self._child.pid)
        if minutes > grid.minutes_per_run:
            self._stop_reason = (
                f"stopped after {minutes:.3g} minutes; the grid allows minutes_per_run: "
                f"{grid.minutes_per_run:g}"
            )
        elif memory > grid.memory_mb_per_run:
            self._stop_reason = (
                f"stopped at {memory:.0f} MiB of memory; the grid allows memory_mb_per_run: "
                f"{grid.memory_mb_per_run:g}"
            )
        if self._stop_reason:
            self._child.kill()

    def end(self, last: Progress | Succeeded | Failed | None) -> Ended:
        """Write the result or the failure of the finished process and release the claim."""
        exit_code = self._wait()
        seconds = time.monotonic() - self._started
        record: RunRecord | None = None
        reason = self._stop_reason
        if isinstance(last, Succeeded) and not reason:
            record = self._write_record(last.result)
        else:
            failure_reason = last.reason if isinstance(last, Failed) else ""
            reason = reason or failure_reason or self._crash(exit_code)
            self._write_failure(reason)
        self._claim.release()
        return Ended(self.run, record, reason, seconds)

    def _write_record(self, content: msgspec.Raw) -> RunRecord:
        """Write the record of a worker and return it; an existing result is kept."""
        path = folders.result_path(self.run.name, self._folder)
        if self.run.kind == "measurement":
            measurement = msgspec.json.decode(content, type=Measurement)
            measured = folders.read_result(self.run.measured, self._folder)
            cost = replace(measurement.cost, shared_cores=self._is_shared, code=measurement.code)
            measured = replace(measured, cost=cost, machine=measurement.machine)
            folders.write(folders.result_path(self.run.measured, self._folder), measured)
            return measurement
        if self.run.kind == "calibration":
            calibration = msgspec.json.decode(content, type=Calibration)
            folders.write(path, calibration, replace=False)
            return calibration
        result = msgspec.json.decode(content, type=Result)
        is_shared = self._is_shared or others_on_this_machine(self._folder)
        result = replace(result, cost=replace(result.cost, shared_cores=is_shared))
        folders.write(path, result, replace=False)
        return result

    def _write_failure(self, reason: str) -> None:
        failure = Failure(
            reason=reason,
            run=self.run.name,
            dataset=self.run.dataset,
            cell=self.run.cell,
            kind=self.run.kind,
            seed=self.run.seed,
            fingerprint=self.run.fingerprint,
            time=time.time(),
        )
        folders.write(folders.failure_path(self.run, self._folder), failure, replace=False)

    def abort(self) -> None:
        """Kill the process and release the claim."""
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
        """Return the reason for a process that ended without a message."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        end = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        last_line = f" ({lines[-1]})" if lines else ""
        return f"its process {end}{last_line}; the output is in {self._log}"


# === Estimates ===


def estimate(run: Run) -> Estimate:
    """Estimate the duration and memory of a training from its first steps.

    The training runs in a separate process. Early stopping may end it sooner than estimated.

    Raises:
        TrainingError: the first steps failed.
    """
    job = Job(
        run=run.name,
        dataset=run.dataset,
        cell=run.cell,
        kind=run.kind,
        seed=run.seed,
        job="estimate",
        config=run.config.to_dict(),
        fixed_paths=dict(run.config.fixed_paths),
        folder="",
    )
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as log,
        _start_worker(job, log) as child,
    ):
        assert child.stdout is not None
        lines = child.stdout.read().splitlines()
        log.seek(0)
        log_end = (log.read().strip().splitlines() or ["no output"])[-1]
    last = _decode_message(lines[-1]) if lines else None
    if isinstance(last, Succeeded):
        return msgspec.json.decode(last.result, type=Estimate)
    reason = last.reason if isinstance(last, Failed) else log_end
    raise TrainingError(f"{run.name}: the estimate failed ({reason})")


class Plan(msgspec.Struct, frozen=True):
    """Work that a benchmark has left to do.

    Attributes:
        calibration_seconds: time of each missing calibration.
        runs: the missing runs, each with the estimate of its training; None for a baseline or a
            linear model.
        total_seconds: expected time until the end, with `jobs` processes.
    """

    calibration_seconds: list[float]
    runs: list[tuple[Run, Estimate | None]]
    total_seconds: float


def plan(
    grid: Grid,
    folder: Path,
    missing: Sequence[Run],
    *,
    jobs: int = 1,
    on_progress: OnProgress = no_progress,
) -> Plan:
    """Estimate the time of the missing runs by training some steps of each cell.

    Args:
        grid: the benchmark.
        folder: of the benchmark; nothing is written.
        missing: the runs to execute.
        jobs: number of processes.
        on_progress: called with a stage, and the done and total number of cells.

    Raises:
        TrainingError: the first steps of a cell failed.
    """
    first_runs: dict[tuple[str, str], Run] = {}
    for run in missing:
        if run.kind == "network":
            first_runs.setdefault((run.dataset, run.cell), run)
    estimates: dict[tuple[str, str], Estimate] = {}
    for done, (cell, run) in enumerate(first_runs.items()):
        on_progress("trying each cell", done, len(first_runs))
        known = estimate(run)
        if run.minutes is not None:
            known = replace(known, seconds=60 * run.minutes)
        estimates[cell] = known
    calibration_seconds = [
        60 * run.minutes
        for run in grid.calibrations
        if run.minutes is not None and not folders.is_over(run, folder)
    ]
    planned = [(run, estimates.get((run.dataset, run.cell))) for run in missing]
    training = sum(known.seconds for _, known in planned if known is not None)
    # Calibrations run one at a time, with any number of processes.
    return Plan(calibration_seconds, planned, sum(calibration_seconds) + training / jobs)
