"""Preparation of a server: required packages, name of the model, listening socket.

It needs neither the packages of the server nor TensorFlow, so that errors are reported at once.
"""

import importlib.util
import os
import socket
from pathlib import Path

from textclf.artifact.layout import SAVED_MODEL
from textclf.errors import TextclfError, install_command

_REQUIRED_MODULES = ("starlette", "uvicorn", "prometheus_client")


def check_installed() -> None:
    """Check that the packages of the server are installed.

    Raises:
        TextclfError: one is missing.
    """
    if any(importlib.util.find_spec(module) is None for module in _REQUIRED_MODULES):
        raise TextclfError(
            "textclf serve: required packages are not installed; install them with "
            f"{install_command('serve')}"
        )


def model_name(path: str | os.PathLike) -> str:
    """Return the name of a folder of versions, or of the parent folder of a version."""
    folder = Path(os.path.abspath(path))
    return folder.parent.name if os.path.exists(folder / SAVED_MODEL) else folder.name


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 selects a free port.

    Connections wait until the server accepts them. Without listening, a second server could bind
    the same port until the first one has loaded its model.

    Raises:
        TextclfError: the port is in use, or this machine does not have the address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise TextclfError(f"--host {host}: {error.strerror}; use 127.0.0.1") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except OSError as error:
        bound.close()
        raise TextclfError(
            f"{host}:{port}: cannot listen ({error.strerror}); use another --port or --host"
        ) from None
    return bound
