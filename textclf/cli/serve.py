"""The command `serve`: an HTTP server for exported versions."""

import socket
from pathlib import Path
from urllib.parse import quote

import click

from textclf.cli import options
from textclf.cli.terminal import say
from textclf.errors import TextclfError, check_all
from textclf.startup import clear_status, import_tensorflow, show_status


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
    from textclf import artifact, serving

    versions = _parse_labels(labels)
    model_name = name or serving.model_name(model)
    if not model_name or set(model_name) & set("/:"):
        raise click.UsageError(f"--name {model_name}: expected a name without / and :")
    listening: list[socket.socket] = []
    try:
        check_all(
            serving.check_installed,
            lambda: artifact.read_model_card(artifact.find_export(model)),
            lambda: listening.append(serving.listen(host, port)),
        )
    except TextclfError:
        for bound in listening:
            bound.close()
        raise
    bound = listening[0]
    import_tensorflow()
    show_status("loading the model")
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
