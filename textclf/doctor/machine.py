"""Platform, processor, threads and memory."""

import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from textclf.doctor import cgroups
from textclf.doctor.section import Section, format_bytes, list_table

# A training of a small data set needs 0.9 GB (docs/results.jsonl); most of it is TensorFlow.
_LEAST_MEMORY = 10**9
_THREADS, _OTHER_THREADS = "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"


class Threads(NamedTuple):
    """Threads with which TensorFlow computes an operation.

    Attributes:
        number: number of threads.
        why: origin of the number.
        problems: sentences.
    """

    number: int
    why: str
    problems: list[str]


def examine_machine() -> Section:
    """Return platform, processor, threads and memory of this machine."""
    limits = cgroups.read_limits()
    logical, usable = os.cpu_count() or 1, _usable_cores()
    threads = tensorflow_threads(os.environ, usable, limits.cores)
    memory = psutil.virtual_memory()
    available = memory.available
    if limits.available is not None:
        available = min(available, limits.available)
    other_threads = os.environ.get(_OTHER_THREADS)
    values = {
        "platform": platform.platform(),
        "processor": _processor(),
        "logical_cores": logical,
        "usable_cores": usable,
        "core_limit": limits.cores,
        "tensorflow_threads": threads.number,
        "environment": {name: os.environ.get(name) for name in (_THREADS, _OTHER_THREADS)},
        "memory_bytes": memory.total,
        "memory_limit_bytes": limits.memory,
        "available_memory_bytes": available,
    }
    cores = [f"{logical}"]
    if usable != logical:
        cores.append(f"this process may use {usable}")
    if limits.cores is not None:
        cores.append(f"limited to the time of {limits.cores:g}")
    sizes = [format_bytes(memory.total)]
    if limits.memory is not None and limits.memory < memory.total:
        sizes.append(f"limited to {format_bytes(limits.memory)}")
    sizes.append(f"{format_bytes(available)} available")
    rows = [
        ["platform", values["platform"]],
        ["processor", values["processor"]],
        ["logical cores", ", ".join(cores)],
        ["threads of TensorFlow", f"{threads.number} ({threads.why})"],
    ]
    if other_threads is not None:
        rows.append([_OTHER_THREADS, f"{other_threads} (TensorFlow does not read it)"])
    rows.append(["memory", ", ".join(sizes)])
    problems = [*threads.problems]
    if available < _LEAST_MEMORY:
        problems.append(
            f"memory: {format_bytes(available)} are available, and a training of a small data set "
            f"needs {format_bytes(_LEAST_MEMORY)}; end other programs or raise the limit"
        )
    return Section("machine", values, [list_table("Machine", rows)], problems)


def tensorflow_threads(
    environment: Mapping[str, str], usable_cores: int, core_limit: float | None
) -> Threads:
    """Return the number of threads of TensorFlow.

    TensorFlow 2.21 reads `TF_NUM_INTRAOP_THREADS`; without it, it starts a thread for each core of
    the processor affinity. It reads neither `OMP_NUM_THREADS` nor the limit of a container.

    Args:
        environment: environment variables.
        usable_cores: cores of the processor affinity.
        core_limit: limit of a container, see `cgroups.Limits`.
    """
    problems = []
    written = environment.get(_THREADS)
    number, why = usable_cores, "one for each core"
    if written is not None:
        try:
            number, why = int(written) or usable_cores, f"set by {_THREADS}"
        except ValueError:
            problems.append(
                f"{_THREADS}: {written!r} is not a whole number, so TensorFlow ignores it; set it "
                "to a number of threads"
            )
    if core_limit is not None and number > math.ceil(core_limit):
        problems.append(
            f"threads: TensorFlow starts {number}, but a limit of the container or service allows "
            f"the time of {core_limit:g} cores; set {_THREADS}={math.ceil(core_limit)}"
        )
    return Threads(number, why, problems)


def _usable_cores() -> int:
    """Return the number of cores of the processor affinity, where the system has one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """Return the name of the processor; `platform.processor` would start a process for it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, ValueError):
        pass
    return platform.machine()
