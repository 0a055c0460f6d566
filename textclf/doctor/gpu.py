"""NVIDIA's driver and the CUDA libraries, without TensorFlow."""

import ctypes
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from textclf.doctor.section import Section, list_table
from textclf.errors import install_command

# Libraries that TensorFlow 2.21 opens; `tf.sysconfig.get_build_info()` has their versions.
DRIVER = "libcuda.so.1"
LIBRARIES = {"CUDA": "libcudart.so.12", "cuDNN": "libcudnn.so.9"}
# CUDA 12 runs with this and newer drivers (NVIDIA, "CUDA Compatibility").
_OLDEST_DRIVER = 525
_VISIBLE = "CUDA_VISIBLE_DEVICES"

State = Literal["no driver", "no libraries", "complete"]


class Gpu(NamedTuple):
    """Driver and libraries of NVIDIA GPUs.

    Attributes:
        state: "no driver"; "no libraries": a driver, but not all libraries; "complete".
        driver_version: version of the kernel module; None if there is none.
        names: names of the GPUs.
        missing: the libraries of `LIBRARIES` that are missing.
    """

    state: State
    driver_version: str | None
    names: tuple[str, ...]
    missing: tuple[str, ...]


def has_library(name: str) -> bool:
    """Return whether a shared library is in a package of NVIDIA or can be opened by its name."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec and spec.submodule_search_locations) or ():
        if next(Path(folder).glob(f"*/lib/{name}"), None) is not None:
            return True
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def find_gpu(
    proc: Path = Path("/proc/driver/nvidia"), is_found: Callable[[str], bool] = has_library
) -> Gpu:
    """Return driver and libraries of this machine.

    Args:
        proc: folder in which the kernel module describes itself.
        is_found: returns whether a shared library is on this machine.
    """
    version = re.search(r"Kernel Module\D*?\s(\d+[\d.]*)", _read(proc / "version"))
    names = []
    for file in sorted(proc.glob("gpus/*/information")):
        model = re.search(r"^Model:\s*(.+)$", _read(file), re.MULTILINE)
        names.append(model[1].strip() if model else "unknown")
    missing = tuple(name for name, library in LIBRARIES.items() if not is_found(library))
    state: State = "no driver"
    if is_found(DRIVER):
        state = "no libraries" if missing else "complete"
    return Gpu(state, version[1] if version else None, tuple(names), missing)


def examine_gpu(gpu: Gpu) -> Section:
    """Return driver and libraries as a section."""
    visible = os.environ.get(_VISIBLE)
    values = {
        **gpu._asdict(),
        "state": gpu.state.replace(" ", "_"),
        "environment": {_VISIBLE: visible},
    }
    driver = f"version {gpu.driver_version}" if gpu.driver_version else "found"
    rows = [["driver", "no NVIDIA driver" if gpu.state == "no driver" else driver]]
    rows += [["GPU of the driver", name] for name in gpu.names]
    rows += [
        [f"{name} library", f"{library} not found" if name in gpu.missing else "found"]
        for name, library in LIBRARIES.items()
    ]
    if visible is not None:
        rows.append([_VISIBLE, visible or "empty: hides every GPU"])
    return Section("gpu", values, [list_table("NVIDIA GPU", rows)], list(_problems(gpu)))


def _problems(gpu: Gpu) -> list[str]:
    if gpu.state == "no driver":
        if gpu.driver_version is None:
            return []  # a machine without a GPU has no problem
        return [
            f"GPU: the kernel has NVIDIA's driver, but {DRIVER} is not found; start the container "
            "with its GPUs (docker run --gpus all), or install the libraries of the driver"
        ]
    problems = []
    if gpu.state == "no libraries":
        names = " and ".join(f"{name} ({LIBRARIES[name]})" for name in gpu.missing)
        problems.append(
            f"GPU: there is a driver, but {names} is not found, so TensorFlow uses the CPU; "
            f"install the libraries with {install_command('gpu')}"
        )
    if gpu.driver_version and int(gpu.driver_version.split(".")[0]) < _OLDEST_DRIVER:
        problems.append(
            f"GPU: the driver has version {gpu.driver_version}, and CUDA 12 needs "
            f"{_OLDEST_DRIVER} or newer; update the driver"
        )
    return problems


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
