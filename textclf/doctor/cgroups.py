"""Limits of processor time and memory that Linux sets for a container or a service.

`/proc/self/cgroup` names the group of the process, in version 2 of cgroups in a line `0::PATH`, and
in version 1 in a line for each controller. A limit of a parent holds too. In a container, the path
may be that of the host; then the limits are in the root of the mount.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Version 1 has no word for "no limit": the largest multiple of a page.
_NO_LIMIT = 2**60


class Limits(NamedTuple):
    """Limits of this process; None where there is none.

    Attributes:
        cores: processor time as a number of cores.
        memory: bytes of memory.
        available: bytes of the memory limit that are not in use; files that are only cached count
            as available.
    """

    cores: float | None
    memory: int | None
    available: int | None


def read_limits(
    membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> Limits:
    """Return the limits of this process.

    Args:
        membership: file with the groups of the process.
        mount: folder of the groups.
    """
    cores: list[float] = []
    memory: list[tuple[int, int]] = []  # limit, available
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controllers == "":
            for folder in _folders(mount, path):
                cores += _cores(*_read(folder / "cpu.max").split()[:2])
                memory += _memory(folder, "memory.max", "memory.current", "inactive_file")
        elif "cpu" in names:
            for folder in _folders(mount / "cpu", path):
                quota, period = (folder / f"cpu.cfs_{name}_us" for name in ("quota", "period"))
                cores += _cores(_read(quota), _read(period))
        elif "memory" in names:
            used = "memory.usage_in_bytes"
            for folder in _folders(mount / "memory", path):
                memory += _memory(folder, "memory.limit_in_bytes", used, "total_inactive_file")
    return Limits(
        min(cores, default=None),
        min((limit for limit, _ in memory), default=None),
        min((available for _, available in memory), default=None),
    )


def _folders(mount: Path, path: str) -> Iterator[Path]:
    """Yield the folders of a group and of its parents up to the root of the mount."""
    parts = [part for part in path.split("/") if part]
    for count in range(0 if ".." in parts else len(parts), -1, -1):
        yield mount.joinpath(*parts[:count])


def _cores(quota: str = "", period: str = "") -> list[float]:
    """Return the number of cores that a quota of microseconds allows, if it is a limit."""
    with contextlib.suppress(ValueError, ZeroDivisionError):
        if int(quota) > 0:
            return [int(quota) / int(period)]
    return []


def _memory(folder: Path, limit: str, used: str, cached: str) -> list[tuple[int, int]]:
    """Return limit and available bytes, if there is a limit."""
    with contextlib.suppress(ValueError):
        num_bytes = int(_read(folder / limit))
        if num_bytes < _NO_LIMIT:
            statistics = dict(
                line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines()
            )
            in_use = int(_read(folder / used)) - int(statistics.get(cached, 0))
            return [(num_bytes, max(num_bytes - max(in_use, 0), 0))]
    return []


def _read(path: Path) -> str:
    """Return the text of a file without white space around it; "" if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
