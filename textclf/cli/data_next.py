"""Command `data next`: choose the texts to label next."""

import json
import sys
from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, output_width, say, show_check, termination_as_interrupt
from textclf.errors import DataError

# Of `active_learning`, which would be imported for every command.
_MEASURES = ("margin", "entropy")
_MAX_TEXTS = 10_000


@click.command("next")
@click.argument("model", type=options.path)
@click.argument("unlabelled")
@click.option(
    "-n",
    "--number",
    type=click.IntRange(1, _MAX_TEXTS),
    default=100,
    show_default=True,
    help="Number of texts.",
)
@click.option(
    "--by",
    type=click.Choice(_MEASURES),
    default=_MEASURES[0],
    show_default=True,
    help="Measure of uncertainty: the margin between the two most probable classes, or the "
    "entropy of all classes.",
)
@click.option(
    "--diverse/--no-diverse",
    default=True,
    show_default=True,
    help="Choose texts that differ from each other from ten times as many candidates, or choose "
    "the most uncertain texts.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the choice of diverse texts."
)
@click.option(
    "--output",
    "output_file",
    type=options.path,
    metavar="FILE",
    help="Write the texts with all columns of the input and an empty column for the label: CSV or "
    "JSON lines by its ending.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing --output.")
@click.option(
    "--lines",
    "is_lines",
    is_flag=True,
    help="Read each line of UNLABELLED as a text, for any file ending.",
)
@options.set_option
@options.json_option
def next_texts(
    model: Path,
    unlabelled: str,
    number: int,
    by: str,
    diverse: bool,
    seed: int,
    output_file: Path | None,
    overwrite: bool,
    is_lines: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Choose the texts to label next, by the uncertainty of MODEL.

    MODEL is a trained folder or an exported SavedModel. UNLABELLED is a table (CSV, TSV, JSON or
    Parquet, by file ending), the lines of a .txt file, or - for the lines of stdin; a text file may
    end in .gz. It is read as by `textclf predict --input`, as a stream, so it may be larger than
    the memory. Texts that occur several times are chosen once, empty ones never. Texts of the
    training data are not left out.

    Prints the first 20 texts, the most uncertain first. In the file of --output, fill in the column
    of the label, and add its rows to the training data.

    \b
    Examples:
      textclf data next runs/reviews unlabelled.csv -n 200 --output next.csv
      textclf data next runs/reviews new.jsonl --set data.text_columns=review --json
      textclf data next saved_models/reviews/1 lines.txt --by entropy --no-diverse
    """
    if overwrite and output_file is None:
        raise click.UsageError("--overwrite applies only to --output; omit it")
    show_check()
    options.check_sections(overrides, ("data",), "data next")
    from textclf import active_learning, prediction

    if unlabelled == "-" and sys.stdin is None:
        raise DataError("stdin is closed; pipe texts into it, or name a file")
    with Progress() as progress, termination_as_interrupt():
        try:
            selection = active_learning.select_next(
                model,
                sys.stdin.buffer if unlabelled == "-" else unlabelled,
                number,
                by=by,
                diverse=diverse,
                seed=seed,
                output=output_file,
                overwrite=overwrite,
                lines=is_lines,
                overrides=overrides,
                on_note=progress.note,
                on_progress=progress.update,
            )
        except prediction.UnusedSettingError as error:
            raise click.UsageError(f"--set {error}") from None
    if as_json:
        click.echo(json.dumps(selection.to_dict(), ensure_ascii=False, default=str))
    else:
        click.echo(active_learning.format_selection(selection, width=output_width()), nl=False)
    if output_file is not None:
        say(
            f"{output_file}: {len(selection.texts):,} of {selection.num_rows:,} rows; fill in the "
            f"column {selection.label_column!r}"
        )
