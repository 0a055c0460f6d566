"""Command `predict`: print the labels of texts."""

import io
import os
import shlex
import sys
from pathlib import Path
from typing import BinaryIO

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, note
from textclf.errors import DataError


class _Predict(click.Command):
    """Command whose error for an unknown option explains texts that begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            near = (
                f"did you mean {error.possibilities[0]}? Otherwise " if error.possibilities else ""
            )
            raise click.UsageError(
                f"{error.option_name}: no such option; {near}put -- before texts that begin with a "
                "dash",
                ctx,
            ) from None


@click.command(cls=_Predict)
@click.argument("model", type=options.path)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option(
    "--input",
    "input_file",
    metavar="FILE",
    help="Texts to classify: a table (CSV, TSV, JSON or Parquet, by file ending), the lines of a "
    ".txt file, or - for the lines of stdin. A text file may end in .gz.",
)
@click.option(
    "--lines",
    "is_lines",
    is_flag=True,
    help="Classify each line of --input, for any file ending.",
)
@click.option(
    "--top-k", type=click.IntRange(min=1), help="Print the K most probable classes of each text."
)
@options.set_option
@options.json_option
def predict(
    model: Path,
    texts: tuple[str, ...],
    input_file: str | None,
    is_lines: bool,
    top_k: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the label of each TEXT, or of each row of --input.

    MODEL is a trained folder or an exported SavedModel. The output has the order of the input.
    For CSV and TSV it is the table with the added columns predicted and confidence, and abstain if
    `textclf calibrate` chose a confidence below which the model abstains; for JSON and Parquet it
    is JSON lines with these fields added. A table is read with the settings of the training data;
    if they do not fit its first rows, separator and quoting are detected. Put -- before texts that
    begin with a dash.

    \b
    Examples:
      textclf predict runs/reviews "not bad at all" "never again"
      textclf predict runs/reviews --top-k 3 -- "- 5 stars, really"
      textclf predict runs/reviews --input new.csv --set data.text_columns=review > answered.csv
      cat lines.txt | textclf predict saved_models/reviews/1 --input - --json
    """
    _check_usage(texts, input_file, is_lines, overrides)
    texts = tuple(options.argument_text(text, "TEXT") for text in texts)
    from textclf import prediction

    output = sys.stdout or io.StringIO()  # closed by `>&-`
    if input_file is None:
        for text in filter(os.path.isfile, texts):
            note(
                f"{text} is a file, and its name was classified; for its rows use --input "
                f"{shlex.quote(text)}"
            )
        prediction.predict_texts(model, texts, output, as_json=as_json, top_k=top_k, on_note=note)
        return
    # Results on the same terminal already show the progress.
    is_quiet = output.isatty()
    with Progress() as progress:

        def show(num_texts: int) -> None:
            if not is_quiet:
                progress.update(f"{num_texts:,} texts classified", 0, 0, key="classifying")

        try:
            prediction.predict_file(
                model,
                _stdin() if input_file == "-" else input_file,
                output,
                lines=is_lines,
                as_json=as_json,
                top_k=top_k,
                overrides=overrides,
                on_note=progress.note,
                on_progress=show,
            )
        except prediction.UnusedSettingError as error:
            raise click.UsageError(f"--set {error}") from None


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise DataError("stdin is closed; pipe texts into it, or use --input FILE")
    return sys.stdin.buffer


def _check_usage(
    texts: tuple[str, ...], input_file: str | None, is_lines: bool, overrides: tuple[str, ...]
) -> None:
    if texts and input_file is not None:
        raise click.UsageError("use either texts or --input, not both")
    if not texts and input_file is None:
        raise click.UsageError("no texts; add texts, --input FILE, or --input - for stdin")
    if is_lines and input_file is None:
        raise click.UsageError("--lines applies only to --input; omit it")
    options.check_sections(overrides, ("data",), "predict")
    if overrides and input_file is None:
        raise click.UsageError("--set applies only to --input; omit it")
