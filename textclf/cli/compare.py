"""Command `compare`: compare trained models on the same texts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from textclf.cli import options
from textclf.cli.evaluate import check_trained_paths
from textclf.cli.terminal import Progress, show_check
from textclf.startup import import_tensorflow, show_status

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.config import Data
    from textclf.study.models import Answers


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
    if an architecture has several runs, architectures are compared too.

    \b
    Examples:
      textclf compare runs/lstm runs/gru
      textclf compare runs/lstm saved_models/gru/1 --data new.csv
      textclf compare runs/lstm-0 runs/lstm-1 runs/gru-0 runs/gru-1 --metric macro_f1
    """
    show_check()
    options.check_sections(overrides, ("data", "evaluation"), "compare")
    names = [str(model) for model in models]
    if len(names) < 2 or len(set(names)) < len(names):
        raise click.UsageError("expected at least two different models")
    cards = {name: options.read_card(model) for name, model in zip(names, models, strict=True)}
    first = cards[names[0]]
    from textclf.config import with_paths
    from textclf.study import models as comparison

    comparison.check_comparable(cards, source)
    is_split_given = context.get_parameter_source("split") is ParameterSource.COMMANDLINE
    resolved, split, place = options.data_to_score(first, source, split, is_split_given, overrides)
    if source is None:
        check_trained_paths(resolved, overrides, "`--data FILE`")
    section = options.prepare_sources(with_paths(resolved))
    try:
        metric = comparison.choose_metric(metric, first.multi_label)
    except ValueError as error:
        raise click.UsageError(f"--metric {error}") from None
    answers = _answer(models, cards, section, split)
    report = comparison.compare_models(
        answers,
        cells=comparison.group_by_cell(cards),
        metric=metric,
        confidence=resolved.evaluation.confidence,
        num_resamples=resolved.evaluation.bootstrap_samples,
        seed=resolved.evaluation.seed,
    )
    if as_json:
        import msgspec

        values = {"data": source, "split": split, **msgspec.to_builtins(report)}
        click.echo(json.dumps(values, ensure_ascii=False))
    else:
        click.echo(comparison.text(report, place))


def _answer(
    models: tuple[Path, ...], cards: "dict[str, Card]", section: "Data", split: str
) -> "dict[str, Answers]":
    """Return the answers of each model, with the classes in the order of the first one."""
    from textclf import data
    from textclf.study.models import answer_split

    first = next(iter(cards.values()))
    with Progress() as progress:
        progress.stage("reading the data")
        dataset = data.open_dataset(section, on_progress=progress.update)
        progress.clear()
        options.check_split(list(dataset.splits), split)
        import_tensorflow()
        show_status("loading the models")
        from textclf import classifier

        return {
            name: answer_split(
                first, classifier.load_predictor(model), dataset, split, progress.update
            )
            for name, model in zip(cards, models, strict=True)
        }
