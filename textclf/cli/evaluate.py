"""Command `evaluate`: report the metrics of a model."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, note, output_width, say, show_check
from textclf.startup import import_tensorflow, show_status

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.evaluation import Report, Requirement
    from textclf.scoring import ScoringResult


@click.command()
@click.argument("model", type=options.path)
@click.argument("source", metavar="[DATA]", required=False)
@options.split_option
@options.set_option
@options.json_option
@click.option(
    "--require",
    "requirements",
    multiple=True,
    metavar="METRIC=VALUE",
    help="Exit with 1 if METRIC is worse than VALUE; may be repeated.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Also score each value of COLUMN of the data, or of length, unknown_fraction or script; "
    "may be repeated.",
)
@click.option(
    "--errors",
    type=options.path,
    metavar="FILE",
    help="Write every example with its text to FILE (.csv or .jsonl), the highest loss first.",
)
@click.option(
    "--save-predictions",
    "predictions",
    type=options.path,
    metavar="FILE",
    help="Write the prediction for every example to FILE (.csv or .jsonl), in the order of DATA.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.pass_context
def evaluate(
    context: click.Context,
    model: Path,
    source: str | None,
    split: str,
    overrides: tuple[str, ...],
    as_json: bool,
    requirements: tuple[str, ...],
    by: tuple[str, ...],
    errors: Path | None,
    predictions: Path | None,
    overwrite: bool,
) -> None:
    """Report the metrics of MODEL on DATA.

    MODEL is a trained folder or an exported SavedModel. DATA is a file (all rows are scored)
    or another value of data.source; default: the training data. Classes are matched by name.
    --require sets a minimum for scores and a maximum for losses and errors.

    For a trained folder with model.linear: mixture, the report has the score of the linear model
    alone and what the network adds, with an interval: "no gain shown" if it contains 0.

    --by also scores slices of the data, with intervals, and warns of slices that are significantly
    worse than the rest, corrected for the number of slices. --json also prints the points of the
    precision-recall and ROC curves of each class.

    Tables have the width of the terminal, or 96 columns elsewhere.

    \b
    Examples:
      textclf evaluate runs/reviews
      textclf evaluate runs/reviews new.csv --set data.label_column=stars
      textclf evaluate saved_models/reviews/1 --json --require macro_f1=0.85
      textclf evaluate runs/reviews --errors errors.csv --by country --by length
    """
    show_check()
    options.check_sections(overrides, ("data", "evaluation"), "evaluate")
    from textclf import artifact, evaluation

    card = artifact.read_model_card(model)
    limits = _parse_requirements(requirements, card)
    from textclf import model_data, scoring
    from textclf.config import read_trained_paths

    to_score = model_data.data_to_score(
        card,
        source,
        paths=read_trained_paths(model),
        split=options.split_of(context, source),
        overrides=overrides,
        advice=f"`textclf evaluate {shlex.quote(str(model))} FILE`",
        on_note=note,
    )
    details = scoring.Details(
        by=tuple(options.argument_text(name, "--by") for name in by),
        errors=errors,
        predictions=predictions,
        overwrite=overwrite,
        curves=as_json,
    )
    scoring.check_details(details, to_score)
    with Progress() as progress:
        progress.stage("reading the data")
        dataset = scoring.open_data(
            card, to_score, on_note=progress.note, on_progress=progress.update
        )
        progress.clear()
        import_tensorflow()
        show_status("loading the model")
        from textclf import classifier

        result = scoring.score_dataset(
            classifier.load_predictor(model),
            dataset,
            to_score.split,
            details=details,
            on_progress=progress.update,
            **to_score.settings,
        )
    if as_json:
        _print_json(model, source, to_score.used_as, result, card)
    else:
        _print(result, title=f"{model} on {to_score.description}", card=card)
    for warning in result.slice_warnings:
        say(f"warning: {warning}")
    for path in (errors, predictions):
        if path is not None:
            say(f"{result.report.num_examples:,} examples written to {path}")
    evaluation.check_requirements(result.report, limits)


def _parse_requirements(texts: tuple[str, ...], card: "Card") -> "list[Requirement]":
    from textclf.evaluation import Requirement, metric_names

    known = metric_names(card.task)
    try:
        return [Requirement.parse(text, known) for text in texts]
    except ValueError as error:
        raise click.UsageError(f"--require {error}") from None


def _chosen_on(card: "Card") -> "Report | None":
    """Return the validation report of thresholds chosen for a target; None without a target."""
    options = {} if card.calibration is None else card.calibration.options
    targets = {"positive", "each_label"} & set(options)
    return card.validation if targets else None


def _print_json(
    model: Path, source: str | None, used_as: str | None, result: "ScoringResult", card: "Card"
) -> None:
    validation = _chosen_on(card)
    clean = result.without_leaked
    values = {
        "model": str(model),
        "data": source,
        "used_as": used_as,
        "split": result.split,
        "dropped_unknown_labels": result.num_dropped,
        "report": result.report.to_dict(),
        "without_leaked": None if clean is None else clean.to_dict(),
        "validation": None if validation is None else validation.to_dict(),
        "slices": [dataclasses.asdict(part) for part in result.slices],
        "curves": [dataclasses.asdict(curves) for curves in result.curves],
    }
    click.echo(json.dumps(values, ensure_ascii=False))


def _print(result: "ScoringResult", title: str, card: "Card") -> None:
    from textclf.display import count_of
    from textclf.report import format_operating_point, format_report, format_slices

    width = output_width()
    click.echo(format_report(result.report, title=title, width=width), nl=False)
    if (validation := _chosen_on(card)) is not None and result.split != "validation":
        table = format_operating_point(validation, result.report, result.split, width=width)
        click.echo("\n" + table, nl=False)
    if result.slices:
        click.echo("\n" + format_slices(result.slices, result.report, width=width), nl=False)
    if result.num_leaked and (clean := result.without_leaked) is not None:
        metric = clean.length_metric
        rows = count_of(result.num_leaked, "row")
        click.echo(
            f"\nWithout the {rows} whose text is also in train: "
            f"{metric.replace('_f1', ' F1')} {clean.get(metric):.4f}, "
            f"macro F1 {clean.get('macro_f1'):.4f}"
        )
