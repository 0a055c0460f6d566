"""Commands `data check` and `data clean`: audit of data before training, and a cleaned copy.

`data label-errors` is in `label_errors`, `data next` in `data_next`.
"""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.data_next import next_texts
from textclf.cli.label_errors import label_errors
from textclf.cli.terminal import (
    Progress,
    note,
    output_width,
    say,
    show_check,
    termination_as_interrupt,
)
from textclf.startup import import_tensorflow

near_rows_option = click.option(
    "--near-rows",
    type=click.IntRange(min=0),
    default=200_000,
    show_default=True,
    help="Maximum number of rows of train that are compared with each other.",
)


@click.group()
def data() -> None:
    """Audit data, find label errors, write cleaned copies, choose texts to label.

    \b
    Examples:
      textclf data check reviews.yaml
      textclf data label-errors reviews.yaml --output suspects.csv
      textclf data check reviews.csv --set data.label_column=stars
      textclf data clean reviews.yaml cleaned --drop-leaks --dedupe
      textclf data next runs/reviews unlabelled.csv --output next.csv
    """


@data.command("check")
@click.argument("source", metavar="CONFIG|SOURCE")
@near_rows_option
@click.option(
    "--html", "page", type=options.path, metavar="FILE", help="Also write the audit as a page."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
@click.option("--strict", is_flag=True, help="Exit with 1 if there are findings.")
@options.set_option
@options.json_option
def check(
    source: str,
    near_rows: int,
    page: Path | None,
    overwrite: bool,
    strict: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Audit classes, lengths, scripts, equal and nearly equal texts, labels and leaks.

    SOURCE is a value of data.source: a file, a folder, tfds:NAME or demo. Each finding has a count,
    examples with file and row, a reason, and the setting or command that fixes it. Rows that cannot
    be read are a finding too. Token counts and cut tokens depend on the `text` settings.

    \b
    Examples:
      textclf data check reviews.yaml
      textclf data check reviews.yaml --html audit.html --strict
      textclf data check tfds:imdb_reviews --set data.data_dir=~/tensorflow_datasets
      textclf data check reviews.csv --set 'data.text_columns=[title, body]' --json
    """
    show_check()
    resolved = options.load_config_of(source, overrides)
    from textclf.config import with_paths

    section = with_paths(resolved).data
    from textclf.artifact.folders import check_page
    from textclf.data import check_sources, open_dataset
    from textclf.errors import check_all

    checks = [lambda: check_sources(section)]
    if page is not None:
        checks.append(lambda file=page: check_page(file, overwrite=overwrite))  # type: ignore[misc]
    check_all(*checks)
    with Progress() as progress:
        progress.stage("reading the data")
        dataset = open_dataset(section, on_progress=progress.update, skip_bad_rows=True)
        progress.clear()
        import_tensorflow()
        from textclf import audit

        result = audit.audit_dataset(
            resolved,
            dataset,
            near_rows=near_rows,
            # Settings of the text do not change which rows are equal.
            subject=_arguments(source, [o for o in overrides if o.strip().startswith("data.")]),
            on_progress=progress.update,
        )
    if page is not None:
        command = f"textclf data check {_arguments(source, overrides)}"
        audit.write_page(result, page, title=source, command=command, overwrite=overwrite)
        note(f"the audit is in {page}")
    if as_json:
        click.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        click.echo(audit.format_audit(result, width=output_width()), nl=False)
    if strict and result.findings:
        from textclf.display import count_of

        say(f"--strict: {count_of(len(result.findings), 'finding')}")
        raise click.exceptions.Exit(1)


@data.command("clean")
@click.argument("source", metavar="CONFIG|SOURCE")
@click.argument("output", type=options.path)
@click.option(
    "--drop-leaks", is_flag=True, help="Drop rows of train whose text is in validation or test."
)
@click.option("--dedupe", is_flag=True, help="Keep one row of train per text.")
@click.option("--near", is_flag=True, help="Treat nearly equal texts as equal.")
@near_rows_option
@click.option("--overwrite", is_flag=True, help="Replace a cleaned copy in OUTPUT.")
@options.set_option
@options.json_option
def clean(
    source: str,
    output: Path,
    drop_leaks: bool,
    dedupe: bool,
    near: bool,
    near_rows: int,
    overwrite: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write a copy of the data without leaks and duplicates to the folder OUTPUT.

    The original is never changed. Only train loses rows; validation and test are copied unchanged.
    OUTPUT/dropped.csv lists the dropped rows. Rows with equal texts and different labels are left
    alone and reported. Prints the lines of a configuration that read the copy.

    \b
    Examples:
      textclf data clean reviews.yaml cleaned --drop-leaks --dedupe
      textclf data clean reviews.csv cleaned --dedupe > cleaned.yaml
    """
    if not (drop_leaks or dedupe):
        raise click.UsageError("nothing to clean; add --drop-leaks, --dedupe or both")
    show_check()
    from textclf.config import FILE_ENDINGS, with_paths

    if output.suffix.lower() in FILE_ENDINGS:
        raise click.UsageError(f"OUTPUT {output}: is a folder; name it without {output.suffix}")
    resolved = options.load_config_of(source, overrides)
    from textclf.artifact.folders import check_output
    from textclf.errors import check_all

    section = with_paths(resolved).data
    from textclf.data import check_sources, open_dataset

    check_all(
        lambda: check_output(output, overwrite=overwrite, is_ours=("dropped.csv",)),
        lambda: check_sources(section),
        lambda: _check_near(near),
    )
    with Progress() as progress, termination_as_interrupt():
        progress.stage("reading the data")
        dataset = open_dataset(section, on_progress=progress.update)
        progress.clear()
        import_tensorflow()
        from textclf import audit

        result = audit.clean(
            dataset,
            output,
            drop_leaks=drop_leaks,
            dedupe=dedupe,
            near_rows=near_rows if near else None,
            overwrite=overwrite,
            on_progress=progress.update,
        )
    for sentence in result.sentences():
        say(sentence)
    if as_json:
        click.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        click.echo(result.config_lines(), nl=False)


data.add_command(label_errors)
data.add_command(next_texts)


def _check_near(near: bool) -> None:
    """Check that the package for near-duplicates is installed if it is needed.

    Raises:
        ConfigError: it is not.
    """
    import importlib.util

    from textclf.errors import ConfigError, install_command

    if near and importlib.util.find_spec("datasketch") is None:
        raise ConfigError(
            [f"--near: datasketch is not installed; install it with {install_command('audit')}"]
        )


def _arguments(source: str, overrides: Sequence[str]) -> str:
    """Return a source and overrides as arguments of a shell."""
    return shlex.join([source, *(part for override in overrides for part in ("--set", override))])
