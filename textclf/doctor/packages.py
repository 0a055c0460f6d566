"""Versions of the packages that textclf needs, from their metadata: nothing is imported."""

import importlib.metadata
import platform
import re

import textclf
from textclf.display import Table
from textclf.doctor.section import Section
from textclf.errors import install_command

# Package -> versions, as in setup.cfg. TensorFlow may be the distribution without GPU support.
REQUIRED = {
    "tensorflow": ">=2.21,<2.22",
    "keras": ">=3.15,<4",
    "tensorflow-datasets": ">=4.9.10,<5",
    "click": ">=8.2,<9",
    "numpy": ">=2.0,<3",
    "scikit-learn": ">=1.6,<2",
}
_ALTERNATIVES = {"tensorflow": "tensorflow-cpu"}
# Extra -> its packages.
EXTRAS = {
    "serve": {"starlette": ">=1.10,<2", "uvicorn": ">=0.54,<1", "prometheus-client": ">=0.26,<1"},
    "fasttext": {"fasttext-numpy2": ">=0.10.4,<0.11"},
    "tensorboard": {"tensorboard": ">=2.19,<3"},
    "audit": {"datasketch": ">=2.0,<3"},
    "labels": {"cleanlab": ">=2.9,<3"},
    "bench": {"torch": ">=2.13,<3"},
    # Two of the packages of tensorflow[and-cuda]; TensorFlow bounds their versions.
    "gpu": {"nvidia-cuda-runtime-cu12": "", "nvidia-cudnn-cu12": ""},
}


def examine_packages() -> Section:
    """Return the versions, with the packages that are missing or have another version."""
    python = platform.python_version()
    values: dict[str, str | None] = {"python": python, "textclf": textclf.__version__}
    rows = [["Python", python, ""], ["textclf", textclf.__version__, ""]]
    problems = []
    for package, bounds in REQUIRED.items():
        installed, name = _version(package), package
        if installed is None and package in _ALTERNATIVES:
            name = _ALTERNATIVES[package]
            installed = _version(name)
        values[package] = installed
        rows.append([package if installed is None else name, installed or "not installed", ""])
        if installed is None:
            problems.append(f"{package}: is not installed; install it with {install_command()}")
        elif not is_within(installed, bounds):
            problems.append(
                f"{name}: version {installed} is installed, textclf needs {bounds}; install it "
                f"with {install_command()}"
            )
    extras: dict[str, dict[str, str | None]] = {}
    for extra, packages in EXTRAS.items():
        extras[extra] = {package: _version(package) for package in packages}
        for package, installed in extras[extra].items():
            rows.append([package, installed or "not installed", extra])
            if installed is not None and not is_within(installed, packages[package]):
                problems.append(
                    f"{package}: version {installed} is installed, the extra {extra} needs "
                    f"{packages[package]}; install it with {install_command(extra)}"
                )
    table = Table(
        ["package", "version", "extra"], rows, "ttt", heading="Versions",
        remark=f"An extra is installed with {install_command('EXTRA')}.",
    )  # fmt: skip
    return Section("versions", {**values, "extras": extras}, [table], problems)


def is_within(version: str, bounds: str) -> bool:
    """Return whether a version is within bounds such as ">=2.21,<2.22"; "" has no bounds."""
    numbers = _numbers(version)
    for bound in filter(None, bounds.split(",")):
        if bound.startswith(">="):
            if numbers < _numbers(bound):
                return False
        elif numbers >= _numbers(bound):
            return False
    return True


def _numbers(version: str) -> list[int]:
    """Return the first three numbers of a version: "2.21.0rc1" -> [2, 21, 0]."""
    numbers = [int(digits) for digits in re.findall(r"\d+", version)[:3]]
    return numbers + [0] * (3 - len(numbers))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
