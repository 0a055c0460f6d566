"""Command `baseline`: fit and evaluate simple classifiers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, output_width, say, show_check

if TYPE_CHECKING:
    from textclf.baselines import BaselineResult


@click.command()
@click.argument("config_file", metavar="CONFIG", type=options.path)
@options.set_option
@options.split_option
@options.json_option
def baseline(config_file: Path, overrides: tuple[str, ...], split: str, as_json: bool) -> None:
    """Fit and evaluate simple classifiers for comparison.

    These are the majority class, the linear model of textclf (model.encoder: none), TF-IDF +
    logistic regression by scikit-learn, and fastText if it is installed, on the data of CONFIG. No
    files are written.

    \b
    Examples:
      textclf baseline reviews.yaml
      textclf baseline reviews.yaml --json --split validation
    """
    show_check()
    from textclf.config import with_paths

    resolved = options.load_config(config_file, overrides)
    section = with_paths(resolved).data
    from textclf import baselines, data

    data.check_sources(section)
    with Progress() as progress:

        def say_fit(name: str, num_texts: int) -> None:
            progress.clear()
            say(f"fitting {name} on {num_texts:,} texts")

        progress.stage("reading the data")
        results = baselines.evaluate_baselines(
            data.open_dataset(section, on_progress=progress.update),
            split,
            unit="character" if resolved.text.unit == "character" else "auto",
            tokenizer=resolved.text.to_dict(*baselines.DEFAULT_TOKENIZER),
            seed=resolved.training.seed,
            settings=resolved.evaluation.to_dict(),
            on_fit=say_fit,
            on_progress=progress.update,
        )
    if as_json:
        values = {result.name: _values(result) for result in results}
        click.echo(json.dumps({"split": split, "baselines": values}, ensure_ascii=False))
    else:
        _print(results, split)


def _values(result: "BaselineResult") -> dict:
    clean = result.without_leaked
    return {
        "description": result.description,
        "seconds": round(result.seconds, 1),
        "report": result.report.to_dict(),
        "without_leaked": None if clean is None else clean.to_dict(),
    }


def _print(results: "Sequence[BaselineResult]", split: str) -> None:
    from textclf.display import count_of
    from textclf.report import format_comparison, format_report

    width = output_width()
    reports = {result.name: result.report for result in results}
    click.echo(format_comparison(reports, width=width), nl=False)
    clean = {result.name: result.without_leaked for result in results if result.without_leaked}
    if clean:
        rows = count_of(results[0].num_leaked, f"{split} row")
        click.echo(f"\nWithout the {rows} whose text is also in train:\n")
        click.echo(format_comparison(clean, width=width), nl=False)
    majority, *others = results
    click.echo(f"\nmajority: {majority.description}")
    for result in others:  # a page on the majority class adds nothing
        text = format_report(
            result.report, title=result.name, description=result.description, width=width
        )
        click.echo("\n" + text, nl=False)
