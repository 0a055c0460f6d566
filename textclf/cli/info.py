"""Command `info`: print the card of a model."""

from pathlib import Path

import click

from textclf.cli import options


@click.command()
@click.argument("model", type=options.path)
def info(model: Path) -> None:
    """Print the card of MODEL as JSON.

    MODEL is a trained folder, an exported SavedModel, or a language model.

    \b
    Examples:
      textclf info runs/reviews
      textclf info saved_models/reviews/1
    """
    from textclf import artifact

    if artifact.is_language_model(model):
        click.echo(artifact.read_language_model(model).to_json(), nl=False)
        return
    click.echo(artifact.read_model_card(model).to_json(), nl=False)
