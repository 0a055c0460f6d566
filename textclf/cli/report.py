"""Command `report`: write the report of a trained model as one HTML page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textclf.cli import options
from textclf.cli.terminal import (
    Progress,
    note_all,
    say,
    show_check,
    termination_as_interrupt,
)
from textclf.splits import SPLITS
from textclf.startup import import_tensorflow, show_status

if TYPE_CHECKING:
    from textclf.model_page import WrittenReport


@click.command()
@click.argument("model", type=options.path)
@click.argument("output", metavar="OUTPUT.html", type=options.path)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    help="The split to report on.  [default: test; validation if there is no test split]",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Also score each value of COLUMN of the data; may be repeated.",
)
@click.option("--no-audit", is_flag=True, help="Leave out the audit, which reads all data.")
@click.option("--overwrite", is_flag=True, help="Replace an existing report.")
@options.set_option
@options.json_option
def report(
    model: Path,
    output: Path,
    split: str | None,
    by: tuple[str, ...],
    no_audit: bool,
    overwrite: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the report of MODEL as one HTML page.

    The page has scores with intervals, also of the linear model, learning curves, classes and
    confusions, ROC and precision-recall curves, thresholds to try on validation, slices, the worst
    mistakes with coloured words, suspected label errors (optional part `labels`), and the findings
    of `textclf data check`. It loads nothing from the network. OUTPUT_files beside it has the
    pictures as SVG and all figures in report.json.

    MODEL is a trained folder, which is not changed. The data are those of the training; if they
    were moved, add --set data.source=PATH.

    \b
    Examples:
      textclf report runs/reviews reviews.html
      textclf report runs/reviews reviews.html --by country --split validation
      textclf report runs/reviews reviews.html --no-audit --overwrite
    """
    show_check()
    options.check_sections(overrides, ("data",), "report")
    from textclf import model_page, recalibration

    plan = model_page.check(
        model,
        output,
        split=split,
        by=tuple(options.argument_text(name, "--by") for name in by),
        audit=not no_audit,
        overwrite=overwrite,
        overrides=overrides,
    )
    note_all(plan.trained.notices)
    with Progress() as progress, termination_as_interrupt():
        progress.stage("reading the data")
        dataset = recalibration.open_data(plan.trained, progress.update)
        progress.clear()
        import_tensorflow()
        show_status("loading the model")
        written = model_page.make_report(plan, dataset, progress.update)
    if as_json:
        import msgspec

        values = {**msgspec.to_builtins(written), "report": written.report.to_dict()}
        click.echo(json.dumps(values, ensure_ascii=False))
        return
    _say(written)
    click.echo(written.page)


def _say(written: "WrittenReport") -> None:
    metric = written.report.length_metric
    parts = [
        f"{metric.replace('_f1', ' F1')} {written.report.get(metric):.4f} on {written.split}",
    ]
    if written.num_suspects is not None:
        parts.append(f"suspected label errors on {written.split}: {written.num_suspects:,}")
    if written.num_findings is not None:
        parts.append(f"findings of the audit: {written.num_findings}")
    say("; ".join(parts))
    say(f"pictures and figures: {written.files}")
