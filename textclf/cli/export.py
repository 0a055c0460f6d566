"""Command `export`: write a verified SavedModel."""

from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.terminal import say
from textclf.errors import DataError
from textclf.startup import import_tensorflow, show_status

WRITING = "writing the SavedModel and verifying it in a new process"


@click.command()
@click.argument("model", type=options.path)
@click.argument("output", type=options.path)
@click.option(
    "--version", type=click.IntRange(min=1), help="Version number.  [default: the largest + 1]"
)
@click.option(
    "--golden",
    "golden_file",
    metavar="FILE",
    type=options.path,
    help="Further texts to verify: a UTF-8 file with one text per line.",
)
def export(model: Path, output: Path, version: int | None, golden_file: Path | None) -> None:
    """Export MODEL to the SavedModel OUTPUT/VERSION and verify it.

    MODEL is a trained folder. The SavedModel takes raw strings and needs only TensorFlow. It is
    verified in a new process before it is published in OUTPUT. Prints its path.

    \b
    Examples:
      textclf export runs/reviews saved_models/reviews
      textclf export runs/reviews saved_models/reviews --version 7
      textclf export runs/reviews saved_models/reviews --golden important.txt
    """
    show_status("checking the model and the output")
    from textclf import artifact

    artifact.read_card(model)  # a wrong folder is reported before NumPy is imported
    from textclf import saved_model

    golden_texts = [] if golden_file is None else _read_lines(golden_file)
    saved_model.check(output, version)
    import_tensorflow()
    show_status("loading the model")
    from textclf import classifier

    loaded = classifier.load(model)
    say(WRITING)
    click.echo(saved_model.export(loaded, output, version=version, golden_texts=golden_texts))


def _read_lines(file: Path) -> list[str]:
    """Return the lines of a UTF-8 file.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or has no line.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        from textclf.data.files import unreadable_file

        raise unreadable_file(str(file), error) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}:{line}: not UTF-8; save the file as UTF-8") from None
    if not text:
        raise DataError(f"{file}: the file is empty; write one text per line")
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")
