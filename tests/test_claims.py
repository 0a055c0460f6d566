"""Claims: one process holds a run, and an abandoned claim is taken over."""

import concurrent.futures
import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from studies import CELLS, write_grids

from textclf.study import claims, grid
from textclf.study.records import Holder
from textclf.study.runs import Run


@pytest.fixture
def folder(reviews: Path, tmp_path: Path) -> Path:
    (tmp_path / "claims").mkdir()
    return write_grids(tmp_path, reviews)


@pytest.fixture
def run(folder: Path) -> Run:
    return grid.read(folder / "grid.yaml").runs[0]


def test_a_claimed_run_cannot_be_claimed_again_until_released(folder: Path, run: Run):
    claim = claims.Claim.take(run, folder)
    assert claim is not None and claim.taken_over == ""
    assert claims.Claim.take(run, folder) is None
    claim.release()
    second = claims.Claim.take(run, folder)
    assert second is not None
    claim.release()  # no longer valid
    assert claims.Claim.take(run, folder) is None
    assert len(list((folder / "claims").iterdir())) == 1


def test_a_claim_of_a_run_on_all_cores_excludes_further_claims(folder: Path, run: Run):
    claim = claims.Claim.take(run.measurement, folder)
    (folder / "cells.yaml").write_text(CELLS + "budget: {minutes: 1}\n")
    another = grid.read(folder / "cells.yaml").calibrations[0]
    assert claim is not None and claims.Claim.take(another, folder) is None
    claim.release()
    assert claims.Claim.take(another, folder) is not None


def test_claims_of_running_processes_on_this_machine_are_recognised(folder: Path, run: Run):
    assert claims.Claim.take(run, folder) is not None
    assert not claims.others_on_this_machine(folder), "this process is not another"
    holder = Holder(
        host=platform.node(),
        pid=os.getppid(),
        process_started=claims.process_start(os.getppid()),
    )
    (folder / "claims" / "other.json").write_bytes(msgspec.json.encode(holder))
    assert claims.others_on_this_machine(folder)
    ended = msgspec.json.encode(msgspec.structs.replace(holder, process_started=0.0))
    for name in ("a.json", "z.json"):
        (folder / "claims" / name).write_bytes(ended)
    assert claims.others_on_this_machine(folder), "claims of ended processes do not hide it"
    (folder / "claims" / "other.json").unlink()
    assert not claims.others_on_this_machine(folder), "the process id is that of another process"


def test_exactly_one_of_many_simultaneous_claims_of_a_run_succeeds(folder: Path, run: Run):
    for _ in range(50):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            start = threading.Barrier(8)

            def take(_: int, start: threading.Barrier = start) -> Any:
                start.wait()
                return claims.Claim.take(run, folder)

            [claim] = filter(None, pool.map(take, range(8)))
        claim.release()


@pytest.mark.parametrize("minutes", [9, 11])
def test_a_claim_of_a_different_machine_is_taken_over_after_ten_minutes_without_heartbeat(
    folder: Path, run: Run, minutes: int
):
    path = folder / "claims" / f"{run.name}.json"
    path.write_bytes(msgspec.json.encode(Holder(host="elsewhere", pid=1, process_started=1.0)))
    os.utime(path, (time.time() - 60 * minutes,) * 2)
    claim = claims.Claim.take(run, folder)
    if minutes < 10:
        assert claim is None
    else:
        assert claim is not None
        assert claim.taken_over == "process 1 on elsewhere, silent for 11 minutes"


def test_an_unreadable_claim_is_taken_over_after_ten_minutes_without_heartbeat(
    folder: Path, run: Run
):
    path = folder / "claims" / f"{run.name}.json"
    path.write_text('{"host": "he')
    assert claims.Claim.take(run, folder) is None
    os.utime(path, (time.time() - 660,) * 2)
    claim = claims.Claim.take(run, folder)
    assert claim is not None
    assert claim.taken_over == "an unknown process, silent for 11 minutes"


def test_a_heartbeat_updates_the_time_of_a_claim(folder: Path, run: Run):
    claim = claims.Claim.take(run, folder)
    assert claim is not None
    path = folder / "claims" / f"{run.name}.json"
    os.utime(path, (1, 1))
    claim._touched -= claims.HEARTBEAT_SECONDS
    claim.beat()
    assert time.time() - path.stat().st_mtime < 60


def test_resident_memory_of_a_process_is_measured_in_mib():
    assert 10 < claims.resident_mb(os.getpid()) < 100_000
    assert claims.resident_mb(2**22 + 1) == 0.0, "no process has this id"
