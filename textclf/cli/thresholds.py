"""Command `thresholds`: print what each threshold of a class would give."""

import json
from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, note_all, output_width, show_check
from textclf.startup import import_tensorflow, show_status


@click.command()
@click.argument("model", type=options.path)
@click.option(
    "--positive",
    metavar="CLASS",
    help="The class; required with two classes.  [default: each label of several]",
)
@options.set_option
@options.json_option
def thresholds(
    model: Path, positive: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Print precision, recall and errors of MODEL at many thresholds.

    The table is that of the validation split, of CLASS or of each label; choose from it the target
    of `textclf calibrate`. MODEL is a trained folder, and nothing in it changes. The test split is
    not read. Name data that were moved with --set data.source=PATH.

    \b
    Examples:
      textclf thresholds runs/spam --positive spam
      textclf thresholds runs/topics --json
    """
    show_check()
    options.check_sections(overrides, ("data",), "thresholds")
    from textclf.recalibration import open_data, tables

    if positive is not None:
        positive = options.argument_text(positive, "--positive")
    with options.errors_with_options("positive"):
        plan = tables.check_tables(model, positive=positive, overrides=overrides)
    note_all(plan.notices)
    with Progress() as progress:
        progress.stage("reading the data")
        dataset = open_data(plan, progress.update)
        progress.clear()
        import_tensorflow()
        show_status("loading the model")
        result = tables.tables_of(plan, dataset, positive, progress.update)
    if as_json:
        import msgspec

        values = {"model": str(model), **msgspec.to_builtins(result)}
        click.echo(json.dumps(values, ensure_ascii=False))
        return
    from textclf.report import format_thresholds

    click.echo(format_thresholds(result, title=str(model), width=output_width()), nl=False)
