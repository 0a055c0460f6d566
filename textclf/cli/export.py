"""Command `export`: write a verified SavedModel."""

from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.terminal import say
from textclf.startup import import_tensorflow, show_status

WRITING = "writing the SavedModel and verifying it in a new process"


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
    show_status("checking the model and the output")
    from textclf import artifact, saved_model

    card = artifact.read_card(model)
    saved_model.check(output, version)
    import_tensorflow()
    show_status("loading the model")
    from textclf import classifier

    loaded = classifier.load(model)
    say(WRITING)
    golden = card.config["export"]["golden_texts"]
    click.echo(saved_model.export(loaded, output, version=version, golden_texts=golden))
