"""The command `serve`: an HTTP server for exported versions."""

import importlib.util
import os
import socket
from pathlib import Path
from urllib.parse import quote

import click

from textclf.cli import options
from textclf.cli.terminal import say
from textclf.errors import TextclfError, check_all, install_command
from textclf.startup import clear_status, import_tensorflow, show_status

_REQUIRED_MODULES = ("starlette", "uvicorn", "prometheus_client")


@click.command()
@click.argument("model", type=options.path)
@click.option("--name", help="Name of the model in the paths.  [default: name of the folder]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL=VERSION",
    help="Label of a version, for paths with /labels/LABEL; repeatable.",
)
@click.option("--max-body-bytes", type=click.IntRange(min=1), default=4 << 20, show_default=True)
@click.option("--max-texts", type=click.IntRange(min=1), default=1024, show_default=True)
@click.option("--max-text-bytes", type=click.IntRange(min=1), default=100_000, show_default=True)
@click.option("--max-batch-size", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--max-queue", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--max-connections", type=click.IntRange(min=1), default=512, show_default=True)
@click.option("--read-seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True)
@click.option("--answer-seconds", type=click.FloatRange(0.1, 3600), default=30.0, show_default=True)
def serve(
    model: Path, name: str | None, host: str, port: int, labels: tuple[str, ...], **limits: float
) -> None:
    """Serve the newest version of MODEL over HTTP.

    MODEL is a folder of exported versions, or one version. A folder is checked every second, and
    a newer version replaces the current one. The API is TF Serving's REST API; / is a page for
    trying the model. Prints the address when the server is ready. SIGTERM and Ctrl-C stop it
    after the last answer.

    \b
    Examples:
      textclf serve saved_models/reviews
      textclf serve saved_models/reviews --name opinions --port 8080
    """
    from textclf import artifact

    versions = _parse_labels(labels)
    model_name = name or _model_name(model)
    if not model_name or set(model_name) & set("/:"):
        raise click.UsageError(f"--name {model_name}: expected a name without / and :")
    listening: list[socket.socket] = []
    try:
        check_all(
            _check_installed,
            lambda: artifact.read_model_card(artifact.find_export(model)),
            lambda: listening.append(_listen(host, port)),
        )
    except TextclfError:
        for bound in listening:
            bound.close()
        raise
    bound = listening[0]
    import_tensorflow()
    show_status("loading the model")
    from textclf import serving

    bound_host, bound_port = bound.getsockname()[:2]
    url_host = f"[{bound_host}]" if ":" in bound_host else bound_host

    def print_address() -> None:
        clear_status()
        click.echo(f"http://{url_host}:{bound_port}/v1/models/{quote(model_name)}")

    serving.serve(
        model,
        model_name,
        bound,
        labels=versions,
        limits=serving.Limits(**limits),  # type: ignore[arg-type]
        log=say,
        on_ready=print_address,
    )


def _parse_labels(label_options: tuple[str, ...]) -> dict[str, int]:
    labels = {}
    for option in label_options:
        label, _, number = option.partition("=")
        if not label or set(label) & set("/:") or not (number.isascii() and number.isdecimal()):
            raise click.UsageError(
                f"--label {option}: expected LABEL=VERSION, for instance stable=3"
            )
        labels[label] = int(number)
    return labels


def _check_installed() -> None:
    if any(importlib.util.find_spec(module) is None for module in _REQUIRED_MODULES):
        raise TextclfError(
            "textclf serve: required packages are not installed; install them with "
            f"{install_command('serve')}"
        )


def _model_name(path: Path) -> str:
    """Return the name of a folder of versions, or of the parent folder of a version."""
    folder = Path(os.path.abspath(path))
    return folder.parent.name if os.path.exists(folder / "saved_model.pb") else folder.name


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address; port 0 selects a free port.

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
    except OSError as error:
        bound.close()
        raise TextclfError(
            f"{host}:{port}: cannot listen ({error.strerror}); use another --port or --host"
        ) from None
    return bound
