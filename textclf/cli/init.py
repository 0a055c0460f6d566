"""Command `init`: detect the format of a file and write a configuration for it."""

import os
import shlex
from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, note, note_all, say
from textclf.errors import ArtifactError, DataError
from textclf.startup import show_status


@click.command()
@click.argument("file", type=options.path)
@click.argument("config", type=options.path)
@options.set_option
@click.option("--overwrite", is_flag=True, help="Replace an existing configuration.")
def init(file: Path, config: Path, overrides: tuple[str, ...], overwrite: bool) -> None:
    """Detect the format of FILE and write a CONFIG for it.

    FILE is CSV, TSV, JSON or Parquet, or a folder split/label/*.txt. Format, separator, quoting,
    header, encoding, columns, task and script are detected, unless --set sets them. For a file
    named like train.csv, files of other splits in its folder (dev.csv, test.csv) are used too.
    Prints the next command. A column that cannot be detected is CHANGE_ME in CONFIG, and the exit
    code is 1.

    \b
    Examples:
      textclf init reviews.csv reviews.yaml
      textclf init data/train.tsv topics.yaml   # finds data/dev.tsv and data/test.tsv
      textclf init texts/ texts.yaml            # texts/train/positive/1.txt ...
      textclf init reviews.csv reviews.yaml --set data.label_column=stars --set model.encoder=gru
    """
    _check_output(config, overwrite)
    show_status("reading the file")
    from textclf import artifact, recipes

    notes: list[str] = []
    try:
        with Progress() as progress:
            recipe = recipes.make_recipe(
                file,
                config_file=config,
                overrides=overrides,
                on_note=notes.append,
                on_progress=progress.update,
            )
    except DataError:
        note_all(notes)  # they may explain the error
        raise
    artifact.write_file(config, recipe.text)
    if recipe.choices:
        note_all(recipe.notes)
        raise DataError(
            f"{file}: {'; '.join(recipe.choices)}; wrote {config}; set "
            f"{' and '.join(recipe.open_settings)} in it"
        )
    say(f"wrote {config}: {recipe.description}")
    note_all(recipe.notes)
    if recipe.rare_classes:
        note(recipe.rare_classes)
    click.echo(f"textclf train {shlex.quote(str(config))} {shlex.quote(f'runs/{config.stem}')}")


def _check_output(config: Path, overwrite: bool) -> None:
    """Check that the configuration can be written.

    Raises:
        UsageError: the file name does not end in .yaml or .yml.
        ArtifactError: the file exists, or the folder is missing or not writable.
    """
    if config.suffix not in (".yaml", ".yml"):
        raise click.UsageError(f"CONFIG {config}: expected a name that ends in .yaml")
    if os.path.exists(config) and not overwrite:
        raise ArtifactError(f"{config}: exists already; name another file or add --overwrite")
    if not os.path.isdir(config.parent):
        raise ArtifactError(f"{config.parent}: no such folder; create it first")
    if not os.access(config.parent, os.W_OK):
        raise ArtifactError(
            f"{config}: the folder {config.parent} is not writable; choose another folder"
        )
