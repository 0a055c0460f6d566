"""Command `thresholds`: print precision, recall and errors at many thresholds."""

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
    help="The class; required with two classes.  [default: multi-label: each label]",
)
@options.set_option
@options.json_option
def thresholds(
    model: Path, positive: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Print precision, recall and errors of MODEL at many thresholds.

    The table is computed on the validation split, for CLASS or for each label; use it to choose the
    target of `textclf calibrate`. MODEL is a trained folder, which is not changed. The test split
    is not read. If the data were moved, add --set data.source=PATH.

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
