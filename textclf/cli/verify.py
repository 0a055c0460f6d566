"""Command `verify`: check an exported version."""

import os
from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.terminal import Progress


@click.command()
@click.argument("folder", metavar="SAVED_MODEL", type=options.path)
def verify(folder: Path) -> None:
    """Check the files and the golden samples of SAVED_MODEL.

    SAVED_MODEL is a version, or a folder of versions; then the newest version is checked.

    \b
    Examples:
      textclf verify saved_models/reviews/1
      textclf verify saved_models/reviews
    """
    with Progress() as progress:
        progress.update("predicting the golden samples in a new process", 0, 0)
        from textclf import artifact

        is_version = os.path.exists(folder / artifact.CHECKSUMS)
        version = folder if is_version else artifact.find_export(folder)
        from textclf import saved_model

        count = saved_model.verify(version)
    click.echo(f"{version}: verified, {count} golden samples")
