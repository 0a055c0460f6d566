"""Command `compare`: compare trained models on the same texts."""

import json
import os
from pathlib import Path

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, note, output_width, show_check
from textclf.startup import import_tensorflow, show_status


@click.command()
@click.argument("models", metavar="MODEL MODEL...", nargs=-1, required=True, type=options.path)
@click.option(
    "--data",
    "source",
    metavar="DATA",
    help="Data to score; default: the data that all models were trained on.",
)
@options.split_option
@options.set_option
@click.option(
    "--metric",
    help="accuracy (default for one label per text), macro_f1 (default for multi-label data), "
    "micro_f1 (multi-label only) or log_loss.",
)
@options.json_option
@click.pass_context
def compare(
    context: click.Context,
    models: tuple[Path, ...],
    source: str | None,
    split: str,
    overrides: tuple[str, ...],
    metric: str | None,
    as_json: bool,
) -> None:
    """Compare trained models on the same texts.

    Each MODEL is a trained folder or an exported SavedModel. A verdict on two models holds for
    these two trainings. Models that differ only in their seed count as runs of one architecture;
    if an architecture has several runs, architectures are compared too. If several models are
    mixtures with a linear model, their networks are also compared alone.

    \b
    Examples:
      textclf compare runs/lstm runs/gru
      textclf compare runs/lstm saved_models/gru/1 --data new.csv
      textclf compare runs/lstm-0 runs/lstm-1 runs/gru-0 runs/gru-1 --metric macro_f1
    """
    show_check()
    options.check_sections(overrides, ("data", "evaluation"), "compare")
    _check_models(models)
    from textclf import scoring
    from textclf.study import models as comparison

    try:
        to_compare = comparison.check_models(
            models,
            source,
            split=options.split_of(context, source),
            metric=metric,
            overrides=overrides,
            on_note=note,
        )
    except ValueError as error:
        raise click.UsageError(f"--metric {error}") from None
    first = next(iter(to_compare.cards.values()))
    with Progress() as progress:
        progress.stage("reading the data")
        dataset = scoring.open_data(
            first, to_compare.to_score, on_note=progress.note, on_progress=progress.update
        )
        progress.clear()
        import_tensorflow()
        show_status("loading the models")
        report = comparison.compare_on(to_compare, dataset, progress.update)
    if as_json:
        import msgspec

        values = {"data": source, "split": to_compare.to_score.split}
        click.echo(json.dumps(values | msgspec.to_builtins(report), ensure_ascii=False))
    else:
        from textclf.study.model_report import text

        click.echo(text(report, to_compare.to_score.description, width=output_width()), nl=False)


def _check_models(models: tuple[Path, ...]) -> None:
    if len(models) < 2 or len(set(map(os.path.abspath, models))) < len(models):
        raise click.UsageError("expected at least two different models")
    from textclf import artifact

    for model in models:
        artifact.read_model_card(model)  # a wrong folder is reported before NumPy is imported
