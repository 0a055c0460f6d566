"""Command `data check`: report on data before training."""

import json
from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, note_all, output_width, show_check
from textclf.startup import import_tensorflow


@click.group()
def data() -> None:
    """Check data before training.

    \b
    Examples:
      textclf data check reviews.yaml
      textclf data check reviews.csv --set data.label_column=stars
    """


@data.command("check")
@click.argument("source", metavar="CONFIG|SOURCE")
@options.set_option
@options.json_option
def check(source: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Report rows, classes, lengths, duplicates and conflicts.

    SOURCE is a value of data.source: a file, a folder, tfds:NAME or demo. Token counts and cut
    tokens depend on the `text` settings.

    \b
    Examples:
      textclf data check reviews.yaml
      textclf data check tfds:imdb_reviews --set data.data_dir=~/tensorflow_datasets
      textclf data check reviews.csv --set 'data.text_columns=[title, body]' --json
    """
    show_check()
    from textclf import config as configuration

    if source.endswith((".yaml", ".yml")):
        resolved = options.load_config(Path(source), overrides)
    else:
        resolved = configuration.Config.from_dict({"data": {"source": source}}, overrides)
        note_all(resolved.notices)
    section = configuration.with_paths(resolved).data
    from textclf.data import check_sources, open_dataset

    check_sources(section)
    with Progress() as progress:
        progress.stage("reading the data")
        dataset = open_dataset(section, on_progress=progress.update)
        progress.clear()
        import_tensorflow()
        from textclf import data_check

        lengths = data_check.measure_lengths(resolved, dataset, on_progress=progress.update)
    if as_json:
        click.echo(json.dumps(data_check.summarize(dataset, lengths), ensure_ascii=False))
    else:
        from textclf.report import format_data_check

        limit, width = resolved.text.sequence_length, output_width()
        click.echo(format_data_check(dataset, lengths, limit, width=width), nl=False)
