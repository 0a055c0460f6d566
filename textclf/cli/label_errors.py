"""Command `data label-errors`: rows of train whose labels are probably wrong."""

import json
from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.terminal import (
    Progress,
    output_width,
    say,
    show_check,
    termination_as_interrupt,
)


@click.command("label-errors")
@click.argument("source", metavar="CONFIG|SOURCE")
@click.option(
    "--model-kind",
    type=click.Choice(("linear", "network")),
    default="linear",
    show_default=True,
    help="Model that judges the rows: the linear model, or that of the configuration.",
)
@click.option(
    "--folds",
    type=click.IntRange(2, 100),
    default=5,
    show_default=True,
    help="Number of folds; each model judges the rows of the fold that it was not trained on.",
)
@click.option(
    "--output",
    type=options.path,
    metavar="FILE",
    help="Write all suspects to a file .csv or .jsonl.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@options.set_option
@options.json_option
def label_errors(
    source: str,
    model_kind: str,
    folds: int,
    output: Path | None,
    overwrite: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """List rows of train whose labels are probably wrong, most likely wrong first.

    Each row is judged by a model that was trained on other rows (out of fold); equal texts are
    always in the same fold. Confident learning ranks the labels that disagree with the model. Equal
    texts with different labels are suspects too. Nothing is changed: read the texts, and correct
    the labels in the data. Needs cleanlab.

    \b
    Examples:
      textclf data label-errors reviews.yaml
      textclf data label-errors reviews.yaml --output suspects.csv
      textclf data label-errors reviews.yaml --model-kind network --folds 10
    """
    if overwrite and output is None:
        raise click.UsageError("--overwrite replaces the file of --output; add --output FILE")
    show_check()
    config = options.load_config_of(source, overrides)
    from textclf import label_errors as library
    from textclf.config import with_paths
    from textclf.data import open_dataset
    from textclf.errors import check_all
    from textclf.scoring import check_example_file

    section = with_paths(config).data
    checks = [lambda: library.check(config, model_kind=model_kind)]
    if output is not None:
        checks.append(lambda: check_example_file(output, section, overwrite=overwrite))
    check_all(*checks)
    with Progress() as progress, termination_as_interrupt():
        progress.stage("reading the data")
        dataset = open_dataset(section, on_progress=progress.update, skip_bad_rows=True)
        result = library.find_label_errors(
            config,
            model_kind=model_kind,
            num_folds=folds,
            dataset=dataset,
            on_progress=progress.update,
        )
        progress.clear()
        # Printed before the file is written, so that a failure does not lose the result.
        if as_json:
            click.echo(json.dumps(result.to_dict(), ensure_ascii=False))
        else:
            click.echo(library.format_label_errors(result, width=output_width()), nl=False)
        if output is not None:
            library.write_suspects(
                output, dataset, result, overwrite=overwrite, on_progress=progress.update
            )
    if output is not None:
        say(f"{len(result.suspects):,} suspects written to {output}")
