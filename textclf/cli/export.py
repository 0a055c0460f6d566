"""Command `export`: write a verified SavedModel."""

from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.terminal import say
from textclf.startup import import_tensorflow, show_status


@click.command()
@click.argument("model", type=options.path)
@click.argument("output", type=options.path)
@click.option(
    "--version", type=click.IntRange(min=1), help="Version number.  [default: the largest + 1]"
)
def export(model: Path, output: Path, version: int | None) -> None:
    """Export MODEL to the SavedModel OUTPUT/VERSION and verify it.

    MODEL is a trained folder. The SavedModel takes raw strings and needs only TensorFlow. It is
    verified in a new process before it is published in OUTPUT. Prints its path.

    \b
    Examples:
      textclf export runs/reviews saved_models/reviews
      textclf export runs/reviews saved_models/reviews --version 7
    """
    click.echo(run_export(model, output, version))


def run_export(model: Path, output: Path, version: int | None) -> Path:
    """Export a trained folder and verify the export; return the folder of the version."""
    show_status("checking the model and the output")
    from textclf import artifact

    card = artifact.read_card(model)
    from textclf import saved_model

    saved_model.check(output, version)
    import_tensorflow()
    show_status("loading the model")
    from textclf import classifier

    loaded = classifier.load(model)
    say("writing the SavedModel and verifying it in a new process")
    golden = card.config["export"]["golden_texts"]
    return saved_model.export(loaded, output, version=version, golden_texts=golden)
