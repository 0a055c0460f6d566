"""Command `predict`: print the labels of texts."""

import io
import os
import shlex
import sys
import time
from pathlib import Path
from typing import BinaryIO

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, note, say, termination_as_interrupt
from textclf.errors import DataError


@click.command(cls=options.TextCommand)
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
    "--output",
    "output_file",
    metavar="FILE",
    help="Write the answers to a file instead of stdout: CSV, TSV, JSON lines or Parquet by its "
    "ending; otherwise in the format of the input.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing --output.")
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
    output_file: str | None,
    overwrite: bool,
    is_lines: bool,
    top_k: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the label of each TEXT, or of each row of --input.

    MODEL is a trained folder or an exported SavedModel. The output has the order of the input.
    For CSV and TSV it is the table with the added columns predicted and confidence, and abstain if
    `textclf calibrate` chose a confidence below which the model abstains; for JSON and Parquet it
    is JSON lines with these fields added. The ending of --output chooses another format; the file
    gets its name when it is complete. A table is read with the settings of the training data; if
    they do not fit its first rows, separator and quoting are detected. Put -- before texts that
    begin with a dash.

    \b
    Examples:
      textclf predict runs/reviews "not bad at all" "never again"
      textclf predict runs/reviews --top-k 3 -- "- 5 stars, really"
      textclf predict runs/reviews --input new.csv --set data.text_columns=review > answered.csv
      textclf predict runs/reviews --input new.parquet --output answered.parquet
      cat lines.txt | textclf predict saved_models/reviews/1 --input - --json
    """
    _check_usage(texts, input_file, is_lines, overrides)
    _check_output_usage(input_file, output_file, overwrite)
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
    with Progress() as progress, termination_as_interrupt():
        # Results on the same terminal already show the progress.
        rate = _Rate(progress, is_quiet=output_file is None and output.isatty())
        try:
            counts = prediction.predict_file(
                model,
                _stdin() if input_file == "-" else input_file,
                output if output_file is None else output_file,
                lines=is_lines,
                as_json=as_json,
                top_k=top_k,
                overrides=overrides,
                on_note=progress.note,
                on_progress=rate.show,
                on_start=rate.start,
                overwrite=overwrite,
            )
        except prediction.UnusedSettingError as error:
            raise click.UsageError(f"--set {error}") from None
    if output_file is not None:
        say(f"{output_file}: {counts.num_texts:,} texts, {rate.per_second(counts.num_texts)}")


class _Rate:
    """Progress bar with the texts per second, and the time left if their number is known.

    Args:
        progress: shows the bar.
        is_quiet: True to show nothing.
    """

    def __init__(self, progress: Progress, *, is_quiet: bool):
        self._progress, self._is_quiet = progress, is_quiet
        self._started, self._about_rows = time.monotonic(), 0

    def start(self, about_rows: int) -> None:
        """Begin to measure; `about_rows` is the expected number of texts, 0 if it is unknown."""
        self._started, self._about_rows = time.monotonic(), about_rows

    def show(self, num_texts: int) -> None:
        """Show that `num_texts` are written."""
        if self._is_quiet:
            return
        rate = self.per_second(num_texts)
        if self._about_rows:
            total = max(self._about_rows, num_texts)
            self._progress.update(
                "classifying texts", num_texts, total, key="classifying", note=f", {rate}"
            )
        else:
            stage = f"{num_texts:,} texts classified, {rate}"
            self._progress.update(stage, 0, 0, key="classifying")

    def per_second(self, num_texts: int) -> str:
        """Return the mean rate since the start, such as "1,250 texts/s"."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        return f"{num_texts / seconds:,.0f} texts/s"


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


def _check_output_usage(input_file: str | None, output_file: str | None, overwrite: bool) -> None:
    if output_file is not None and input_file is None:
        raise click.UsageError("--output applies only to --input; omit it")
    if overwrite and output_file is None:
        raise click.UsageError("--overwrite applies only to --output; omit it")
    if output_file == "-":
        raise click.UsageError("--output -: stdout is the default; omit --output")
