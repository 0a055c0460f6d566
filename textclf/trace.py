"""Seconds of the stages of a command: `TEXTCLF_TRACE=1` prints them at its end.

trace.mark("reading the data")    # the time since the last mark was spent on this stage
trace.write()                     # a line for each stage on stderr
"""

import os
import sys
import time

_is_on = os.environ.get("TEXTCLF_TRACE", "") not in ("", "0")
_seconds: dict[str, float] = {}  # by stage, in the order of their first marks
_last = time.perf_counter()


def mark(stage: str) -> None:
    """Add the time since the last mark to a stage; without `TEXTCLF_TRACE`, do nothing."""
    global _last
    if _is_on:
        now = time.perf_counter()
        _seconds[stage] = _seconds.get(stage, 0.0) + now - _last
        _last = now


def write() -> None:
    """Write the seconds and the share of each stage to stderr, and forget them."""
    if not _is_on:
        return
    mark("the rest")
    if sys.stderr is not None:
        total = sum(_seconds.values())
        rows = [*_seconds.items(), ("total", total)]
        width = max(len(stage) for stage, _ in rows)
        lines = [f"{stage:<{width}} {n:>8.2f} s {n / total:>5.0%}\n" for stage, n in rows]
        sys.stderr.write("".join(lines))
        sys.stderr.flush()
    _seconds.clear()


def _process_age() -> float:
    """Return the seconds since this process began, to a hundredth; 0 if the system hides it."""
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            # Field 22, in clock ticks since the system began; the name in field 2 may have spaces.
            ticks = int(file.read().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0


if _is_on:
    _last -= _process_age()
    mark("start of Python")
