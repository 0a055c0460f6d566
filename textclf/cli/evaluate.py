"""Command `evaluate`: report the metrics of a model."""

import json
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from textclf.cli import options
from textclf.cli.terminal import Progress, say, show_check
from textclf.errors import DataError, TextclfError
from textclf.startup import import_tensorflow, show_status

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.config import Config
    from textclf.evaluation import Report


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
@click.pass_context
def evaluate(
    context: click.Context,
    model: Path,
    source: str | None,
    split: str,
    overrides: tuple[str, ...],
    as_json: bool,
    requirements: tuple[str, ...],
) -> None:
    """Report the metrics of MODEL on DATA.

    MODEL is a trained folder or an exported SavedModel. DATA is a file (all rows are scored)
    or another value of data.source; default: the training data. Classes are matched by name.
    --require sets a minimum for scores and a maximum for losses and errors.

    \b
    Examples:
      textclf evaluate runs/reviews
      textclf evaluate runs/reviews new.csv --set data.label_column=stars
      textclf evaluate saved_models/reviews/1 --json --require macro_f1=0.85
    """
    show_check()
    options.check_sections(overrides, ("data", "evaluation"), "evaluate")
    card = options.read_card(model)
    limits = [_parse_requirement(text, card) for text in requirements]
    from textclf.config import with_paths

    is_split_set = context.get_parameter_source("split") is ParameterSource.COMMANDLINE
    resolved, split, data_name = options.data_to_score(card, source, split, is_split_set, overrides)
    if source is None:
        check_trained_paths(
            resolved, overrides, f"`textclf evaluate {shlex.quote(str(model))} FILE`"
        )
    section = options.prepare_sources(with_paths(resolved))
    from textclf import data

    with Progress() as progress:
        progress.stage("reading the data")
        dataset = data.open_dataset(section, on_progress=progress.update)
        progress.clear()
        options.check_split(list(dataset.splits), split)
        dropped = dataset.findings.dropped_unknown_labels.get(split, 0)
        if dropped:
            rows = "1 row is" if dropped == 1 else f"{dropped:,} rows are"
            say(f"note: {rows} left out because the model does not have the label")
        if source is None and dataset.fingerprint != card.data.fingerprint:
            say(
                "note: these are not the training data, or they have changed; this split may "
                "contain rows that were used for training"
            )
        import_tensorflow()
        show_status("loading the model")
        from textclf import classifier

        predictor = classifier.load_predictor(model)
        scores = predictor.score(dataset, split, progress.update)
    settings = resolved.evaluation.to_dict()
    report = predictor.report(scores, **settings)
    leaked, clean = dataset.leaked(split), None
    if split != "train" and 0 < leaked.sum() < len(leaked):
        kept = classifier.Scores(*(values[~leaked] for values in scores))
        clean = predictor.report(kept, **settings)
    if as_json:
        values = {
            "model": str(model),
            "data": source,
            "split": split,
            "dropped_unknown_labels": dropped,
            "report": report.to_dict(),
            "without_leaked": None if clean is None else clean.to_dict(),
        }
        click.echo(json.dumps(values, ensure_ascii=False))
    else:
        from textclf.report import format_report

        click.echo(format_report(report, title=f"{model} on {data_name}"), nl=False)
        if clean is not None:
            metric = "micro_f1" if card.multi_label else "accuracy"
            click.echo(
                f"\nWithout the {leaked.sum():,} rows whose text is also in train: "
                f"{metric.replace('_f1', ' F1')} {clean.get(metric):.4f}, "
                f"macro F1 {clean.get('macro_f1'):.4f}"
            )
    _check_requirements(report, limits)


def check_trained_paths(config: "Config", overrides: Sequence[str], other_data: str) -> None:
    """Check that the files and folders of the training still exist.

    Args:
        config: the configuration of the card, with the overrides.
        other_data: the command for scoring other data, for the message.

    Raises:
        DataError: lists the paths of the card that do not exist; overridden paths are not checked.
    """
    from textclf.config import paths, resolve_path

    overridden = {override.partition("=")[0].strip() for override in overrides}
    missing = {
        setting: path
        for setting, path in paths(config).items()
        if setting.startswith("data.")
        and setting not in overridden
        and not os.path.exists(resolve_path(path, setting))
    }
    if not missing:
        return
    is_relative = any(
        not os.path.isabs(resolve_path(path, setting)) for setting, path in missing.items()
    )
    sets = " ".join(f"--set {setting}=PATH" for setting in missing)
    raise DataError(
        f"{', '.join(missing.values())}: no such file or folder"
        + (f" in {os.getcwd()}" if is_relative else "")
        + f"; the model was trained with {' and '.join(missing)} at this path; "
        + ("run the command in the folder in which it was trained, or " if is_relative else "")
        + f"specify the data: {other_data} or {sets}"
    )


def _parse_requirement(text: str, card: "Card") -> tuple[str, float]:
    """Return the metric and the limit of a --require option.

    Raises:
        UsageError: the option is malformed, or the model does not have the metric.
    """
    name, _, written = text.partition("=")
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise click.UsageError(
            f"--require {text}: expected METRIC=VALUE, for instance macro_f1=0.85"
        )
    known = card.validation.metrics if card.validation else {}
    if known and name not in known:
        raise click.UsageError(
            f"--require {text}: unknown metric {name!r}; choose from {', '.join(known)}"
        )
    if name != "log_loss" and not 0 <= value <= 1:
        raise click.UsageError(f"--require {text}: expected a value between 0 and 1 for {name}")
    return name, value


def _check_requirements(report: "Report", limits: list[tuple[str, float]]) -> None:
    failed = []
    for name, limit in limits:
        try:
            value = report.get(name)
        except DataError as error:  # ROC-AUC is undefined for one class
            failed.append(f"{name}={limit:g} is required: {error}")
            continue
        if name.endswith(("_loss", "_error")):
            if not value <= limit:
                failed.append(f"{name} is {value:.4f}, above the required {limit:g}")
        elif not value >= limit:
            failed.append(f"{name} is {value:.4f}, below the required {limit:g}")
    if failed:
        raise TextclfError("\n".join(failed))
