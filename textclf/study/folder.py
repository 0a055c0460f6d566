"""Folder of a benchmark: its files, and the checks before they are read or written.

    benchmark.json         fingerprint of each run, to recognise the folder of another benchmark
    results/RUN.json       a finished run: everything that statistics and reports read
    failures/RUN.json      a failed run and its reason
    claims/RUN.json        a run that a process is executing (see `claims`)
    models/RUN/, logs/     trained folders, and the output of TensorFlow
    linear/RUN-HASH.npz    fitted linear models, each for all mixtures with its settings
    data/, cache/          description of each data set; its encoded texts
    test_reads.jsonl       a line for each time that a run read a test split

If the budget is a time, results/ also contains the number of steps that each cell made in that
time; all runs of the cell use the first such file.
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from textclf import artifact
from textclf.errors import ArtifactError
from textclf.study.records import Calibration, Failure, Identity, Result
from textclf.study.runs import Grid, Run

_IDENTITY = artifact.BENCHMARK
FOLDERS = ("results", "failures", "claims", "models", "linear", "logs", "data", "cache")


def check(grid: Grid, folder: Path) -> None:
    """Check that `folder` can contain this benchmark.

    Raises:
        ArtifactError: the folder cannot be written, contains other files or runs with other
            settings, or is inside a trained folder or an export.
    """
    # os.path instead of Path: Path.exists raises without permission.
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ArtifactError(f"{folder}: is a file; name a folder for the benchmark")
    artifact.check_nesting(folder)
    artifact.check_writable(folder, within=folder)
    identity = folder / _IDENTITY
    if not identity.exists():
        # Another process that checks for write permission creates names with a dot.
        if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise ArtifactError(
                f"{folder}: is not empty and is not a benchmark; name another or a new folder"
            )
        return
    try:
        known = msgspec.json.decode(identity.read_bytes(), type=Identity).runs
    except (OSError, msgspec.DecodeError):
        raise ArtifactError(
            f"{identity}: cannot be read; name another folder, or restore the file"
        ) from None
    changed = [
        run.name
        for run in grid.runs
        if known.get(run.name, run.fingerprint) != run.fingerprint and _is_begun(run, folder)
    ]
    if changed:
        raise ArtifactError(
            f"{folder}: contains runs with settings that differ from {grid.path} "
            f"({_some(changed)}); name another folder, or restore the configurations"
        )
    if known and not known.keys() & {run.name for run in grid.runs}:
        raise ArtifactError(
            f"{folder}: contains another benchmark ({_some(list(known))}); name another folder"
        )


def _is_begun(run: Run, folder: Path) -> bool:
    """Decide whether a run or its calibration has a result or is being executed."""
    return any(
        (folder / part / f"{name}.json").exists()
        for name in (r.name for r in (run, run.calibration) if r is not None)
        for part in ("results", "claims")
    )


def create(grid: Grid, folder: Path) -> None:
    """Create the folder and add the runs of the grid to its identity."""
    folder.mkdir(parents=True, exist_ok=True)
    remember(grid, folder)  # first: it lets other processes recognise the folder
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)


def remember(grid: Grid, folder: Path) -> None:
    """Add the runs of the grid to the identity of the folder."""
    runs: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        runs = msgspec.json.decode((folder / _IDENTITY).read_bytes(), type=Identity).runs
    runs |= {run.name: run.fingerprint for run in grid.runs}
    write(folder / _IDENTITY, Identity(grid.path, runs))


def write(path: Path, record: msgspec.Struct, *, replace: bool = True) -> bool:
    """Write a record as a line of JSON; return False if a file exists and is kept.

    Raises:
        ArtifactError: the file cannot be written.
    """
    content = json.dumps(msgspec.to_builtins(record), ensure_ascii=False) + "\n"
    return artifact.write_file(path, content, replace=replace)


# === Results ===


def result_path(name: str, folder: Path) -> Path:
    """Return the path of the result of a run."""
    return folder / "results" / f"{name}.json"


def read_result(name: str, folder: Path) -> Result:
    """Return the result of a run.

    Raises:
        FileNotFoundError: there is none.
        ArtifactError: it cannot be read.
    """
    return _read(result_path(name, folder), Result)


def read_calibration(run: Run, folder: Path) -> Calibration | None:
    """Return the calibration that determines the steps of a run; None if it needs none.

    Raises:
        FileNotFoundError: the calibration has no result yet.
        ArtifactError: it cannot be read.
    """
    if run.calibration is None:
        return None
    return _read(result_path(run.calibration.name, folder), Calibration)


def linear_model_path(run: Run, folder: Path) -> Path | None:
    """Return the path of the fitted linear model that a run writes or reads; None without one.

    It has the hash of the settings, so that models with other settings are never confused.
    """
    fitting = run if run.linear is None else run.linear
    if fitting.kind != "linear":
        return None
    return folder / "linear" / f"{fitting.name}-{fitting.fingerprint[:16]}.npz"


def _read(path: Path, record_type: Any) -> Any:
    try:
        record = msgspec.json.decode(path.read_bytes(), type=record_type)
        if isinstance(record, Result):
            record.validate()
        return record
    except FileNotFoundError:
        raise
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        raise ArtifactError(f"{path}: cannot be read; remove it to execute the run again") from None


def finished(grid: Grid, folder: Path) -> dict[str, Result]:
    """Return the results that exist, by name of the run, in the order of the grid.

    Raises:
        ArtifactError: a result cannot be read.
    """
    results = {}
    for run in grid.runs:
        with contextlib.suppress(FileNotFoundError):
            results[run.name] = read_result(run.name, folder)
    return results


# === Failures ===


def failure_path(run: Run, folder: Path) -> Path:
    """Return the path of the failure of a run."""
    return folder / "failures" / f"{run.name}.json"


def failures(grid: Grid, folder: Path) -> dict[str, str]:
    """Return the reasons why runs have no result, by name of the run.

    A run fails with its prerequisites. For finished runs: the reason why measuring the cost again
    failed, by name of the measurement.
    """
    reasons = {}
    for run in grid.runs:
        is_finished = result_path(run.name, folder).exists()
        candidates = [run.measurement] if is_finished else [*run.prerequisites, run]
        for candidate in candidates:
            with contextlib.suppress(OSError, msgspec.DecodeError):
                content = failure_path(candidate, folder).read_bytes()
                failure = msgspec.json.decode(content, type=Failure)
                reasons[candidate.name if is_finished else run.name] = failure.reason
    return reasons


def forget_failures(grid: Grid, folder: Path) -> None:
    """Remove all failures, so that the runs are executed again."""
    for run in grid.runs:
        for candidate in (run, *run.prerequisites, run.measurement):
            failure_path(candidate, folder).unlink(missing_ok=True)


# === State of the runs ===


def is_over(run: Run, folder: Path) -> bool:
    """Decide whether a run has a result or has failed."""
    if any(failure_path(r, folder).exists() for r in (run, *run.prerequisites)):
        return True
    if run.kind == "measurement":
        return not read_result(run.measured, folder).cost.shared_cores
    return result_path(run.name, folder).exists()


def unmeasured(grid: Grid, folder: Path) -> list[Run]:
    """Return a measurement for each cell without a cost that was measured on free cores.

    Raises:
        ArtifactError: a result cannot be read.
    """
    first_runs: dict[tuple[str, str], Run] = {}
    results = finished(grid, folder)
    for run in grid.runs:
        if run.name in results:
            first_runs.setdefault((run.dataset, run.cell), run)
    measured = {
        (result.dataset, result.cell) for result in results.values() if not result.cost.shared_cores
    }
    return [
        run.measurement
        for cell, run in first_runs.items()
        if cell not in measured
        and run.is_available
        and not failure_path(run.measurement, folder).exists()
    ]


class Status(msgspec.Struct, frozen=True):
    """Runs of a grid by their state; each run is in one list.

    Attributes:
        finished: names of the runs with a result.
        failed: runs without a result that failed and are not to be executed again.
        unavailable: runs that need a library that is not installed.
        missing: runs to execute.
        has_work: True if `running.execute` has anything to do, including measurements.
    """

    finished: list[str]
    failed: list[Run]
    unavailable: list[Run]
    missing: list[Run]
    has_work: bool


def status(grid: Grid, folder: Path, *, retry_failed: bool = False) -> Status:
    """Return the state of each run.

    Args:
        retry_failed: count failed runs as missing.

    Raises:
        ArtifactError: a result cannot be read.
    """
    results = finished(grid, folder)
    all_failures = failures(grid, folder)
    kept: Mapping[str, str] = {} if retry_failed else all_failures
    without_result = [run for run in grid.runs if run.name not in results]
    failed = [run for run in without_result if run.name in kept]
    others = [run for run in without_result if run.name not in kept]
    missing = [run for run in others if run.is_available]
    return Status(
        finished=list(results),
        failed=failed,
        unavailable=[run for run in others if not run.is_available],
        missing=missing,
        has_work=bool(missing or all_failures.keys() - kept.keys() or unmeasured(grid, folder)),
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
